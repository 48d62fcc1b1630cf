//! The store against real files, and against processes that are killed.

mod child;
mod damage;
mod spool;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;

use super::*;
use crate::secret::Origin;

const CANARY: &str = "canary-8f14e45fceea167a";

fn folder() -> TempDir {
    // Made by the store itself, below one that the system made.
    tempfile::tempdir().unwrap()
}

fn open(folder: &TempDir) -> Result<Store, OpenError> {
    Store::file(&folder.path().join("state/kb"), None)
}

fn file(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join("state/kb").join(name)
}

fn key(name: &str) -> Key {
    Key::new(name)
}

fn secret_key(byte: u8) -> Secret {
    Secret::new(
        BASE64_STANDARD.encode([byte; 32]),
        Origin::Env("KEY".into()),
    )
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

async fn text(store: &Store, name: &str) -> Option<String> {
    let value = store.get(&key(name)).await.unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

async fn keeps_values(store: &Store) {
    assert_eq!(text(store, "a/b").await, None);
    store.remove(&key("a/b")).await.unwrap();
    store.put(&key("a/b"), b"one").await.unwrap();
    store.put(&key("a/c"), b"").await.unwrap();
    store.put(&key("a/b"), b"two").await.unwrap();
    assert_eq!(text(store, "a/b").await.as_deref(), Some("two"));
    assert_eq!(text(store, "a/c").await.as_deref(), Some(""));
    store.remove(&key("a/c")).await.unwrap();
    assert_eq!(text(store, "a/c").await, None);
}

#[tokio::test]
async fn values_are_kept_in_memory() {
    keeps_values(&Store::memory()).await;
}

#[tokio::test]
async fn values_are_kept_in_a_file_and_outlive_it() {
    let folder = folder();
    keeps_values(&open(&folder).unwrap()).await;
    let store = open(&folder).unwrap();
    assert_eq!(text(&store, "a/b").await.as_deref(), Some("two"));
    assert_eq!(text(&store, "a/c").await, None);
}

#[tokio::test]
async fn a_given_key_leaves_no_key_file() {
    let folder = folder();
    let path = folder.path().join("given");
    for _ in 0..2 {
        let store = Store::file(&path, Some(&secret_key(1))).unwrap();
        store.put(&key("a"), b"value").await.unwrap();
    }
    assert!(!path.join("store.key").exists());
}

#[tokio::test]
async fn what_is_made_is_the_owners_alone() {
    let folder = folder();
    let _store = open(&folder).unwrap();
    assert_eq!(mode(&folder.path().join("state")), 0o700);
    assert_eq!(mode(&folder.path().join("state/kb")), 0o700);
    for name in ["store.key", "store.lock", "store.redb"] {
        assert_eq!(mode(&file(&folder, name)), 0o600, "{name}");
    }
    let names = fs::read_dir(folder.path().join("state/kb")).unwrap();
    assert_eq!(names.count(), 3, "drafts are gone");
}

#[tokio::test]
async fn a_value_is_nowhere_readable() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let long = CANARY.repeat(1000);
    for value in [CANARY, &long] {
        store.put(&key("a"), value.as_bytes()).await.unwrap();
        store.put(&key("b"), value.as_bytes()).await.unwrap();
        store.remove(&key("b")).await.unwrap();
    }
    let shown = format!("{store:?} {store:#?} {:?}", Store::memory());
    assert!(!shown.contains(CANARY), "{shown}");
    let on_disk = || {
        let names = fs::read_dir(folder.path().join("state/kb")).unwrap();
        names.flat_map(|entry| fs::read(entry.unwrap().path()).unwrap())
    };
    assert!(!contains(&on_disk().collect::<Vec<_>>(), CANARY));
    drop(store);
    assert!(!contains(&on_disk().collect::<Vec<_>>(), CANARY));
    assert!(contains(&on_disk().collect::<Vec<_>>(), "values"));
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn values_that_were_swapped_do_not_open() {
    const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
    let folder = folder();
    let store = open(&folder).unwrap();
    store.put(&key("mine"), CANARY.as_bytes()).await.unwrap();
    store.put(&key("theirs"), b"other").await.unwrap();
    drop(store);
    let database = Database::open(file(&folder, "store.redb")).unwrap();
    let read = |name| {
        let table = database.begin_read().unwrap().open_table(VALUES).unwrap();
        table.get(name).unwrap().unwrap().value().to_vec()
    };
    let (mine, theirs) = (read("mine"), read("theirs"));
    let change = database.begin_write().unwrap();
    {
        let mut table = change.open_table(VALUES).unwrap();
        assert_eq!(table.iter().unwrap().count(), 2);
        table.insert("mine", theirs.as_slice()).unwrap();
        table.insert("theirs", mine.as_slice()).unwrap();
        table.insert("short", &b"\x01x"[..]).unwrap();
    }
    change.commit().unwrap();
    drop(database);
    let store = open(&folder).unwrap();
    for name in ["mine", "theirs", "short"] {
        let error = store.get(&key(name)).await.unwrap_err();
        assert!(matches!(error, StoreError::Tampered { .. }), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(name) && !shown.contains(CANARY), "{shown}");
    }
    store.put(&key("mine"), b"again").await.unwrap();
    assert_eq!(text(&store, "mine").await.as_deref(), Some("again"));
}

#[tokio::test]
async fn many_at_once_take_turns() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let puts = (0..40).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let name = key(&format!("key/{number}"));
            store
                .put(&name, number.to_string().as_bytes())
                .await
                .unwrap();
            assert!(store.get(&name).await.unwrap().is_some());
        })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
    drop(store);
    let store = open(&folder).unwrap();
    for number in 0..40 {
        let value = text(&store, &format!("key/{number}")).await;
        assert_eq!(value, Some(number.to_string()));
    }
}

