//! For how long an endpoint's past is kept that is away for a while.

use super::super::Webhooks;
use super::super::queue::{Id, Outcome};
use super::*;
use crate::proxy::serve::Bound;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps one, notes it as delivered, and gives its ID.
async fn deliver(webhooks: &Webhooks, endpoint: &Endpoint, at: SystemTime) -> Id {
    let queue = &webhooks.door.queue;
    let arrival = Arrival {
        endpoint: Arc::clone(&endpoint.name),
        mark: None,
        content: Head::new(&Method::POST, "", None, &HeaderMap::new()).packed(0),
        limit: endpoint.limits.queue,
        at,
        held: None,
    };
    let id = queue.accept(arrival).await.unwrap();
    let outcome = Outcome {
        phase: Phase::Delivered,
        due: 0,
        status: 204,
        told: String::new(),
        began: at,
        at,
    };
    queue.settle(&endpoint.name, id, outcome).await.unwrap();
    id
}

/// Lets what is over be swept up, as one delivery shows that is to go by then.
async fn sweep(webhooks: &Arc<Webhooks>, endpoint: &Endpoint, id: Id) {
    let sweeping = tokio::spawn(Arc::clone(webhooks).sweep());
    let queue = &webhooks.door.queue;
    let swept = async {
        while queue.fact(&endpoint.name, id).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(30), swept).await.unwrap();
    sweeping.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_away_for_a_while_keeps_its_past_as_long_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "http://127.0.0.1:1");
    let mut settings = config.webhooks.clone().unwrap();
    let mut brief = Endpoint::clone(&settings.endpoints[0]);
    let mut long = Endpoint::clone(&settings.endpoints[1]);
    (brief.retain, long.retain) = (Duration::from_secs(1), 30 * DAY);
    settings.endpoints = vec![Arc::new(brief.clone()), Arc::new(long.clone())];
    let without = config::Webhooks {
        endpoints: vec![Arc::new(brief.clone())],
        ..settings.clone()
    };
    let store = Store::file(&folder.path().join("queue"), None).unwrap();
    let queue = Queue::open(store.vault().unwrap()).unwrap();
    let began = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let clock = Arc::new(Manual(watch::Sender::new(began)));
    let bound = Bound::bind(&settings.listen).unwrap();
    let (reader, metrics, upstreams, proxy) = parts(&config);
    let parts = (&reader, &metrics, &upstreams, &proxy);
    let by = Arc::clone(&clock) as Arc<dyn Clock>;
    let webhooks = Webhooks::new(queue, store, &bound, parts, by);

    webhooks.put_in_force(Some(&settings)).await.unwrap();
    let kept = deliver(&webhooks, &long, began).await;
    let gone = deliver(&webhooks, &brief, began).await;
    webhooks.put_in_force(Some(&without)).await.unwrap();
    clock.advance(10 * DAY);
    sweep(&webhooks, &brief, gone).await;
    assert!(webhooks.fact(&long.name, kept).await.is_ok(), "while away");
    webhooks.put_in_force(Some(&settings)).await.unwrap();
    let gone = deliver(&webhooks, &brief, clock.now()).await;
    clock.advance(10 * DAY);
    sweep(&webhooks, &brief, gone).await;
    assert!(webhooks.fact(&long.name, kept).await.is_ok(), "when back");
    clock.advance(11 * DAY);
    sweep(&webhooks, &long, kept).await;
    webhooks.stop().await;
}
