//! Callers that speak HTTP/2 (RFC 9113): many requests on one connection, each a stream with a task and
//! a deadline of its own.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{COOKIE, HOST, TE};
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, ReadBuf, ReadBufCursor, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use pingora_core::server::ShutdownWatch;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::bundle::Bundle;
use super::caller::{Caller, HEAD_DEADLINE};
use super::flood::{DATA, Frames, Meter};
use super::handle;
use super::serve::{MAX_HEAD, stop};
use super::stream::CallerStream;
use crate::upstream::deadline::Deadline;
use crate::upstream::fault::chain;
use crate::upstream::message::TakesTrailers;

/// So many requests a connection carries at once.
const MOST_STREAMS: u32 = 250;

/// How much of one request's content is taken ahead of its upstream, in bytes, and how much of all
/// those of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// How much of one answer waits to be written, in bytes.
const SEND_BUFFER: usize = 128 << 10;

/// A caller that is not heard of for so long is asked for a sign of life, and let go if there is none.
const QUIET: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);

/// So many streams that the caller has made us break are borne with (CVE-2025-8671, "MadeYouReset"),
/// and so many that it has given up before they were looked at (CVE-2023-44487, "Rapid Reset").
const MOST_BROKEN: usize = 100;
const MOST_PENDING: usize = 50;

/// How long a caller may take to say goodbye, and how often it is looked whether it has.
const FAREWELL: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);

/// Makes of a request's head what it would be on HTTP/1.1, as all that follows reads it so.
pub(super) fn adapt<B>(request: &mut Request<B>) {
    let authority = request.uri().authority().map(|it| it.as_str().to_owned());
    let headers = request.headers_mut();
    // Where both are there, the guard compares them (RFC 9113 section 8.3.1).
    if !headers.contains_key(HOST)
        && let Some(authority) = authority
        && let Ok(host) = HeaderValue::try_from(authority)
    {
        headers.insert(HOST, host);
    }
    // Cookies come in crumbs, for the compression's sake (RFC 9113 section 8.2.3).
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<_> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, whole);
        }
    }
    let takes_trailers = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if headers.get_all(TE).iter().any(takes_trailers) {
        request.extensions_mut().insert(TakesTrailers);
    }
}

/// Speaks HTTP/2 on a caller's stream until it ends.
pub(super) async fn speak(io: CallerStream, caller: Arc<Caller>, shutdown: ShutdownWatch) {
    // Nothing that is written here is a refusal of HTTP/1.1.
    caller.begin();
    let bundle = Arc::new(Bundle::new(caller.opened()));
    let streams = Streams {
        bundle: Arc::clone(&bundle),
        running: caller.proxy.running.clone(),
        next: Arc::default(),
    };
    let io = MeteredStream {
        inner: io,
        meter: Meter::new(caller.opened()),
        written: Frames::default(),
        bundle: Arc::clone(&bundle),
        buffer: Vec::new(),
    };
    let service = {
        let (caller, streams) = (Arc::clone(&caller), streams.clone());
        service_fn(move |request: Request<Incoming>| handle(streams.begin(&caller), request))
    };
    let mut connection = pin!(
        http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .keep_alive_interval(QUIET)
            .keep_alive_timeout(PATIENCE)
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(MAX_HEAD as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_local_error_reset_streams(MOST_BROKEN)
            .max_pending_accept_reset_streams(MOST_PENDING)
            .serve_connection(io, service)
    );
    let mut told = pin!(stop(shutdown));
    let mut deadline = Deadline::new(HEAD_DEADLINE);
    let ended = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            if bundle.is_abused() {
                debug!("Caller's connection ended: most of its requests are given up");
                return Poll::Ready(Some(Ok(())));
            }
            if told.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let idle = if bundle.is_idle() {
                bundle.idle_since()
            } else {
                Instant::now()
            };
            let over = idle + HEAD_DEADLINE;
            let blocked = caller.is_blocked().then(|| caller.deadline()).flatten();
            deadline.set(blocked.unwrap_or(over));
            ready!(deadline.poll_passed(cx));
            match (blocked, bundle.is_idle()) {
                (Some(_), _) if !caller.press() => return Poll::Ready(Some(Ok(()))),
                (None, true) if Instant::now() >= over => return Poll::Ready(None),
                _ => {}
            }
        }
    });
    let ended = match ended.await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut connection => ended,
                () = over(&bundle, &caller) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        debug!(error = chain(&error), "Caller's connection ended");
    }
}

