//! What goes wrong with a store, in words for the person who must mend it. Every text is whole: none
//! has a cause that is yet to be told.

use std::io;
use std::path::{Path, PathBuf};

use ring::error::Unspecified;

use super::Key;

/// Why a store cannot be used. Nothing of what is there was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file does not hold what a store holds.
    #[error(
        "the store at `{}` is damaged ({cause}); put a backup in its place, or move it away: \
         connections must then be linked again",
        path.display()
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The operating system refuses.
    #[error("cannot {action} `{}`: {source}{}", path.display(), hint(source))]
    Failed {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says; part of the text.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "another keybearer uses the store in `{}`; stop it, or give each its own `store.path`",
        folder.display()
    )]
    InUse {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The key is none.
    #[error("{place} does not hold the base64 of 32 bytes; {remedy}")]
    KeyInvalid {
        /// Where the key was read.
        place: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A store without the key that it was sealed with.
    #[error(
        "there is a store at `{}`, but not its key file `{}`; put the key file back, or set \
         `store.key`, or move the store away: connections must then be linked again",
        store.display(), key.display()
    )]
    KeyMissing {
        /// The store's file.
        store: PathBuf,
        /// The file that is not there.
        key: PathBuf,
    },
    /// The key is another store's.
    #[error(
        "the key in {place} does not fit the store at `{}`; put the right key back, or move the \
         store away: connections must then be linked again",
        path.display()
    )]
    KeyWrong {
        /// The store's file.
        path: PathBuf,
        /// Where the key was read.
        place: String,
    },
    /// Other users could change what is sent as a credential, or read the key.
    #[error(
        "`{}` can be {} by other users (mode {mode:04o}); run `chmod {change} {}`{}",
        path.display(),
        if *readable { "read or changed" } else { "changed" },
        crate::shell::word(path.display()),
        if path.is_dir() { ", or name a folder in it as `store.path`, which is then made" } else { "" }
    )]
    Unprotected {
        /// The folder or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What `chmod` is to change.
        change: &'static str,
        /// Whether reading alone is too much.
        readable: bool,
    },
}

impl OpenError {
    pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Failed {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn no_random(path: &Path) -> impl FnOnce(Unspecified) -> Self {
        |_| Self::failed("make", path)(io::Error::other("the system gives no random bytes"))
    }
}

/// Why a value was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is no longer where it was: what is written to it would be lost.
    #[error(
        "`{}` was moved, removed or replaced while keybearer uses it; put it back and restart \
         keybearer",
        path.display()
    )]
    Moved {
        /// Where the store's file was.
        path: PathBuf,
    },
    /// The file was closed after a failure, and cannot be opened again.
    #[error("the store was closed after a failure: {0}")]
    NotOpened(OpenError),
    /// The value was not read.
    #[error("`{key}` cannot be read from the store at `{}`: {cause}", path.display())]
    NotRead {
        /// Its name.
        key: Key,
        /// The store's file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// What waits for an answer cannot be used.
    #[error("cannot {action} `{}`: {source}{}", path.display(), hint(source))]
    NotSpooled {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says; part of the text.
        source: io::Error,
    },
    /// The value was not written.
    #[error("`{key}` cannot be written to the store at `{}`: {cause}", path.display())]
    NotWritten {
        /// Its name.
        key: Key,
        /// The store's file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// What is stored was not sealed for this name with this key.
    #[error(
        "the value of `{key}` in the store at `{}` was changed by somebody else; put a backup of \
         the store in place, or link the connection again",
        path.display()
    )]
    Tampered {
        /// Its name.
        key: Key,
        /// The store's file.
        path: PathBuf,
    },
}

impl StoreError {
    pub(super) fn not_spooled(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::NotSpooled {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// What redb says, and what to do about it.
pub(super) fn told(error: &redb::Error) -> String {
    match error {
        redb::Error::Io(cause) => format!("{cause}{}", hint(cause)),
        other => other.to_string(),
    }
}

/// What to do about what the system says.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; set `store.path` to a folder"
        }
        io::ErrorKind::PermissionDenied => {
            "; give keybearer's user the right to it, or set `store.path` to a folder of its own"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; set `store.path` to a folder that can be written, or `store.type` to `memory`"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; make room for it, or set `store.path` to a folder elsewhere"
        }
        _ => "",
    }
}
