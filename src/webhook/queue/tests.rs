//! The queue on a real disk.

mod opening;

use super::shared::FILE;
use super::*;
use crate::store::Store;
use crate::webhook::verify::Mark;
use redb::ReadableTable;
use ring::digest::{SHA256, digest};
use tempfile::TempDir;

fn vault(folder: &TempDir) -> Vault {
    let store = Store::file(&folder.path().join("store"), None).unwrap();
    store.vault().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn arrival(endpoint: &str, content: &str) -> Arrival {
    Arrival {
        endpoint: endpoint.into(),
        mark: None,
        content: Zeroizing::new(content.as_bytes().to_vec()),
        limit: 1 << 20,
        at: at(0),
        held: None,
    }
}

fn outcome(phase: Phase, due: SystemTime) -> Outcome {
    Outcome {
        phase,
        due: millis(due),
        status: 500,
        told: "no".to_owned(),
        began: at(1),
        at: at(1),
    }
}

async fn ready(queue: &Queue, endpoint: &str, order: Order, now: SystemTime) -> Vec<String> {
    let endpoint = endpoint.into();
    let next = queue.next(&endpoint, order, Vec::new(), 10, now).await;
    let ready = next.unwrap().ready;
    let text = |ready: &Ready| String::from_utf8(ready.content.as_ref().unwrap().to_vec());
    ready.iter().map(|ready| text(ready).unwrap()).collect()
}

#[tokio::test]
async fn what_is_kept_outlives_its_process_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(vault(&folder)).unwrap();
    let mut ids = Vec::new();
    for content in ["canary-1", "canary-2", "canary-3"] {
        ids.push(queue.accept(arrival("hook", content)).await.unwrap());
    }
    assert!(ids.is_sorted() && ids[0].time() == at(0));
    let (waiting, bytes) = (
        queue.gauge(&"hook".into()).waiting(),
        queue.gauge(&"hook".into()).bytes(),
    );
    assert_eq!(waiting, 3);
    drop(queue);
    let file = std::fs::read(folder.path().join("store").join(FILE)).unwrap();
    assert!(!file.windows(6).any(|part| part == b"canary"));
    let queue = Queue::open(vault(&folder)).unwrap();
    let gauge = queue.gauge(&"hook".into());
    assert_eq!((gauge.waiting(), gauge.bytes()), (3, bytes));
    assert_eq!(
        ready(&queue, "hook", Order::Arrival, at(0)).await,
        ["canary-1", "canary-2", "canary-3"]
    );
    // The next ID comes after those, whatever the clock says.
    let early = Arrival {
        at: UNIX_EPOCH,
        ..arrival("hook", "4")
    };
    assert!(queue.accept(early).await.unwrap() > ids[2]);
}

#[tokio::test]
async fn what_was_moved_or_changed_is_not_delivered_as_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(vault(&folder)).unwrap();
    let first = queue.accept(arrival("hook", "first")).await.unwrap();
    let second = queue.accept(arrival("hook", "second")).await.unwrap();
    drop(queue);
    {
        let vault = vault(&folder);
        let database = Database::open(vault.path(FILE)).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut contents = transaction.open_table(CONTENTS).unwrap();
        let sealed = contents.get(first.0).unwrap().unwrap().value().1.to_vec();
        contents
            .insert(second.0, ("hook", sealed.as_slice()))
            .unwrap();
        drop(contents);
        transaction.commit().unwrap();
    }
    let queue = Queue::open(vault(&folder)).unwrap();
    let next = queue
        .next(&"hook".into(), Order::Arrival, Vec::new(), 10, at(0))
        .await
        .unwrap();
    let contents: Vec<_> = next
        .ready
        .iter()
        .map(|ready| ready.content.is_some())
        .collect();
    assert_eq!(contents, [true, false]);
}

