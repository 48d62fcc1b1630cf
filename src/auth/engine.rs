//! Credentials with a lifetime: [`Renewing`], which keeps one value, and a keeper task behind it
//! that renews it. Knows neither OAuth nor AWS.
//!
//! What it promises:
//! 1. One renewal at a time: only the keeper renews, and whoever waits, waits for its outcome.
//! 2. Detached: a renewal runs to its end whoever goes away meanwhile, callers and reloads alike.
//! 3. Early and jittered: a value is renewed before its end, so that no request has to wait.
//! 4. The old value serves until its end and never after, and not even so long if it was refused and
//!    only a person can help; then requests are refused at once, and there is one attempt per step of
//!    the backoff, for everybody together.
//! 5. A value that was refused is renewed once, and only if it is still the one that is held.
//!
//! That a value is durable before it is used is the [`Renewal`]'s part: it stores, then returns.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

pub use super::keeper::{Changed, Renewal, Work};
use super::keeper::{Keeper, Order};
use super::lease::Lease;
use super::state::Unavailable;
use super::status::{Published, Status};
use crate::metrics::CredentialMetrics;
use crate::traces::Traces;
use crate::traces::context::Context;

/// A value that is kept fresh for as long as this exists.
pub struct Renewing<T> {
    status: Arc<Published<T>>,
    orders: mpsc::UnboundedSender<Order<T>>,
    /// The keeper and what it is told, until it begins.
    keeper: Mutex<Option<Waiting<T>>>,
    retired: AtomicBool,
}

type Waiting<T> = (Keeper<T>, mpsc::UnboundedReceiver<Order<T>>);

impl<T: Send + Sync + 'static> Renewing<T> {
    /// A value that is kept from [`begin`](Self::begin) on.
    pub fn new(renewal: Arc<dyn Renewal<T>>, metrics: CredentialMetrics, traces: Traces) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let status = Arc::<Published<T>>::default();
        let keeper = Keeper::new(renewal, Arc::clone(&status), metrics, traces);
        Self {
            status,
            orders,
            keeper: Mutex::new(Some((keeper, received))),
            retired: AtomicBool::new(false),
        }
    }

    /// Begins to keep it, unless that has begun; the keeper runs on `runtime` until this is dropped
    /// and a renewal that runs then is over.
    pub fn begin(&self, runtime: &Handle) {
        if let Some((keeper, orders)) = self.keeper.lock().take() {
            runtime.spawn(keeper.keep(orders));
        }
    }

    /// Renews it no more unasked: another has taken its place, and only requests that began before
    /// still use it.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        let _ = self.orders.send(Order::Retire);
    }

    /// Whether another has taken its place.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// The value, if there is one that may be used now.
    pub fn current(&self, now: SystemTime) -> Option<Arc<Lease<T>>> {
        let status = self.status.status.load();
        status
            .lease
            .as_ref()
            .filter(|lease| lease.is_live(now))
            .cloned()
    }

    /// What stands now.
    pub fn status(&self) -> Arc<Status<T>> {
        self.status.status.load_full()
    }

    /// The value; waits for a first one, but never for one that is known not to come, nor for one
    /// that has been awaited for long.
    ///
    /// # Errors
    /// There is none, and when to ask again.
    pub async fn acquire(&self) -> Result<Arc<Lease<T>>, Unavailable> {
        self.acquire_for(None).await
    }

    /// As [`acquire`](Self::acquire), for the request of this span.
    ///
    /// # Errors
    /// As there.
    pub async fn acquire_for(
        &self,
        request: Option<Context>,
    ) -> Result<Arc<Lease<T>>, Unavailable> {
        let mut changes = self.status.changes.subscribe();
        let until = self.status.patience();
        let mut waits = None;
        loop {
            let now = SystemTime::now();
            if let Some(lease) = self.current(now) {
                return Ok(lease);
            }
            let status = self.status();
            if let Some(unavailable) = status.refusal(now) {
                return Err(unavailable);
            }
            waits.get_or_insert_with(|| self.status.wait_for(request));
            // Nobody listens only after a panic in the keeper, and then nothing changes either.
            let _ = self.orders.send(Order::Attempt);
            if !matches!(timeout_at(until, changes.changed()).await, Ok(Ok(()))) {
                return Err(Unavailable::late());
            }
        }
    }

    /// A value in place of `refused`, or none if there is no other to be had; for the request of this
    /// span, if it is for one.
    pub async fn replace(
        &self,
        refused: &Arc<Lease<T>>,
        request: Option<Context>,
    ) -> Option<Arc<Lease<T>>> {
        let (done, is_done) = oneshot::channel();
        let _waits = self.status.wait_for(request);
        let order = Order::Refused(Arc::clone(refused), done);
        if self.orders.send(order).is_ok() {
            // The keeper drops the sender when it is through.
            let _ = timeout_at(self.status.patience(), is_done).await;
        }
        self.current(SystemTime::now())
            .filter(|lease| !Arc::ptr_eq(lease, refused))
    }

    /// Does `work` between two renewals, to its end, whoever waits for it or no longer does.
    pub fn change(&self, work: Work<T>) {
        let _ = self.orders.send(Order::Change(work));
    }
}

impl<T> fmt::Debug for Renewing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").finish_non_exhaustive()
    }
}
