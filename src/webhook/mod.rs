//! Webhooks in: URLs to hand out, and nothing lost behind them. [`Webhooks`] is all of it.
//!
//! What arrives proves who sent it (`verify`), is kept (`queue`), answered, and delivered (`deliver`).
//! Which endpoints there are is published with the rest of the configuration; what an endpoint is known
//! by outside, and what it has in the queue, outlives that.

mod answer;
mod challenge;
pub mod clock;
mod deliver;
pub mod delivery;
pub mod ids;
mod listener;
pub mod pretty;
pub mod queue;
pub(crate) mod room;
mod send;
#[cfg(test)]
mod tests;
pub mod verify;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use self::clock::Clock;
use self::deliver::{Courier, Means};
use self::ids::{Ids, NoId};
use self::listener::Listener;
use self::queue::{Fact, Gauge, Id, Phase, Queue, QueueError};
use self::room::Part;
use crate::config;
use crate::connection::webhook::Endpoint;
use crate::live::Reader;
use crate::metrics::{Metrics, WebhookMetrics};
use crate::proxy::Proxy;
use crate::proxy::serve::Bound;
use crate::store::Store;
use crate::upstream::Upstreams;

/// Where endpoints' URLs begin.
const HOOKS: &str = "/hooks/";

/// How long a delivery of an endpoint is kept that is no longer configured.
const RETAIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often what is over is removed.
const SWEEP: Duration = Duration::from_secs(30);

/// How long whoever asks for endpoints waits for them after the start.
const MOMENT: Duration = Duration::from_secs(3);

/// How long it takes until a store that could not be used is tried again.
const PAUSE: Duration = Duration::from_secs(5);

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

/// What the listener looks at.
pub(crate) struct Door {
    table: ArcSwap<Table>,
    queue: Arc<Queue>,
    metrics: Metrics,
    reader: Reader,
    clock: Arc<dyn Clock>,
}

/// The endpoints that are in force.
#[derive(Default)]
pub(crate) struct Table {
    origin: String,
    tls: Option<Arc<ServerConfig>>,
    entries: BTreeMap<Arc<str>, Arc<Entry>>,
    by_id: HashMap<Box<str>, (Arc<Entry>, Option<ids::Earlier>)>,
}

/// An endpoint that is in force.
pub struct Entry {
    /// Its settings.
    pub endpoint: Arc<Endpoint>,
    /// What its URL has.
    pub ids: Ids,
    /// What it has in the queue.
    pub gauge: Arc<Gauge>,
    metrics: WebhookMetrics,
    /// Its part of the memory for content.
    part: Part,
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

