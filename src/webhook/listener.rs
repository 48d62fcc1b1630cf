//! Where webhooks arrive: connections, in cleartext or TLS, and the end of them.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Door;
use super::room::Room;
use crate::proxy::serve::Bound;
use crate::upstream::fault::chain;

/// For a TLS handshake, and for each request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long an answer may wait for its sender to take some of it.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Larger heads are refused with 431: what is delivered through a connection has to pass the proxy's own
/// limit, with what is added.
const MAX_HEAD: usize = 48 << 10;
const MAX_FIELDS: usize = 90;

/// Connections at a time; others wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;

/// How long to wait after an accept that failed, as it does while descriptors are out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What arrives, and what it needs.
pub(super) struct Listener {
    pub(super) door: Arc<Door>,
    /// For content on its way to the disk.
    pub(super) room: Room,
}

impl Listener {
    pub(super) fn new(door: Arc<Door>) -> Arc<Self> {
        Arc::new(Self {
            door,
            room: Room::default(),
        })
    }

    /// Accepts until `stop` turns true; connections end by themselves then, after the answer that is
    /// being made (`running`).
    ///
    /// # Errors
    /// The listener cannot be used.
    pub(super) async fn serve(
        self: Arc<Self>,
        bound: Bound,
        running: TaskTracker,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let ended = stop.clone();
        let accepting = async {
            match bound {
                Bound::Tcp(listener, _) => {
                    let listener = TcpListener::from_std(listener)?;
                    loop {
                        // It is never closed.
                        let place = Arc::clone(&room).acquire_owned().await;
                        let accepted = listener.accept().await;
                        let Some((stream, _)) = tell(accepted).await else {
                            continue;
                        };
                        // Answers are short, and each is waited for.
                        let _ = stream.set_nodelay(true);
                        let speaking = Arc::clone(&self).speak(stream, ended.clone());
                        running.spawn(async move {
                            speaking.await;
                            drop(place);
                        });
                    }
                }
                Bound::Unix(listener, _) => {
                    let listener = UnixListener::from_std(listener)?;
                    loop {
                        let place = Arc::clone(&room).acquire_owned().await;
                        let accepted = listener.accept().await;
                        let Some((stream, _)) = tell(accepted).await else {
                            continue;
                        };
                        let speaking = Arc::clone(&self).speak(stream, ended.clone());
                        running.spawn(async move {
                            speaking.await;
                            drop(place);
                        });
                    }
                }
            }
        };
        tokio::select! {
            served = accepting => served,
            () = super::told(&mut stop) => Ok(()),
        }
    }

    async fn speak<S>(self: Arc<Self>, stream: S, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(tls) = self.door.tls() else {
            return self.speak_http(stream, stop).await;
        };
        match timeout(HEAD_DEADLINE, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => self.speak_http(stream, stop).await,
            Ok(Err(error)) => debug!(%error, "TLS handshake of a webhook's sender failed"),
            Err(_) => debug!("TLS handshake of a webhook's sender took too long"),
        }
    }

    async fn speak_http<S>(self: Arc<Self>, stream: S, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request| {
            let listener = Arc::clone(&self);
            async move { Ok::<_, Infallible>(listener.answer(request).await) }
        });
        // Answers are short: whoever takes none of them is not waited for.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_DEADLINE));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .max_header_size(MAX_HEAD)
                .max_headers(MAX_FIELDS)
                .serve_connection(TokioIo::new(Box::pin(stream)), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = super::told(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(
                error = chain(&error),
                "Connection of a webhook's sender ended"
            );
        }
    }
}

/// What was accepted; what was not is told, and not tried again at once.
async fn tell<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            warn!(%error, "Connection of a webhook's sender not accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
