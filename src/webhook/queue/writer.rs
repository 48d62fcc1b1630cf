//! The one thread that writes: [`Writer`] takes whatever waits to be written, and commits it in one
//! synced transaction. While that runs the next group gathers.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::shared::{Shared, open};
use super::tables::{Stocks, Tables, count};
use super::{Arrival, Id, Outcome, QueueError, Refusal, millis};

/// How much is committed at once: so many operations, and so many bytes.
const MOST: usize = 1024;
const MOST_BYTES: usize = 8 << 20;

/// What is never taken of a disk: the twentieth part of it, or this if it is less.
const RESERVE: u64 = 64 << 20;

/// What is to be written.
pub(super) enum Operation {
    Accept(Arrival, Reply<Result<Id, Refusal>>),
    Settle(Arc<str>, Id, Outcome, Reply<Result<(), QueueError>>),
    Replay(Id, Reply<Result<Option<Arc<str>>, QueueError>>),
    Sweep(
        HashMap<Arc<str>, Duration>,
        Duration,
        SystemTime,
        Reply<Result<bool, QueueError>>,
    ),
}

/// Whoever waits, and what it will be told once that is on disk.
pub(super) struct Reply<T> {
    sender: oneshot::Sender<T>,
    told: Option<T>,
}

impl<T> Reply<T> {
    pub(super) fn new() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let reply = Self { sender, told: None };
        (reply, receiver)
    }

    fn tell(self, instead: impl FnOnce() -> T) {
        // Whoever no longer waits needs no answer.
        let _ = self.sender.send(self.told.unwrap_or_else(instead));
    }
}

/// The database as its only writer knows it.
pub(super) struct Writer {
    shared: Arc<Shared>,
    last: Id,
    stocks: Stocks,
}

impl Writer {
    /// # Errors
    /// The database cannot be read.
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, QueueError> {
        let mut writer = Self {
            shared,
            last: Id::default(),
            stocks: Stocks::new(),
        };
        let database = writer.shared.database()?;
        writer.count(&database)?;
        Ok(writer)
    }

    /// Writes until nobody can ask for it any more.
    pub(super) fn run(mut self, mut operations: mpsc::Receiver<Operation>) {
        let mut group = Vec::with_capacity(MOST);
        while let Some(first) = operations.blocking_recv() {
            let mut bytes = first.bytes();
            group.push(first);
            while group.len() < MOST
                && bytes < MOST_BYTES
                && let Ok(next) = operations.try_recv()
            {
                bytes += next.bytes();
                group.push(next);
            }
            self.write(&mut group, bytes);
        }
    }

    fn write(&mut self, group: &mut Vec<Operation>, bytes: usize) {
        let has_room = self.has_room(bytes as u64);
        // redb checks what it reads, but asserts some of it.
        let written = catch_unwind(AssertUnwindSafe(|| self.commit(group, has_room)));
        let written = written.unwrap_or_else(|_| {
            let cause = "its content makes no sense".to_owned();
            Err(QueueError::Unwritten(cause))
        });
        match written {
            Ok(()) => {
                self.shared.publish(&self.stocks);
                for operation in group.drain(..) {
                    let wakes = operation.wakes();
                    operation.tell(None);
                    if let Some(endpoint) = wakes {
                        self.shared.gauge(&endpoint).changed.notify_one();
                    }
                }
            }
            Err(error) => {
                warn!(%error, "Webhook queue not written");
                // What was counted meanwhile is not so; and redb refuses a file of which a write failed.
                // What it panics of, too, was told.
                let _ = catch_unwind(AssertUnwindSafe(|| self.shared.close()));
                for operation in group.drain(..) {
                    operation.tell(Some(&error));
                }
            }
        }
    }

    fn commit(&mut self, group: &mut [Operation], has_room: bool) -> Result<(), QueueError> {
        let database = match self.shared.opened() {
            Some(database) => database,
            None => {
                let database = self.shared.database()?;
                self.count(&database)?;
                database
            }
        };
        self.apply(&database, group, has_room)
            .map_err(|error| QueueError::Unwritten(error.to_string()))?;
        // Looked at when all is written, so that whatever was written is known to have a name.
        match self.shared.is_moved() {
            false => Ok(()),
            true => Err(QueueError::Unwritten(format!(
                "`{}` was moved, removed or replaced while keybearer uses it; what waited is in the file that was moved: put it back and restart keybearer",
                self.shared.path.display()
            ))),
        }
    }

