//! Webhooks in: URLs to hand out, and nothing lost behind them. [`Webhooks`] is all of it.
//!
//! What arrives proves who sent it (`verify`), is kept (`queue`), answered, and delivered (`deliver`).
//! Which endpoints there are is published with the rest of the configuration (`force`); what an endpoint is known
//! by outside, and what it has in the queue, outlives that.

mod answer;
mod challenge;
pub mod clock;
mod deliver;
pub mod delivery;
mod force;
pub mod ids;
mod listener;
pub mod pretty;
pub mod queue;
pub(crate) mod room;
mod send;
mod table;
#[cfg(test)]
mod tests;
pub mod verify;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::clock::Clock;
use self::deliver::Means;
use self::ids::NoId;
use self::listener::Listener;
use self::queue::{Fact, Id, Phase, Queue, QueueError};
pub use self::table::Entry;
use self::table::{Door, Table};
use crate::connection::webhook::Endpoint;
use crate::live::Reader;
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::proxy::serve::Bound;
use crate::store::Store;
use crate::upstream::Upstreams;

/// Where endpoints' URLs begin.
const HOOKS: &str = "/hooks/";

/// How long whoever asks for endpoints waits for them after the start.
const MOMENT: Duration = Duration::from_secs(3);

/// The endpoints, their queue, and what delivers.
pub struct Webhooks {
    door: Arc<Door>,
    means: Arc<Means>,
    store: Store,
    /// Where it listens, as a URL.
    address: String,
    couriers: Mutex<HashMap<Arc<str>, watch::Sender<Arc<Endpoint>>>>,
    /// For how long each endpoint's deliveries are kept, also of those that are not configured just now.
    retain: Mutex<HashMap<Arc<str>, Duration>>,
    /// One change of IDs, or of what is in force, at a time.
    changing: tokio::sync::Mutex<()>,
    running: TaskTracker,
    stop: watch::Sender<bool>,
}

/// An endpoint as it is shown.
pub struct Shown {
    /// The endpoint.
    pub entry: Arc<Entry>,
    /// What to hand out; a secret where nothing else is proved.
    pub url: String,
    /// The delivery that waits longest.
    pub oldest: Option<(Id, Fact)>,
}

/// What a person asks for that is not there, or cannot be done now.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such endpoint.
    #[error("there is no endpoint `{0}`; `keybearer webhooks` lists those there are")]
    NoEndpoint(String),
    /// There is no such delivery.
    #[error(
        "there is no delivery `{0}`; what was delivered is kept for `retain`, and while there is room"
    )]
    NoDelivery(String),
    /// Nothing is known of the endpoints' IDs yet.
    #[error(
        "the endpoints are not in force yet, as their IDs are not known: the store cannot be used, and the log says why"
    )]
    NotInForce,
    /// The queue fails.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The store fails.
    #[error("the endpoint's ID cannot be changed: {0}")]
    Id(#[from] NoId),
}

impl Webhooks {
    /// Webhooks that arrive at `address`, are kept in `queue`, and whose endpoints' IDs are in `store`.
    pub fn new(
        queue: Queue,
        store: Store,
        address: &Bound,
        parts: (&Reader, &Metrics, &Arc<Upstreams>, &Arc<Proxy>),
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let (reader, metrics, upstreams, proxy) = parts;
        let queue = Arc::new(queue);
        let stop = watch::Sender::new(false);
        Arc::new(Self {
            door: Arc::new(Door {
                table: ArcSwap::default(),
                queue: Arc::clone(&queue),
                metrics: metrics.clone(),
                reader: reader.clone(),
                clock: Arc::clone(&clock),
            }),
            means: Arc::new(Means {
                queue,
                upstreams: Arc::clone(upstreams),
                proxy: Arc::clone(proxy),
                clock,
                stop: stop.subscribe(),
            }),
            store,
            address: address.address(),
            couriers: Mutex::default(),
            retain: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            running: TaskTracker::new(),
            stop,
        })
    }

    /// Takes webhooks and delivers them, until it is told to [`stop`](Self::stop).
    ///
    /// # Errors
    /// The listener cannot be used.
    pub async fn serve(self: Arc<Self>, bound: Bound) -> io::Result<()> {
        self.running.spawn(Arc::clone(&self).follow());
        self.running.spawn(Arc::clone(&self).sweep());
        // Nothing is refused that will be known in a moment.
        let mut stop = self.stop.subscribe();
        tokio::select! {
            () = self.prepared() => {}
            () = told(&mut stop) => return Ok(()),
        }
        let listener = Listener::new(Arc::clone(&self.door));
        listener.serve(bound, self.running.clone(), stop).await
    }

    /// Waits until the endpoints are in force.
    async fn prepared(&self) {
        while self.door.table.load().origin.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits a moment for the endpoints, as they are in force only shortly after the start.
    ///
    /// # Errors
    /// They are not in force even then.
    pub async fn in_force(&self) -> Result<(), Fault> {
        let prepared = tokio::time::timeout(MOMENT, self.prepared());
        prepared.await.map_err(|_| Fault::NotInForce)
    }

    /// Takes no more, ends what is under way, and notes what came of it.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        self.running.close();
        self.running.wait().await;
        let queue = Arc::clone(&self.door.queue);
        // Its writer may wait for the disk.
        let _ = tokio::task::spawn_blocking(move || queue.close()).await;
    }

