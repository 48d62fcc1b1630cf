//! Where the tokens of a consent are: [`Kept`], which makes them durable before they are used.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::record::Record;
use crate::auth::state::{Fault, Lapse};
use crate::store::{Key, Store, StoreError};

/// Where the tokens of a consent are.
#[derive(Debug)]
pub(in crate::auth) struct Kept {
    pub(in crate::auth) store: Store,
    pub(in crate::auth) key: Key,
    /// Held by whoever spends the refresh token, as each can be spent once.
    pub(in crate::auth) grant: Arc<Mutex<GrantState>>,
    /// Exchanges that the end of the process waits for; closed from then on.
    pub(in crate::auth) exchanges: TaskTracker,
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

    /// Returns once it is on disk: a token that is used before could be lost with its successor.
    pub(super) async fn write(&self, record: &Record) -> Result<(), Fault> {
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
        self.store.remove(&self.key).await.map_err(unstored)
    }
}

fn unstored(error: StoreError) -> Fault {
    Fault::new(Lapse::Passing, format!("the store failed: {error}"))
}