#[tokio::test]
async fn in_order_nothing_overtakes_and_in_any_order_what_is_due_goes() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(vault(&folder)).unwrap();
    let first = queue.accept(arrival("hook", "1")).await.unwrap();
    let second = queue.accept(arrival("hook", "2")).await.unwrap();
    queue.accept(arrival("other", "3")).await.unwrap();
    let name: Arc<str> = "hook".into();
    queue
        .settle(&name, first, outcome(Phase::Waiting, at(60)))
        .await
        .unwrap();
    let next = queue
        .next(&name, Order::Arrival, Vec::new(), 10, at(1))
        .await
        .unwrap();
    assert!(next.ready.is_empty());
    assert_eq!(next.wake, Some(millis(at(60))));
    assert_eq!(ready(&queue, "hook", Order::Any, at(1)).await, ["2"]);
    assert_eq!(
        ready(&queue, "hook", Order::Arrival, at(60)).await,
        ["1", "2"]
    );
    assert_eq!(ready(&queue, "hook", Order::Any, at(60)).await, ["2", "1"]);
    let (id, fact) = queue.oldest("hook").unwrap().unwrap();
    assert_eq!(
        (id, fact.attempts, fact.status, &*fact.told),
        (first, 1, 500, "no")
    );
    let next = queue
        .next(&name, Order::Arrival, vec![first], 10, at(1))
        .await
        .unwrap();
    assert_eq!(next.ready[0].id, second);
    queue
        .settle(&name, first, outcome(Phase::Failed, at(0)))
        .await
        .unwrap();
    queue
        .settle(&name, second, outcome(Phase::Delivered, at(0)))
        .await
        .unwrap();
    assert_eq!(queue.gauge(&name).waiting(), 0);
    // What is over stays so, whoever still reports of it.
    queue
        .settle(&name, first, outcome(Phase::Waiting, at(9)))
        .await
        .unwrap();
    assert!(queue.oldest("hook").unwrap().is_none());
    let failed = queue
        .list(&name, Some(Phase::Failed), None, 10)
        .await
        .unwrap();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].1.attempts, 2);
    // Until somebody wants it again.
    assert_eq!(queue.replay(first).await.unwrap(), Some(Arc::clone(&name)));
    assert_eq!(queue.gauge(&name).waiting(), 1);
    assert_eq!(ready(&queue, "hook", Order::Any, at(2)).await, ["1"]);
    assert_eq!(queue.replay(Id(7)).await.unwrap(), None);
    let latest = queue.list(&name, None, None, 10).await.unwrap();
    assert_eq!([latest[0].0, latest[1].0], [second, first]);
    let before = queue.list(&name, None, Some(second), 10).await.unwrap();
    assert_eq!(before.len(), 1);
    let (owner, _, content) = queue.get(second).await.unwrap().unwrap();
    assert_eq!((&*owner, &content.unwrap()[..]), ("hook", &b"2"[..]));
}

#[tokio::test]
async fn what_was_put_off_by_a_clock_that_was_ahead_waits_for_no_other() {
    const YEAR: u64 = 365 * 24 * 60 * 60;
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(vault(&folder)).unwrap();
    let name = "hook".into();
    // The second by a clock that was right again.
    for (content, due) in [("far", at(YEAR)), ("near", at(60))] {
        let id = queue.accept(arrival("hook", content)).await.unwrap();
        let outcome = outcome(Phase::Waiting, due);
        queue.settle(&name, id, outcome).await.unwrap();
    }
    for most in [1, 10] {
        let next = queue.next(&name, Order::Any, Vec::new(), most, at(1));
        let next = next.await.unwrap();
        assert_eq!(next.ready.len(), 1);
        assert_eq!(next.ready[0].content.as_ref().unwrap()[..], *b"far");
        assert_eq!(next.wake, Some(millis(at(60))));
    }
    assert_eq!(
        ready(&queue, "hook", Order::Any, at(60)).await,
        ["near", "far"]
    );
}

#[tokio::test]
async fn a_mark_is_good_once_until_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let marked = |what: &[u8], from: u64, until: u64| {
        let hash = digest(&SHA256, what);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.as_ref()[..16]);
        let mark = Mark {
            digest,
            until: at(until),
            renews: what == b"standard",
        };
        Arrival {
            mark: Some(mark),
            at: at(from),
            ..arrival("hook", "x")
        }
    };
    let queue = Queue::open(vault(&folder)).unwrap();
    queue.accept(marked(b"a", 0, 300)).await.unwrap();
    let replayed =
        async |queue: &Queue, arrival| queue.accept(arrival).await == Err(Refusal::Replayed);
    assert!(replayed(&queue, marked(b"a", 299, 600)).await);
    queue.accept(marked(b"b", 299, 600)).await.unwrap();
    drop(queue);
    let queue = Queue::open(vault(&folder)).unwrap();
    let none = HashMap::new();
    let long = Duration::from_secs(1_000_000);
    queue.sweep(&none, long, at(298)).await.unwrap();
    assert!(replayed(&queue, marked(b"a", 299, 600)).await);
    queue.accept(marked(b"a", 300, 600)).await.unwrap();
    queue.sweep(&none, long, at(400)).await.unwrap();
    assert!(replayed(&queue, marked(b"a", 500, 900)).await);
    queue.sweep(&none, long, at(601)).await.unwrap();
    queue.accept(marked(b"b", 601, 900)).await.unwrap();
    // A later attempt with the same ID is known as long as its own time is good.
    queue.accept(marked(b"standard", 0, 300)).await.unwrap();
    assert!(replayed(&queue, marked(b"standard", 60, 360)).await);
    assert!(replayed(&queue, marked(b"standard", 330, 360)).await);
    queue.accept(marked(b"standard", 360, 660)).await.unwrap();
    // Other endpoints have their own.
    let other = Arrival {
        endpoint: "other".into(),
        ..marked(b"a", 500, 900)
    };
    queue.accept(other).await.unwrap();
}