    fn apply(
        &mut self,
        database: &Database,
        group: &mut [Operation],
        has_room: bool,
    ) -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut tables = Tables::open(&transaction)?;
        for operation in group {
            match operation {
                Operation::Accept(_, reply) if !has_room => {
                    reply.told = Some(Err(Refusal::DiskFull));
                }
                Operation::Accept(arrival, reply) => {
                    let id = Id::next(self.last, arrival.at);
                    let vault = &self.shared.vault;
                    let kept = tables.accept(vault, &mut self.stocks, id, arrival)?;
                    if kept.is_ok() {
                        self.last = id;
                    }
                    reply.told = Some(kept.map(|()| id));
                }
                Operation::Settle(endpoint, id, outcome, reply) => {
                    let now = millis(outcome.at);
                    tables.settle(&mut self.stocks, endpoint, *id, outcome, now)?;
                    reply.told = Some(Ok(()));
                }
                Operation::Replay(id, reply) => {
                    let now = millis(SystemTime::now());
                    let endpoint = tables.replay(&mut self.stocks, *id, now)?;
                    reply.told = Some(Ok(endpoint));
                }
                Operation::Sweep(retain, usual, now, reply) => {
                    let retain = |name: &str| retain.get(name).copied().unwrap_or(*usual);
                    let more = tables.sweep(&mut self.stocks, &retain, millis(*now))?;
                    reply.told = Some(Ok(more));
                }
            }
        }
        drop(tables);
        Ok(transaction.commit()?)
    }

    fn count(&mut self, database: &Database) -> Result<(), QueueError> {
        let counted = count(database).map_err(|error| QueueError::Unread(error.to_string()))?;
        (self.last, self.stocks) = counted;
        self.shared.publish(&self.stocks);
        Ok(())
    }

    /// Whether the disk has so much left, and the reserve.
    fn has_room(&self, bytes: u64) -> bool {
        let Ok(disk) = rustix::fs::statvfs(&*self.shared.path) else {
            return true;
        };
        let reserve = (disk.f_blocks * disk.f_frsize / 20).min(RESERVE);
        // What is written anew beside it are the tables' branches.
        disk.f_bavail * disk.f_frsize >= reserve + 2 * bytes
    }
}

impl Operation {
    fn bytes(&self) -> usize {
        match self {
            Self::Accept(arrival, _) => arrival.content.len(),
            Self::Settle(..) | Self::Replay(..) | Self::Sweep(..) => 0,
        }
    }

    /// The endpoint that has more to deliver now.
    fn wakes(&self) -> Option<Arc<str>> {
        match self {
            Self::Accept(arrival, _) => Some(Arc::clone(&arrival.endpoint)),
            Self::Replay(_, reply) => match &reply.told {
                Some(Ok(endpoint)) => endpoint.clone(),
                _ => None,
            },
            Self::Settle(..) | Self::Sweep(..) => None,
        }
    }

    /// Tells whoever waits what came of it; or that nothing was written.
    fn tell(self, failed: Option<&QueueError>) {
        let lost = || QueueError::Unwritten("the writer did not come to it".to_owned());
        let error = || failed.cloned().unwrap_or_else(lost);
        match self {
            Self::Accept(_, reply) => {
                reply
                    .of(failed)
                    .tell(|| Err(Refusal::Unwritten(error().to_string())));
            }
            Self::Settle(_, _, _, reply) => reply.of(failed).tell(|| Err(error())),
            Self::Replay(_, reply) => reply.of(failed).tell(|| Err(error())),
            Self::Sweep(_, _, _, reply) => reply.of(failed).tell(|| Err(error())),
        }
    }
}

impl<T> Reply<T> {
    /// Forgets what was to be told, as it did not come true.
    fn of(mut self, failed: Option<&QueueError>) -> Self {
        if failed.is_some() {
            self.told = None;
        }
        self
    }
}

/// Opens the database, and makes its tables if it is new.
pub(super) fn prepare(shared: &Shared) -> Result<Database, QueueError> {
    let database = open(shared)?;
    let made = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        drop(Tables::open(&transaction)?);
        Ok(transaction.commit()?)
    };
    match made() {
        Ok(()) => Ok(database),
        Err(error) => Err(QueueError::Unread(error.to_string())),
    }
}
