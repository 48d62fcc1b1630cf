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
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::backoff::Backoff;
use super::lease::Lease;
use super::state::{Fault, Lapse, State, Unavailable};
use crate::metrics::CredentialMetrics;

/// How long an attempt may take before nobody waits for it any more. It goes on: giving up an exchange
/// that the other side has made could lose a grant.
const PATIENCE: Duration = Duration::from_secs(10);

/// What somebody has to put right is looked at so long after it could be, if nobody asks.
const UNASKED: Duration = Duration::from_secs(5 * 60);

/// Clocks are looked at so often, as they may be set while we sleep, and machines sleep, too.
const GLANCE: Duration = Duration::from_secs(60);

/// How values are had.
#[async_trait]
pub trait Renewal<T>: Send + Sync {
    /// The value kept from before a restart, without asking anybody; none if there is none but
    /// [`renew`](Self::renew) can bring one.
    ///
    /// # Errors
    /// There is none, and a person has to act first.
    async fn recall(&self, now: SystemTime) -> Result<Option<Lease<T>>, Fault>;

    /// A new value; what must outlive a restart is durable when this returns.
    ///
    /// # Errors
    /// Why there is none.
    async fn renew(&self, now: SystemTime) -> Result<Lease<T>, Fault>;
}

/// A value that is kept fresh for as long as this exists.
pub struct Renewing<T> {
    status: Arc<Published<T>>,
    orders: mpsc::UnboundedSender<Order<T>>,
    /// The keeper and what it is told, until it begins.
    keeper: Mutex<Option<Waiting<T>>>,
    retired: AtomicBool,
}

type Waiting<T> = (Keeper<T>, mpsc::UnboundedReceiver<Order<T>>);

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

struct Published<T> {
    status: ArcSwap<Status<T>>,
    /// When the attempt began that runs now.
    began: Mutex<Option<Instant>>,
    changes: watch::Sender<()>,
}

enum Order<T> {
    /// Somebody waits for a value.
    Attempt,
    /// Does work that may not run beside a renewal, and keeps the value that comes of it.
    Change(Work<T>),
    /// Renews no more unasked.
    Retire,
    /// Renews this value if it is the one that is held; drops the sender when that is done.
    Refused(Arc<Lease<T>>, oneshot::Sender<()>),
}

/// Work that may not run beside a renewal.
pub type Work<T> = Pin<Box<dyn Future<Output = Changed<T>> + Send>>;

/// What comes of a change: another value, none any more, or nothing new.
pub enum Changed<T> {
    /// It failed, and what there was stays.
    Nothing,
    /// There is none any more, and why; to be told once that is so.
    Gone(Fault, oneshot::Sender<Result<(), Fault>>),
    /// This one is kept from now on.
    Value(Lease<T>),
}

// === impl Renewing ===

impl<T: Send + Sync + 'static> Renewing<T> {
    /// A value that is kept from [`begin`](Self::begin) on.
    pub fn new(renewal: Arc<dyn Renewal<T>>, metrics: CredentialMetrics) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let status = Arc::new(Published {
            status: ArcSwap::from_pointee(Status::default()),
            began: Mutex::new(None),
            changes: watch::Sender::new(()),
        });
        let keeper = Keeper {
            renewal,
            status: Arc::clone(&status),
            metrics,
            backoff: Backoff::default(),
            retired: false,
        };
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
        let mut changes = self.status.changes.subscribe();
        let until = self.status.patience();
        loop {
            let now = SystemTime::now();
            if let Some(lease) = self.current(now) {
                return Ok(lease);
            }
            let status = self.status();
            if let Some(unavailable) = status.refusal(now) {
                return Err(unavailable);
            }
            // Nobody listens only after a panic in the keeper, and then nothing changes either.
            let _ = self.orders.send(Order::Attempt);
            if !matches!(timeout_at(until, changes.changed()).await, Ok(Ok(()))) {
                return Err(Unavailable::late());
            }
        }
    }

    /// A value in place of `refused`, or none if there is no other to be had.
    pub async fn replace(&self, refused: &Arc<Lease<T>>) -> Option<Arc<Lease<T>>> {
        let (done, is_done) = oneshot::channel();
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
        let lost = |lease: &Arc<Lease<T>>| !lease.renewable && lease.is_refused();
        match (&self.fault, live) {
            // It is used all the same: the upstream may have refused the request and not the token.
            (None, true) if self.lease.as_ref().is_some_and(lost) => State::Reauthorize,
            (None, true) => State::Ready,
            (Some(_), true) => State::Stale,
            (None, false) => State::Refreshing,
            (Some(fault), false) => fault.lapse.state(),
        }
    }

    /// Why there is no use in waiting.
    fn refusal(&self, now: SystemTime) -> Option<Unavailable> {
        let fault = self.fault.as_ref()?;
        let due = self.retries.is_some_and(|at| at <= now);
        // This one is attempted because somebody asks. One that goes on by itself is not waited for,
        // as an attempt after a failed one may well fail, too, and slowly.
        if due && fault.lapse == Lapse::Misconfigured {
            return None;
        }
        let wait = self
            .retries
            .map(|at| at.duration_since(now).unwrap_or_default());
        Some(Unavailable::new(fault, wait))
    }
}