#[tokio::test]
async fn only_what_was_delivered_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(vault(&folder)).unwrap();
    let name: Arc<str> = "hook".into();
    let small = |content: &str| Arrival {
        limit: 2500,
        ..arrival("hook", content)
    };
    let mut ids = Vec::new();
    for content in ["1", "2", "3", "4"] {
        ids.push(queue.accept(small(content)).await.unwrap());
    }
    assert_eq!(queue.accept(small("5")).await, Err(Refusal::Full));
    queue
        .settle(&name, ids[0], outcome(Phase::Failed, at(0)))
        .await
        .unwrap();
    assert_eq!(queue.accept(small("5")).await, Err(Refusal::Full));
    queue
        .settle(&name, ids[2], outcome(Phase::Delivered, at(0)))
        .await
        .unwrap();
    queue
        .settle(&name, ids[1], outcome(Phase::Delivered, at(0)))
        .await
        .unwrap();
    queue.accept(small("5")).await.unwrap();
    assert!(
        queue.get(ids[1]).await.unwrap().is_none(),
        "the oldest goes first"
    );
    queue.accept(small("6")).await.unwrap();
    assert_eq!(queue.accept(small("7")).await, Err(Refusal::Full));
    assert_eq!(
        ready(&queue, "hook", Order::Arrival, at(1)).await,
        ["4", "5", "6"]
    );
    assert!(
        queue.get(ids[0]).await.unwrap().is_some(),
        "what failed is kept"
    );
    // What would not fit anyway costs nobody its past.
    let all = queue.list(&name, None, None, 10).await.unwrap();
    let last = all[0].0;
    queue
        .settle(&name, last, outcome(Phase::Delivered, at(0)))
        .await
        .unwrap();
    let long = "x".repeat(2000);
    assert_eq!(queue.accept(small(&long)).await, Err(Refusal::Full));
    assert!(queue.get(last).await.unwrap().is_some());
    queue.accept(small("7")).await.unwrap();
    assert!(queue.get(last).await.unwrap().is_none());
    // Others have their own room.
    let other = Arrival {
        limit: 2500,
        ..arrival("other", "x")
    };
    queue.accept(other).await.unwrap();
}

#[tokio::test]
async fn what_is_over_is_swept_when_its_time_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(vault(&folder)).unwrap();
    let name: Arc<str> = "hook".into();
    let mut ids = Vec::new();
    for _ in 0..1200 {
        ids.push(queue.accept(arrival("hook", "x")).await.unwrap());
    }
    for id in &ids[1..] {
        queue
            .settle(&name, *id, outcome(Phase::Delivered, at(0)))
            .await
            .unwrap();
    }
    let retain: HashMap<_, _> = [(Arc::clone(&name), Duration::from_secs(60))].into();
    queue.sweep(&retain, Duration::ZERO, at(59)).await.unwrap();
    let kept = async || queue.list(&name, None, None, 2000).await.unwrap().len();
    assert_eq!(kept().await, 1200);
    queue.sweep(&retain, Duration::ZERO, at(62)).await.unwrap();
    assert_eq!(kept().await, 1, "what waits stays");
    let gauge = queue.gauge(&name);
    let one = gauge.bytes();
    assert!(gauge.waiting() == 1 && one < 1000, "{one}");
}

#[tokio::test]
async fn many_at_once_share_commits_and_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Arc::new(Queue::open(vault(&folder)).unwrap());
    let senders = (0..50).map(|sender| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in 0..20 {
                let content = format!("{sender}/{number}");
                ids.push(queue.accept(arrival("hook", &content)).await.unwrap());
            }
            ids
        })
    });
    for ids in futures_util::future::join_all(senders).await {
        assert!(ids.unwrap().is_sorted());
    }
    assert_eq!(queue.gauge(&"hook".into()).waiting(), 1000);
}
