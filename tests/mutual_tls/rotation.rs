//! Certificates that are replaced while requests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::{put, seen, setup, showing};
use crate::harness::nginx::{Nginx, Seen, TELL};
use crate::harness::{Authority, RawClient, eventually};

const CALLERS: usize = 64;
const ROTATIONS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_under_load_fails_no_request() {
    let (one, two) = (Authority::new(), Authority::new());
    let directives = format!("keepalive_requests 100000;\n{TELL}");
    let nginx = Nginx::start(&one.issue(&["127.0.0.1"]), &[&one, &two], &directives).await;
    let setup = setup(&one);
    put(&setup, "a", &one.client("a", 0x10));
    let keybearer = setup
        .tables(&showing("a", &nginx.url(""), ""))
        .start()
        .await;
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let (address, get) = (keybearer.proxy(), keybearer.get("/a/x"));
            tokio::spawn(async move {
                let mut client = RawClient::connect(address).await;
                while !stop.load(SeqCst) {
                    Seen::in_answer(&get.send_on(&mut client).await);
                    answered.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for n in 1..=ROTATIONS {
        let so_far = answered.load(SeqCst);
        let issuer = if n % 2 == 0 { &one } else { &two };
        put(keybearer.setup(), "a", &issuer.client("a", 0x10 + n));
        let serial = format!("{:02X}", 0x10 + n);
        eventually("the new certificate", async || {
            let failed = callers.iter().any(tokio::task::JoinHandle::is_finished);
            assert!(!failed, "a caller failed during rotation {n}");
            (seen(&keybearer, "a").await.serial == serial).then_some(())
        })
        .await;
        // What is asked from now on is asked in the new name.
        for _ in 0..20 {
            assert_eq!(seen(&keybearer, "a").await.serial, serial);
        }
        assert!(answered.load(SeqCst) > so_far, "the callers went on");
    }
    stop.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let reloads = keybearer.metrics().await;
    assert!(answered.load(SeqCst) >= CALLERS as u64, "{reloads:?}");
}

#[tokio::test]
async fn half_a_rotation_changes_nothing_and_the_other_half_mends_it() {
    let authority = Authority::new();
    let nginx = Nginx::start(&authority.issue(&["127.0.0.1"]), &[&authority], TELL).await;
    let setup = setup(&authority);
    put(&setup, "a", &authority.client("a", 1));
    let keybearer = setup
        .tables(&showing("a", &nginx.url(""), ""))
        .start()
        .await;
    let before = seen(&keybearer, "a").await;
    let next = authority.client("a", 2);
    keybearer.setup().replace("a.pem", next.pem());
    let told = keybearer
        .logged(&["Configuration rejected", "is for another key than"])
        .await;
    assert!(told.contains("a.pem"), "{told}");
    assert!(told.contains("keybearer.toml:"), "{told}");
    assert_eq!(seen(&keybearer, "a").await, before, "still in force");
    keybearer.setup().replace("a.key", next.key_pem());
    eventually("the new certificate", async || {
        (seen(&keybearer, "a").await.serial == "02").then_some(())
    })
    .await;
}
