//! Spools: what they tell of each step, to whom, and whose their lock is.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;

const SOON: Duration = Duration::from_secs(20);

async fn made(store: &Store) -> Arc<Spool> {
    Arc::new(store.make_spool(&key("a/b")).await.unwrap().unwrap())
}

/// What the next start finds with this key.
async fn found(store: &Store, sealed_with: &SpoolKey) -> Option<Found> {
    let spool = store.open_spool(&key("a/b"), sealed_with).await.unwrap();
    Some(Arc::new(spool?).read().await.unwrap())
}

fn answer(spool: &Spool, text: &str) -> Found {
    spool.put(&spool.seal(text.as_bytes()).unwrap()).unwrap();
    Found::Answer(Zeroizing::new(text.as_bytes().to_vec()))
}

/// The file, as `Debug` names it.
fn path(spool: &Spool) -> PathBuf {
    let shown = format!("{spool:?}");
    shown.split('"').nth(1).unwrap().into()
}

#[tokio::test]
async fn it_tells_how_far_things_had_come() {
    let folder = folder();
    let store = open(&folder).unwrap();
    assert_eq!(found(&store, &SpoolKey::new("")).await, None);
    let spool = made(&store).await;
    assert_eq!(
        (mode(&path(&spool)), mode(&file(&folder, "spool"))),
        (0o600, 0o700)
    );
    assert_eq!(found(&store, spool.key()).await, Some(Found::Nothing));
    spool.mark().unwrap();
    assert_eq!(found(&store, spool.key()).await, Some(Found::Mark));
    // As often as it takes.
    for text in [CANARY, "", "short"] {
        let expected = answer(&spool, text);
        assert_eq!(found(&store, spool.key()).await, Some(expected));
    }
    store.remove_spool(&key("a/b")).await.unwrap();
    store.remove_spool(&key("a/b")).await.unwrap();
    assert_eq!(found(&store, spool.key()).await, None);
}

#[tokio::test]
async fn a_long_answer_is_whole() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let spool = made(&store).await;
    spool.mark().unwrap();
    let expected = answer(&spool, &CANARY.repeat(60_000));
    assert_eq!(found(&store, spool.key()).await, Some(expected));
}

#[tokio::test]
async fn it_shows_nothing_and_answers_nobody_else() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let spool = made(&store).await;
    spool.mark().unwrap();
    answer(&spool, CANARY);
    let sealed = spool.key().expose().to_owned();
    let bytes = fs::read(path(&spool)).unwrap();
    for secret in [CANARY, &*sealed] {
        let shown = bytes.windows(secret.len());
        assert!(shown.into_iter().all(|part| part != secret.as_bytes()));
        assert!(!format!("{spool:?} {:?}", spool.key()).contains(secret));
    }
    // Another note's, and another value's: they prove nothing.
    let other = SpoolKey::new(&BASE64_STANDARD.encode([1; 32]));
    for wrong in [&other, &SpoolKey::new("no key")] {
        assert_eq!(found(&store, wrong).await, Some(Found::Unknown));
    }
    let elsewhere = store.make_spool(&key("a/c")).await.unwrap().unwrap();
    fs::copy(path(&spool), path(&elsewhere)).unwrap();
    let elsewhere = store.open_spool(&key("a/c"), spool.key()).await.unwrap();
    let elsewhere = Arc::new(elsewhere.unwrap());
    assert_eq!(elsewhere.read().await.unwrap(), Found::Mark);
}

#[tokio::test]
async fn no_damage_makes_another_answer_of_it_nor_denies_that_it_was_begun() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let spool = made(&store).await;
    spool.mark().unwrap();
    let whole = answer(&spool, CANARY);
    let (path, bytes) = (path(&spool), fs::read(path(&spool)).unwrap());
    let mark = 16;
    let head = bytes.len() - spool.seal(CANARY.as_bytes()).unwrap().len() - mark;
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        fs::write(&path, &changed).unwrap();
        // What is damaged before it does not touch the answer.
        let expected = match index < head + mark {
            true => &whole,
            false => &Found::Mark,
        };
        let after = found(&store, spool.key()).await;
        assert_eq!(after.as_ref(), Some(expected), "{index}");
        fs::write(&path, &bytes[..index]).unwrap();
        let expected = match index {
            _ if index == head => Found::Nothing,
            _ if index < head + mark => Found::Unknown,
            _ => Found::Mark,
        };
        assert_eq!(found(&store, spool.key()).await, Some(expected), "{index}");
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(found(&store, spool.key()).await, Some(whole));
}

