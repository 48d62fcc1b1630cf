//! What the queue's writer and its readers share: the database, and what each endpoint has in it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use redb::{Database, ReadableDatabase};
use tokio::sync::Notify;

use super::tables::{CONTENTS, DUE, FACTS, Stocks, WAITING, place};
use super::writer::prepare;
use super::{Fact, Id, Next, QueueError, Ready};
use crate::connection::webhook::Order;
use crate::store::{OpenError, Vault};

/// The database's file, in the store's folder.
pub(super) const FILE: &str = "webhooks.redb";

/// Of the database's pages; the system keeps more of them.
const CACHE: usize = 16 << 20;

/// What an endpoint has in the queue, for whoever looks.
#[derive(Debug, Default)]
pub struct Gauge {
    waiting: AtomicU64,
    bytes: AtomicU64,
    /// Rung when there is more to deliver.
    pub(in crate::webhook) changed: Notify,
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
pub(super) struct Shared {
    pub(super) vault: Vault,
    pub(super) path: PathBuf,
    /// None after a failure, until the next write.
    database: RwLock<Option<Arc<Database>>>,
    gauges: RwLock<HashMap<Arc<str>, Arc<Gauge>>>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(vault: Vault) -> Self {
        Self {
            path: vault.path(FILE),
            vault,
            database: RwLock::default(),
            gauges: RwLock::default(),
        }
    }

    pub(super) fn opened(&self) -> Option<Arc<Database>> {
        self.database.read().clone()
    }

    /// The database, opened if it is not. Only the writer opens it.
    pub(super) fn database(&self) -> Result<Arc<Database>, QueueError> {
        if let Some(database) = self.opened() {
            return Ok(database);
        }
        let database = Arc::new(prepare(self)?);
        *self.database.write() = Some(Arc::clone(&database));
        Ok(database)
    }

    pub(super) fn close(&self) {
        *self.database.write() = None;
    }

    pub(super) fn closed(&self) -> QueueError {
        QueueError::Unread(format!(
            "`{}` is closed after a failure",
            self.path.display()
        ))
    }

    pub(super) fn gauge(&self, endpoint: &Arc<str>) -> Arc<Gauge> {
        if let Some(gauge) = self.gauges.read().get(endpoint) {
            return Arc::clone(gauge);
        }
        let mut gauges = self.gauges.write();
        Arc::clone(gauges.entry(Arc::clone(endpoint)).or_default())
    }

    pub(super) fn publish(&self, stocks: &Stocks) {
        for (endpoint, stock) in stocks {
            let gauge = self.gauge(endpoint);
            gauge.waiting.store(stock.waiting, Ordering::Relaxed);
            gauge.bytes.store(stock.bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn next(
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

pub(super) fn open(shared: &Shared) -> Result<Database, QueueError> {
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