    /// Puts in force whatever is published.
    async fn follow(self: Arc<Self>) {
        let mut published = self.door.reader.published();
        let mut stop = self.stop.subscribe();
        loop {
            published.mark_unchanged();
            let wanted = self.door.reader.take().webhooks.clone();
            let again = async {
                if self.put_in_force(wanted.as_ref()).await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                } else if published.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = again => {}
                () = told(&mut stop) => return,
            }
        }
    }

    async fn put_in_force(&self, wanted: Option<&config::Webhooks>) -> Result<(), NoId> {
        let _one_at_a_time = self.changing.lock().await;
        let before = self.door.table.load_full();
        let endpoints = wanted.map_or(&[][..], |wanted| &wanted.endpoints);
        let mut all = BTreeMap::new();
        let mut failed = Ok(());
        for endpoint in endpoints {
            let known = before.entries.get(&endpoint.name);
            let entry = match known {
                Some(entry) if entry.endpoint == *endpoint => Arc::clone(entry),
                Some(entry) => Arc::new(Entry {
                    endpoint: Arc::clone(endpoint),
                    ids: entry.ids.clone(),
                    gauge: Arc::clone(&entry.gauge),
                    metrics: entry.metrics.clone(),
                    part: entry.part.clone(),
                }),
                None => {
                    let ids = match ids::of(&self.store, &endpoint.name).await {
                        Ok(ids) => ids,
                        Err(fault) => {
                            // The others are none the worse for it.
                            error!(endpoint = %endpoint.name, error = %fault, "Endpoint for webhooks is not in force");
                            failed = Err(fault);
                            continue;
                        }
                    };
                    Arc::new(Entry {
                        ids,
                        gauge: self.door.queue.gauge(&endpoint.name),
                        metrics: self.door.metrics.webhooks(&endpoint.name),
                        endpoint: Arc::clone(endpoint),
                        part: Part::default(),
                    })
                }
            };
            all.insert(Arc::clone(&endpoint.name), entry);
        }
        let tls = wanted.and_then(|wanted| wanted.tls.clone());
        let origin = match wanted.and_then(|wanted| wanted.public_url.as_ref()) {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None if tls.is_some() => format!("https://{}", self.address),
            None => format!("http://{}", self.address),
        };
        let table = Table::new(origin, tls, all);
        self.deliver(&table);
        for (name, entry) in &before.entries {
            if !table.entries.contains_key(name) {
                entry.metrics.forget();
            }
        }
        self.retain.lock().extend(
            endpoints
                .iter()
                .map(|endpoint| (Arc::clone(&endpoint.name), endpoint.retain)),
        );
        self.door.table.store(Arc::new(table));
        failed
    }

    /// Has each endpoint's deliveries brought by its own settings.
    fn deliver(&self, table: &Table) {
        let mut couriers = self.couriers.lock();
        couriers.retain(|name, _| table.entries.contains_key(name));
        for (name, entry) in &table.entries {
            match couriers.get(name) {
                Some(courier) => {
                    courier.send_if_modified(|known| {
                        let changed = *known != entry.endpoint;
                        *known = Arc::clone(&entry.endpoint);
                        changed
                    });
                }
                None => {
                    let (sender, settings) = watch::channel(Arc::clone(&entry.endpoint));
                    let courier = Courier::new(
                        Arc::clone(&self.means),
                        entry.metrics.clone(),
                        settings,
                        self.stop.subscribe(),
                    );
                    self.running.spawn(courier.run());
                    couriers.insert(Arc::clone(name), sender);
                }
            }
        }
    }

    async fn sweep(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        // Before they are in force, nobody knows for how long their deliveries are kept.
        tokio::select! {
            () = self.prepared() => {}
            () = told(&mut stop) => return,
        }
        loop {
            let retain = self.retain.lock().clone();
            let now = self.door.now();
            let swept = self.door.queue.sweep(&retain, RETAIN, now).await;
            if let Err(error) = swept {
                warn!(%error, "Old webhooks are not removed");
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = told(&mut stop) => return,
            }
        }
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

// === impl Door ===

impl Door {
    fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.table.load().tls.clone()
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }
}

// === impl Table ===

impl Table {
    fn new(
        origin: String,
        tls: Option<Arc<ServerConfig>>,
        entries: BTreeMap<Arc<str>, Arc<Entry>>,
    ) -> Self {
        let mut by_id = HashMap::new();
        for entry in entries.values() {
            for earlier in &entry.ids.earlier {
                let known = (Arc::clone(entry), Some(earlier.clone()));
                by_id.insert(earlier.id.clone(), known);
            }
            by_id.insert(entry.ids.current.clone(), (Arc::clone(entry), None));
        }
        Self {
            origin,
            tls,
            entries,
            by_id,
        }
    }

    fn by_id(&self, id: &str, now: SystemTime) -> Option<&Arc<Entry>> {
        let (entry, earlier) = self.by_id.get(id)?;
        let holds = earlier.as_ref().is_none_or(|earlier| earlier.holds(now));
        holds.then_some(entry)
    }

    fn origin(&self) -> &str {
        &self.origin
    }
}

/// Ready once everybody is told to stop; whoever could tell may be gone, too.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
