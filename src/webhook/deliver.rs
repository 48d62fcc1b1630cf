//! Deliveries on their way: a [`Courier`] per endpoint takes them from the queue, in their order or
//! several at a time, until their target has taken them.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::clock::Clock;
use super::queue::{Gauge, Id, Outcome, Phase, Queue, Ready, millis};
use super::send::{Answer, Way};
use crate::auth::backoff;
use crate::connection::webhook::{Endpoint, Order};
use crate::metrics::WebhookMetrics;
use crate::proxy::Proxy;
use crate::upstream::Upstreams;

/// The longest time between two attempts: with the steps before it, a hundred attempts take a day.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How many deliveries are under way at a time where order does not matter.
const AT_A_TIME: usize = 16;

/// With so much content under way, in bytes, no more is read.
const UNDER_WAY: usize = 4 << 20;

/// How many are read ahead where it does.
const AHEAD: usize = 32;

/// How long the queue is let be that could not be used.
const PAUSE: Duration = Duration::from_secs(1);

/// What every courier needs.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) queue: Arc<Queue>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) clock: Arc<dyn Clock>,
    /// True from when on everything ends.
    pub(super) stop: watch::Receiver<bool>,
}

/// Delivers what one endpoint takes.
pub(super) struct Courier {
    means: Arc<Means>,
    name: Arc<str>,
    metrics: WebhookMetrics,
    settings: watch::Receiver<Arc<Endpoint>>,
    stop: watch::Receiver<bool>,
    /// Under way, or taken and not yet noted.
    busy: HashSet<Id>,
    ahead: VecDeque<Ready>,
    running: JoinSet<(Id, usize, Outcome)>,
    settling: JoinSet<Id>,
    /// How much content is under way, in bytes.
    under_way: usize,
    /// Whether the last attempt failed.
    fails: bool,
}

impl Courier {
    pub(super) fn new(
        means: Arc<Means>,
        metrics: WebhookMetrics,
        settings: watch::Receiver<Arc<Endpoint>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let name = Arc::clone(&settings.borrow().name);
        Self {
            means,
            name,
            metrics,
            settings,
            stop,
            busy: HashSet::new(),
            ahead: VecDeque::new(),
            running: JoinSet::new(),
            settling: JoinSet::new(),
            under_way: 0,
            fails: false,
        }
    }

    /// Delivers until it is told to stop, or its endpoint is no more; what is under way then is waited
    /// for.
    pub(super) async fn run(mut self) {
        let gauge = self.means.queue.gauge(&self.name);
        let means = Arc::clone(&self.means);
        let _alone = tokio::select! {
            alone = gauge.alone.lock() => alone,
            () = super::told(&mut self.stop) => return,
        };
        let mut endpoint = Arc::clone(&self.settings.borrow_and_update());
        let mut way = Arc::new(Way::new(&endpoint, &means.upstreams, &means.proxy));
        loop {
            let wake = self.start(&endpoint, &way, &gauge).await;
            let woken = async {
                match wake {
                    Some(idle) => means.clock.until_outside(idle).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(ended) = self.running.join_next() => {
                    // What panics has an outcome, too.
                    if let Ok((id, bytes, outcome)) = ended {
                        self.under_way = self.under_way.saturating_sub(bytes);
                        self.ended(&endpoint, id, outcome).await;
                    }
                }
                Some(settled) = self.settling.join_next() => {
                    if let Ok(id) = settled {
                        self.busy.remove(&id);
                    }
                }
                () = gauge.changed.notified() => {}
                () = woken => {}
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    endpoint = Arc::clone(&self.settings.borrow_and_update());
                    way = Arc::new(Way::new(&endpoint, &means.upstreams, &means.proxy));
                    self.ahead.clear();
                }
                () = super::told(&mut self.stop) => break,
            }
        }
        while let Some(ended) = self.running.join_next().await {
            if let Ok((id, _, outcome)) = ended {
                self.ended(&endpoint, id, outcome).await;
            }
        }
        while self.settling.join_next().await.is_some() {}
    }

    /// Begins as many attempts as there may be; from when until when there is no other to begin.
    async fn start(
        &mut self,
        endpoint: &Arc<Endpoint>,
        way: &Arc<Way>,
        gauge: &Gauge,
    ) -> Option<Range<SystemTime>> {
        let (places, most) = match endpoint.order {
            Order::Arrival => (1, AHEAD),
            Order::Any => (AT_A_TIME, AT_A_TIME),
        };
        let mut wake = None;
        // Long content is read in parts, so that it may take several to fill all places.
        while self.running.len() < places {
            if self.ahead.is_empty() {
                // What is under way counts as waiting until it is noted.
                let has_more = gauge.waiting() > self.busy.len() as u64;
                let has_room = self.running.is_empty() || self.under_way < UNDER_WAY;
                if has_more && has_room {
                    wake = self.read(endpoint.order, most).await;
                }
            }
            let Some(ready) = self.ahead.pop_front() else {
                break;
            };
            if !self.busy.insert(ready.id) {
                continue;
            }
            self.under_way += ready.content.as_ref().map_or(0, |content| content.len());
            let attempt = attempt(
                Arc::clone(&self.means),
                Arc::clone(endpoint),
                Arc::clone(way),
                ready,
            );
            self.running.spawn(attempt);
        }
        wake
    }

