//! More files in a store's folder, sealed with its key: [`Vault`].

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ring::error::Unspecified;
use zeroize::Zeroizing;

use super::OpenError;
use super::file::Inside;

/// The folder and the key of a store, for what is no value: each file is one owner's. The folder belongs
/// to the store until the last clone is dropped. Clones share it.
#[derive(Clone)]
pub struct Vault(Arc<Inside>);

impl Vault {
    pub(super) fn new(inside: Arc<Inside>) -> Self {
        Self(inside)
    }

    /// Opens a file of the folder to read and write, and makes it if there is none. Blocks.
    ///
    /// # Errors
    /// It cannot be opened, or other users may write to it.
    pub fn file(&self, name: &str) -> Result<File, OpenError> {
        self.0.folder.open_or_make(name)
    }

    /// Makes a file of the folder, if there is none: whole, or not at all. Blocks.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make<T>(
        &self,
        name: &str,
        fill: impl FnOnce(File) -> io::Result<T>,
    ) -> Result<(), OpenError> {
        let folder = &self.0.folder;
        if folder.has(name)? {
            return Ok(());
        }
        folder.create(name, |file, draft| {
            fill(file)
                .map(drop)
                .map_err(OpenError::failed("make", draft))
        })
    }

    /// Where a file of the folder is, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.folder.path(name)
    }

    /// Seals what a place has, which never has anything else.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn seal(&self, place: &str, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        self.0.seal.seal_once(place, value)
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// It was sealed for another place or by another store, or was changed.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        self.0.seal.open_once(place, sealed)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}