// === impl Published ===

impl<T> Published<T> {
    fn publish(&self, status: Status<T>) {
        self.status.store(Arc::new(status));
        self.changes.send_replace(());
    }

    /// Until when somebody waits who begins to wait now.
    fn patience(&self) -> Instant {
        self.began.lock().unwrap_or_else(Instant::now) + PATIENCE
    }
}

/// The task that alone changes the status.
struct Keeper<T> {
    renewal: Arc<dyn Renewal<T>>,
    status: Arc<Published<T>>,
    metrics: CredentialMetrics,
    backoff: Backoff,
    retired: bool,
}

impl<T: Send + Sync + 'static> Keeper<T> {
    async fn keep(mut self, mut orders: mpsc::UnboundedReceiver<Order<T>>) {
        self.recall().await;
        loop {
            let due = self.due(SystemTime::now());
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.follow(order).await,
                    None => return,
                },
                () = sleep(due), if due.is_some() => {
                    let now = SystemTime::now();
                    if self.due(now).is_some_and(|due| due.is_zero()) {
                        self.attempt(now, None).await;
                    }
                }
            }
        }
    }

    /// How long until something is to be done unasked; none if only an order can change anything.
    fn due(&self, now: SystemTime) -> Option<Duration> {
        if self.retired {
            return None;
        }
        let status = self.status.status.load();
        let at = match (&status.fault, &status.lease) {
            (Some(fault), lease) => {
                let live = lease.as_ref().is_some_and(|lease| lease.is_live(now));
                match fault.lapse {
                    Lapse::Passing => status.retries?,
                    // It was right before, so it may be the other side that is wrong for a while.
                    Lapse::Misconfigured if live => status.retries?,
                    // Asking again too often may lock an account.
                    Lapse::Misconfigured => status.retries? + UNASKED,
                    Lapse::NotLinked | Lapse::Reauthorize => return None,
                }
            }
            (None, Some(lease)) => lease.renews?,
            (None, None) => now,
        };
        Some(at.duration_since(now).unwrap_or_default())
    }

    async fn follow(&mut self, order: Order<T>) {
        let now = SystemTime::now();
        match order {
            Order::Attempt => {
                let status = self.status.status.load_full();
                let useless = status
                    .lease
                    .as_ref()
                    .is_some_and(|lease| lease.is_live(now))
                    || status.retries.is_some_and(|at| now < at)
                    || status
                        .fault
                        .as_ref()
                        .is_some_and(|fault| fault.lapse.needs_person());
                if !useless {
                    self.attempt(now, None).await;
                }
            }
            Order::Change(work) => match work.await {
                Changed::Nothing => {}
                Changed::Gone(fault, done) => {
                    self.metrics.expires(None);
                    self.status.publish(Status::default());
                    self.fail(fault, now);
                    // Nobody waits any more, perhaps.
                    let _ = done.send(Ok(()));
                }
                Changed::Value(lease) => {
                    self.backoff = Backoff::default();
                    self.hold(lease);
                }
            },
            Order::Retire => self.retired = true,
            Order::Refused(lease, done) => {
                if lease.refuse() && !lease.renewable {
                    tracing::warn!(
                        connection = self.metrics.connection(),
                        "Token refused, and there is no refresh token: link the connection again if that goes on"
                    );
                }
                if self.should_replace(&lease, now) {
                    self.attempt(now, Some(&lease)).await;
                }
                self.give_up(&lease);
                drop(done);
            }
        }
    }

    fn should_replace(&self, refused: &Arc<Lease<T>>, now: SystemTime) -> bool {
        let status = self.status.status.load();
        let held = status.lease.as_ref();
        let hopeless = status
            .fault
            .as_ref()
            .is_some_and(|fault| fault.lapse.needs_person());
        held.is_some_and(|held| Arc::ptr_eq(held, refused))
            && !hopeless
            && status.retries.is_none_or(|at| at <= now)
            && refused.deserves_renewal(now)
    }

    /// Lets go of a value that was refused after it was known that only a person can replace it.
    fn give_up(&self, refused: &Arc<Lease<T>>) {
        let status = self.status.status.load_full();
        let held = status.lease.as_ref();
        let hopeless = (status.fault.as_ref()).filter(|fault| fault.lapse.needs_person());
        if let Some(fault) = hopeless
            && held.is_some_and(|held| Arc::ptr_eq(held, refused))
        {
            self.metrics.expires(None);
            self.status.publish(Status {
                lease: None,
                fault: Some(Arc::clone(fault)),
                retries: None,
            });
        }
    }

    async fn recall(&mut self) {
        let now = SystemTime::now();
        match self.renewal.recall(now).await {
            Ok(Some(lease)) => self.hold(lease),
            Ok(None) => self.status.publish(Status::default()),
            Err(fault) => {
                self.status.publish(Status::default());
                self.fail(fault, now);
            }
        }
    }

    async fn attempt(&mut self, now: SystemTime, refused: Option<&Lease<T>>) {
        *self.status.began.lock() = Some(Instant::now());
        let outcome = self.renewal.renew(now).await;
        *self.status.began.lock() = None;
        let now = SystemTime::now();
        match outcome.and_then(|lease| in_time(lease, now)) {
            Ok(lease) => {
                self.backoff = Backoff::default();
                self.metrics.renewed(true);
                let left = lease.expires.and_then(|end| end.duration_since(now).ok());
                let expires_in = left.map(|left| left.as_secs());
                let connection = self.metrics.connection();
                tracing::info!(connection, expires_in, "Credential renewed");
                self.hold(match refused {
                    Some(refused) => lease.replacing(refused, now),
                    None => lease,
                });
            }
            Err(fault) => {
                self.metrics.renewed(false);
                self.fail(fault, now);
            }
        }
    }

    fn hold(&self, lease: Lease<T>) {
        self.metrics.expires(lease.expires);
        self.status.publish(Status {
            lease: Some(Arc::new(lease)),
            ..Status::default()
        });
    }

    fn fail(&mut self, fault: Fault, now: SystemTime) {
        let wait = self.backoff.next(fault.retry_after);
        let mut lease = self.status.status.load().lease.clone();
        // Refused there, and not to be renewed without a person: to wait for its end would hide that.
        lease.take_if(|lease| fault.lapse.needs_person() && lease.is_refused());
        let served = lease.as_ref().is_some_and(|lease| lease.is_live(now));
        tracing::warn!(
            connection = self.metrics.connection(),
            state = fault.lapse.state().name(),
            problem = %fault.detail,
            served,
            "Credential not renewed"
        );
        self.status.publish(Status {
            lease,
            retries: (!fault.lapse.needs_person()).then(|| now + wait),
            fault: Some(Arc::new(fault)),
        });
    }
}

/// One that is over when it comes would be asked for again at once, and over again.
fn in_time<T>(lease: Lease<T>, now: SystemTime) -> Result<Lease<T>, Fault> {
    if lease.is_live(now) {
        return Ok(lease);
    }
    let detail = "the credential was at its end before it was here; check its lifetime at the provider, and what makes its answers slow";
    Err(Fault::new(Lapse::Passing, detail))
}

async fn sleep(due: Option<Duration>) {
    tokio::time::sleep(due.unwrap_or(GLANCE).min(GLANCE)).await;
}
