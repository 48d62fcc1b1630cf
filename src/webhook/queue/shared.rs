//! What the queue's writer and its readers share: the database, and what each endpoint has in it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase};
use tokio::sync::Notify;

use super::tables::{CONTENTS, DUE, FACTS, Stocks, WAITING, place};
use super::writer::prepare;
use super::{Fact, Id, Next, QueueError, Ready};
use crate::connection::webhook::Order;
use crate::store::{OpenError, Vault};

/// The database's file, in the store's folder.
pub(super) const FILE: &str = "webhooks.redb";

/// How far ahead an attempt may be, in milliseconds: an hour that a target may ask for, and a fifth more.
const FURTHEST: u64 = 75 * 60 * 1000;

/// By so much a clock is corrected while it goes, in milliseconds.
const CORRECTION: u64 = 1000;

/// Of the database's pages; the system keeps more of them.
const CACHE: usize = 16 << 20;

/// What an endpoint has in the queue, for whoever looks.
#[derive(Debug, Default)]
pub struct Gauge {
    waiting: AtomicU64,
    bytes: AtomicU64,
    /// Rung when there is more to deliver.
    pub(in crate::webhook) changed: Notify,
    /// Of the one who delivers: an endpoint that comes back waits until what was under way has ended.
    pub(in crate::webhook) alone: tokio::sync::Mutex<()>,
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
    /// Device and inode of the file that is open.
    identity: Mutex<Option<(u64, u64)>>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(vault: Vault) -> Self {
        Self {
            path: vault.path(FILE),
            vault,
            database: RwLock::default(),
            gauges: RwLock::default(),
            identity: Mutex::default(),
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

    /// Whether another file, or none, is where the open one was.
    pub(super) fn is_moved(&self) -> bool {
        let there = fs::metadata(&*self.path).map(|there| (there.dev(), there.ino()));
        there.ok() != *self.identity.lock()
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
        for endpoint in stocks.keys() {
            self.gauge(endpoint);
        }
        // Also those that have nothing any more.
        for (endpoint, gauge) in &*self.gauges.read() {
            let stock = stocks.get(endpoint).copied().unwrap_or_default();
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
        let facts = transaction.open_table(FACTS)?;
        let mut ids = Vec::new();
        // What comes later decides when to look again.
        let mut take = |id: u128, due: u64| {
            if except.contains(&Id(id)) {
                return Ok(true);
            }
            if ids.len() == most {
                return Ok(false);
            }
            // No attempt is put off for longer, and none that was made is still to come: the clock was set
            // back since.
            if due > now && due - now <= FURTHEST {
                let fact = facts.get((endpoint, id))?;
                let changed = fact.map_or(0, |columns| Fact::of(columns.value()).changed);
                if changed <= now.saturating_add(CORRECTION) {
                    next.wake = Some(due);
                    return Ok(false);
                }
            }
            ids.push(Id(id));
            Ok::<_, redb::Error>(true)
        };
        match order {
            Order::Arrival => {
                let waiting = transaction.open_table(WAITING)?;
                for entry in waiting.range((endpoint, 0)..=(endpoint, u128::MAX))? {
                    let (key, due) = entry?;
                    if !take(key.value().1, due.value())? {
                        break;
                    }
                }
            }
            Order::Any => {
                let due = transaction.open_table(DUE)?;
                // Those behind are no later than those before: the clock was set back since.
                let behind = now.saturating_add(FURTHEST + 1);
                let near = due.range((endpoint, 0, 0)..(endpoint, behind, 0))?;
                let far = due.range((endpoint, behind, 0)..=(endpoint, u64::MAX, u128::MAX))?;
                for entries in [near, far] {
                    for entry in entries {
                        let key = entry?.0;
                        let (_, due, id) = key.value();
                        if !take(id, due)? {
                            break;
                        }
                    }
                }
            }
        }
        let contents = transaction.open_table(CONTENTS)?;
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
    let vault = &shared.vault;
    let told = |error: OpenError| QueueError::NotOpened(error.to_string());
    let failed = |error: redb::Error| {
        let path = shared.path.display();
        QueueError::NotOpened(match error {
            redb::Error::DatabaseAlreadyOpen => format!("`{path}` is still open"),
            redb::Error::Io(error) if !is_nonsense(&error) => format!("`{path}`: {error}"),
            error => format!(
                "`{path}` is damaged ({error}); move it away: what was not delivered is in it"
            ),
        })
    };
    // Made whole or not at all: a crash leaves no half of it.
    vault
        .make(FILE, |file| create(file).map_err(io::Error::other))
        .map_err(told)?;
    let file = vault.file(FILE).map_err(told)?;
    let metadata = file
        .metadata()
        .map_err(|error| failed(redb::Error::Io(error)))?;
    // redb checks what it reads, but asserts some of it.
    let database = catch_unwind(AssertUnwindSafe(|| create(file)));
    let database =
        database.unwrap_or_else(|_| Err(redb::Error::Corrupted("unreadable".to_owned())));
    let database = database.map_err(failed)?;
    *shared.identity.lock() = Some((metadata.dev(), metadata.ino()));
    Ok(database)
}

fn create(file: File) -> Result<Database, redb::Error> {
    let backend = redb::backends::FileBackend::new(file)?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    Ok(builder.create_with_backend(backend)?)
}

/// Of the kinds by which redb tells that what it has read makes no sense.
fn is_nonsense(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
    )
}
