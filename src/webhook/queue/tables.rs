//! What the queue's database holds, and each step of a delivery as a change of it.
//!
//! A delivery's content is written once; what is known of it changes with every attempt. One that
//! waits stands in two more tables, by arrival and by the time of its next attempt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::{Arrival, Fact, Id, Outcome, Phase, Refusal, millis};
use crate::store::Vault;
use crate::webhook::verify::Mark;

/// A sealed content by its ID, with the endpoint's name.
pub(super) const CONTENTS: TableDefinition<'_, u128, (&str, &[u8])> =
    TableDefinition::new("contents");
/// What is known of a delivery, by endpoint and ID.
pub(super) const FACTS: TableDefinition<'_, (&str, u128), Columns<'_>> =
    TableDefinition::new("facts");
/// Those that wait, in the order of their arrival; when they are due.
pub(super) const WAITING: TableDefinition<'_, (&str, u128), u64> = TableDefinition::new("waiting");
/// The same, in the order in which they are due.
pub(super) const DUE: TableDefinition<'_, (&str, u64, u128), ()> = TableDefinition::new("due");
/// What was taken and is not to be taken again; until when.
const SEEN: TableDefinition<'_, (&str, [u8; 16]), u64> = TableDefinition::new("seen");
/// The same, in the order in which it is forgotten.
const FORGET: TableDefinition<'_, (u64, &str, [u8; 16]), ()> = TableDefinition::new("forget");

/// [`Fact`] as it is stored: phase, bytes, attempts, last change, next attempt, status, words.
pub(super) type Columns<'a> = (u8, u64, u32, u64, u64, u16, &'a str);

/// How many entries a sweep removes in one transaction.
const SWEPT: usize = 512;

/// What an endpoint has in the database.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stock {
    pub(super) waiting: u64,
    /// Of all, in bytes.
    pub(super) bytes: u64,
    /// Of those that were delivered, likewise.
    delivered: u64,
    /// Before this one none was delivered that could make room.
    first: u128,
}

/// What all endpoints have.
pub(super) type Stocks = HashMap<Arc<str>, Stock>;

