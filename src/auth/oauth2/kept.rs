//! Where the tokens of a consent are: [`Kept`], which makes them durable before they are used.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::record::{Note, Record};
use crate::auth::courier::{self, Courier};
use crate::auth::state::{Fault, Lapse};
use crate::store::{Found, Key, Spool, Store, StoreError};

/// Where the tokens of a consent are.
#[derive(Debug)]
pub(in crate::auth) struct Kept {
    pub(in crate::auth) store: Store,
    pub(in crate::auth) key: Key,
    /// Held by whoever spends the refresh token, as each can be spent once.
    pub(in crate::auth) grant: Arc<Mutex<GrantState>>,
    /// Exchanges that the end of the process waits for; closed from then on.
    pub(in crate::auth) exchanges: TaskTracker,
    /// Who makes exchanges whose answers must outlive this process.
    pub(in crate::auth) courier: Arc<Courier>,
}

/// What one grant's users share, whatever their other settings.
#[derive(Debug, Default)]
pub(in crate::auth) struct GrantState {
    /// What came of an exchange but could not be stored: its refresh token is the one that is good.
    pub(super) unsaved: Option<Record>,
}

impl Kept {
    /// Begins an exchange whose answer must not be lost: the end of the process waits for it until
    /// what this gives is dropped.
    ///
    /// # Errors
    /// The process is ending.
    pub(super) fn begin(&self) -> Result<TaskTrackerToken, Fault> {
        // Taken before it is looked: whoever closes it meanwhile waits for us.
        let token = self.exchanges.token();
        if self.exchanges.is_closed() {
            let detail = "keybearer is stopping; ask again once it is back";
            return Err(Fault::new(Lapse::Passing, detail));
        }
        Ok(token)
    }

    pub(super) async fn read(&self) -> Result<Option<Record>, Fault> {
        let Some(bytes) = self.store.get(&self.key).await.map_err(unstored)? else {
            return Ok(None);
        };
        let record = Record::parse(&bytes).ok_or_else(|| {
            let detail = "what is stored of the connection cannot be read; link it again";
            Fault::new(Lapse::Reauthorize, detail)
        })?;
        Ok(Some(record))
    }

    /// The tokens as they were left. A spool that no note is of is left over, and goes.
    pub(super) async fn recall(&self) -> Result<Option<Record>, Fault> {
        // Whoever has the grant may be about to write the note of theirs.
        let Ok(_grant) = self.grant.try_lock() else {
            return self.read().await;
        };
        let record = self.read().await?;
        if record.as_ref().is_none_or(|record| record.note.is_none()) {
            self.clear().await;
        }
        Ok(record)
    }

    /// A place for the next answer, if there can be one.
    pub(super) async fn spool(&self) -> Option<Arc<Spool>> {
        match self.store.make_spool(&self.key).await {
            Ok(spool) => spool.map(Arc::new),
            Err(error) => {
                self.courier.warn(&error.to_string());
                None
            }
        }
    }

    /// What there is of the answer that a note is of, waited for if it is still to come.
    pub(super) async fn spooled(&self, note: &Note) -> Result<Found, Fault> {
        let passing = |why: String| Fault::new(Lapse::Passing, why);
        let unread = |error: StoreError| passing(format!("nothing is refreshed yet: {error}"));
        let Some(key) = &note.spool else {
            return Ok(Found::Unknown);
        };
        let spool = self.store.open_spool(&self.key, key).await;
        let Some(spool) = spool.map_err(unread)?.map(Arc::new) else {
            return Ok(Found::Unknown);
        };
        if !spool.wait(Duration::ZERO).await.map_err(unread)? {
            tracing::info!(key = %self.key, "Waiting for a refresh that began before");
            if !spool.wait(courier::LIFETIME).await.map_err(unread)? {
                let why = format!(
                    "a refresh that began before, by a process `keybearer {}` that still runs, has not ended within {:?}, and nothing else is refreshed until it has; {}",
                    courier::COMMAND,
                    courier::LIFETIME,
                    courier::HUNG
                );
                return Err(passing(why));
            }
        }
        spool.read().await.map_err(unread)
    }

    /// Removes the spool of an answer that was stored, or that nobody waits for.
    pub(super) async fn clear(&self) {
        if let Err(error) = self.store.remove_spool(&self.key).await {
            // The next one takes its place.
            tracing::debug!(key = %self.key, %error, "Spool not removed");
        }
    }

    /// Writes down that a refresh token is about to be shown, before it is: should the answer be
    /// lost, this is how it is known. And where this cannot be written, the answer could not be
    /// either, so nothing is asked for.
    pub(super) async fn note(&self, record: &Record) -> Result<(), Fault> {
        let noted = self.store.put(&self.key, &record.to_bytes()).await;
        noted.map_err(|error| {
            let detail = format!("nothing is refreshed, as it could not be stored: {error}");
            Fault::new(Lapse::Passing, detail)
        })
    }

    /// Returns once it is on disk: a token that is used before could be lost with its successor. Only
    /// then is the spool removed that it may have come from.
    pub(super) async fn write(&self, record: &Record) -> Result<(), Fault> {
        self.put(record).await?;
        self.clear().await;
        Ok(())
    }

    async fn put(&self, record: &Record) -> Result<(), Fault> {
        let bytes = record.to_bytes();
        let mut wait = Duration::from_millis(100);
        // The old refresh token may be spent by now, so what came for it is not given up lightly.
        for _ in 0..6 {
            match self.store.put(&self.key, &bytes).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::error!(key = %self.key, %error, "Tokens not stored"),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.store.put(&self.key, &bytes).await.map_err(unstored)
    }

    pub(super) async fn remove(&self) -> Result<(), Fault> {
        self.store.remove(&self.key).await.map_err(unstored)?;
        self.clear().await;
        Ok(())
    }
}

fn unstored(error: StoreError) -> Fault {
    Fault::new(Lapse::Passing, format!("the store failed: {error}"))
}
