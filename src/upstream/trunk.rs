//! One HTTP/2 connection to an upstream: [`Trunk`], which many requests share.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use parking_lot::Mutex;
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::stream::{LastWord, UpstreamStream};
use crate::problem::Kind;

/// How much of one answer is taken ahead of its caller, in bytes: what a caller that reads nothing
/// costs in memory.
const STREAM_WINDOW: u32 = 512 << 10;

/// The same of all answers of a connection together: more than callers that stand still fill, so that
/// they do not stop the others.
const CONNECTION_WINDOW: u32 = 128 << 20;

/// How much of one request's content waits to be written, in bytes.
const SEND_BUFFER: usize = 128 << 10;

/// Larger heads of answers are refused, in bytes, as on HTTP/1.1.
const MAX_HEAD: u32 = 256 << 10;

/// Frames of this size are taken, in bytes.
const MAX_FRAME: u32 = 32 << 10;

/// So many streams a connection carries at once, even where the upstream takes more.
const MOST_STREAMS: usize = 256;

/// So many streams that the upstream has broken are borne with (as in CVE-2025-8671, "MadeYouReset").
const MOST_BROKEN: usize = 128;

/// So many streams that were given up are remembered, and for so long.
const MOST_RESET: usize = 1024;
const RESET_MEMORY: Duration = Duration::from_secs(60);

/// With a request on its way, and nothing heard for so long, the upstream is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(20);

/// For how long the sign is waited.
const PATIENCE: Duration = Duration::from_secs(20);

/// After a sign of life, and nothing else, the next one is asked for no sooner: servers of gRPC take
/// more for an attack.
const REST: Duration = Duration::from_secs(310);

/// How long a connection that is not needed any more may take to say so.
const FAREWELL: Duration = Duration::from_secs(5);

/// An HTTP/2 connection to an upstream, driven by a task of its own.
#[derive(Debug)]
pub(super) struct Trunk {
    sender: SendRequest<Bytes>,
    /// How many requests are on it.
    load: AtomicUsize,
    /// Whether it takes no more requests: it was told so, or has ended.
    closed: Arc<AtomicBool>,
    /// Whether a request on it was not answered in time, and nothing was heard since.
    suspect: AtomicBool,
    health: Mutex<Health>,
    /// How often something was read.
    heard: Arc<AtomicU64>,
    /// Told when it is to end.
    farewell: Arc<Notify>,
    /// Who is at its end, where that is known.
    peer: Option<IpAddr>,
    said: LastWord,
    driving: AbortOnDropHandle<()>,
}

/// What is known of an upstream's being alive.
struct Health {
    pings: Option<PingPong>,
    /// What was heard when somebody looked last, and since when that is all.
    heard: u64,
    since: Instant,
    /// When a sign of life was asked for that has not come.
    asked: Option<Instant>,
    /// When the next may be asked for.
    next: Instant,
    /// Until when it is kept without a request.
    until: Instant,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health")
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// Why HTTP/2 cannot be spoken on a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrunkFault {
    /// What answers is not HTTP/2.
    #[error(
        "it does not answer in HTTP/2 ({0}); check that it speaks HTTP/2 on this port, or set `http` to `1.1`"
    )]
    NotSpoken(#[source] h2::Error),
    /// It closed the connection, or takes no requests.
    #[error(
        "it closed the connection before HTTP/2 had begun; check that it speaks HTTP/2 on this port"
    )]
    Closed,
    /// It did not say in time what it takes.
    #[error(
        "it did not begin to speak HTTP/2 within timeouts.connect; check that it speaks HTTP/2 on this port"
    )]
    Silent,
}

impl TrunkFault {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::NotSpoken(error) if error.is_io() => Kind::ConnectionTerminated,
            Self::NotSpoken(_) => Kind::ProtocolError,
            Self::Closed => Kind::ConnectionTerminated,
            Self::Silent => Kind::ConnectTimeout,
        }
    }
}

impl Trunk {
    /// Begins to speak HTTP/2 on a stream, and waits until the upstream has said how many requests it
    /// takes at once: by that it has shown that it speaks HTTP/2, too.
    pub(super) async fn open(stream: UpstreamStream, until: Instant) -> Result<Self, TrunkFault> {
        let heard = Arc::<AtomicU64>::default();
        let (leaving, peer) = (stream.leaving().unwrap_or_default(), stream.peer());
        let said = stream.last_word();
        let line = {
            let heard = Arc::clone(&heard);
            InspectReader::new(stream, move |_: &[u8]| {
                heard.fetch_add(1, Ordering::Relaxed);
            })
        };
        let opened = timeout_at(until, begun(line));
        let (sender, mut connection) = opened.await.map_err(|_| TrunkFault::Silent)??;
        let pings = connection.ping_pong();
        let closed = Arc::<AtomicBool>::default();
        let farewell = Arc::<Notify>::default();
        let driving = tokio::spawn(drive(
            connection,
            Arc::clone(&closed),
            Arc::clone(&farewell),
            leaving,
        ));
        let now = Instant::now();
        Ok(Self {
            sender,
            load: AtomicUsize::new(0),
            closed,
            suspect: AtomicBool::new(false),
            health: Mutex::new(Health {
                pings,
                heard: 0,
                since: now,
                asked: None,
                next: now,
                until: now,
            }),
            heard,
            farewell,
            peer,
            said,
            driving: AbortOnDropHandle::new(driving),
        })
    }

