//! Whether anything of a request has reached the upstream's machine, as TCP knows it: [`Receipt`].
//!
//! An upstream that closes an idle connection while a request is on its way has read nothing of it, but
//! HTTP cannot tell that from one that read it and went away. TCP can, in most cases: the upstream's FIN
//! came, and what was sent is answered by a reset and was never acknowledged. So its system had closed the
//! connection whole before the request arrived, and has thrown that away. The request can be sent again,
//! whatever its method (RFC 9110 section 9.2.2: "some means to detect that the original request was never
//! applied").

use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora_core::protocols::l4::ext::get_tcp_info;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long the reset may take that follows a FIN: a way there and back.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a link asks its stream, which hyper holds, and what that one has found.
#[derive(Debug, Default)]
pub(super) struct Probe {
    asked: AtomicBool,
    watched: AtomicBool,
    unread: AtomicBool,
}

impl Probe {
    /// Has the next read look whether the upstream has closed the connection.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// The same, and watches what becomes of the request that is written then.
    pub(super) fn ask_and_watch(&self) {
        self.unread.store(false, Ordering::Relaxed);
        self.watched.store(true, Ordering::Relaxed);
        self.ask();
    }

    /// Whether it was asked since the last time.
    pub(super) fn take_asked(&self) -> bool {
        // Nearly always not: a load costs nothing, which a swap does.
        self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::Relaxed)
    }

    /// Whether a request is watched from now on.
    pub(super) fn take_watched(&self) -> bool {
        self.watched.swap(false, Ordering::Relaxed)
    }

    /// Whether nothing of the request that was watched has reached the upstream.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(super) fn note_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }
}

/// What is known of a request's arrival.
#[derive(Debug, Default)]
pub(super) struct Receipt {
    /// How much the upstream had acknowledged before; none where no request is watched, or where the
    /// connection broke in a way that proves nothing.
    before: Option<u64>,
    /// How long was waited for the reset, and the next look.
    waited: Duration,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Receipt {
    /// Notes what is acknowledged so far.
    pub(super) fn begin(&mut self, socket: Option<&TcpStream>) {
        *self = Self {
            before: socket.and_then(known).map(|(acknowledged, _)| acknowledged),
            ..Self::default()
        };
    }

    /// Once the end of what the upstream sends was read: whether the connection was closed before anything
    /// of the request arrived. It is asked until it is ready.
    #[cold]
    pub(super) fn poll_unread(
        &mut self,
        socket: Option<&TcpStream>,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        while self.before.is_some() {
            match socket.and_then(known) {
                // Something has arrived.
                known if known.map(|(acknowledged, _)| acknowledged) != self.before => break,
                Some((_, CLOSED)) => return Poll::Ready(true),
                _ if self.waited >= PATIENCE => break,
                _ => {}
            }
            // After 1 ms, 2, 4 and so on.
            let pause = self.waited.max(Duration::from_millis(1));
            let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(pause)));
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
            self.waited += pause;
        }
        self.before = None;
        Poll::Ready(false)
    }

    /// Takes note of an error; says whether it is that of a connection which was closed and then reset, and
    /// nothing of the request had arrived.
    ///
    /// A reset that no FIN came before proves nothing: so ends a connection whose program has left something
    /// unread, of this very request perhaps; and what is read after it looks like an end.
    #[cold]
    pub(super) fn is_unread(&mut self, error: &Error, socket: Option<&TcpStream>) -> bool {
        let before = self.before.take();
        // EPIPE is told, before any other error, where a reset follows a FIN.
        let was_closed = error.kind() == ErrorKind::BrokenPipe;
        let now = socket.and_then(known);
        was_closed && now.is_some_and(|now| Some(now) == before.map(|before| (before, CLOSED)))
    }
}

/// `TCP_CLOSE`.
const CLOSED: u8 = 7;

