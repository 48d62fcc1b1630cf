//! Processes that put values until they are killed, or until the disk is full.
//!
//! The child is this test binary, running one of its ignored tests.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;

const FOLDER: &str = "KEYBEARER_TEST_STORE";

fn child(test: &str, folder: &TempDir) -> Child {
    // A shell, as what it ignores is ignored by the child too: a write beyond the limit then fails,
    // where a signal would end the process.
    Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::tests::child::{test}")])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn parent_folder() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os(FOLDER)?).join("state/kb"))
}

/// The numbers that a child says it has put.
fn numbers(output: BufReader<ChildStdout>) -> impl Iterator<Item = u64> {
    let lines = output.lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix("put ")?.parse().ok())
}

#[tokio::test]
#[ignore = "run by never_loses_a_value_when_killed"]
async fn puts_until_it_is_killed() {
    let Some(folder) = parent_folder() else {
        return;
    };
    let store = Store::file(&folder, None).unwrap();
    let start: u64 = text(&store, "counter")
        .await
        .map_or(0, |text| text.parse().unwrap());
    for number in start + 1.. {
        let value = format!("{number}");
        store.put(&key("counter"), value.as_bytes()).await.unwrap();
        println!("\nput {number}");
        // Of many sizes, so that pages are split and freed.
        let name = key(&format!("other/{}", number % 7));
        let other = vec![b'x'; (number as usize * 997) % 9000];
        store.put(&name, &other).await.unwrap();
    }
}

#[tokio::test]
async fn never_loses_a_value_when_killed() {
    let folder = folder();
    let mut last = 0;
    for round in 0..24_u32 {
        let mut child = child("puts_until_it_is_killed", &folder);
        let mut output = numbers(BufReader::new(child.stdout.take().unwrap()));
        if round > 3 {
            last = output.next().unwrap();
            let error = open(&folder).unwrap_err();
            assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        }
        // Anywhere between two values; in the first rounds while the store is made.
        let kill = Instant::now() + Duration::from_micros(u64::from(round % 12) * 1300);
        while Instant::now() < kill {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        last = output.last().unwrap_or(last);
        let store = open(&folder).unwrap();
        let value = text(&store, "counter").await;
        let value: u64 = value.map_or(0, |text| text.parse().unwrap());
        assert!(
            (last..=last + 1).contains(&value),
            "{value}, after {last} was put"
        );
        for number in 0..7 {
            store.get(&key(&format!("other/{number}"))).await.unwrap();
        }
        last = value;
    }
    // One in each round that waited for one.
    assert!(last >= 20);
}

#[tokio::test]
#[ignore = "run by a_full_disk_keeps_what_is_there"]
async fn puts_until_the_disk_is_full() {
    let Some(folder) = parent_folder() else {
        return;
    };
    let limit = |bytes| {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        setrlimit(Resource::Fsize, limit).unwrap();
    };
    let store = Store::file(&folder, None).unwrap();
    store.put(&key("a"), b"old").await.unwrap();
    let size = fs::metadata(folder.join("store.redb")).unwrap().len();
    limit(Some(size));
    let large = vec![b'x'; size as usize];
    let error = store.put(&key("a"), &large).await.unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    assert!(error.to_string().contains("make room for it"), "{error}");
    assert_eq!(text(&store, "a").await.as_deref(), Some("old"));
    store.put(&key("a"), b"new").await.unwrap();
    store.put(&key("a"), &large).await.unwrap_err();
    limit(None);
    store.put(&key("b"), &large).await.unwrap();
    assert_eq!(text(&store, "a").await.as_deref(), Some("new"));
    println!("\nput 1");
}

#[tokio::test]
async fn a_full_disk_keeps_what_is_there() {
    let folder = folder();
    let mut child = child("puts_until_the_disk_is_full", &folder);
    let output = numbers(BufReader::new(child.stdout.take().unwrap()));
    assert_eq!(output.last(), Some(1));
    assert!(child.wait().unwrap().success());
    let store = open(&folder).unwrap();
    assert_eq!(text(&store, "a").await.as_deref(), Some("new"));
}
