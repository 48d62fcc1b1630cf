//! Deliveries on disk until they are delivered: [`Queue`], a database in the store's folder.
//!
//! What was accepted is synced, and sealed as tokens are. One thread writes, in groups; reads see what
//! was committed. Nothing is held in memory but counts.

mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use uuid::{NoContext, Timestamp, Uuid};
use zeroize::Zeroizing;

use self::tables::{CONTENTS, Columns, DUE, FACTS, Stocks, WAITING, place};
use self::writer::{Operation, Reply, Writer, prepare};
use super::verify::Mark;
use crate::connection::webhook::Order;
use crate::store::{OpenError, Vault};

const FILE: &str = "webhooks.redb";

/// Of the database's pages; the system keeps more of them.
const CACHE: usize = 16 << 20;

/// How many operations wait for the writer; whoever brings more waits.
const BACKLOG: usize = 4096;

/// A delivery's name: it sorts by arrival (UUID version 7, RFC 9562 section 5.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u128);

impl Id {
    /// One after another, whatever the clock does.
    fn next(last: Self, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
        let id = Uuid::new_v7(time).as_u128();
        Self(id.max(last.0.saturating_add(1)))
    }

    /// The least of a millisecond.
    fn first_at(milliseconds: u64) -> Self {
        Self(u128::from(milliseconds) << 80)
    }

    /// When it was given, within what clocks are worth.
    pub fn time(self) -> SystemTime {
        let milliseconds = u64::try_from(self.0 >> 80).unwrap_or(0);
        UNIX_EPOCH + Duration::from_millis(milliseconds)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).fmt(f)
    }
}

impl FromStr for Id {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(|uuid| Self(uuid.as_u128()))
    }
}

/// What has proved itself, and is to be kept.
#[derive(Debug)]
pub struct Arrival {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// What it is known by, if it is to be taken once only.
    pub mark: Option<Mark>,
    /// All of it, to be delivered.
    pub content: Zeroizing<Vec<u8>>,
    /// How much the endpoint may have, in bytes.
    pub limit: u64,
    /// When it arrived.
    pub at: SystemTime,
}

/// Why an arrival is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was taken before.
    #[error("it was taken before")]
    Replayed,
    /// The endpoint has as much as it may have.
    #[error("the endpoint's queue is full")]
    Full,
    /// The disk has no more than is left alone.
    #[error("the disk is nearly full")]
    DiskFull,
    /// It could not be written.
    #[error("it cannot be kept: {0}")]
    Unwritten(String),
}

/// Why the queue cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Its file cannot be opened.
    #[error("the queue of webhooks cannot be opened: {0}")]
    NotOpened(String),
    /// It cannot be read.
    #[error("the queue of webhooks cannot be read: {0}")]
    Unread(String),
    /// It cannot be written.
    #[error("the queue of webhooks cannot be written: {0}")]
    Unwritten(String),
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is to be delivered.
    #[default]
    Waiting,
    /// The target took it.
    Delivered,
    /// It was tried as often as it may be.
    Failed,
}

/// What is known of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// Where it stands.
    pub phase: Phase,
    /// What it takes on disk.
    pub bytes: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When that was last, or it arrived; in milliseconds since 1970.
    pub changed: u64,
    /// When it is tried next, likewise; 0: at once.
    pub due: u64,
    /// The last answer's status; 0: there was none.
    pub status: u16,
    /// What went wrong then.
    pub told: String,
}