#[tokio::test]
async fn a_store_has_one_user() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("state/kb") && told.contains("`store.path`"),
        "{told}"
    );
    // Whoever removes the lock's file is stopped by the lock of the store itself.
    fs::remove_file(file(&folder, "store.lock")).unwrap();
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    store.put(&key("a"), b"still mine").await.unwrap();
    drop(store);
    let store = open(&folder).unwrap();
    assert_eq!(text(&store, "a").await.as_deref(), Some("still mine"));
}

#[tokio::test]
async fn a_file_that_was_moved_away_takes_no_value() {
    let folder = folder();
    let store = open(&folder).unwrap();
    store.put(&key("a"), b"old").await.unwrap();
    let (path, aside) = (file(&folder, "store.redb"), file(&folder, "aside"));
    fs::rename(&path, &aside).unwrap();
    let error = store.put(&key("a"), b"new").await.unwrap_err();
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    fs::copy(&aside, &path).unwrap();
    let error = store.put(&key("a"), b"new").await.unwrap_err();
    assert!(matches!(error, StoreError::Moved { .. }), "{error}");
    fs::rename(&aside, &path).unwrap();
    store.put(&key("a"), b"new").await.unwrap();
}

#[test]
fn what_others_could_change_is_refused() {
    for (name, mode, told) in [
        (
            "",
            0o770,
            "changed by other users (mode 0770); run `chmod go-w",
        ),
        ("", 0o702, "name a folder in it as `store.path`"),
        ("store.redb", 0o620, "chmod go-w"),
        ("store.redb", 0o602, "chmod go-w"),
        (
            "store.key",
            0o640,
            "read or changed by other users (mode 0640); run `chmod go= ",
        ),
        ("store.key", 0o604, "chmod go= "),
        ("store.key", 0o620, "chmod go= "),
    ] {
        let folder = folder();
        drop(open(&folder).unwrap());
        let path = file(&folder, name);
        let right = super::tests::mode(&path);
        set_mode(&path, mode);
        let error = open(&folder).unwrap_err();
        assert!(matches!(error, OpenError::Unprotected { .. }), "{error}");
        assert!(error.to_string().contains(told), "{error}");
        set_mode(&path, right);
        open(&folder).unwrap();
    }
    let folder = folder();
    drop(open(&folder).unwrap());
    // Reading sealed values tells nothing.
    set_mode(&file(&folder, ""), 0o755);
    set_mode(&file(&folder, "store.redb"), 0o644);
    open(&folder).unwrap();
}

#[test]
fn what_the_system_refuses_is_told_with_a_way_out() {
    let folder = folder();
    let plain = folder.path().join("file");
    fs::write(&plain, "").unwrap();
    for path in [plain.clone(), plain.join("below"), "/proc/keybearer".into()] {
        let error = Store::file(&path, None).unwrap_err();
        assert!(matches!(error, OpenError::Failed { .. }), "{error}");
        assert!(
            error.to_string().contains(&*path.to_string_lossy()),
            "{error}"
        );
    }
    let error = Store::file(&plain, None).unwrap_err().to_string();
    assert!(error.contains("set `store.path` to a folder"), "{error}");
    if rustix::process::geteuid().is_root() {
        return; // to whom nothing is denied
    }
    set_mode(folder.path(), 0o500);
    let error = open(&folder).unwrap_err().to_string();
    set_mode(folder.path(), 0o700);
    assert!(
        error.contains("give keybearer's user the right to it"),
        "{error}"
    );
}
