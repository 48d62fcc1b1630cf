//! The store that a restart empties.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{Backend, Key, StoreError};

/// Values in memory, zeroed when they are replaced.
#[derive(Default)]
pub(super) struct MemoryBackend(Mutex<HashMap<Key, Zeroizing<Vec<u8>>>>);

#[async_trait]
impl Backend for MemoryBackend {
    async fn get(&self, key: &Key) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        Ok(self.0.lock().get(key).cloned())
    }

    async fn put(&self, key: &Key, value: &[u8]) -> Result<(), StoreError> {
        let value = Zeroizing::new(value.to_vec());
        self.0.lock().insert(key.clone(), value);
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.0.lock().remove(key);
        Ok(())
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}
