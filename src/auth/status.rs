//! What stands of a credential at a time: [`Status`], published for all to see.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease::Lease;
use super::state::{Fault, Lapse, State, Unavailable};
use crate::traces::context::Context;
use crate::traces::renewal::Waiting;

/// How long an attempt may take before nobody waits for it any more. It goes on: giving up an exchange
/// that the other side has made could lose a grant.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands at a time, taken without a lock.
#[derive(Debug)]
pub struct Status<T> {
    /// The value, perhaps at its end.
    pub lease: Option<Arc<Lease<T>>>,
    /// Why the last attempt brought none.
    pub fault: Option<Arc<Fault>>,
    /// Before then nothing is attempted.
    pub retries: Option<SystemTime>,
}

/// The status, for whoever takes it, and for whoever waits for another.
pub(super) struct Published<T> {
    pub(super) status: ArcSwap<Status<T>>,
    /// When the attempt began that runs now.
    pub(super) began: Mutex<Option<Instant>>,
    pub(super) changes: watch::Sender<()>,
    /// The requests that wait for it.
    pub(super) waiting: Waiting,
}

/// A request that waits, until this is dropped.
pub(super) struct Waits<'p, T>(&'p Published<T>, Option<Context>);

// === impl Status ===

impl<T> Default for Status<T> {
    fn default() -> Self {
        Self {
            lease: None,
            fault: None,
            retries: None,
        }
    }
}

impl<T> Status<T> {
    /// In one word.
    pub fn state(&self, now: SystemTime) -> State {
        let live = self.lease.as_ref().is_some_and(|lease| lease.is_live(now));
        match (&self.fault, live) {
            // It is used all the same: the upstream may have refused the request and not the value.
            (None, true) => self.lost().map_or(State::Ready, |lost| lost.lapse.state()),
            (Some(_), true) => State::Stale,
            (None, false) => State::Refreshing,
            (Some(fault), false) => fault.lapse.state(),
        }
    }

    /// What is wrong: why the last attempt brought no value, or why the one there is was refused.
    pub fn problem(&self) -> Option<&Arc<Fault>> {
        self.fault.as_ref().or_else(|| self.lost())
    }

    /// The same, as requests are told, though there may still be a value.
    pub fn trouble(&self, now: SystemTime) -> Option<Unavailable> {
        Some(Unavailable::new(self.problem()?, self.wait(now)))
    }

    fn lost(&self) -> Option<&Arc<Fault>> {
        self.lease.as_ref()?.lost()
    }

    /// Why there is no use in waiting.
    pub(super) fn refusal(&self, now: SystemTime) -> Option<Unavailable> {
        let fault = self.fault.as_ref()?;
        let due = self.retries.is_some_and(|at| at <= now);
        // This one is attempted because somebody asks. One that goes on by itself is not waited for,
        // as an attempt after a failed one may well fail, too, and slowly.
        if due && fault.lapse == Lapse::Misconfigured {
            return None;
        }
        Some(Unavailable::new(fault, self.wait(now)))
    }

    /// How long nothing is attempted.
    fn wait(&self, now: SystemTime) -> Option<Duration> {
        self.retries
            .map(|at| at.duration_since(now).unwrap_or_default())
    }
}

// === impl Published ===

impl<T> Default for Published<T> {
    fn default() -> Self {
        Self {
            status: ArcSwap::from_pointee(Status::default()),
            began: Mutex::new(None),
            changes: watch::Sender::new(()),
            waiting: Waiting::default(),
        }
    }
}

impl<T> Published<T> {
    pub(super) fn publish(&self, status: Status<T>) {
        self.status.store(Arc::new(status));
        self.changes.send_replace(());
    }

    /// Notes that the request of a span waits.
    pub(super) fn wait_for(&self, request: Option<Context>) -> Waits<'_, T> {
        self.waiting.join(request);
        Waits(self, request)
    }

    /// Until when somebody waits who begins to wait now.
    pub(super) fn patience(&self) -> Instant {
        self.began.lock().unwrap_or_else(Instant::now) + PATIENCE
    }
}

impl<T> Drop for Waits<'_, T> {
    fn drop(&mut self) {
        // An attempt that was waited for in vain is shown where it was.
        if self.1.is_some() && self.0.began.lock().is_none() {
            self.0.waiting.leave(self.1);
        }
    }
}
