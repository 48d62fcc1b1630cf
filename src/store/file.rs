//! The store in a file: sealed values in a redb database, whose commits are synced.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, Table,
    TableDefinition,
};
use zeroize::Zeroizing;

use super::fault::told;
use super::folder::{Folder, Forbidden};
use super::seal::Seal;
use super::spools::Spools;
use super::vault::Vault;
use super::{Backend, Key, OpenError, StoreError, key_file};
use crate::secret::Secret;

const STORE: &str = "store.redb";

const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
/// What tells the right key from a wrong one: an empty value, sealed when the store was made.
const CHECKS: TableDefinition<&str, &[u8]> = TableDefinition::new("checks");
const CHECK: &str = "key";

/// Tokens are small and seldom read.
const CACHE: usize = 1 << 20;
/// A store's file, and the folder that it is alone in.
pub(super) struct FileBackend(Arc<Inside>);

pub(super) struct Inside {
    path: PathBuf,
    pub(super) seal: Seal,
    spools: Spools,
    /// None after a failure: redb refuses a file of which a write failed until it is opened anew.
    opened: RwLock<Option<Opened>>,
    /// Last, so that it is given up when the file is closed.
    pub(super) folder: Folder,
}

struct Opened {
    database: Database,
    identity: Identity,
}

/// Device and inode.
#[derive(PartialEq, Eq)]
struct Identity(u64, u64);

impl FileBackend {
    pub(super) fn open(path: &Path, key: Option<&Secret>) -> Result<Self, OpenError> {
        let folder = Folder::open(path)?;
        let exists = folder.has(STORE)?;
        let seal = match key {
            Some(key) => key_file::given(key)?,
            None => key_file::read_or_make(&folder, exists.then_some(STORE))?,
        };
        if !exists {
            folder.create(STORE, |file, draft| create(file, draft, &seal))?;
        }
        let spools = Spools::in_folder(path);
        let path = folder.path(STORE);
        let opened = Opened::open(&path, &seal)?;
        let kept = keys(&opened.database).map_err(|error| refused(&path, error))?;
        spools.sweep(&kept, SystemTime::now());
        Ok(Self(Arc::new(Inside {
            path,
            seal,
            spools,
            opened: RwLock::new(Some(opened)),
            folder,
        })))
    }
}

#[async_trait]
impl Backend for FileBackend {
    async fn get(&self, key: &Key) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let (inside, name) = (Arc::clone(&self.0), key.clone());
        let read = tokio::task::spawn_blocking(move || inside.read(&name)).await;
        let read = read.unwrap_or_else(|error| Err(self.0.not_read(key, error)))?;
        let Some(sealed) = read else { return Ok(None) };
        match self.0.seal.open(&place(key), &sealed) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(StoreError::Tampered {
                key: key.clone(),
                path: self.0.path.clone(),
            }),
        }
    }

    async fn put(&self, key: &Key, value: &[u8]) -> Result<(), StoreError> {
        let sealed = self.0.seal.seal(&place(key), value);
        let sealed = sealed.map_err(|_| {
            let cause = "it cannot be sealed: the system gives no random bytes";
            self.0.not_written(key, cause)
        })?;
        let change = move |table: &mut Table<&str, &[u8]>, key: &str| {
            table.insert(key, sealed.as_slice()).map(drop)
        };
        self.change(key, change).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.change(key, |table, key| table.remove(key).map(drop))
            .await
    }

    fn spools(&self) -> Option<&Spools> {
        Some(&self.0.spools)
    }

    fn vault(&self) -> Option<Vault> {
        Some(Vault::new(Arc::clone(&self.0)))
    }
}

impl FileBackend {
    /// A transaction of its own thread: once begun it ends, whether or not the caller still waits.
    async fn change<F>(&self, key: &Key, change: F) -> Result<(), StoreError>
    where
        F: FnOnce(&mut Table<&str, &[u8]>, &str) -> Result<(), redb::StorageError> + Send + 'static,
    {
        let (inside, name) = (Arc::clone(&self.0), key.clone());
        let changed = tokio::task::spawn_blocking(move || inside.write(&name, change)).await;
        changed.unwrap_or_else(|error| Err(self.0.not_written(key, error)))
    }
}

impl fmt::Debug for FileBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBackend")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

// === impl Inside ===

