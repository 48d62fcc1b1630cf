//! A draft, written into the configuration: whole or not at all, and never over anything else.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::overlay::Overlay;
use crate::config::source::{Location, Outside};

/// A change of the configuration's files, not made yet.
pub(super) enum Change {
    /// A new file in a folder.
    New {
        path: PathBuf,
        content: Zeroizing<Vec<u8>>,
    },
    /// More at the end of a file.
    More {
        /// As the configuration is named, and the file itself.
        named: PathBuf,
        path: PathBuf,
        before: Zeroizing<Vec<u8>>,
        content: Zeroizing<Vec<u8>>,
    },
}

/// Why the configuration cannot be changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("`{}` changed while it was written to; look at it, and try again", .0.display())]
    Changed(PathBuf),
    #[error(
        "the configuration in force is the program's own default, which is in no file; start keybearer with a file or a folder: `keybearer run --config PATH`"
    )]
    Embedded,
    #[error("there is a file `{}` already, which is not written over; choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    #[error(
        "a name that begins with `.` would make a hidden file, which is not read; choose another"
    )]
    Hidden,
    #[error("`{}` cannot be written: {source}; {}", .path.display(), hint(.source))]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "`{}` belongs to another user, and would no longer if it were written: {source}; write it yourself, or run keybearer as its owner", .path.display()
    )]
    Owner { path: PathBuf, source: io::Error },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give the user that runs keybearer the right to write to its folder, or paste the TOML yourself"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "it is mounted read-only, as volumes of containers often are: write it where that is made"
        }
        io::ErrorKind::ResourceBusy => {
            "it is mounted by itself: mount its folder instead, or write it outside"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, and try again",
        _ => "paste the TOML yourself",
    }
}

impl Change {
    /// What writes `toml`, the connection `name`, to where the configuration is.
    pub(super) fn of(location: &Location, name: &str, toml: &str) -> Result<Self, Unwritable> {
        match location {
            Location::Embedded => Err(Unwritable::Embedded),
            Location::File(named) => {
                let failed = |source| Unwritable::Io {
                    path: named.clone(),
                    source,
                };
                let path = fs::canonicalize(named).map_err(failed)?;
                let before = Zeroizing::new(fs::read(&path).map_err(failed)?);
                let content = appended(&before, toml);
                Ok(Self::More {
                    named: named.clone(),
                    path,
                    before,
                    content,
                })
            }
            Location::Folder(_) if name.starts_with('.') => Err(Unwritable::Hidden),
            Location::Folder(folder) => {
                let path = folder.join(format!("{name}.toml"));
                // So that it is told before anything else.
                if fs::symlink_metadata(&path).is_ok() {
                    return Err(Unwritable::Exists(path));
                }
                Ok(Self::New {
                    path,
                    content: Zeroizing::new(toml.as_bytes().to_vec()),
                })
            }
        }
    }

    /// The world after it.
    pub(super) fn shown<'a>(&self, outside: &'a dyn Outside) -> Overlay<'a> {
        let mut overlay = Overlay::new(outside);
        match self {
            Self::New { path, content } => overlay.add_file(path.clone(), content.clone()),
            Self::More { named, content, .. } => overlay.set_file(named.clone(), content.clone()),
        }
        overlay
    }

    /// The file that it is about.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::New { path, .. } | Self::More { path, .. } => path,
        }
    }

    /// Makes it.
    pub(super) fn make(&self) -> Result<(), Unwritable> {
        match self {
            Self::New { path, content } => create(path, content),
            Self::More {
                path,
                before,
                content,
                ..
            } => replace(path, before, content),
        }
    }

    /// Undoes it, if nothing else has happened since.
    pub(super) fn undo(&self) -> Result<(), Unwritable> {
        match self {
            Self::New { path, content } => {
                let failed = |source| Unwritable::Io {
                    path: path.clone(),
                    source,
                };
                if fs::read(path).map_err(failed)? != **content {
                    return Err(Unwritable::Changed(path.clone()));
                }
                fs::remove_file(path).map_err(failed)
            }
            Self::More {
                path,
                before,
                content,
                ..
            } => replace(path, content, before),
        }
    }
}