/// The tables, in a transaction.
pub(super) struct Tables<'t> {
    contents: Table<'t, u128, (&'static str, &'static [u8])>,
    facts: Table<'t, (&'static str, u128), Columns<'static>>,
    waiting: Table<'t, (&'static str, u128), u64>,
    due: Table<'t, (&'static str, u64, u128), ()>,
    seen: Table<'t, (&'static str, [u8; 16]), u64>,
    forget: Table<'t, (u64, &'static str, [u8; 16]), ()>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            contents: transaction.open_table(CONTENTS)?,
            facts: transaction.open_table(FACTS)?,
            waiting: transaction.open_table(WAITING)?,
            due: transaction.open_table(DUE)?,
            seen: transaction.open_table(SEEN)?,
            forget: transaction.open_table(FORGET)?,
        })
    }

    /// Keeps what has arrived, unless it was seen or there is no room for it.
    pub(super) fn accept(
        &mut self,
        vault: &Vault,
        stocks: &mut Stocks,
        id: Id,
        arrival: &Arrival,
    ) -> Result<Result<(), Refusal>, redb::Error> {
        let endpoint = &*arrival.endpoint;
        if let Some(mark) = &arrival.mark {
            let until = self.seen.get((endpoint, mark.digest))?;
            let until = until.map(|until| until.value());
            if until.is_some_and(|until| until > millis(arrival.at)) {
                if mark.renews {
                    self.remember(endpoint, mark)?;
                }
                return Ok(Err(Refusal::Replayed));
            }
        }
        let Ok(sealed) = vault.seal(&place(id), &arrival.content) else {
            return Ok(Err(Refusal::Unwritten(
                "the system gives no random bytes".to_owned(),
            )));
        };
        let size = sealed.len() as u64 + OVERHEAD;
        if !self.make_room(stocks, &arrival.endpoint, size, arrival.limit)? {
            return Ok(Err(Refusal::Full));
        }
        if let Some(mark) = &arrival.mark {
            self.remember(endpoint, mark)?;
        }
        self.contents.insert(id.0, (endpoint, sealed.as_slice()))?;
        let fact = Fact {
            bytes: size,
            changed: millis(arrival.at),
            ..Fact::default()
        };
        self.facts.insert((endpoint, id.0), fact.columns())?;
        self.wait(endpoint, id, 0)?;
        let stock = stocks.entry(Arc::clone(&arrival.endpoint)).or_default();
        stock.waiting += 1;
        stock.bytes += size;
        Ok(Ok(()))
    }

    /// Remembers a mark until its time, or the one that is known if that is later.
    fn remember(&mut self, endpoint: &str, mark: &Mark) -> Result<(), redb::Error> {
        let key = (endpoint, mark.digest);
        let before = self.seen.get(key)?.map(|before| before.value());
        let until = millis(mark.until).max(before.unwrap_or_default());
        if let Some(before) = before {
            self.forget.remove((before, endpoint, mark.digest))?;
        }
        self.seen.insert(key, until)?;
        self.forget.insert((until, endpoint, mark.digest), ())?;
        Ok(())
    }

    /// Whether an endpoint may have so many bytes more: what was delivered makes room, the oldest first.
    fn make_room(
        &mut self,
        stocks: &mut Stocks,
        endpoint: &Arc<str>,
        size: u64,
        limit: u64,
    ) -> Result<bool, redb::Error> {
        let stock = stocks.entry(Arc::clone(endpoint)).or_default();
        if stock.bytes.saturating_sub(stock.delivered) + size > limit {
            // Whatever goes, it would not do.
            return Ok(false);
        }
        while stock.bytes + size > limit {
            let mut delivered = None;
            for entry in self.facts.range((&**endpoint, stock.first)..)? {
                let (key, columns) = entry?;
                let (of, id) = key.value();
                if of != &**endpoint {
                    break;
                }
                stock.first = id;
                let fact = Fact::of(columns.value());
                if fact.phase == Phase::Delivered {
                    delivered = Some((Id(id), fact.bytes));
                    break;
                }
            }
            let Some((id, bytes)) = delivered else {
                return Ok(false);
            };
            self.remove(endpoint, id)?;
            stock.bytes = stock.bytes.saturating_sub(bytes);
            stock.delivered = stock.delivered.saturating_sub(bytes);
        }
        Ok(true)
    }

    /// Notes what came of an attempt; one that no longer waits stays as it is.
    pub(super) fn settle(
        &mut self,
        stocks: &mut Stocks,
        endpoint: &Arc<str>,
        id: Id,
        outcome: &Outcome,
        now: u64,
    ) -> Result<(), redb::Error> {
        let key = (&**endpoint, id.0);
        let Some(mut fact) = self.fact(endpoint, id)? else {
            return Ok(());
        };
        if fact.phase != Phase::Waiting {
            return Ok(());
        }
        self.due.remove((&**endpoint, fact.due, id.0))?;
        // Somebody wanted it at once while the attempt was made.
        let is_wanted = fact.due == 0 && fact.changed > millis(outcome.began);
        fact.attempts = fact.attempts.saturating_add(1);
        fact.changed = now;
        fact.status = outcome.status;
        outcome.told.clone_into(&mut fact.told);
        (fact.phase, fact.due) = (outcome.phase, outcome.due);
        if is_wanted && fact.phase != Phase::Delivered {
            if fact.phase == Phase::Failed {
                // As if it had been wanted a moment later.
                fact.attempts = 0;
            }
            (fact.phase, fact.due) = (Phase::Waiting, 0);
        }
        if fact.phase == Phase::Waiting {
            self.wait(endpoint, id, fact.due)?;
        } else {
            self.waiting.remove(key)?;
            let stock = stocks.entry(Arc::clone(endpoint)).or_default();
            stock.waiting = stock.waiting.saturating_sub(1);
            if fact.phase == Phase::Delivered {
                stock.delivered += fact.bytes;
                stock.first = stock.first.min(id.0);
            }
        }
        self.facts.insert(key, fact.columns())?;
        Ok(())
    }

    /// Lets a delivery be tried at once, as if it had just arrived; whose it is, if there is one.
    pub(super) fn replay(
        &mut self,
        stocks: &mut Stocks,
        id: Id,
        now: u64,
    ) -> Result<Option<Arc<str>>, redb::Error> {
        let owner = self.contents.get(id.0)?;
        let Some(endpoint) = owner.map(|content| Arc::<str>::from(content.value().0)) else {
            return Ok(None);
        };
        let Some(mut fact) = self.fact(&endpoint, id)? else {
            return Ok(None);
        };
        match fact.phase {
            Phase::Waiting => {
                self.due.remove((&*endpoint, fact.due, id.0))?;
            }
            Phase::Delivered | Phase::Failed => {
                let stock = stocks.entry(Arc::clone(&endpoint)).or_default();
                stock.waiting += 1;
                if fact.phase == Phase::Delivered {
                    stock.delivered = stock.delivered.saturating_sub(fact.bytes);
                }
                fact.attempts = 0;
            }
        }
        fact.phase = Phase::Waiting;
        fact.due = 0;
        fact.changed = now;
        self.wait(&endpoint, id, 0)?;
        self.facts.insert((&*endpoint, id.0), fact.columns())?;
        Ok(Some(endpoint))
    }

    /// Removes what is older than it is kept, and what need not be known any more; whether there may be
    /// more of it.
    pub(super) fn sweep(
        &mut self,
        stocks: &mut Stocks,
        retain: &dyn Fn(&str) -> Duration,
        now: u64,
    ) -> Result<bool, redb::Error> {
        let mut left = SWEPT;
        let mut forgotten = Vec::new();
        for entry in self.forget.range(..(now, "", [0; 16]))?.take(left) {
            let (until, endpoint, digest) = {
                let key = entry?.0;
                let (until, endpoint, digest) = key.value();
                (until, endpoint.to_owned(), digest)
            };
            forgotten.push((until, endpoint, digest));
        }
        left -= forgotten.len();
        for (until, endpoint, digest) in forgotten {
            self.forget.remove((until, &*endpoint, digest))?;
            self.seen.remove((&*endpoint, digest))?;
        }
        for (endpoint, stock) in stocks.iter_mut() {
            let kept = u64::try_from(retain(endpoint).as_millis()).unwrap_or(u64::MAX);
            let before = Id::first_at(now.saturating_sub(kept));
            let mut old = Vec::new();
            for entry in self
                .facts
                .range((&**endpoint, 0)..(&**endpoint, before.0))?
            {
                if old.len() >= left {
                    break;
                }
                let (key, columns) = entry?;
                let fact = Fact::of(columns.value());
                if fact.phase != Phase::Waiting {
                    old.push((Id(key.value().1), fact));
                }
            }
            left -= old.len();
            for (id, fact) in old {
                self.remove(endpoint, id)?;
                stock.bytes = stock.bytes.saturating_sub(fact.bytes);
                if fact.phase == Phase::Delivered {
                    stock.delivered = stock.delivered.saturating_sub(fact.bytes);
                }
            }
        }
        Ok(left == 0)
    }

    fn wait(&mut self, endpoint: &str, id: Id, due: u64) -> Result<(), redb::Error> {
        self.waiting.insert((endpoint, id.0), due)?;
        self.due.insert((endpoint, due, id.0), ())?;
        Ok(())
    }

    fn fact(&self, endpoint: &str, id: Id) -> Result<Option<Fact>, redb::Error> {
        let columns = self.facts.get((endpoint, id.0))?;
        Ok(columns.map(|columns| Fact::of(columns.value())))
    }

    /// Removes one that does not wait.
    fn remove(&mut self, endpoint: &str, id: Id) -> Result<(), redb::Error> {
        self.contents.remove(id.0)?;
        self.facts.remove((endpoint, id.0))?;
        Ok(())
    }
}

/// What a delivery takes beside its content, at the most.
const OVERHEAD: u64 = 512;

/// What a content is sealed for.
pub(super) fn place(id: Id) -> String {
    format!("webhook/{id}")
}

/// The last ID that was given, and what each endpoint has.
pub(super) fn count(database: &redb::Database) -> Result<(Id, Stocks), redb::Error> {
    let transaction = database.begin_read()?;
    let contents = transaction.open_table(CONTENTS)?;
    let last = contents.last()?;
    let last = last.map_or(Id::default(), |(id, _)| Id(id.value()));
    let mut stocks = Stocks::new();
    for entry in transaction.open_table(FACTS)?.iter()? {
        let (key, columns) = entry?;
        let (endpoint, _) = key.value();
        let fact = Fact::of(columns.value());
        if !stocks.contains_key(endpoint) {
            stocks.insert(endpoint.into(), Stock::default());
        }
        if let Some(stock) = stocks.get_mut(endpoint) {
            stock.waiting += u64::from(fact.phase == Phase::Waiting);
            stock.bytes += fact.bytes;
            if fact.phase == Phase::Delivered {
                stock.delivered += fact.bytes;
            }
        }
    }
    Ok((last, stocks))
}
