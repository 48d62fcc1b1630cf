//! Idle links of one upstream: [`Pool`].

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::link::Link;
use super::patience::Patience;

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
    /// What is known of closes without a word; none before the first.
    patience: Option<Patience>,
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

    /// The link used last, if it is safe to send a request on it that cannot be repeated: the upstream has
    /// not closed it, and is not known to close such without a word after less than twice its rest.
    pub(super) fn take_trusted(&self, now: Instant) -> Option<Box<Link>> {
        while let Some(mut link) = self.take(now) {
            let rest = link.rest(now);
            if !link.is_surely_open() {
                self.ended(rest, now);
                continue;
            }
            // Where there is not enough patience, the link goes: a new one takes its place.
            return self.trusts(rest, now).then_some(link);
        }
        None
    }

    fn trusts(&self, rest: Duration, now: Instant) -> bool {
        let mut state = self.state.lock();
        let patience = state.patience.as_mut();
        patience.is_none_or(|patience| rest < patience.trusted(now))
    }

    /// Notes that the upstream had closed a link without a word, or did just when a request was sent on
    /// it, after so long a rest.
    #[cold]
    pub(super) fn ended(&self, rest: Duration, now: Instant) {
        let mut state = self.state.lock();
        let patience = state.patience.get_or_insert_with(|| Patience::new(now));
        patience.ended(rest, now);
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
        kept.retain_mut(|idle| {
            if now >= idle.until {
                return false;
            }
            let is_open = idle.link.is_surely_open();
            if !is_open {
                self.ended(idle.link.rest(now), now);
            }
            is_open
        });
        let mut state = self.state.lock();
        // What was put back meanwhile was used last: it stays on top.
        kept.append(&mut state.idle);
        state.idle = kept;
        used
    }
}