/// Ready some time after the last stream has ended: a caller need not answer to be let go. One that is
/// still to take what was handed out may need longer.
async fn over(bundle: &Bundle, caller: &Caller) {
    loop {
        sleep(LOOK).await;
        let takes_all = bundle.is_written() && !caller.is_blocked();
        let patience = if takes_all { FAREWELL } else { HEAD_DEADLINE };
        if bundle.is_abused() || bundle.is_idle() && bundle.quiet() >= patience {
            return;
        }
    }
}

/// What makes tasks of a connection's streams.
#[derive(Clone)]
struct Streams {
    bundle: Arc<Bundle>,
    running: TaskTracker,
    /// The stream that begins: hyper asks for its task right after its answer was asked for.
    next: Arc<Mutex<Option<Arc<Caller>>>>,
}

impl Streams {
    fn begin(&self, connection: &Caller) -> Arc<Caller> {
        let stream = Arc::new(Caller::stream(connection, &self.bundle));
        *self.next.lock() = Some(Arc::clone(&stream));
        stream
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, serving: F) {
        let Some(stream) = self.next.lock().take() else {
            self.running.spawn(serving);
            return;
        };
        self.bundle.begin();
        self.running.spawn(Stream {
            serving,
            watch: Watch {
                stream,
                bundle: Arc::clone(&self.bundle),
                deadline: None,
            },
        });
    }
}

pin_project! {
    /// A request's task, which ends with its answer or when the caller has taken nothing of it for too
    /// long: dropping it resets the stream.
    struct Stream<F> {
        #[pin]
        serving: F,
        watch: Watch,
    }
}

struct Watch {
    stream: Arc<Caller>,
    bundle: Arc<Bundle>,
    /// None as long as nothing was ever waited for.
    deadline: Option<Deadline>,
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.serving.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        this.watch.poll_over(cx)
    }
}

impl Watch {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.stream.deadline() else {
            return Poll::Pending;
        };
        let deadline = self
            .deadline
            .get_or_insert_with(|| Deadline::new(at.saturating_duration_since(Instant::now())));
        deadline.set(at);
        deadline.poll_passed(cx)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bundle.end();
    }
}

/// A caller's stream whose frames are counted.
struct MeteredStream {
    inner: CallerStream,
    meter: Meter,
    /// Those that are written.
    written: Frames,
    bundle: Arc<Bundle>,
    /// What is read into, so that it can be looked at.
    buffer: Vec<u8>,
}

/// How much is read at once.
const READS: usize = 16 << 10;

impl Read for MeteredStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.buffer.resize(READS, 0);
        let most = READS.min(buf.remaining());
        let mut read = ReadBuf::new(&mut this.buffer[..most]);
        ready!(Pin::new(&mut this.inner).poll_read(cx, read.unfilled()))?;
        if this.meter.read(read.filled()) {
            this.bundle.takes();
        }
        if this.meter.is_flooded(this.bundle.given()) {
            return Poll::Ready(Err(io::Error::other("too many frames that carry nothing")));
        }
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl MeteredStream {
    /// Notes that the first `count` bytes of `bufs` were written.
    fn wrote(&mut self, bufs: &[IoSlice<'_>], mut count: usize) {
        let mut moves = self.written.is_within(DATA);
        for buf in bufs {
            let written = &buf[..count.min(buf.len())];
            count -= written.len();
            self.written.pass(written, |kind, length| {
                if kind == DATA {
                    moves = true;
                    self.bundle.wrote(length);
                }
            });
        }
        if moves {
            self.bundle.moved();
        }
    }
}

impl Write for MeteredStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        this.wrote(&[IoSlice::new(buf)], count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, bufs))?;
        this.wrote(bufs, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
