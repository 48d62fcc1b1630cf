//! Values that must outlive a restart, such as refresh tokens: [`Store`], in a file or in memory.
//!
//! It knows nothing of what it keeps. A value that was put is durable: promises of the credential
//! engine rest on that.

mod fault;
mod file;
mod folder;
mod key_file;
mod memory;
mod seal;
mod spool;
mod spools;
#[cfg(test)]
mod tests;
mod vault;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use self::fault::{OpenError, StoreError};
use self::file::FileBackend;
use self::memory::MemoryBackend;
pub use self::spool::{Found, Spool, SpoolKey};
use self::spools::Spools;
pub use self::vault::Vault;
use crate::secret::Secret;

/// A place to keep values by key. Clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<dyn Backend>);

impl Store {
    /// Opens the store in `folder`, and makes it if there is none. Values are sealed with `key`,
    /// the base64 of 32 bytes, or with the key file in the folder, made with the store.
    ///
    /// The folder belongs to this store until its last clone is dropped. Blocks: for the start.
    ///
    /// # Errors
    /// Whatever keeps the store from being used; what is there stays as it is.
    pub fn file(folder: &Path, key: Option<&Secret>) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(FileBackend::open(folder, key)?)))
    }

    /// A store that a restart empties.
    pub fn memory() -> Self {
        Self(Arc::new(MemoryBackend::default()))
    }

    /// The value of a key; none if there is none.
    ///
    /// # Errors
    /// A value that cannot be read, or that was not sealed for this key.
    pub async fn get(&self, key: &Key) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.0.get(key).await
    }

    /// Sets the value of a key; returns once it is on disk (synced).
    ///
    /// A call that is given up in between may still set it.
    ///
    /// # Errors
    /// A value that cannot be written. The old one stays, unless the disk failed at the very end:
    /// then either may be there.
    pub async fn put(&self, key: &Key, value: &[u8]) -> Result<(), StoreError> {
        self.0.put(key, value).await
    }

    /// Forgets the value of a key, if there is one; returns once that is on disk.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.0.remove(key).await
    }

    /// Makes a locked [`Spool`] beside the value of a key, in place of one that is there; none where a
    /// restart forgets everything.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn make_spool(&self, key: &Key) -> Result<Option<Spool>, StoreError> {
        self.spools(key, |spools, key| spools.make(key).map(Some))
            .await
    }

    /// The spool beside the value of a key, not locked; none if there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open_spool(
        &self,
        key: &Key,
        sealed_with: &SpoolKey,
    ) -> Result<Option<Spool>, StoreError> {
        let sealed_with = sealed_with.clone();
        self.spools(key, move |spools, key| spools.open(key, &sealed_with))
            .await
    }

    /// Removes the spool beside the value of a key, if there is one.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn remove_spool(&self, key: &Key) -> Result<(), StoreError> {
        let removed = self.spools(key, |spools, key| spools.remove(key).map(|()| None));
        removed.await.map(drop)
    }

    /// The store's folder and key, for more files; none where a restart forgets everything.
    pub fn vault(&self) -> Option<Vault> {
        self.0.vault()
    }

    /// Works on files, on a thread that may wait for them.
    async fn spools<F>(&self, key: &Key, work: F) -> Result<Option<Spool>, StoreError>
    where
        F: FnOnce(&Spools, &Key) -> Result<Option<Spool>, StoreError> + Send + 'static,
    {
        let Some(spools) = self.0.spools().cloned() else {
            return Ok(None);
        };
        let (inside, name) = (spools.clone(), key.clone());
        let worked = tokio::task::spawn_blocking(move || work(&inside, &name)).await;
        worked.unwrap_or_else(|error| Err(spools.not_used(key, error)))
    }
}

/// The name of a value, such as `oauth2/NAME/HEXDIGEST`. It is no secret: it is stored as it is, and
/// shown in messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// The key of this name.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where values are kept. Its `Debug` output tells no value.
#[async_trait]
trait Backend: fmt::Debug + Send + Sync {
    async fn get(&self, key: &Key) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError>;

    async fn put(&self, key: &Key, value: &[u8]) -> Result<(), StoreError>;

    async fn remove(&self, key: &Key) -> Result<(), StoreError>;

    /// Where answers wait for values; nowhere, if a restart forgets those.
    fn spools(&self) -> Option<&Spools> {
        None
    }

    /// The folder; none, likewise.
    fn vault(&self) -> Option<Vault> {
        None
    }
}
