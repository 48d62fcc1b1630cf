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
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Door;
use super::answer::MAX_HELD;
use crate::proxy::serve::Bound;
use crate::upstream::fault::chain;

/// For a TLS handshake, and for each request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Connections at a time; others wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;

/// How long to wait after an accept that failed, as it does while descriptors are out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What arrives, and what it needs.
pub(super) struct Listener {
    pub(super) door: Arc<Door>,
    /// For content that was not yet checked.
    pub(super) held: Semaphore,
}

impl Listener {
    pub(super) fn new(door: Arc<Door>) -> Arc<Self> {
        Arc::new(Self {
            door,
            held: Semaphore::new(MAX_HELD),
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
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .serve_connection(TokioIo::new(stream), service)
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