/// How many bytes the peer's system has acknowledged, and the state of the connection; none if this system
/// does not say so.
fn known(socket: &TcpStream) -> Option<(u64, u8)> {
    let known = get_tcp_info(socket.as_raw_fd()).ok()?;
    // On a connection that was used there are some: a system that says 0 does not count.
    let acknowledged = Some(known.tcpi_bytes_acked).filter(|bytes| *bytes > 0)?;
    Some((acknowledged, known.tcpi_state))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::super::stream::{Transport, UpstreamStream};
    use super::*;

    const ANSWER: &[u8] = b"an answer";
    const REQUEST: &[u8] = b"a request";

    /// A stream on which one exchange is over, its probe, and the upstream's end.
    async fn used() -> (UpstreamStream, Arc<Probe>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (mut upstream, _) = listener.accept().await.unwrap();
        let probe = Arc::<Probe>::default();
        let transport = Transport::Tcp(socket.unwrap());
        let mut stream = UpstreamStream::new(transport, Arc::clone(&probe), None);
        stream.write_all(REQUEST).await.unwrap();
        let mut buf = [0; 32];
        upstream
            .read_exact(&mut buf[..REQUEST.len()])
            .await
            .unwrap();
        upstream.write_all(ANSWER).await.unwrap();
        stream.read_exact(&mut buf[..ANSWER.len()]).await.unwrap();
        (stream, probe, upstream)
    }

    /// Asks whether it is open, which it is: nobody waits for what a read would bring.
    async fn found_open(stream: &mut UpstreamStream, probe: &Probe) {
        probe.ask_and_watch();
        assert!(stream.read_u8().now_or_never().is_none());
    }

    /// Writes and reads until the stream ends.
    async fn end(stream: &mut UpstreamStream) {
        let mut buf = [0; 32];
        while stream.write_all(REQUEST).await.is_ok() {
            let read = timeout(Duration::from_millis(2), stream.read(&mut buf)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                return;
            }
        }
    }

    #[tokio::test]
    async fn a_close_before_the_request_arrives_is_proven() {
        for reads_first in [true, false] {
            let (mut stream, probe, upstream) = used().await;
            found_open(&mut stream, &probe).await;
            drop(upstream);
            stream.write_all(REQUEST).await.unwrap();
            if reads_first {
                assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
            } else {
                end(&mut stream).await;
            }
            assert!(probe.is_unread(), "reads first: {reads_first}");
            // What was found is of that request alone.
            probe.ask_and_watch();
            assert!(!probe.is_unread());
        }
    }

    #[tokio::test]
    async fn what_was_read_is_not_unread() {
        let (mut stream, probe, mut upstream) = used().await;
        found_open(&mut stream, &probe).await;
        stream.write_all(REQUEST).await.unwrap();
        upstream.read_exact(&mut [0; REQUEST.len()]).await.unwrap();
        drop(upstream);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(!probe.is_unread());
    }

    #[tokio::test]
    async fn what_arrived_may_have_been_read() {
        let (mut stream, probe, mut upstream) = used().await;
        found_open(&mut stream, &probe).await;
        stream.write_all(REQUEST).await.unwrap();
        // The rest is left unread: the close is a reset.
        upstream.read_exact(&mut [0; 3]).await.unwrap();
        drop(upstream);
        end(&mut stream).await;
        let _ = stream.read(&mut [0; 8]).await;
        assert!(!probe.is_unread());
    }

    #[tokio::test]
    async fn who_reads_on_after_its_end_has_received_it() {
        let (mut stream, probe, mut upstream) = used().await;
        found_open(&mut stream, &probe).await;
        upstream.shutdown().await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        upstream.read_exact(&mut [0; REQUEST.len()]).await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(!probe.is_unread());
    }

    #[tokio::test]
    async fn what_is_not_watched_is_not_known() {
        let (mut stream, probe, upstream) = used().await;
        probe.ask();
        assert!(stream.read_u8().now_or_never().is_none());
        drop(upstream);
        stream.write_all(REQUEST).await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(!probe.is_unread());
    }
}