/// A file's content with a table after it, an empty line between.
fn appended(before: &[u8], toml: &str) -> Zeroizing<Vec<u8>> {
    let gap: &[u8] = match before {
        [] => b"",
        [.., b'\n', b'\n'] => b"",
        [.., b'\n'] => b"\n",
        _ => b"\n\n",
    };
    let mut all = Zeroizing::new(Vec::with_capacity(before.len() + gap.len() + toml.len()));
    for part in [before, gap, toml.as_bytes()] {
        all.extend_from_slice(part);
    }
    all
}

/// A new file, of its owner alone.
fn create(path: &Path, content: &[u8]) -> Result<(), Unwritable> {
    let failed = |source| Unwritable::Io {
        path: path.to_owned(),
        source,
    };
    let beside = draft_beside(path, content, 0o600).map_err(failed)?;
    match put_in_place(beside.path(), path) {
        Ok(()) => sync_folder(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Unwritable::Exists(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Renames where nothing stands.
fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems do not know how; a link is refused where something stands, too.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(from, to),
        Err(error) => Err(error.into()),
    }
}

/// A file that has `before`, with another content: mode and owner stay.
fn replace(path: &Path, before: &[u8], content: &[u8]) -> Result<(), Unwritable> {
    let failed = |source| Unwritable::Io {
        path: path.to_owned(),
        source,
    };
    let there = fs::metadata(path).map_err(failed)?;
    // Its folder may be writable where the file is meant not to be.
    if there.permissions().readonly() {
        return Err(failed(io::ErrorKind::PermissionDenied.into()));
    }
    let mode = there.permissions().mode() & 0o7777;
    let beside = draft_beside(path, content, mode).map_err(failed)?;
    let file = beside.as_file();
    let ours = file.metadata().map_err(failed)?;
    if (ours.uid(), ours.gid()) != (there.uid(), there.gid()) {
        fchown(file, Some(there.uid()), Some(there.gid())).map_err(|source| Unwritable::Owner {
            path: path.to_owned(),
            source,
        })?;
        // Which takes some bits of the mode away.
        file.set_permissions(fs::Permissions::from_mode(mode))
            .map_err(failed)?;
    }
    // Somebody may have edited it since it was read.
    if Zeroizing::new(fs::read(path).map_err(failed)?)[..] != *before {
        return Err(Unwritable::Changed(path.to_owned()));
    }
    beside.persist(path).map_err(|kept| failed(kept.error))?;
    sync_folder(path).map_err(failed)
}

/// A hidden file beside another, with its content to come, on disk; removed unless it takes its place.
fn draft_beside(path: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut beside = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".new")
        .tempfile_in(folder(path))?;
    beside.write_all(content)?;
    let file = beside.as_file();
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()?;
    Ok(beside)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_stands_apart_from_what_is_before_it() {
        for (before, all) in [
            ("", "[x]\n"),
            ("a = 1", "a = 1\n\n[x]\n"),
            ("a = 1\n", "a = 1\n\n[x]\n"),
            ("a = 1\n\n", "a = 1\n\n[x]\n"),
        ] {
            assert_eq!(**appended(before.as_bytes(), "[x]\n"), *all.as_bytes());
        }
    }

    #[test]
    fn nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        create(&path, b"one").unwrap();
        let again = create(&path, b"two");
        assert!(matches!(again, Err(Unwritable::Exists(_))), "{again:?}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        let others = replace(&path, b"other", b"three");
        assert!(matches!(others, Err(Unwritable::Changed(_))), "{others:?}");
        replace(&path, b"one", b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft stays: {names:?}");
    }
}
