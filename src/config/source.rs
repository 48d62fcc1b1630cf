//! Where a configuration comes from: [`locate`] finds it, [`Outside`] is the only way to read
//! anything of the world around, and what was read is remembered to be watched.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use foldhash::quality::{FixedState, FoldHasher};
use zeroize::Zeroizing;

use crate::shell::word;

/// The configuration that runs when there is no other.
pub const EMBEDDED: &str = include_str!("../../config/keybearer.toml");

/// The environment variable that names the configuration.
pub const VARIABLE: &str = "KEYBEARER_CONFIG";

/// Where a configuration is looked for when none is named.
const CANDIDATES: [&str; 3] = [
    "keybearer.toml",
    "config/keybearer.toml",
    "/etc/keybearer/keybearer.toml",
];

/// No configuration, and no secret, is larger.
const LARGEST: u64 = 64 << 20;

/// Where a configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the program itself: [`EMBEDDED`].
    Embedded,
    /// A file.
    File(PathBuf),
    /// The `*.toml` files of a folder.
    Folder(PathBuf),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded default"),
            Self::File(path) | Self::Folder(path) => path.display().fmt(f),
        }
    }
}

/// What a configuration was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Every file that was read or looked for, in the order of their names: configuration, secrets,
    /// certificates.
    pub files: Vec<PathBuf>,
    /// Every folder in which a new file would be part of the configuration.
    pub folders: Vec<PathBuf>,
    /// A hash of the files' names and bytes: while it stays, nothing that was read has changed.
    pub fingerprint: u64,
}

/// What a configuration may see of the world around it.
pub trait Outside {
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// What is at a path, symbolic links followed.
    ///
    /// # Errors
    /// As the system gives them, [`io::ErrorKind::NotFound`] among them.
    fn kind(&self, path: &Path) -> io::Result<FileKind>;

    /// A file's content.
    ///
    /// # Errors
    /// As the system gives them, [`io::ErrorKind::IsADirectory`] among them.
    fn read(&self, path: &Path) -> io::Result<Contents>;

    /// The paths that match a glob, in the order of their names; hidden files only by name.
    ///
    /// # Errors
    /// When the pattern is none or a folder cannot be listed.
    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>>;
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Something that can be read.
    File,
    /// A folder.
    Folder,
}

/// A file's content and what else is asked about it.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Its bytes, which may be secret.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its permission bits.
    pub mode: u32,
    /// Its one true path, by which it is known again.
    pub identity: PathBuf,
}

/// The world around this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process;

/// The configuration that was asked for is not there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no configuration at `{}`{}", path.display(), if *.by_variable { ", which `$KEYBEARER_CONFIG` names" } else { "" })]
pub struct NotFound {
    path: PathBuf,
    by_variable: bool,
}

/// Finds the configuration: the one that is named, else by [`VARIABLE`], else in the usual places,
/// else the embedded default.
///
/// # Errors
/// When a configuration is named that does not exist; a usual place that merely cannot be read is
/// taken, so that [`load`](super::load) tells why.
pub fn locate(explicit: Option<&Path>, outside: &dyn Outside) -> Result<Location, NotFound> {
    if let Some(path) = explicit {
        return named(path.to_owned(), false, outside);
    }
    match outside.variable(VARIABLE) {
        Some(path) if !path.is_empty() => return named(path.into(), true, outside),
        _ => {}
    }
    let found = CANDIDATES
        .into_iter()
        .find_map(|path| location(PathBuf::from(path), outside));
    Ok(found.unwrap_or(Location::Embedded))
}

fn named(path: PathBuf, by_variable: bool, outside: &dyn Outside) -> Result<Location, NotFound> {
    location(path.clone(), outside).ok_or(NotFound { path, by_variable })
}

