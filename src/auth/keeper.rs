//! The task behind a credential: [`Keeper`], which alone changes what stands.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::lease::Lease;
use super::state::{Fault, Lapse};
use super::status::{Published, Status};
use crate::metrics::CredentialMetrics;
use crate::traces::{Traces, renewal};

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

pub(super) enum Order<T> {
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

/// The task that alone changes the status.
pub(super) struct Keeper<T> {
    renewal: Arc<dyn Renewal<T>>,
    status: Arc<Published<T>>,
    metrics: CredentialMetrics,
    traces: Traces,
    backoff: Backoff,
    retired: bool,
}

impl<T: Send + Sync + 'static> Keeper<T> {
    /// A keeper that has fetched nothing yet.
    pub(super) fn new(
        renewal: Arc<dyn Renewal<T>>,
        status: Arc<Published<T>>,
        metrics: CredentialMetrics,
        traces: Traces,
    ) -> Self {
        Self {
            renewal,
            status,
            metrics,
            traces,
            backoff: Backoff::default(),
            retired: false,
        }
    }

    /// Keeps the value until nobody can give an order any more.
    pub(super) async fn keep(mut self, mut orders: mpsc::UnboundedReceiver<Order<T>>) {
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
                if lease.refuse()
                    && let Some(lost) = lease.lost()
                {
                    tracing::warn!(
                        connection = self.metrics.connection(),
                        problem = %lost.detail,
                        "Credential refused"
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
        let outcome = renewal::traced(
            &self.traces,
            self.metrics.connection(),
            &self.status.waiting,
            self.renewal.renew(now),
            |outcome| {
                outcome
                    .as_ref()
                    .err()
                    .map(|fault| fault.lapse.state().name())
            },
        );
        let outcome = outcome.await;
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
        let connection = self.metrics.connection();
        if fault.lapse == Lapse::NotLinked {
            tracing::info!(connection, "Connection not linked yet");
        } else {
            tracing::warn!(
                connection,
                state = fault.lapse.state().name(),
                problem = %fault.detail,
                served,
                "Credential not renewed"
            );
        }
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
