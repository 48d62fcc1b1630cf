//! The folder of a store: made, checked and locked, and files in it made whole or not at all.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::OpenError;

const LOCK: &str = "store.lock";

/// A folder that belongs to this process for as long as this value lives.
pub(super) struct Folder {
    path: PathBuf,
    lock: File,
}

/// What other users may not do.
#[derive(Clone, Copy)]
pub(super) enum Forbidden {
    ReadAndWrite,
    Write,
}

impl Folder {
    /// Takes a folder, and makes it if there is none.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        make(path)?;
        let metadata = fs::metadata(path).map_err(OpenError::failed("look at", path))?;
        Forbidden::Write.check(path, &metadata)?;
        Ok(Self {
            path: path.to_owned(),
            lock: lock(path)?,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is anything of this name. A link that leads nowhere counts: what it led to may
    /// come back.
    pub(super) fn has(&self, name: &str) -> Result<bool, OpenError> {
        let path = self.path(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(OpenError::failed("look at", &path)(error)),
        }
    }

    /// Opens a file to read and write, and makes it, readable by its owner alone, if there is none.
    pub(super) fn open_or_make(&self, name: &str) -> Result<File, OpenError> {
        let path = self.path(name);
        if self.has(name)? {
            let metadata = fs::metadata(&path).map_err(OpenError::failed("open", &path))?;
            if !metadata.is_file() {
                let error = io::ErrorKind::InvalidInput.into();
                return Err(OpenError::failed("open", &path)(error));
            }
            Forbidden::Write.check(&path, &metadata)?;
        }
        let file = owned().read(true).create(true).truncate(false).open(&path);
        let file = file.map_err(OpenError::failed("open", &path))?;
        sync(&self.path)?;
        Ok(file)
    }

    /// Makes a file that is not there, readable by its owner alone. It is written and synced under
    /// another name: a crash leaves no half of it. Nobody else makes it at the same time, as the
    /// folder is locked.
    pub(super) fn create(
        &self,
        name: &str,
        fill: impl FnOnce(File, &Path) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        let draft = self.path(&format!("{name}.new"));
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(OpenError::failed("remove", &draft)(error));
            }
            _ => {}
        }
        let file = owned().read(true).create_new(true).open(&draft);
        let file = file.map_err(OpenError::failed("make", &draft))?;
        let synced = file
            .try_clone()
            .map_err(OpenError::failed("make", &draft))?;
        fill(file, &draft)?;
        synced
            .sync_all()
            .map_err(OpenError::failed("sync", &draft))?;
        let path = self.path(name);
        fs::rename(&draft, &path).map_err(OpenError::failed("make", &path))?;
        sync(&self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing is not enough: a program that is being started holds a copy for a moment. It fails
        // where there are no locks.
        let _ = self.lock.unlock();
    }
}

// === impl Forbidden ===

impl Forbidden {
    /// Refuses what other users can do to a file or folder.
    pub(super) fn check(self, path: &Path, metadata: &Metadata) -> Result<(), OpenError> {
        let (bits, change, readable) = match self {
            Self::ReadAndWrite => (0o077, "go=", true),
            Self::Write => (0o022, "go-w", false),
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & bits == 0 {
            return Ok(());
        }
        Err(OpenError::Unprotected {
            path: path.to_owned(),
            mode,
            change,
            readable,
        })
    }
}

fn make(path: &Path) -> Result<(), OpenError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(_) => {
            let error = io::ErrorKind::NotADirectory.into();
            return Err(OpenError::failed("use", path)(error));
        }
        Err(error) => return Err(OpenError::failed("use", path)(error)),
    }
    let absent = path.ancestors().take_while(|folder| !folder.exists());
    let parents: Vec<&Path> = absent.filter_map(Path::parent).collect();
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(OpenError::failed("make", path))?;
    parents.into_iter().try_for_each(sync)
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let file = owned().create(true).truncate(false).open(&path);
    let file = file.map_err(OpenError::failed("write", &path))?;
    let until = Instant::now() + HANDOVER;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(OpenError::failed("lock", &path)(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(GLANCE),
            Err(TryLockError::WouldBlock) => {
                let folder = folder.to_owned();
                return Err(OpenError::InUse { folder });
            }
        }
    }
}

/// The lock is waited for so long: one that is killed while it starts a program leaves the lock to that
/// until the program runs, and one that is being stopped is about to let go of it.
const HANDOVER: Duration = Duration::from_secs(2);

/// How often the lock is tried meanwhile.
const GLANCE: Duration = Duration::from_millis(20);

fn sync(folder: &Path) -> Result<(), OpenError> {
    sync_entries(folder).map_err(OpenError::failed("sync", folder))
}

/// Writes a folder's entries to disk.
pub(super) fn sync_entries(folder: &Path) -> io::Result<()> {
    let here = folder.as_os_str().is_empty();
    let folder = if here { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn owned() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}
