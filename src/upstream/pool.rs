//! Idle links of one upstream: [`Pool`].

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

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
    /// A link that was open a moment ago; those found closed are dropped.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Box<Link>> {
        loop {
            let mut idle = self.idle.lock().pop()?;
            if idle.link.is_reusable(cx) {
                return Some(idle.link);
            }
        }
    }

    /// Keeps a link for at most `idle`.
    pub(super) fn put(&self, link: Box<Link>, idle: Duration) {
        self.idle.lock().push(Idle {
            link,
            until: Instant::now() + idle,
        });
    }

    /// Drops what is too old or was closed by the upstream: nobody else looks at idle links.
    pub(super) fn sweep(&self, now: Instant) {
        let mut kept = std::mem::take(&mut *self.idle.lock());
        let mut cx = Context::from_waker(Waker::noop());
        kept.retain_mut(|idle| now < idle.until && idle.link.is_reusable(&mut cx));
        let mut idle = self.idle.lock();
        // What was put back meanwhile was used last: it stays on top.
        kept.append(&mut idle);
        *idle = kept;
    }
}
