//! The store as credentials find it: opened when something first needs it.

use parking_lot::Mutex;

use super::aws::external_id::ExternalIds;
use crate::config;
use crate::store::{OpenError, Store};

/// The store, opened when the first connection needs it: who keeps nothing needs no place for it.
pub(super) struct StoreSlot {
    settings: config::Store,
    opened: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    store: Option<Store>,
    external_ids: Option<ExternalIds>,
}

/// There is no place for what has to be kept.
#[derive(Debug, thiserror::Error)]
pub enum NoStore {
    /// A restart would make another of what has to stay the same.
    #[error(
        "`store.type` is `memory`, which a restart empties; set it to `file`, or set `external_id`"
    )]
    Forgets,
    /// Nothing says where.
    #[error("neither `store.path` nor $XDG_STATE_HOME nor $HOME is set; set `store.path`")]
    NoFolder,
    /// It cannot be used.
    #[error(transparent)]
    NotOpened(#[from] OpenError),
}

impl StoreSlot {
    pub(super) fn new(settings: config::Store) -> Self {
        Self {
            settings,
            opened: Mutex::default(),
        }
    }

    /// Blocks: for the start, and for reloads.
    pub(super) fn open(&self) -> Result<Store, NoStore> {
        self.opened.lock().store(&self.settings)
    }

    /// As [`open`](Self::open). A store that forgets has none.
    pub(super) fn external_ids(&self) -> Result<ExternalIds, NoStore> {
        if self.settings == config::Store::Memory {
            return Err(NoStore::Forgets);
        }
        let mut opened = self.opened.lock();
        if let Some(ids) = &opened.external_ids {
            return Ok(ids.clone());
        }
        let store = opened.store(&self.settings)?;
        Ok(opened.external_ids.insert(ExternalIds::new(store)).clone())
    }
}

impl Opened {
    fn store(&mut self, settings: &config::Store) -> Result<Store, NoStore> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let store = match settings {
            config::Store::File { folder, key } => {
                let folder = folder.as_ref().ok_or(NoStore::NoFolder)?;
                Store::file(folder, key.as_ref().map(|key| &key.0))?
            }
            config::Store::Memory => Store::memory(),
        };
        Ok(self.store.insert(store).clone())
    }
}

/// The external IDs in a store that nobody else has opened.
///
/// # Errors
/// It cannot be opened, or would forget them.
pub fn external_ids(settings: &config::Store) -> Result<ExternalIds, NoStore> {
    StoreSlot::new(settings.clone()).external_ids()
}
