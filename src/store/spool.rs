//! Where the answer of an exchange waits for whoever stores it: [`Spool`], a file beside the store.
//!
//! The process that has the store makes and locks it, and hands it to the process that makes the
//! exchange. The lock belongs to the open file: it is held without a gap for as long as either of them
//! lives, and whoever gets it later knows that nothing comes any more.
//!
//! It holds a head, which says whose key it is sealed with; a mark, once what can be shown once is
//! about to be shown; and the sealed answer. What of it is there after a crash therefore tells how far
//! things had come.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::folder::sync_entries;
use super::seal::Seal;
use super::{Key, StoreError};
use crate::secret::{Origin, Secret};

/// The folder, in that of the store.
const FOLDER: &str = "spool";

const MAGIC: &[u8; 8] = b"kbspool1";
const HEAD: usize = MAGIC.len() + 16;
const MARK: u8 = b'!';

/// More is not read.
const LONGEST: u64 = 4 << 20;

/// Taken from the disk beforehand, as there may be none when the answer comes; most are shorter.
const RESERVED: u64 = 64 << 10;

/// How often it is looked whether a spool is still locked. Each is one cheap system call.
const GLANCE: Duration = Duration::from_millis(20);

/// What one spool is sealed with: made for it alone, so that an answer is known to be to this note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolKey(Secret);

/// The spools of a store.
#[derive(Clone, Debug)]
pub(super) struct Spools(Arc<Path>);

/// The spool of one value, and the lock on it.
pub struct Spool {
    file: Arc<File>,
    path: PathBuf,
    place: String,
    key: SpoolKey,
}

/// What a spool tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The exchange was not begun.
    Nothing,
    /// It may have been begun; if so, its answer is lost.
    Mark,
    /// The answer.
    Answer(Zeroizing<Vec<u8>>),
}

// === impl SpoolKey ===

impl SpoolKey {
    /// The key that was written as this text; whether it is one shows when it is used.
    pub fn new(text: &str) -> Self {
        Self(Secret::new(text, Origin::Issued))
    }

    /// Its base64, for a place that is as safe as the store.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    fn generate() -> io::Result<Self> {
        let text = Seal::generate().map_err(|_| no_random())?;
        Ok(Self::new(&text))
    }

    /// Begins a spool; of the key it tells nothing.
    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let (magic, id) = head.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        let hash = digest(&SHA256, self.expose().as_bytes());
        id.copy_from_slice(&hash.as_ref()[..HEAD - MAGIC.len()]);
        head
    }

    fn seal(&self) -> Option<Seal> {
        Seal::parse(self.expose(), "a note")
    }
}

// === impl Spools ===

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
        let key = SpoolKey::generate().map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        lock(&file).map_err(failed)?;
        file.write_all(&key.head()).map_err(failed)?;
        reserve(&file).map_err(failed)?;
        sync_entries(&self.0).map_err(failed)?;
        Ok(Spool {
            file: Arc::new(file),
            place: place(of),
            path,
            key,
        })
    }

    /// The spool of a value, not locked; none if there is none. Blocks.
    pub(super) fn open(&self, of: &Key, key: &SpoolKey) -> Result<Option<Spool>, StoreError> {
        let path = self.path(of);
        let file = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::not_spooled("open", &path, error)),
        };
        Ok(Some(Spool {
            file: Arc::new(file),
            path,
            place: place(of),
            key: key.clone(),
        }))
    }

    /// Removes the spool of a value, if there is one. Blocks.
    pub(super) fn remove(&self, of: &Key) -> Result<(), StoreError> {
        let path = self.path(of);
        remove(&path).map_err(|error| StoreError::not_spooled("remove", &path, error))
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

// === impl Spool ===

impl Spool {
    /// The spool that this process was handed, if it is one that nothing has been done with.
    pub fn handed(file: File, key: SpoolKey, place: String) -> Option<Self> {
        let spool = Self {
            file: Arc::new(file),
            path: PathBuf::new(),
            place,
            key,
        };
        let fresh = spool.key.seal().is_some() && matches!(spool.look(), Ok(Found::Nothing));
        fresh.then_some(spool)
    }

    /// Another handle of the same open file, for the process that is to have it, too.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn hand(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// What it is sealed with, for the note of it.
    pub fn key(&self) -> &SpoolKey {
        &self.key
    }

    /// What its answer is sealed for.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Notes that the exchange is about to begin; returns once that is on disk. Blocks.
    ///
    /// # Errors
    /// It cannot be written: then nothing may be begun.
    pub fn mark(&self) -> io::Result<()> {
        (&*self.file).write_all(&[MARK])?;
        self.file.sync_all()
    }

    /// Seals an answer.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn seal(&self, answer: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        let seal = self.key.seal().ok_or_else(no_random)?;
        seal.seal(&self.place, answer).map_err(|_| no_random())
    }

    /// Opens a sealed answer that came another way; none if it is not to this note.
    pub fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.key.seal()?.open(&self.place, sealed).ok()
    }

    /// Puts a sealed answer behind the mark; returns once it is on disk. Blocks.
    ///
    /// # Errors
    /// It cannot be written; it may be tried again.
    pub fn put(&self, sealed: &[u8]) -> io::Result<()> {
        let begun = HEAD as u64 + 1;
        // Only what an attempt before has left is cut off: cutting gives back what was reserved.
        if self.file.metadata()?.len() != begun {
            self.file.set_len(begun)?;
            reserve(&self.file)?;
        }
        (&*self.file).write_all(sealed)?;
        self.file.sync_all()
    }

    /// Waits for the lock, at most so long; whether there it is.
    ///
    /// # Errors
    /// The file system has no locks.
    pub async fn wait(&self, limit: Duration) -> Result<bool, StoreError> {
        let until = Instant::now() + limit;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::Error(error)) => {
                    return Err(StoreError::not_spooled("lock", &self.path, error));
                }
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(false),
                Err(TryLockError::WouldBlock) => sleep(GLANCE).await,
            }
        }
    }

    /// What it tells; final once nobody else has the lock.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(self: &Arc<Self>) -> Result<Found, StoreError> {
        let spool = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || spool.look()).await;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        read.map_err(|error| StoreError::not_spooled("read", &self.path, error))
    }

    fn look(&self) -> io::Result<Found> {
        let length = self.file.metadata()?.len().min(LONGEST);
        // Its place in the file is shared with whoever writes, so it is left alone.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(match bytes.strip_prefix(&self.key.head()) {
            Some([]) => Found::Nothing,
            Some([MARK, sealed @ ..]) => self.open(sealed).map_or(Found::Mark, Found::Answer),
            // Another's, or damaged: it proves nothing.
            Some(_) | None => Found::Mark,
        })
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a spool's answer is sealed for.
fn place(of: &Key) -> String {
    format!("spool/{of}")
}

/// Nobody else can have the lock of a file that was made just now.
fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::Error(error) => error,
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
    })
}

/// Makes room for the answer, where the file system can.
#[cfg(target_os = "linux")]
fn reserve(file: &File) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, RESERVED) {
        Ok(()) => Ok(()),
        Err(error) => match io::Error::from(error) {
            full if is_full(&full) => Err(full),
            _ => Ok(()),
        },
    }
}

#[cfg(target_os = "linux")]
fn is_full(error: &io::Error) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    full.contains(&error.kind())
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File) -> io::Result<()> {
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn no_random() -> io::Error {
    io::Error::other("the system gives no random bytes")
}
