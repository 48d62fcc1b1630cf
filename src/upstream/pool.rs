//! Idle links of one upstream: [`Pool`].

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::link::Link;

/// Idle links, the last one used first, so that those not needed grow old and go.
///
/// It belongs to one upstream, so a link cannot reach another identity. The lock is held for a
/// push or a pop, nothing else.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    link: Box<Link>,
    until: Instant,
}

impl Pool {
    /// The link used last. Whether it is still open shows when a request is sent: one that the
    /// upstream has closed gives the request back.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Link>> {
        let mut idle = self.idle.lock();
        // The last one used is the last one to grow too old: where it is, all are.
        match idle.pop()? {
            found if now < found.until => Some(found.link),
            _ => {
                idle.clear();
                None
            }
        }
    }

    /// Keeps a link for at most `idle` after its last progress.
    pub(super) fn put(&self, link: Box<Link>, idle: Duration) {
        let until = link.last_progress() + idle;
        self.idle.lock().push(Idle { link, until });
    }

    /// Drops what is too old or was closed by the upstream: nobody else looks at idle links.
    pub(super) fn sweep(&self, now: Instant) {
        let mut kept = std::mem::take(&mut *self.idle.lock());
        kept.retain_mut(|idle| now < idle.until && idle.link.is_reusable());
        let mut idle = self.idle.lock();
        // What was put back meanwhile was used last: it stays on top.
        kept.append(&mut idle);
        *idle = kept;
    }
}