fn location(path: PathBuf, outside: &dyn Outside) -> Option<Location> {
    match outside.kind(&path) {
        Ok(FileKind::Folder) => Some(Location::Folder(path)),
        Err(error) if is_absent(&error) => None,
        Ok(FileKind::File) | Err(_) => Some(Location::File(path)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

// === impl Process ===

impl Outside for Process {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        let metadata = fs::metadata(path)?;
        Ok(if metadata.is_dir() {
            FileKind::Folder
        } else {
            FileKind::File
        })
    }

    fn read(&self, path: &Path) -> io::Result<Contents> {
        let mut file = fs::File::open(path)?;
        // Of the open file, so that bits and bytes belong together.
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // Room for all, as a buffer that grows leaves copies behind.
        let room = metadata.len().min(LARGEST) as usize + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.by_ref().take(LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Contents {
            bytes,
            mode: metadata.permissions().mode(),
            identity: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        })
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let options = glob::MatchOptions {
            require_literal_leading_dot: true,
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        glob::glob_with(pattern, options)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.msg))?
            .map(|found| found.map_err(io::Error::from))
            .collect()
    }
}

/// Reads through an [`Outside`], and remembers what.
pub(crate) struct Reader<'a> {
    outside: &'a dyn Outside,
    seen: RefCell<Seen>,
}

struct Seen {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
    hasher: FoldHasher<'static>,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("is a folder, where a file is needed")]
    Folder,
    #[error("does not exist")]
    Missing,
    #[error("cannot be read: {0}")]
    Other(io::Error),
    #[error("is writable by other users (mode {:04o})", mode & 0o7777)]
    Writable { path: PathBuf, mode: u32 },
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) fn new(outside: &'a dyn Outside) -> Self {
        let seen = Seen {
            files: BTreeSet::new(),
            folders: BTreeSet::new(),
            hasher: FixedState::with_seed(0).build_hasher(),
        };
        Self {
            outside,
            seen: RefCell::new(seen),
        }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        self.outside.variable(name)
    }

    /// A file that nobody but its owner can change: what stands in it spends credentials.
    pub(crate) fn read(&self, path: &Path) -> Result<Contents, Unreadable> {
        let read = self.outside.read(path);
        let read = read.map_err(Unreadable::from).and_then(|contents| {
            // The default that everybody knows may stand in a checkout of any umask: whoever changes
            // it makes it another file, which is refused.
            if contents.mode & 0o022 == 0 || *contents.bytes == *EMBEDDED.as_bytes() {
                return Ok(contents);
            }
            Err(Unreadable::Writable {
                path: path.to_owned(),
                mode: contents.mode,
            })
        });
        let bytes = read.as_ref().map(|contents| contents.bytes.as_slice());
        self.seen.borrow_mut().note(path, bytes.ok());
        read
    }

    /// The files that match a glob below `folder`, in which new ones are to be noticed.
    pub(crate) fn glob(&self, folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
        self.seen.borrow_mut().folders.insert(folder.to_owned());
        self.outside.glob(pattern)
    }

    pub(crate) fn into_sources(self) -> Sources {
        let seen = self.seen.into_inner();
        Sources {
            files: seen.files.into_iter().collect(),
            folders: seen.folders.into_iter().collect(),
            fingerprint: seen.hasher.finish(),
        }
    }
}

impl Seen {
    fn note(&mut self, path: &Path, bytes: Option<&[u8]>) {
        if !self.files.insert(path.to_owned()) {
            return;
        }
        let name = path.as_os_str().as_encoded_bytes();
        for part in [Some(name), bytes] {
            self.hasher
                .write_usize(part.map_or(usize::MAX, <[u8]>::len));
            self.hasher.write(part.unwrap_or_default());
        }
    }
}

// === impl Unreadable ===

impl Unreadable {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Writable { path, .. } => {
                Some(format!("run `chmod go-w {}`", word(path.display())))
            }
            _ => None,
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::IsADirectory => Self::Folder,
            _ if is_absent(&error) => Self::Missing,
            _ => Self::Other(error),
        }
    }
}
