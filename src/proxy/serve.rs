//! Listeners, hyper on each accepted stream, and the end of both.
//!
//! Pingora accepts: its service runs the accept loops, backs off when descriptors run out, and
//! tells everybody when to stop. Listeners are bound here beforehand and handed over as
//! descriptors, so that an address that cannot be bound is an error and not a panic, and port 0
//! can be asked for.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use parking_lot::Mutex;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::ListenerConfig;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::{L4BufferSettings, Stream as L4Stream};
use pingora_core::server::{Fds, ShutdownWatch};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use tokio::sync::watch;
use tracing::debug;

use super::caller::Caller;
use super::preface::{self, Spoken};
use super::stream::CallerStream;
use super::{Proxy, handle, multiplexed};
use crate::config::Listen;
use crate::connection::HeaderCase;
use crate::upstream::deadline::Deadline;
use crate::upstream::fault::chain;

/// Larger heads are refused with 431, in bytes.
pub(super) const MAX_HEAD: usize = 64 << 10;

/// A bound listener that nobody accepts on yet.
#[derive(Debug)]
pub enum Bound {
    /// TCP, and its address.
    Tcp(TcpListener, SocketAddr),
    /// A Unix socket, and its path.
    Unix(UnixListener, Box<Path>),
}

/// An address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {place}: {source}; {hint}")]
pub struct BindError {
    place: String,
    source: io::Error,
    hint: &'static str,
}

impl Bound {
    /// Binds a place to listen at.
    ///
    /// # Errors
    /// Why it cannot be bound, and what to do.
    pub fn bind(listen: &Listen) -> Result<Self, BindError> {
        let bound = match listen {
            Listen::Tcp { host, port } => bind_tcp(host, *port),
            Listen::Unix(path) => bind_unix(path),
        };
        bound.map_err(|source| BindError {
            place: listen.to_string(),
            hint: hint(&source),
            source,
        })
    }

    /// Where it listens, as it is written in a configuration.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(_, address) => address.to_string(),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

fn bind_tcp(host: &str, port: u16) -> io::Result<Bound> {
    let listener = TcpListener::bind((host, port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok(Bound::Tcp(listener, address))
}

/// Binds with mode 0600 from the first moment on: whoever can connect spends the keys.
fn bind_unix(path: &Path) -> io::Result<Bound> {
    remove_stale(path)?;
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound?;
    listener.set_nonblocking(true)?;
    Ok(Bound::Unix(listener, path.into()))
}

/// Removes a socket that nobody listens on any more; anything else that is there stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or choose another address",
        io::ErrorKind::PermissionDenied => {
            "choose a port above 1023 or a folder that this user may write to"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; 0.0.0.0 is all of its own"
        }
        io::ErrorKind::AlreadyExists => "a file that is no socket stands there; move it away",
        io::ErrorKind::NotFound => "create the folder first",
        _ => "check the address",
    }
}

/// Accepts on the listeners until `shutdown` turns true; then no connection is accepted, idle ones
/// are closed, and those with a request go on until it is answered ([`Proxy::running`]).
pub async fn serve(proxy: Arc<Proxy>, listeners: Vec<Bound>, shutdown: ShutdownWatch) {
    let mut service = Service::new("proxy".to_owned(), App { proxy });
    let mut fds = Fds::new();
    for listener in listeners {
        service.add_listener(hand_over(listener, &mut fds));
    }
    service
        .start_service(Some(Arc::new(Mutex::new(fds))), shutdown, 1)
        .await;
}

/// Where connections of our own arrive, as far as requests can tell.
pub(super) const INSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Serves a caller inside of this process, who has the stream.
///
/// # Errors
/// The system has no more streams.
pub(super) fn inside(proxy: &Arc<Proxy>) -> io::Result<tokio::net::UnixStream> {
    let (theirs, ours) = tokio::net::UnixStream::pair()?;
    let caller = Arc::new(Caller::new(Arc::clone(proxy), Some(INSIDE)));
    let preserve = proxy.reader.take().header_case == HeaderCase::Preserve;
    let ours: Stream = Box::new(L4Stream::from(ours));
    let (stop, stopped) = watch::channel(false);
    proxy.running.spawn(async move {
        speak(ours, caller, preserve, stopped).await;
        drop(stop);
    });
    Ok(theirs)
}

/// Puts a listener where the service looks for it, under its address.
fn hand_over(listener: Bound, fds: &mut Fds) -> ListenerConfig {
    let config = match listener {
        Bound::Tcp(listener, address) => {
            fds.add(address.to_string(), listener.into_raw_fd());
            ListenerConfig::tcp(address.to_string())
        }
        Bound::Unix(listener, path) => {
            let path = path.to_string_lossy().into_owned();
            fds.add(path.clone(), listener.into_raw_fd());
            ListenerConfig::uds(path).permissions(std::fs::Permissions::from_mode(0o600))
        }
    };
    // hyper has buffers of its own.
    config.l4_buffer(L4BufferSettings::unbuffered())
}

/// What Pingora hands each accepted stream to.
struct App {
    proxy: Arc<Proxy>,
}

#[async_trait]
impl ServerApp for App {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let local = stream
            .get_socket_digest()
            .and_then(|digest| digest.local_addr()?.as_inet().copied());
        let caller = Arc::new(Caller::new(Arc::clone(&self.proxy), local));
        let preserve = self.proxy.reader.take().header_case == HeaderCase::Preserve;
        // A task of its own: polled directly, and not through the layers that accepted it.
        let speaking = speak(stream, caller, preserve, shutdown.clone());
        self.proxy.running.spawn(speaking);
        None
    }
}