    /// Reads what is to be tried next; from when until when there is nothing else.
    async fn read(&mut self, order: Order, most: usize) -> Option<Range<SystemTime>> {
        let except = self.busy.iter().copied().collect();
        let now = self.means.clock.now();
        let queue = &self.means.queue;
        match queue.next(&self.name, order, except, most, now).await {
            Ok(next) => {
                self.ahead = next.ready.into();
                let wake = next.wake.map(Duration::from_millis);
                wake.map(|due| now..UNIX_EPOCH + due)
            }
            Err(error) => {
                warn!(endpoint = %self.name, %error, "Webhooks not delivered");
                Some(now..now + PAUSE)
            }
        }
    }

    /// Notes what came of an attempt.
    async fn ended(&mut self, endpoint: &Endpoint, id: Id, outcome: Outcome) {
        self.tell(id, &outcome);
        let settle = settle(
            Arc::clone(&self.means),
            Arc::clone(&self.name),
            id,
            outcome.clone(),
        );
        if outcome.phase == Phase::Delivered {
            // The next one need not wait for the disk; until then this one counts as under way.
            self.settling.spawn(settle);
            return;
        }
        if endpoint.order == Order::Arrival {
            self.ahead.clear();
        }
        settle.await;
        self.busy.remove(&id);
    }

    fn tell(&mut self, id: Id, outcome: &Outcome) {
        let (status, why) = (outcome.status, &outcome.told);
        let fails = outcome.phase != Phase::Delivered;
        self.metrics.attempted(match outcome.phase {
            Phase::Delivered => "delivered",
            Phase::Failed => "failed",
            Phase::Waiting => "retried",
        });
        if outcome.phase == Phase::Failed {
            warn!(endpoint = %self.name, %id, status, why, "Webhook given up");
        } else if fails && !self.fails {
            warn!(endpoint = %self.name, %id, status, why, "Webhooks not delivered");
        } else if !fails && self.fails {
            info!(endpoint = %self.name, "Webhooks delivered again");
        }
        self.fails = fails;
    }
}

async fn attempt(
    means: Arc<Means>,
    endpoint: Arc<Endpoint>,
    way: Arc<Way>,
    ready: Ready,
) -> (Id, usize, Outcome) {
    let Ready {
        id,
        attempts,
        content,
    } = ready;
    let began = means.clock.now();
    let bytes = content.as_ref().map_or(0, |content| content.len());
    let answer = match content {
        Some(content) => {
            let sent = AssertUnwindSafe(way.send(id, content, endpoint.timeout));
            // One that panics is no reason to forget the others.
            let sent = sent.catch_unwind().await;
            sent.unwrap_or_else(|_| Answer::none("a fault of keybearer itself; report it"))
        }
        None => Answer {
            is_final: true,
            ..Answer::none(
                "what was kept of it cannot be read: it was changed, or sealed with another key",
            )
        },
    };
    let outcome = outcome(&endpoint, attempts, answer, began, means.clock.now());
    (id, bytes, outcome)
}

/// What an answer means for a delivery that was tried so often before.
fn outcome(
    endpoint: &Endpoint,
    attempts: u32,
    answer: Answer,
    began: SystemTime,
    now: SystemTime,
) -> Outcome {
    let phase = match answer.status {
        200..=299 => Phase::Delivered,
        _ if answer.is_final || attempts.saturating_add(1) >= endpoint.max_attempts => {
            Phase::Failed
        }
        _ => Phase::Waiting,
    };
    let due = match phase {
        Phase::Waiting => millis(now + backoff::step(attempts, LONGEST, answer.retry_after)),
        Phase::Delivered | Phase::Failed => 0,
    };
    Outcome {
        phase,
        due,
        status: answer.status,
        told: answer.told,
        began,
        at: now,
    }
}

/// Notes an outcome, as often as it takes: what is not noted is delivered again.
async fn settle(means: Arc<Means>, endpoint: Arc<str>, id: Id, outcome: Outcome) -> Id {
    while let Err(error) = means.queue.settle(&endpoint, id, outcome.clone()).await {
        // Then it is delivered again.
        if *means.stop.borrow() {
            break;
        }
        warn!(%endpoint, %id, %error, "What came of a webhook is not noted yet");
        tokio::time::sleep(PAUSE).await;
    }
    id
}