    /// All endpoints, by name.
    pub fn endpoints(&self) -> Vec<Shown> {
        let table = self.door.table.load_full();
        let entries = table.entries.values();
        entries.map(|entry| self.shown(&table, entry)).collect()
    }

    /// One endpoint.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn endpoint(&self, name: &str) -> Result<Shown, Fault> {
        let table = self.door.table.load_full();
        let entry = table.entries.get(name);
        let entry = entry.ok_or_else(|| Fault::NoEndpoint(name.to_owned()))?;
        Ok(self.shown(&table, entry))
    }

    fn shown(&self, table: &Table, entry: &Arc<Entry>) -> Shown {
        let name = &entry.endpoint.name;
        let oldest = self.door.queue.oldest(name).unwrap_or_else(|error| {
            warn!(endpoint = %name, %error, "Queue of webhooks not shown");
            None
        });
        Shown {
            entry: Arc::clone(entry),
            url: format!("{}{HOOKS}{}", table.origin, entry.ids.current),
            oldest,
        }
    }

    /// Deliveries of an endpoint that arrived before `before`, the latest first.
    ///
    /// # Errors
    /// There is no such endpoint, or the queue fails.
    pub async fn deliveries(
        &self,
        name: &str,
        phase: Option<Phase>,
        before: Option<Id>,
        most: usize,
    ) -> Result<Vec<(Id, Fact)>, Fault> {
        let entry = self.endpoint(name)?.entry;
        let queue = &self.door.queue;
        Ok(queue
            .list(&entry.endpoint.name, phase, before, most)
            .await?)
    }

    /// A delivery: its endpoint's name, where it stands, what is sent beside the content, and that; no
    /// head if it can no longer be read.
    ///
    /// # Errors
    /// There is no such delivery, or the queue fails.
    pub async fn delivery(&self, id: &str) -> Result<Delivery, Fault> {
        let absent = || Fault::NoDelivery(id.to_owned());
        let id: Id = id.parse().map_err(|_| absent())?;
        let found = self.door.queue.get(id).await?;
        let (endpoint, fact, content) = found.ok_or_else(absent)?;
        let sent = content.and_then(|content| {
            let (head, at) = delivery::Head::unpacked(&content)?;
            Some((head, content, at))
        });
        Ok(Delivery {
            id,
            endpoint,
            fact,
            sent,
        })
    }

    /// Where a delivery of an endpoint stands, which need not be configured any more.
    ///
    /// # Errors
    /// There is no such delivery, or the queue fails.
    pub async fn fact(&self, endpoint: &str, id: Id) -> Result<Fact, Fault> {
        let found = self.door.queue.fact(endpoint, id).await?;
        found.ok_or_else(|| Fault::NoDelivery(id.to_string()))
    }

    /// Has a delivery tried at once, whatever came of it before; gives its endpoint's name.
    ///
    /// # Errors
    /// There is no such delivery, or the queue fails.
    pub async fn replay(&self, id: &str) -> Result<Arc<str>, Fault> {
        let absent = || Fault::NoDelivery(id.to_owned());
        let id: Id = id.parse().map_err(|_| absent())?;
        self.door.queue.replay(id).await?.ok_or_else(absent)
    }

    /// Gives an endpoint another ID; the one it had is good for `overlap` more.
    ///
    /// # Errors
    /// There is no such endpoint, or the store fails: then it keeps the ID it has.
    pub async fn rotate(&self, name: &str, overlap: Duration) -> Result<Shown, Fault> {
        let _one_at_a_time = self.changing.lock().await;
        let before = self.door.table.load_full();
        let known = before.entries.get(name);
        let known = known.ok_or_else(|| Fault::NoEndpoint(name.to_owned()))?;
        let ids = ids::rotate(&self.store, name, overlap, self.door.now()).await?;
        let entry = Arc::new(Entry {
            ids,
            endpoint: Arc::clone(&known.endpoint),
            gauge: Arc::clone(&known.gauge),
            metrics: known.metrics.clone(),
            part: known.part.clone(),
        });
        let mut all = before.entries.clone();
        all.insert(Arc::clone(&known.endpoint.name), Arc::clone(&entry));
        let table = Arc::new(Table::new(before.origin.clone(), before.tls.clone(), all));
        self.door.table.store(Arc::clone(&table));
        Ok(self.shown(&table, &entry))
    }

    /// Tells the metrics what waits.
    pub fn measure(&self) {
        let now = self.door.now();
        for shown in self.endpoints() {
            let oldest = shown.oldest.map(|(id, _)| id.time());
            let age = oldest.and_then(|time| now.duration_since(time).ok());
            let entry = &shown.entry;
            entry
                .metrics
                .waits(entry.gauge.waiting(), age.unwrap_or_default());
        }
    }

    /// The time.
    pub fn now(&self) -> SystemTime {
        self.door.now()
    }
}

/// A delivery, for whoever looks at it.
pub struct Delivery {
    /// Its name.
    pub id: Id,
    /// Its endpoint's name.
    pub endpoint: Arc<str>,
    /// Where it stands.
    pub fact: Fact,
    sent: Option<(delivery::Head, zeroize::Zeroizing<Vec<u8>>, usize)>,
}

impl Delivery {
    /// What is sent beside the content, and that; none if it can no longer be read.
    pub fn sent(&self) -> Option<(&delivery::Head, &[u8])> {
        let (head, content, at) = self.sent.as_ref()?;
        Some((head, content.get(*at..)?))
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

/// Ready once everybody is told to stop; whoever could tell may be gone, too.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