#[tokio::test]
async fn a_new_one_takes_the_place_of_the_old() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let old = made(&store).await;
    old.mark().unwrap();
    answer(&old, CANARY);
    // A mount has changed the folder's mode.
    set_mode(&file(&folder, "spool"), 0o770);
    let new = made(&store).await;
    assert_eq!(mode(&file(&folder, "spool")), 0o700);
    assert_ne!(old.key(), new.key());
    assert_eq!(found(&store, old.key()).await, Some(Found::Unknown));
    assert_eq!(found(&store, new.key()).await, Some(Found::Nothing));
    // Whoever still writes to the old one disturbs nobody.
    answer(&old, CANARY);
    assert_eq!(found(&store, new.key()).await, Some(Found::Nothing));
}

#[tokio::test]
async fn what_others_print_there_changes_nothing() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let spool = made(&store).await;
    let print = |text: &str| spool.hand().unwrap().write_all(text.as_bytes()).unwrap();
    print("a library says hello\n");
    assert_eq!(found(&store, spool.key()).await, Some(Found::Unknown));
    let file = spool.hand().unwrap();
    let taken = Spool::handed(file, spool.key().clone(), spool.place().to_owned()).unwrap();
    taken.mark().unwrap();
    print("!");
    assert_eq!(found(&store, spool.key()).await, Some(Found::Mark));
    let expected = answer(&taken, CANARY);
    print("and goodbye\n");
    assert_eq!(found(&store, spool.key()).await, Some(expected));
    let told = [b"a warning\n", &**spool.seal(b"instead").unwrap(), b"\n"].concat();
    assert_eq!(**spool.open(&told).unwrap(), *b"instead");
}

#[tokio::test]
async fn a_start_removes_what_nobody_will_ask_for() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let mut paths = Vec::new();
    let mut running = None;
    for name in ["kept", "gone", "running", "old"] {
        let spool = store.make_spool(&key(name)).await.unwrap().unwrap();
        if matches!(name, "kept" | "old") {
            store.put(&key(name), b"a grant").await.unwrap();
        }
        if name == "running" {
            let mut cat = Command::new("cat");
            let cat = cat.stdin(Stdio::piped()).stdout(spool.hand().unwrap());
            running = Some(cat.spawn().unwrap());
        }
        if name == "old" {
            let long_ago = SystemTime::now() - Duration::from_secs(91 * 24 * 60 * 60);
            spool.hand().unwrap().set_modified(long_ago).unwrap();
        }
        paths.push(path(&spool));
    }
    drop(store);
    let there = || paths.iter().map(|path| path.exists()).collect::<Vec<_>>();
    let store = open(&folder).unwrap();
    assert_eq!(there(), [true, false, true, false]);
    drop(store);
    let mut running = running.unwrap();
    drop(running.stdin.take());
    running.wait().unwrap();
    let _store = open(&folder).unwrap();
    assert_eq!(there(), [true, false, false, false]);
}

#[tokio::test]
async fn whoever_was_handed_it_holds_the_lock() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let spool = made(&store).await;
    let sealed_with = spool.key().clone();
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(spool.hand().unwrap())
        .spawn()
        .unwrap();
    drop(spool);
    let next = store.open_spool(&key("a/b"), &sealed_with).await.unwrap();
    let next = next.unwrap();
    assert!(!next.wait(Duration::from_millis(100)).await.unwrap());
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(next.wait(SOON).await.unwrap());
}

#[tokio::test]
async fn it_is_taken_by_whom_it_was_made_for_and_once() {
    let folder = folder();
    let store = open(&folder).unwrap();
    let spool = made(&store).await;
    let take = |sealed_with: &SpoolKey| {
        let file = spool.hand().unwrap();
        Spool::handed(file, sealed_with.clone(), spool.place().to_owned())
    };
    assert!(take(&SpoolKey::new(&BASE64_STANDARD.encode([1; 32]))).is_none());
    assert!(take(&SpoolKey::new("")).is_none());
    let taken = take(spool.key()).unwrap();
    taken.mark().unwrap();
    assert!(take(spool.key()).is_none(), "a second time");
    let expected = answer(&taken, CANARY);
    assert_eq!(spool.read().await.unwrap(), expected);
    let devices = fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .unwrap();
    assert!(Spool::handed(devices, spool.key().clone(), String::new()).is_none());
}

#[tokio::test]
async fn where_nothing_is_kept_there_is_none() {
    let store = Store::memory();
    assert!(store.make_spool(&key("a/b")).await.unwrap().is_none());
    assert_eq!(found(&store, &SpoolKey::new("")).await, None);
    store.remove_spool(&key("a/b")).await.unwrap();
}

#[tokio::test]
async fn what_the_system_refuses_is_told() {
    let folder = folder();
    let store = open(&folder).unwrap();
    fs::write(file(&folder, "spool"), "a file").unwrap();
    let error = store.make_spool(&key("a/b")).await.unwrap_err().to_string();
    assert!(
        error.contains("cannot make") && error.contains("state/kb/spool"),
        "{error}"
    );
    let error = store.open_spool(&key("a/b"), &SpoolKey::new("")).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("cannot open"), "{error}");
}