impl Inside {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        let opened = self.opened()?;
        let read = read(&opened.database, VALUES, key.as_str());
        drop(opened);
        read.map_err(|error| {
            self.close_after(&error);
            self.not_read(key, told(&error))
        })
    }

    fn write(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Table<&str, &[u8]>, &str) -> Result<(), redb::StorageError>,
    ) -> Result<(), StoreError> {
        let opened = self.opened()?;
        let written = write(&opened.database, VALUES, |table| {
            change(table, key.as_str())
        });
        // Looked at when all is written, so that whatever was written is known to have a name.
        let moved = Identity::of_path(&self.path).ok().as_ref() != Some(&opened.identity);
        drop(opened);
        if let Err(error) = written {
            self.close_after(&error);
            return Err(self.not_written(key, told(&error)));
        }
        if moved {
            return Err(StoreError::Moved {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// The open file, opened again if it was closed after a failure.
    fn opened(&self) -> Result<MappedRwLockReadGuard<'_, Opened>, StoreError> {
        if let Ok(opened) = RwLockReadGuard::try_map(self.opened.read(), Option::as_ref) {
            return Ok(opened);
        }
        let mut guard = self.opened.write();
        if guard.is_none() {
            let opened = Opened::open(&self.path, &self.seal);
            *guard = Some(opened.map_err(StoreError::NotOpened)?);
        }
        RwLockReadGuard::try_map(RwLockWriteGuard::downgrade(guard), Option::as_ref)
            .map_err(|_| unreachable!("the file was opened under the same lock"))
    }

    fn close_after(&self, error: &redb::Error) {
        tracing::warn!(path = %self.path.display(), %error, "Store closed after a failure");
        *self.opened.write() = None;
    }

    fn not_read(&self, key: &Key, cause: impl fmt::Display) -> StoreError {
        StoreError::NotRead {
            key: key.clone(),
            path: self.path.clone(),
            cause: cause.to_string(),
        }
    }

    fn not_written(&self, key: &Key, cause: impl fmt::Display) -> StoreError {
        StoreError::NotWritten {
            key: key.clone(),
            path: self.path.clone(),
            cause: cause.to_string(),
        }
    }
}

// === impl Opened ===

impl Opened {
    fn open(path: &Path, seal: &Seal) -> Result<Self, OpenError> {
        // Before it is opened, as opening a pipe waits for somebody at its other end.
        let metadata = fs::metadata(path).map_err(OpenError::failed("open", path))?;
        if !metadata.is_file() {
            return Err(damaged(path, "it is no file"));
        }
        Forbidden::Write.check(path, &metadata)?;
        let file = OpenOptions::new().read(true).write(true).open(path);
        let mut file = file.map_err(OpenError::failed("open", path))?;
        let identity = Identity::of_path(path).map_err(OpenError::failed("open", path))?;
        rehearse(&mut file, path, seal)?;
        let backend = redb::backends::FileBackend::new(file);
        let database = backend.and_then(|backend| builder().create_with_backend(backend));
        Ok(Self {
            database: database.map_err(|error| refused(path, error.into()))?,
            identity,
        })
    }
}

impl Identity {
    fn of_path(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}

/// Opens a copy in memory. Opening writes, and a file that is damaged or another key's must stay as it
/// is, for whoever mends it.
fn rehearse(file: &mut File, path: &Path, seal: &Seal) -> Result<(), OpenError> {
    let mut bytes = Vec::new();
    let length = file.read_to_end(&mut bytes);
    length.map_err(OpenError::failed("read", path))?;
    if bytes.is_empty() {
        return Err(damaged(path, "it is empty"));
    }
    // redb checks what it reads, but asserts some of it.
    let check = catch_unwind(AssertUnwindSafe(|| {
        let copy = InMemoryBackend::new();
        copy.set_len(bytes.len() as u64)?;
        copy.write(0, &bytes)?;
        let database = builder()
            .set_check_integrity_on_open(true)
            .create_with_backend(copy)?;
        read(&database, CHECKS, CHECK)
    }));
    let check = check.unwrap_or_else(|_| Err(redb::Error::Corrupted("unreadable".to_owned())));
    match check.map_err(|error| refused(path, error))? {
        None => Err(damaged(path, "nothing tells its key")),
        Some(sealed) => match seal.open(&check_place(), &sealed) {
            Ok(_) => Ok(()),
            Err(_) => Err(OpenError::KeyWrong {
                path: path.to_owned(),
                place: seal.origin().to_owned(),
            }),
        },
    }
}

/// Makes a store without values.
fn create(file: File, draft: &Path, seal: &Seal) -> Result<(), OpenError> {
    let failed = |error: redb::Error| match error {
        redb::Error::Io(error) => OpenError::failed("write", draft)(error),
        error => OpenError::failed("write", draft)(io::Error::other(error)),
    };
    let check = seal
        .seal(&check_place(), b"")
        .map_err(OpenError::no_random(draft))?;
    let backend = redb::backends::FileBackend::new(file);
    let database = backend.and_then(|backend| builder().create_with_backend(backend));
    let database = database.map_err(|error| failed(error.into()))?;
    // Both tables, so that none has to be made later.
    let written = write(&database, VALUES, |_| Ok(()));
    written.map_err(failed)?;
    let written = write(&database, CHECKS, |table| {
        table.insert(CHECK, check.as_slice()).map(drop)
    });
    written.map_err(failed)?;
    database.close().map_err(|error| failed(error.into()))
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

fn read(
    database: &Database,
    table: TableDefinition<&str, &[u8]>,
    key: &str,
) -> Result<Option<Vec<u8>>, redb::Error> {
    let table = match database.begin_read()?.open_table(table) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

/// Under which keys there are values.
fn keys(database: &Database) -> Result<Vec<Key>, redb::Error> {
    let table = database.begin_read()?.open_table(VALUES)?;
    let entries = table.iter()?;
    let keys = entries.map(|entry| Ok(Key::new(entry?.0.value())));
    keys.collect()
}

fn write(
    database: &Database,
    table: TableDefinition<&str, &[u8]>,
    change: impl FnOnce(&mut Table<&str, &[u8]>) -> Result<(), redb::StorageError>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // A second sync, by which damage to the last commit is told from one that a crash cut short:
    // with one sync redb would quietly take the value before.
    transaction.set_two_phase_commit(true);
    change(&mut transaction.open_table(table)?)?;
    Ok(transaction.commit()?)
}

/// What a value is sealed for.
fn place(key: &Key) -> String {
    format!("value/{key}")
}

fn check_place() -> String {
    format!("check/{CHECK}")
}

fn damaged(path: &Path, cause: impl Into<String>) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        cause: cause.into(),
    }
}

fn refused(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse {
            folder: path.parent().unwrap_or(path).to_owned(),
        },
        // Of the kinds by which redb tells that what it has read makes no sense.
        redb::Error::Io(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::failed("open", path)(error)
        }
        error => damaged(path, error.to_string()),
    }
}
