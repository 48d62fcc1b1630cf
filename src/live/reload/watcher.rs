//! Which files are watched, and which events of them matter.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::warn;

use crate::config::source::Sources;

/// Watches the folders of everything that was read.
///
/// Folders and not files: editors and Kubernetes replace a file by renaming another over it, or a
/// symbolic link on the way to it, and a watch on the old file would never tell.
pub(super) struct Watcher {
    notifier: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
    interest: Arc<Mutex<Interest>>,
}

/// Which events matter among all those of the watched folders.
#[derive(Default)]
struct Interest {
    paths: HashSet<PathBuf>,
    folders: HashSet<PathBuf>,
}

impl Watcher {
    pub(super) fn new(poke: mpsc::Sender<()>) -> Self {
        let interest = Arc::new(Mutex::new(Interest::default()));
        let seen = Arc::clone(&interest);
        let handler = move |event: notify::Result<Event>| {
            // An error may stand for events that were lost: look.
            if event.map_or(true, |event| seen.lock().covers(&event)) {
                // Full means that a look is due anyway.
                let _ = poke.try_send(());
            }
        };
        let notifier = notify::recommended_watcher(handler)
            .map_err(
                |error| warn!(%error, "Files are not watched, only read every 30 s and on SIGHUP"),
            )
            .ok();
        Self {
            notifier,
            watched: HashSet::new(),
            interest,
        }
    }

    /// Watches what `sources` names, and nothing else.
    pub(super) fn follow(&mut self, sources: &Sources) {
        let Some(notifier) = &mut self.notifier else {
            return;
        };
        let paths: HashSet<_> = sources
            .files
            .iter()
            .chain(&sources.folders)
            .flat_map(|path| trail(path))
            .collect();
        let folders: HashSet<_> = sources
            .folders
            .iter()
            .flat_map(|folder| trail(folder))
            .collect();
        let wanted: HashSet<_> = paths
            .iter()
            .filter_map(|path| path.parent())
            .chain(folders.iter().map(PathBuf::as_path))
            .filter_map(|folder| folder.ancestors().find(|folder| folder.is_dir()))
            .map(Path::to_path_buf)
            .collect();
        *self.interest.lock() = Interest { paths, folders };
        for gone in self.watched.difference(&wanted) {
            // It may be gone from the disk, and so from the watcher.
            let _ = notifier.unwatch(gone);
        }
        // Watched anew each time: a folder may have been replaced by another of its name.
        for folder in &wanted {
            if let Err(error) = notifier.watch(folder, RecursiveMode::NonRecursive) {
                warn!(folder = %folder.display(), %error, "Folder is not watched, only read every 30 s and on SIGHUP");
            }
        }
        self.watched = wanted;
    }
}

impl Interest {
    fn covers(&self, event: &Event) -> bool {
        // Reading is an event, too, and we read.
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write))
        {
            return false;
        }
        event.paths.iter().any(|path| {
            // Of a folder on the way, or of a file that was looked for and may appear now.
            self.paths.iter().any(|known| known.starts_with(path))
                || path.extension() == Some(OsStr::new("toml"))
                    && path
                        .parent()
                        .is_some_and(|folder| self.folders.contains(folder))
        })
    }
}

/// Every name that leads to a file: the path itself, each symbolic link on the way, and the end.
fn trail(path: &Path) -> Vec<PathBuf> {
    /// As many links as Linux follows.
    const MOST_LINKS: usize = 40;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut names = vec![path.clone()];
    let mut at = PathBuf::new();
    let mut left: VecDeque<PathBuf> = parts(&path).collect();
    while let Some(part) = left.pop_front() {
        match part.components().next() {
            Some(Component::ParentDir) => {
                at.pop();
                continue;
            }
            Some(Component::CurDir) | None => continue,
            Some(_) => at.push(&part),
        }
        if let Ok(target) = std::fs::read_link(&at) {
            names.push(at.clone());
            if names.len() > MOST_LINKS {
                break;
            }
            at.pop();
            parts(&target).rev().for_each(|part| left.push_front(part));
        }
    }
    names.push(at);
    names
}

/// The parts of a path; an absolute one starts with `/`, and pushing that starts over.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
    path.components()
        .map(|part| PathBuf::from(part.as_os_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_trail_names_every_link_of_a_config_map() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("..v1")).unwrap();
        std::fs::write(root.join("..v1/k.toml"), "").unwrap();
        symlink("..v1", root.join("..data")).unwrap();
        symlink("..data/k.toml", root.join("k.toml")).unwrap();
        let names = trail(&root.join("k.toml"));
        for name in ["k.toml", "..data", "..v1/k.toml"] {
            assert!(
                names.contains(&root.join(name)),
                "{name} is not in {names:?}"
            );
        }
    }

    #[test]
    fn a_ring_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert!(trail(&folder.path().join("a")).len() < 50);
    }
}
