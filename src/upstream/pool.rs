//! Idle links of one upstream: [`Pool`].

use std::net::IpAddr;
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
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Idle>,
    /// The addresses that links may lead to; empty for any.
    addresses: Vec<IpAddr>,
    /// Whether a link was put since the last sweep.
    used: bool,
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
        let mut state = self.state.lock();
        // The last one used is the last one to grow too old: where it is, all are.
        match state.idle.pop()? {
            found if now < found.until => Some(found.link),
            _ => {
                state.idle.clear();
                None
            }
        }
    }

    /// Keeps a link for at most `idle` after its last progress, and no longer than the upstream does.
    pub(super) fn put(&self, link: Box<Link>, idle: Duration) {
        let until = link.reusable_until(idle);
        let mut state = self.state.lock();
        state.used = true;
        if state.addresses.is_empty() || link.leads_to(&state.addresses) {
            state.idle.push(Idle { link, until });
        }
    }

    /// Keeps none, from now on, that lead elsewhere than to these addresses.
    pub(super) fn keep(&self, addresses: Vec<IpAddr>) {
        let mut state = self.state.lock();
        state.idle.retain(|idle| idle.link.leads_to(&addresses));
        state.addresses = addresses;
    }

    /// Lets links through that lead where this one does.
    pub(super) fn admit(&self, link: &Link) {
        let mut state = self.state.lock();
        if !state.addresses.is_empty() && !link.leads_to(&state.addresses) {
            state.addresses.extend(link.peer());
        }
    }

    /// Drops what is too old or was closed by the upstream: nobody else looks at idle links. Says
    /// whether there are links, or were since the last time.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let (mut kept, used) = {
            let mut state = self.state.lock();
            let used = std::mem::take(&mut state.used);
            (std::mem::take(&mut state.idle), used)
        };
        let used = used || !kept.is_empty();
        kept.retain_mut(|idle| now < idle.until && idle.link.is_surely_open());
        let mut state = self.state.lock();
        // What was put back meanwhile was used last: it stays on top.
        kept.append(&mut state.idle);
        state.idle = kept;
        used
    }
}
