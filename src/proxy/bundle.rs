//! What the streams of a caller's HTTP/2 connection have in common: [`Bundle`], and the limits that
//! hold for all of them together.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// So many requests of a connection may be given up before they are answered, whatever their share is.
const BORNE: usize = 500;

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Bundle {
    opened: Instant,
    /// How many run.
    running: AtomicUsize,
    begun: AtomicUsize,
    /// How many the caller gave up before they were answered.
    given_up: AtomicUsize,
    /// How much content the caller was given, in bytes.
    handed: AtomicU64,
    /// How much of it was written, likewise.
    written: AtomicU64,
    /// When the last one ended, in milliseconds since the connection was opened.
    ended: AtomicU64,
    /// When some of it was last written, likewise.
    moved: AtomicU64,
    /// When the caller last told that it took some of it, likewise.
    taken: AtomicU64,
}

impl Bundle {
    pub(super) fn new(opened: Instant) -> Self {
        Self {
            opened,
            running: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            handed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Notes that one begins.
    pub(super) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that one has ended.
    pub(super) fn end(&self) {
        self.ended.store(self.now(), Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether none runs.
    pub(super) fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }

    /// When the last one ended, or the connection was opened.
    pub(super) fn idle_since(&self) -> Instant {
        self.opened + Duration::from_millis(self.ended.load(Ordering::Relaxed))
    }

    pub(super) fn handed(&self, bytes: usize) {
        self.handed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes that so much of what was handed out was written.
    pub(super) fn wrote(&self, bytes: u32) {
        self.written.fetch_add(bytes.into(), Ordering::Relaxed);
    }

    /// Notes that some of it was written, at its frame's beginning or in it.
    pub(super) fn moved(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// Notes that the caller has told that it took some of it.
    pub(super) fn takes(&self) {
        self.taken.store(self.now(), Ordering::Relaxed);
    }

    /// Whether all was written that was handed out. It never is again once a stream was reset on which
    /// something waited.
    pub(super) fn is_written(&self) -> bool {
        self.written.load(Ordering::Relaxed) >= self.handed.load(Ordering::Relaxed)
    }

    /// How long nothing that was handed out was written, and no stream has ended; where all was written,
    /// how long the caller has not told that it takes it, either.
    pub(super) fn quiet(&self) -> Duration {
        let load = |time: &AtomicU64| time.load(Ordering::Relaxed);
        let mut last = load(&self.moved).max(load(&self.ended));
        if self.is_written() {
            last = last.max(load(&self.taken));
        }
        Duration::from_millis(self.now().saturating_sub(last))
    }

    /// In milliseconds since the connection was opened.
    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How much content the caller was given, in bytes, heads of answers counted by a guess.
    pub(super) fn given(&self) -> u64 {
        const HEAD: u64 = 64;
        let begun = self.begun.load(Ordering::Relaxed) as u64;
        self.handed.load(Ordering::Relaxed) + HEAD * begun
    }

    pub(super) fn turned_away(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the caller gives up more requests than it lets be answered: that costs it nothing, and
    /// the upstream much (CVE-2023-44487, "Rapid Reset").
    pub(super) fn is_abused(&self) -> bool {
        let given_up = self.given_up.load(Ordering::Relaxed);
        given_up >= BORNE && given_up * 2 > self.begun.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_most_requests_abuses_the_connection() {
        let bundle = Bundle::new(Instant::now());
        let count = |times: usize, gives_up: bool| {
            for _ in 0..times {
                bundle.begin();
                bundle.end();
                if gives_up {
                    bundle.turned_away();
                }
            }
        };
        count(BORNE - 1, true);
        assert!(!bundle.is_abused(), "a few are borne");
        count(1, true);
        assert!(bundle.is_abused());
        count(BORNE, false);
        assert!(!bundle.is_abused(), "half of them were answered");
    }
}
