//! Deliveries on disk until they are delivered: [`Queue`], a database in the store's folder.
//!
//! What was accepted is synced, and sealed as tokens are. One thread writes, in groups; reads see what
//! was committed. Nothing is held in memory but counts.

mod entry;
mod shared;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

pub use self::entry::{Arrival, Fact, Id, Next, Outcome, Phase, QueueError, Ready, Refusal};
pub use self::shared::Gauge;
use self::shared::Shared;
use self::tables::{CONTENTS, FACTS, WAITING, place};
use self::writer::{Operation, Reply, Writer};
use crate::connection::webhook::Order;
use crate::store::Vault;

/// How many operations wait for the writer; whoever brings more waits.
const BACKLOG: usize = 4096;

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
        let shared = Arc::new(Shared::new(vault));
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

fn ended() -> QueueError {
    QueueError::Unwritten("keybearer is being stopped".to_owned())
}

/// In milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