/// Speaks with a caller what it speaks, until its stream ends.
async fn speak(
    stream: Stream,
    caller: Arc<Caller>,
    preserve_header_case: bool,
    shutdown: ShutdownWatch,
) {
    let mut io = CallerStream::new(stream, Arc::clone(&caller));
    match preface::read(&mut io, &caller, &shutdown).await {
        Some(Spoken::Http1) => {}
        Some(Spoken::Http2) => {
            return Box::pin(multiplexed::speak(io, caller, shutdown)).await;
        }
        None => return,
    }
    let service = {
        let caller = Arc::clone(&caller);
        service_fn(move |request| handle(Arc::clone(&caller), request))
    };
    let mut connection = pin!(
        http1::Builder::new()
            .half_close(false)
            .max_header_size(MAX_HEAD)
            .preserve_header_case(preserve_header_case)
            .serve_connection(io, service)
            .with_upgrades()
    );
    let stopped = {
        let mut told = pin!(stop(shutdown.clone()));
        let mut idle = Idle::new(Deadline::new(Duration::ZERO));
        let mut asked = false;
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Some(ended));
                }
                // Asking takes a lock, and this task's waker stays known once it was asked: from
                // then on a look at the version is enough.
                let news = shutdown.has_changed().unwrap_or(true);
                let ask = !std::mem::replace(&mut asked, true) || news;
                if ask && told.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                ready!(idle.poll_over(cx, &caller));
                if !caller.press() {
                    return Poll::Ready(Some(Ok(())));
                }
            }
        })
        .await
    };
    let ended = match stopped {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error = chain(&error), "Caller's connection ended");
    }
}

/// Ready once everybody is told to stop.
pub(super) async fn stop(mut shutdown: ShutdownWatch) {
    // An error means that nobody can tell us to stop any more: as good as being told.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Ends a connection that is idle for too long, whose next head does not come to its end, or whose
/// caller takes nothing of its answer.
pub(super) struct Idle(Deadline);

impl Idle {
    pub(super) fn new(deadline: Deadline) -> Self {
        Self(deadline)
    }

    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>, caller: &Caller) -> Poll<()> {
        let Some(deadline) = caller.deadline() else {
            return Poll::Pending;
        };
        self.0.set(deadline);
        self.0.poll_passed(cx)
    }
}