impl Fact {
    fn columns(&self) -> Columns<'_> {
        let phase = match self.phase {
            Phase::Waiting => 0,
            Phase::Delivered => 1,
            Phase::Failed => 2,
        };
        (
            phase,
            self.bytes,
            self.attempts,
            self.changed,
            self.due,
            self.status,
            &self.told,
        )
    }

    fn of(columns: Columns<'_>) -> Self {
        let (phase, bytes, attempts, changed, due, status, told) = columns;
        Self {
            phase: match phase {
                0 => Phase::Waiting,
                1 => Phase::Delivered,
                _ => Phase::Failed,
            },
            bytes,
            attempts,
            changed,
            due,
            status,
            told: told.to_owned(),
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where the delivery stands since.
    pub phase: Phase,
    /// When it is tried next, in milliseconds since 1970.
    pub due: u64,
    /// The answer's status; 0: there was none.
    pub status: u16,
    /// What went wrong.
    pub told: String,
    /// When that was.
    pub at: SystemTime,
}

/// A delivery that is to be tried.
#[derive(Debug)]
pub struct Ready {
    /// Its name.
    pub id: Id,
    /// How often it was tried.
    pub attempts: u32,
    /// What is sent; none if it can no longer be read.
    pub content: Option<Zeroizing<Vec<u8>>>,
}

/// What there is to do for an endpoint.
#[derive(Debug, Default)]
pub struct Next {
    /// What is to be tried now.
    pub ready: Vec<Ready>,
    /// When there is something else, in milliseconds since 1970; none: when something arrives.
    pub wake: Option<u64>,
}

/// What an endpoint has in the queue, for whoever looks.
#[derive(Debug, Default)]
pub struct Gauge {
    waiting: AtomicU64,
    bytes: AtomicU64,
    /// Rung when there is more to deliver.
    pub(super) changed: Notify,
}

impl Gauge {
    /// How many deliveries wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What all of them take on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What writer and readers share.
struct Shared {
    vault: Vault,
    path: PathBuf,
    /// None after a failure, until the next write.
    database: RwLock<Option<Arc<Database>>>,
    gauges: RwLock<HashMap<Arc<str>, Arc<Gauge>>>,
}

/// The queue; its writer ends when it is closed, or dropped.
pub struct Queue {
    operations: Mutex<Option<mpsc::Sender<Operation>>>,
    shared: Arc<Shared>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Queue {
    /// Opens the queue in a store's folder, and makes it if there is none. Blocks.
    ///
    /// # Errors
    /// It cannot be used; what is there stays as it is.
    pub fn open(vault: Vault) -> Result<Self, QueueError> {
        let shared = Arc::new(Shared {
            path: vault.path(FILE),
            vault,
            database: RwLock::default(),
            gauges: RwLock::default(),
        });
        let writer = Writer::new(Arc::clone(&shared))?;
        let (operations, receiver) = mpsc::channel(BACKLOG);
        let thread = std::thread::Builder::new()
            .name("keybearer-webhook-queue".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(|error| QueueError::NotOpened(error.to_string()))?;
        Ok(Self {
            operations: Mutex::new(Some(operations)),
            shared,
            writer: Mutex::new(Some(thread)),
        })
    }

    /// Keeps what has arrived; returns once it is on disk (synced).
    ///
    /// # Errors
    /// It is not kept.
    pub async fn accept(&self, arrival: Arrival) -> Result<Id, Refusal> {
        let (reply, told) = Reply::new();
        let asked = self.ask(Operation::Accept(arrival, reply)).await;
        let ended = || Refusal::Unwritten("keybearer is being stopped".to_owned());
        asked.map_err(|_| ended())?;
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Notes what came of an attempt; returns once that is on disk.
    ///
    /// # Errors
    /// It is not noted, so the delivery will be tried again.
    pub async fn settle(
        &self,
        endpoint: &Arc<str>,
        id: Id,
        outcome: Outcome,
    ) -> Result<(), QueueError> {
        let (reply, told) = Reply::new();
        self.ask(Operation::Settle(Arc::clone(endpoint), id, outcome, reply))
            .await?;
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Lets a delivery be tried at once, whatever came of it before; whose it is, if there is one.
    ///
    /// # Errors
    /// It cannot be noted.
    pub async fn replay(&self, id: Id) -> Result<Option<Arc<str>>, QueueError> {
        let (reply, told) = Reply::new();
        self.ask(Operation::Replay(id, reply)).await?;
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Removes what is over and older than it is kept, by endpoint; `usual` is for those that are no
    /// longer configured.
    ///
    /// # Errors
    /// It cannot be removed now.
    pub async fn sweep(
        &self,
        retain: &HashMap<Arc<str>, Duration>,
        usual: Duration,
        now: SystemTime,
    ) -> Result<(), QueueError> {
        loop {
            let (reply, told) = Reply::new();
            self.ask(Operation::Sweep(retain.clone(), usual, now, reply))
                .await?;
            if !told.await.unwrap_or_else(|_| Err(ended()))? {
                return Ok(());
            }
        }
    }

    /// What there is to do for an endpoint: at most so many deliveries, none of them one of `except`.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn next(
        &self,
        endpoint: &Arc<str>,
        order: Order,
        except: Vec<Id>,
        most: usize,
        now: SystemTime,
    ) -> Result<Next, QueueError> {
        let endpoint = Arc::clone(endpoint);
        self.read(move |shared, database| {
            shared.next(database, &endpoint, order, &except, most, millis(now))
        })
        .await
    }

    /// Deliveries of an endpoint that arrived before `before`, the latest first.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn list(
        &self,
        endpoint: &Arc<str>,
        phase: Option<Phase>,
        before: Option<Id>,
        most: usize,
    ) -> Result<Vec<(Id, Fact)>, QueueError> {
        /// More are not looked at, however few fit.
        const LOOKED_AT: usize = 100_000;
        let endpoint = Arc::clone(endpoint);
        self.read(move |_, database| {
            let facts = database.begin_read()?.open_table(FACTS)?;
            let before = before.map_or(u128::MAX, |id| id.0);
            let range = facts.range((&*endpoint, 0)..(&*endpoint, before))?;
            let mut found = Vec::new();
            for entry in range.rev().take(LOOKED_AT) {
                let (key, columns) = entry?;
                let fact = Fact::of(columns.value());
                if phase.is_none_or(|phase| phase == fact.phase) {
                    found.push((Id(key.value().1), fact));
                    if found.len() == most {
                        break;
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// A delivery, its endpoint's name, and what is sent, if it can still be read; none if there is none.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn get(
        &self,
        id: Id,
    ) -> Result<Option<(Arc<str>, Fact, Option<Zeroizing<Vec<u8>>>)>, QueueError> {
        self.read(move |shared, database| {
            let transaction = database.begin_read()?;
            let contents = transaction.open_table(CONTENTS)?;
            let Some(content) = contents.get(id.0)? else {
                return Ok(None);
            };
            let (endpoint, sealed) = content.value();
            let facts = transaction.open_table(FACTS)?;
            let Some(columns) = facts.get((endpoint, id.0))? else {
                return Ok(None);
            };
            let fact = Fact::of(columns.value());
            let content = shared.vault.open(&place(id), sealed).ok();
            Ok(Some((endpoint.into(), fact, content)))
        })
        .await
    }

    /// What is known of a delivery of an endpoint, without what is sent: that may be long.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn fact(&self, endpoint: &str, id: Id) -> Result<Option<Fact>, QueueError> {
        let endpoint = endpoint.to_owned();
        self.read(move |_, database| {
            let facts = database.begin_read()?.open_table(FACTS)?;
            let columns = facts.get((&*endpoint, id.0))?;
            Ok(columns.map(|columns| Fact::of(columns.value())))
        })
        .await
    }

    /// The delivery of an endpoint that waits longest.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub fn oldest(&self, endpoint: &str) -> Result<Option<(Id, Fact)>, QueueError> {
        let Some(database) = self.shared.opened() else {
            return Err(self.shared.closed());
        };
        let read = || -> Result<_, redb::Error> {
            let transaction = database.begin_read()?;
            let waiting = transaction.open_table(WAITING)?;
            let mut range = waiting.range((endpoint, 0)..=(endpoint, u128::MAX))?;
            let Some(entry) = range.next() else {
                return Ok(None);
            };
            let id = entry?.0.value().1;
            let facts = transaction.open_table(FACTS)?;
            let columns = facts.get((endpoint, id))?;
            Ok(columns.map(|columns| (Id(id), Fact::of(columns.value()))))
        };
        read().map_err(|error| QueueError::Unread(error.to_string()))
    }

    /// What an endpoint has.
    pub fn gauge(&self, endpoint: &Arc<str>) -> Arc<Gauge> {
        self.shared.gauge(endpoint)
    }

    /// Whether nothing is written any more.
    pub fn is_closed(&self) -> bool {
        self.operations.lock().is_none()
    }

    /// Lets the writer write what it was given, and ends it. Blocks.
    pub fn close(&self) {
        self.operations.lock().take();
        if let Some(writer) = self.writer.lock().take() {
            // What it panics of was told by then.
            let _ = writer.join();
        }
        self.shared.close();
    }

    async fn ask(&self, operation: Operation) -> Result<(), QueueError> {
        let sender = self.operations.lock().clone().ok_or_else(ended)?;
        sender.send(operation).await.map_err(|_| ended())
    }

    /// Reads on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared, &Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, QueueError> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || {
            let database = shared.opened().ok_or_else(|| shared.closed())?;
            read(&shared, &database).map_err(|error| QueueError::Unread(error.to_string()))
        });
        read.await
            .unwrap_or_else(|error| Err(QueueError::Unread(error.to_string())))
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}

// === impl Shared ===

impl Shared {
    fn opened(&self) -> Option<Arc<Database>> {
        self.database.read().clone()
    }

    /// The database, opened if it is not. Only the writer opens it.
    fn database(&self) -> Result<Arc<Database>, QueueError> {
        if let Some(database) = self.opened() {
            return Ok(database);
        }
        let database = Arc::new(prepare(self)?);
        *self.database.write() = Some(Arc::clone(&database));
        Ok(database)
    }

    fn close(&self) {
        *self.database.write() = None;
    }

    fn closed(&self) -> QueueError {
        QueueError::Unread(format!(
            "`{}` is closed after a failure",
            self.path.display()
        ))
    }

    fn gauge(&self, endpoint: &Arc<str>) -> Arc<Gauge> {
        if let Some(gauge) = self.gauges.read().get(endpoint) {
            return Arc::clone(gauge);
        }
        let mut gauges = self.gauges.write();
        Arc::clone(gauges.entry(Arc::clone(endpoint)).or_default())
    }

    fn publish(&self, stocks: &Stocks) {
        for (endpoint, stock) in stocks {
            let gauge = self.gauge(endpoint);
            gauge.waiting.store(stock.waiting, Ordering::Relaxed);
            gauge.bytes.store(stock.bytes, Ordering::Relaxed);
        }
    }

    fn next(
        &self,
        database: &Database,
        endpoint: &str,
        order: Order,
        except: &[Id],
        most: usize,
        now: u64,
    ) -> Result<Next, redb::Error> {
        /// What is read ahead, in bytes.
        const AHEAD: usize = 1 << 20;
        let transaction = database.begin_read()?;
        let mut next = Next::default();
        let mut ids = Vec::new();
        // What comes later decides when to look again.
        let mut take = |id: u128, due: u64| {
            if except.contains(&Id(id)) {
                return true;
            }
            if due > now {
                next.wake = Some(due);
                return false;
            }
            ids.push(Id(id));
            ids.len() < most
        };
        match order {
            Order::Arrival => {
                let waiting = transaction.open_table(WAITING)?;
                for entry in waiting.range((endpoint, 0)..=(endpoint, u128::MAX))? {
                    let (key, due) = entry?;
                    if !take(key.value().1, due.value()) {
                        break;
                    }
                }
            }
            Order::Any => {
                let due = transaction.open_table(DUE)?;
                for entry in due.range((endpoint, 0, 0)..=(endpoint, u64::MAX, u128::MAX))? {
                    let key = entry?.0;
                    let (_, due, id) = key.value();
                    if !take(id, due) {
                        break;
                    }
                }
            }
        }
        let contents = transaction.open_table(CONTENTS)?;
        let facts = transaction.open_table(FACTS)?;
        let mut bytes = 0;
        for id in ids {
            if bytes > AHEAD {
                break;
            }
            let fact = facts.get((endpoint, id.0))?;
            let sealed = contents.get(id.0)?;
            let content =
                sealed.and_then(|sealed| self.vault.open(&place(id), sealed.value().1).ok());
            bytes += content.as_ref().map_or(0, |content| content.len());
            next.ready.push(Ready {
                id,
                attempts: fact.map_or(0, |columns| Fact::of(columns.value()).attempts),
                content,
            });
        }
        Ok(next)
    }
}

fn open(shared: &Shared) -> Result<Database, QueueError> {
    let opened = || -> Result<Database, String> {
        let file = shared
            .vault
            .file(FILE)
            .map_err(|error: OpenError| error.to_string())?;
        let told = |error: redb::Error| {
            format!(
                "`{}` is damaged ({error}); move it away: what was not delivered is in it",
                shared.path.display()
            )
        };
        let backend = redb::backends::FileBackend::new(file);
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        let database = backend.and_then(|backend| builder.create_with_backend(backend));
        database.map_err(|error| told(error.into()))
    };
    opened().map_err(QueueError::NotOpened)
}

fn ended() -> QueueError {
    QueueError::Unwritten("keybearer is being stopped".to_owned())
}

/// In milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
