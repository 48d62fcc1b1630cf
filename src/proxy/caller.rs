//! What the parts of one caller's connection tell each other: [`Caller`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Proxy;
use super::bundle::Bundle;

/// For a request's head, from the first byte or the end of the answer before it: a caller that
/// sends nothing, or too slowly, is let go.
pub(super) const HEAD_DEADLINE: Duration = Duration::from_secs(75);

/// The connection that a caller's requests come on; on HTTP/2, the stream that one comes on.
///
/// All of it is read and written by the one task that serves the connection; atomics only let its
/// parts share it.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) proxy: Arc<Proxy>,
    /// Where it arrived; none on a Unix socket.
    pub(super) local: Option<SocketAddr>,
    opened: Instant,
    /// Whether an answer is being made, or only has to be flushed: a [`Phase`].
    phase: AtomicU8,
    /// When the last answer ended, in milliseconds since the connection was opened.
    done: AtomicU64,
    /// Since when the caller neither takes what is written nor sends, likewise; [`TAKING`] if it
    /// takes.
    blocked: AtomicU64,
    /// Whether it is to be written to once more, as it has taken nothing for too long.
    pressed: AtomicBool,
    /// How long it may take nothing, in milliseconds.
    patience: AtomicU64,
    /// The streams that this one is one of, on HTTP/2.
    bundle: Option<Arc<Bundle>>,
}

const TAKING: u64 = u64::MAX;

/// Where a connection stands between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request is known of.
    Idle,
    /// An answer is being made.
    Serving,
    /// The answer is made: its end may still be in hyper's buffer.
    Flushing,
}

impl Caller {
    pub(super) fn new(proxy: Arc<Proxy>, local: Option<SocketAddr>) -> Self {
        Self {
            proxy,
            local,
            opened: Instant::now(),
            phase: AtomicU8::new(Phase::Idle as u8),
            done: AtomicU64::new(0),
            blocked: AtomicU64::new(TAKING),
            pressed: AtomicBool::new(false),
            patience: AtomicU64::new(milliseconds(HEAD_DEADLINE)),
            bundle: None,
        }
    }

    /// A stream of the connection `of`.
    pub(super) fn stream(of: &Self, bundle: &Arc<Bundle>) -> Self {
        Self {
            bundle: Some(Arc::clone(bundle)),
            ..Self::new(Arc::clone(&of.proxy), of.local)
        }
    }

    /// Notes that a piece of an answer was handed out, and so whether the caller takes it: on HTTP/2
    /// each stream is taken for itself.
    pub(super) fn handed(&self, bytes: usize) {
        if let Some(bundle) = &self.bundle {
            bundle.handed(bytes);
            self.takes(false);
        }
    }

    /// Notes that the caller has taken what was handed out.
    pub(super) fn asked(&self) {
        if self.bundle.is_some() {
            self.takes(true);
        }
    }

    /// Notes that the caller went away before it was answered.
    pub(super) fn turned_away(&self) {
        if let Some(bundle) = &self.bundle {
            bundle.turned_away();
        }
    }

    /// Notes that an answer is being made.
    pub(super) fn begin(&self) {
        self.phase.store(Phase::Serving as u8, Ordering::Relaxed);
    }

    /// Whether an answer is being made or flushed: what hyper writes while none is, is its own.
    pub(super) fn is_served(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != Phase::Idle as u8
    }

    /// Notes that an answer is made.
    pub(super) fn done(&self, now: Instant) {
        self.done.store(self.since_opened(now), Ordering::Relaxed);
        self.phase.store(Phase::Flushing as u8, Ordering::Relaxed);
    }

    /// Notes that all that was written has left.
    pub(super) fn flushed(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Flushing as u8 {
            self.phase.store(Phase::Idle as u8, Ordering::Relaxed);
        }
    }

    /// Notes how long the caller may take nothing of an answer.
    pub(super) fn patience(&self, patience: Duration) {
        self.patience
            .store(milliseconds(patience), Ordering::Relaxed);
    }

    /// Notes whether the caller takes what is written.
    pub(super) fn takes(&self, taking: bool) {
        let known = self.blocked.load(Ordering::Relaxed);
        if taking && known != TAKING {
            self.blocked.store(TAKING, Ordering::Relaxed);
            self.pressed.store(false, Ordering::Relaxed);
            // The end of an answer that had to wait is when it left.
            self.done
                .store(self.since_opened(Instant::now()), Ordering::Relaxed);
        } else if !taking && known == TAKING {
            self.blocked
                .store(self.since_opened(Instant::now()), Ordering::Relaxed);
        }
    }

    /// Notes that the caller sent something: one that has not yet ended its request may take
    /// nothing of an answer to it until then.
    pub(super) fn sends(&self) {
        if self.blocked.load(Ordering::Relaxed) != TAKING {
            self.blocked
                .store(self.since_opened(Instant::now()), Ordering::Relaxed);
        }
    }

    /// When the connection is to be given up, as things stand; none if others watch over it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let blocked = self.blocked.load(Ordering::Relaxed);
        if blocked != TAKING {
            let patience = self.patience.load(Ordering::Relaxed);
            return Some(self.opened + Duration::from_millis(blocked.saturating_add(patience)));
        }
        let done = Duration::from_millis(self.done.load(Ordering::Relaxed));
        (!self.is_served()).then(|| self.opened + done + HEAD_DEADLINE)
    }

    /// Asks for one more write to a caller that has taken nothing for too long; false if there is
    /// none to make, or it has been made since the caller last took something.
    ///
    /// The system calls a stream writable only when a third of what it holds for the caller was
    /// taken, and one that reads slowly needs long for that. It takes a write when any was.
    pub(super) fn press(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) != TAKING
            && !self.pressed.swap(true, Ordering::Relaxed)
    }

    /// Whether the caller takes nothing of what is written.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) != TAKING
    }

    /// When the connection was opened.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether such a write is to be made.
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    fn since_opened(&self, now: Instant) -> u64 {
        milliseconds(now.saturating_duration_since(self.opened))
    }
}

/// A year is as good as for ever, and no sum of such overflows.
fn milliseconds(duration: Duration) -> u64 {
    const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;
    u64::try_from(duration.as_millis())
        .unwrap_or(YEAR)
        .min(YEAR)
}
