//! Many requests at once, and many bytes.

use std::time::Instant;

use super::erp;
use crate::harness::{Answer, Site, Upstream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_requests_at_once_are_all_answered() {
    let upstream = Upstream::start().await;
    upstream.on("/stall", Answer::stall());
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let _agent = site.agent(&["127.0.0.1:*"]).await;
    let mut callers = Vec::new();
    for _ in 0..500 {
        callers.push(site.keybearer.caller().await);
    }
    let request = site.keybearer.get("/erp/").bytes();
    let begun = Instant::now();
    for round in 1..=2 {
        for caller in &mut callers {
            caller.send(&request).await;
        }
        for caller in &mut callers {
            assert_eq!(caller.response().await.status, 200);
        }
        assert_eq!(upstream.count(), 500 * round);
    }
    println!("1,000 requests of 500 callers: {:?}", begun.elapsed());
    // All of them at the same moment.
    let stall = site.keybearer.get("/erp/stall").bytes();
    for caller in &mut callers {
        caller.send(&stall).await;
    }
    upstream.wait_for_requests(1500).await;
    let instance = &site.standing().await["instances"][0];
    assert!(instance["streams"].as_u64() >= Some(500), "{instance}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bytes_pass_in_constant_memory() {
    const BYTES: u64 = 256 << 20;
    let upstream = Upstream::start().await;
    upstream.on("/down", Answer::download(BYTES));
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let agent = site.agent(&["127.0.0.1:*"]).await;
    let begun = Instant::now();
    let mut caller = site.keybearer.caller().await;
    caller.send(site.keybearer.get("/erp/down").bytes()).await;
    caller.head().await.unwrap();
    caller.skip(BYTES).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let rate = BYTES as f64 / 1e6 / seconds;
    println!("{rate:.0} MB/s through an agent");
    for id in [agent.id(), site.keybearer.id()] {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kib < 128 << 10, "{line}");
    }
}
