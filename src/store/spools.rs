//! The spools of a store: [`Spools`], a folder of them.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};

use super::folder::sync_entries;
use super::spool::{Spool, SpoolKey, try_lock};
use super::{Key, StoreError};

/// The folder, in that of the store.
const FOLDER: &str = "spool";

/// After so long nobody takes an answer any more: hardly a refresh token is good that was not used
/// meanwhile.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The spools of a store.
#[derive(Clone, Debug)]
pub(super) struct Spools(Arc<Path>);

impl Spools {
    pub(super) fn in_folder(store: &Path) -> Self {
        Self(store.join(FOLDER).into())
    }

    /// Makes the spool of a value, in place of one that is there. Blocks.
    pub(super) fn make(&self, of: &Key) -> Result<Spool, StoreError> {
        let path = self.path(of);
        let failed = |source| StoreError::not_spooled("make", &path, source);
        self.make_folder().map_err(failed)?;
        remove(&path).map_err(failed)?;
        let spool = Spool::make(&path, of).map_err(failed)?;
        sync_entries(&self.0).map_err(failed)?;
        Ok(spool)
    }

    /// The spool of a value, not locked; none if there is none. Blocks.
    pub(super) fn open(&self, of: &Key, key: &SpoolKey) -> Result<Option<Spool>, StoreError> {
        let path = self.path(of);
        match Spool::existing(&path, of, key) {
            Ok(spool) => Ok(Some(spool)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::not_spooled("open", &path, error)),
        }
    }

    /// Removes the spool of a value, if there is one. Blocks.
    pub(super) fn remove(&self, of: &Key) -> Result<(), StoreError> {
        let path = self.path(of);
        remove(&path).map_err(|error| StoreError::not_spooled("remove", &path, error))
    }

    /// Removes spools that nobody will ask for: of values that are not kept any more, and those that
    /// were left alone for a long time. One that is locked may still be written to, and stays. Blocks:
    /// for the start, before any is made.
    pub(super) fn sweep(&self, kept: &[Key], now: SystemTime) {
        let wanted: HashSet<_> = kept.iter().map(|key| self.path(key)).collect();
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if !wanted.contains(&path) || is_old(&path, now) {
                match remove_unlocked(&path) {
                    Ok(true) => {
                        tracing::info!(path = %path.display(), "Spool removed that nobody will ask for")
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::debug!(path = %path.display(), %error, "Spool not removed")
                    }
                }
            }
        }
    }

    pub(super) fn not_used(&self, of: &Key, error: impl Into<io::Error>) -> StoreError {
        StoreError::not_spooled("use", &self.path(of), error.into())
    }

    fn make_folder(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Ok(()) => sync_entries(self.0.parent().unwrap_or(Path::new("."))),
            // What mounts volumes may have changed its mode.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))
            }
            Err(error) => Err(error),
        }
    }

    /// A name for every value, whatever characters its own has.
    fn path(&self, of: &Key) -> PathBuf {
        let hash = digest(&SHA256, of.as_str().as_bytes());
        let name = hash.as_ref().iter().take(16);
        self.0
            .join(name.map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

fn is_old(path: &Path, now: SystemTime) -> bool {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age > KEPT))
}

/// Whether it was removed, as nobody had it locked.
fn remove_unlocked(path: &Path) -> io::Result<bool> {
    let free = try_lock(&File::open(path)?)?;
    if free {
        remove(path)?;
    }
    Ok(free)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