    /// What sends a request.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Whether it takes requests at all.
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Notes that it takes no more requests; those on it go on.
    pub(super) fn retire(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Takes a place for one more request, if there is one. Whoever calls holds a lock over all places
    /// of the upstream.
    pub(super) fn occupy(&self) -> bool {
        let most = self.sender.current_max_send_streams().min(MOST_STREAMS);
        if !self.is_open()
            || self.suspect.load(Ordering::Relaxed)
            || self.load.load(Ordering::Relaxed) >= most
        {
            return false;
        }
        self.load.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Gives a place back; without a request, it is kept until `until`.
    pub(super) fn leave(&self, until: Instant) {
        self.health.lock().until = until;
        self.load.fetch_sub(1, Ordering::Relaxed);
    }

    /// Keeps it without a request until `until`.
    pub(super) fn keep(&self, until: Instant) {
        self.health.lock().until = until;
    }

    /// Notes that a request was not answered in time: until something is heard, there are no others.
    pub(super) fn suspect(&self) {
        let now = Instant::now();
        let mut health = self.health.lock();
        health.heard = self.heard.load(Ordering::Relaxed);
        health.since = now;
        self.suspect.store(true, Ordering::Relaxed);
        health.ask(now);
    }

    /// The alert that the upstream ended TLS with, if it did.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        self.said.alert()
    }

    /// Whether it leads to one of these addresses, as far as is known.
    pub(super) fn leads_to(&self, addresses: &[IpAddr]) -> bool {
        self.peer.is_none_or(|peer| addresses.contains(&peer))
    }

    /// Whether it takes no request until something is heard on it.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Looks after it: whether it is alive, and needed. False if it is to be forgotten.
    pub(super) fn look(&self, now: Instant) -> bool {
        if !self.is_open() {
            return false;
        }
        let mut health = self.health.lock();
        let heard = self.heard.load(Ordering::Relaxed);
        if health.has_ponged() {
            // A sign of life, and perhaps nothing else.
            health.next = now + REST;
            health.heard = heard;
            health.since = now;
            self.suspect.store(false, Ordering::Relaxed);
        } else if heard != health.heard {
            health.heard = heard;
            health.since = now;
            health.next = now;
            // What was asked for may wait behind what arrives.
            if health.asked.is_some() {
                health.asked = Some(now);
            }
            self.suspect.store(false, Ordering::Relaxed);
        }
        if health.asked.is_some_and(|asked| now >= asked + PATIENCE) {
            tracing::debug!("Upstream's HTTP/2 connection is dead");
            self.retire();
            self.driving.abort();
            return false;
        }
        if self.load.load(Ordering::Relaxed) == 0 && !self.suspect.load(Ordering::Relaxed) {
            return now < health.until;
        }
        if now >= health.since + QUIET && now >= health.next {
            health.ask(now);
        }
        true
    }

    /// Says that it is not needed any more, and lets it end.
    pub(super) fn end(self: Arc<Self>) {
        let farewell = Arc::clone(&self.farewell);
        if let Some(Self {
            driving, sender, ..
        }) = Arc::into_inner(self)
        {
            // It ends by itself, once nobody can send on it; its handle would abort it.
            driving.detach();
            drop(sender);
            farewell.notify_one();
        }
    }
}

impl Health {
    fn ask(&mut self, now: Instant) {
        if self.asked.is_none()
            && let Some(pings) = &mut self.pings
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            self.asked = Some(now);
        }
    }

    fn has_ponged(&mut self) -> bool {
        let (Some(_), Some(pings)) = (self.asked, &mut self.pings) else {
            return false;
        };
        let ponged = pings.poll_pong(&mut Context::from_waker(Waker::noop()));
        if ponged.is_ready() {
            self.asked = None;
        }
        matches!(ponged, Poll::Ready(Ok(_)))
    }
}

type Speaking<T> = (SendRequest<Bytes>, Connection<T, Bytes>);

/// The handshake, up to the upstream's settings.
async fn begun<T: AsyncRead + AsyncWrite + Unpin>(line: T) -> Result<Speaking<T>, TrunkFault> {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        // What comes late of streams that callers gave up is no harm of the upstream's.
        .max_concurrent_reset_streams(MOST_RESET)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(Some(MOST_BROKEN))
        // By this it shows when the upstream's own number has come.
        .initial_max_send_streams(0);
    let handshake = builder.handshake(line);
    let (sender, mut connection) = handshake.await.map_err(TrunkFault::NotSpoken)?;
    poll_fn(|cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        if connection.max_concurrent_send_streams() > 0 {
            return Poll::Ready(Ok(()));
        }
        ended.map(|ended| match ended {
            Ok(()) => Err(TrunkFault::Closed),
            Err(error) => Err(TrunkFault::NotSpoken(error)),
        })
    })
    .await?;
    Ok((sender, connection))
}

/// Drives a connection to its end, which comes when it breaks, or some time after it is told.
async fn drive<T: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<T, Bytes>,
    closed: Arc<AtomicBool>,
    farewell: Arc<Notify>,
    leaving: CancellationToken,
) {
    let mut leaves = pin!(leaving.cancelled());
    let mut told = pin!(farewell.notified());
    loop {
        tokio::select! {
            // How it ended is told by the streams on it.
            _ = &mut connection => break,
            () = &mut told => {
                let _ = timeout(FAREWELL, &mut connection).await;
                break;
            }
            () = &mut leaves, if !closed.load(Ordering::Relaxed) => {
                closed.store(true, Ordering::Relaxed);
            }
        }
    }
    closed.store(true, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
