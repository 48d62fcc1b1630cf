//! Where the answer of an exchange waits for whoever stores it: [`Spool`], a file beside the store.
//!
//! The process that has the store makes and locks it, and hands it to the process that makes the
//! exchange. The lock belongs to the open file: it is held without a gap for as long as either of them
//! lives, and whoever gets it later knows that nothing comes any more.
//!
//! It holds a head, which says whose key it is sealed with; a mark, once what can be shown once is
//! about to be shown; and the sealed answer. What of it is there after a crash therefore tells how far
//! things had come.
//!
//! It is the other process's standard output, to which a library may print. So mark and answer are
//! found by a tag that follows from the key, wherever they stand: what is printed changes nothing.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::seal::Seal;
use super::{Key, StoreError};
use crate::secret::{Origin, Secret};

const MAGIC: &[u8; 8] = b"kbspool1";
const TAG: usize = 16;
const HEAD: usize = MAGIC.len() + TAG;

/// The length of an answer, behind the tag.
const LENGTH: usize = size_of::<u32>();

/// More is not read.
const LONGEST: u64 = 4 << 20;

/// Taken from the disk beforehand, as there may be none when the answer comes; most are shorter.
const RESERVED: u64 = 64 << 10;

/// How soon it is looked again whether a spool is still locked: first, and at most.
const GLANCE: Duration = Duration::from_millis(10);
const GLANCE_AT_MOST: Duration = Duration::from_millis(320);

/// What one spool is sealed with: made for it alone, so that an answer is known to be to this note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolKey(Secret);

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
    /// It was about to begin, and there is no answer that can be read.
    Mark,
    /// There is none, or it is not to this note: it proves nothing.
    Unknown,
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
        id.copy_from_slice(&self.derived("head"));
        head
    }

    /// Is the mark, and begins an answer. Nobody else can write it by chance, nor twice the same.
    fn tag(&self) -> [u8; TAG] {
        self.derived("tag")
    }

    fn derived(&self, what: &str) -> [u8; TAG] {
        let hash = digest(&SHA256, [what, self.expose()].concat().as_bytes());
        let mut derived = [0; TAG];
        derived.copy_from_slice(&hash.as_ref()[..TAG]);
        derived
    }

    fn seal(&self) -> Option<Seal> {
        Seal::parse(self.expose(), "a note")
    }
}

// === impl Spool ===

impl Spool {
    /// A new one, locked. Blocks.
    pub(super) fn make(path: &Path, of: &Key) -> io::Result<Self> {
        let key = SpoolKey::generate()?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        let mut file = options.open(path)?;
        lock(&file)?;
        file.write_all(&key.head())?;
        reserve(&file)?;
        Ok(Self::of(file, path, of, key))
    }

    /// One that is there, not locked. Blocks.
    pub(super) fn existing(path: &Path, of: &Key, key: &SpoolKey) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        Ok(Self::of(file, path, of, key.clone()))
    }

    fn of(file: File, path: &Path, of: &Key, key: SpoolKey) -> Self {
        Self {
            file: Arc::new(file),
            path: path.to_owned(),
            place: place(of),
            key,
        }
    }

    /// The spool that this process was handed, if it is one that nothing has been done with.
    pub fn handed(file: File, key: SpoolKey, place: String) -> Option<Self> {
        let spool = Self {
            file: Arc::new(file),
            path: PathBuf::new(),
            place,
            key,
        };
        let bytes = spool.bytes().ok()?;
        let fresh = bytes.starts_with(&spool.key.head()) && spool.tags(&bytes).next().is_none();
        (fresh && spool.key.seal().is_some()).then_some(spool)
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
        (&*self.file).write_all(&self.key.tag())?;
        self.file.sync_all()
    }

    /// Seals an answer, with all that it is found by.
    ///
    /// # Errors
    /// The system gives no random bytes, or the answer is longer than any that is read.
    pub fn seal(&self, answer: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        let seal = self.key.seal().ok_or_else(no_random)?;
        let sealed = seal.seal(&self.place, answer).map_err(|_| no_random())?;
        let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        let parts = [&self.key.tag()[..], &length.to_be_bytes(), &sealed];
        Ok(Zeroizing::new(parts.concat()))
    }

    /// Finds a sealed answer among other bytes, and opens it; none if there is none to this note.
    pub fn open(&self, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let seal = self.key.seal()?;
        let answers = self.tags(bytes).filter_map(|behind| {
            let (length, rest) = behind.split_first_chunk::<LENGTH>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            seal.open(&self.place, rest.get(..length)?).ok()
        });
        answers.last()
    }

    /// Puts a sealed answer behind the mark; returns once it is on disk. Blocks.
    ///
    /// # Errors
    /// It cannot be written; it may be tried again.
    pub fn put(&self, sealed: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let written = (&*self.file).write_all(sealed);
        written
            .and_then(|()| self.file.sync_all())
            .inspect_err(|_| {
                // Makes room for the next attempt; cutting gives back what was reserved.
                let _ = self.file.set_len(before).and_then(|()| reserve(&self.file));
            })
    }

    /// Waits for the lock, at most so long; whether it is there.
    ///
    /// # Errors
    /// The file system has no locks.
    pub async fn wait(&self, limit: Duration) -> Result<bool, StoreError> {
        let until = Instant::now() + limit;
        let mut glance = GLANCE;
        loop {
            // Of a file system on the network, it is a question to a server.
            let file = Arc::clone(&self.file);
            let tried = tokio::task::spawn_blocking(move || try_lock(&file)).await;
            let tried = tried.unwrap_or_else(|error| Err(io::Error::other(error)));
            if tried.map_err(|error| StoreError::not_spooled("lock", &self.path, error))? {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            sleep(glance.min(left)).await;
            glance = GLANCE_AT_MOST.min(glance * 2);
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
        let bytes = self.bytes()?;
        if let Some(answer) = self.open(&bytes) {
            return Ok(Found::Answer(answer));
        }
        Ok(match self.tags(&bytes).next() {
            Some(_) => Found::Mark,
            None if bytes == self.key.head() => Found::Nothing,
            None => Found::Unknown,
        })
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len().min(LONGEST);
        // Its place in the file is shared with whoever writes, so it is left alone.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// What follows each tag.
    fn tags<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let tag = self.key.tag();
        let starts = bytes.windows(TAG).enumerate();
        starts
            .filter(move |(_, part)| *part == tag)
            .map(|(at, _)| &bytes[at + TAG..])
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
    match try_lock(file)? {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Whether the lock is there.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
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

fn no_random() -> io::Error {
    io::Error::other("the system gives no random bytes")
}
