//! Reloads while requests run: none fails, none sees two configurations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::harness::{Keybearer, RawClient, Upstream, connection, eventually};

const RELOADS: usize = 50;
const CALLERS: usize = 8;

/// A connection that injects the same text in three places.
fn table(upstream: &Upstream, text: &str) -> String {
    let auth = format!(
        r#"auth = {{ type = "custom", headers = {{ X-One = "{text}", X-Two = "{text}" }}, params = {{ three = "{text}" }} }}"#
    );
    connection("p", &upstream.url("/base"), &auth)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_lose_nothing_and_mix_nothing() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream, "g0")).await;
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let (address, get) = (keybearer.proxy(), keybearer.get("/p/x"));
            let post = keybearer.post("/p/x").body("text/plain", "content");
            tokio::spawn(async move {
                let mut client = RawClient::connect(address).await;
                while !stop.load(SeqCst) {
                    let request = if n % 2 == 0 { &get } else { &post };
                    let response = request.send_on(&mut client).await;
                    assert_eq!(response.status, 200, "{}", response.text());
                    assert!(response.complete);
                    answered.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for n in 1..=RELOADS {
        let so_far = answered.load(SeqCst);
        keybearer
            .reconfigure(&table(&upstream, &format!("g{}", n % 2)))
            .await;
        let enough = async || {
            let ended = callers.iter().any(tokio::task::JoinHandle::is_finished);
            assert!(!ended, "a caller failed during reload {n}");
            (answered.load(SeqCst) >= so_far + 20).then_some(())
        };
        eventually("requests between two reloads", enough).await;
    }
    stop.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let seen = upstream.requests();
    assert_eq!(seen.len() as u64, answered.load(SeqCst), "each once");
    let mut both = [0, 0];
    for request in &seen {
        let one = request.header("x-one").expect("X-One");
        assert_eq!(Some(one), request.header("x-two"), "a mixture");
        assert_eq!(
            request.target(),
            format!("/base/x?three={one}"),
            "a mixture"
        );
        both[usize::from(one == "g1")] += 1;
    }
    assert!(both.iter().all(|&count| count >= RELOADS), "{both:?}");
}
