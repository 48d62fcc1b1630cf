//! Targets that fail, and what waits for them.

use super::{deliveries, endpoint, open, path, start, told, wait_for, webhook};
use futures_util::future::join_all;

use crate::harness::{Answer, Gate, Keybearer, RawClient, Upstream, eventually, free_address};

async fn send(keybearer: &Keybearer, path: &str, content: &str) -> u16 {
    webhook(keybearer, path, content).send().await.status
}

/// Has a delivery tried at once.
async fn replay(keybearer: &Keybearer, id: &str) {
    let path = format!("/api/deliveries/{id}/replay");
    let answer = keybearer.ask("POST", &path).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn texts(target: &Upstream) -> Vec<String> {
    let requests = target.requests();
    requests.iter().map(|it| it.text().to_owned()).collect()
}

#[tokio::test]
async fn failures_of_every_kind_are_tried_again_until_they_pass() {
    let target = Upstream::start().await;
    let failures = [
        Answer::sized("500 Internal Server Error", "", "no"),
        Answer::silence(),
        Answer::sized("302 Found", "Location: /elsewhere\r\n", ""),
        Answer::ok("at last"),
    ];
    target.on_each("/hook", failures);
    let keybearer = start(&open("hook", &target.url("/hook"))).await;
    let path = path(&keybearer, "hook").await;
    assert_eq!(send(&keybearer, &path, "1").await, 202);
    assert_eq!(send(&keybearer, &path, "2").await, 202);
    wait_for(&keybearer, "hook", "delivered", 2).await;
    // One that closed without a word may have been asked twice at once: at least once is what counts.
    let texts = texts(&target);
    assert_eq!(texts.last().unwrap(), "2");
    assert!(texts.len() >= 5, "{texts:?}");
    assert!(
        texts[..texts.len() - 1].iter().all(|text| text == "1"),
        "in order: {texts:?}"
    );
    let first = &deliveries(&keybearer, "hook").await[1];
    assert!(first["attempts"].as_u64() >= Some(4), "{first}");
    let ids: Vec<_> = target
        .requests()
        .iter()
        .map(|it| it.header("webhook-id").unwrap().to_owned())
        .collect();
    assert!(
        ids[..ids.len() - 1].iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    keybearer.logged(&["Webhooks not delivered", "hook"]).await;
    keybearer
        .logged(&["Webhooks delivered again", "hook"])
        .await;
    let metrics = keybearer.metrics().await;
    let labels = [("endpoint", "hook"), ("result", "retried")];
    let retried = metrics.value("keybearer_webhook_deliveries_total", &labels);
    assert_eq!(retried, Some(3.0));
}

#[tokio::test]
async fn in_order_one_that_fails_holds_up_its_endpoint_visibly_and_no_other() {
    let target = Upstream::start().await;
    target.on("/bad", Answer::sized("500 Internal Server Error", "", ""));
    let endpoints = [
        endpoint(
            "bad",
            &target.url("/bad"),
            "verify = { type = \"none\" }\nmax_attempts = 3",
        ),
        open("good", &target.url("/good")),
    ];
    let keybearer = start(&endpoints.concat()).await;
    let (bad, good) = (
        path(&keybearer, "bad").await,
        path(&keybearer, "good").await,
    );
    for content in ["1", "2"] {
        assert_eq!(send(&keybearer, &bad, content).await, 202);
    }
    for content in ["a", "b", "c"] {
        assert_eq!(send(&keybearer, &good, content).await, 202);
    }
    wait_for(&keybearer, "good", "delivered", 3).await;
    let blocked = async || {
        let told = told(&keybearer, "bad").await;
        (told["blocked"]["status"] == 500).then_some(told)
    };
    let told = eventually("the endpoint to say that it is blocked", blocked).await;
    assert_eq!(told["waiting"], 2, "{told}");
    let metrics = keybearer.metrics().await;
    let waits = |name: &str| metrics.value(name, &[("endpoint", "bad")]).unwrap();
    assert!(waits("keybearer_webhook_queue_depth") >= 1.0);
    // After as many attempts as there may be it is set aside, and the next one's turn comes.
    wait_for(&keybearer, "bad", "failed", 2).await;
    let all = deliveries(&keybearer, "bad").await;
    assert!(all.iter().all(|it| it["attempts"] == 3), "{all:?}");
    let bad: Vec<_> = target
        .requests()
        .iter()
        .filter(|it| it.target() == "/bad")
        .map(|it| it.text().to_owned())
        .collect();
    assert_eq!(bad, ["1", "1", "1", "2", "2", "2"]);
    keybearer.logged(&["Webhook given up", "bad"]).await;
    // A person can have it tried again, once the target is mended.
    target.on("/bad", Answer::ok(""));
    replay(&keybearer, all[1]["id"].as_str().unwrap()).await;
    wait_for(&keybearer, "bad", "delivered", 1).await;
    assert_eq!(target.last().text(), "1");
}

#[tokio::test]
async fn a_replay_while_an_attempt_is_made_is_not_lost() {
    let target = Upstream::start().await;
    let gate = Gate::new();
    // By itself the next attempt would come an hour later, or never.
    let refused =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let refusal = Answer::raw(refused).behind(&gate);
    let answers = [refusal.clone(), refusal.clone(), refusal, Answer::ok("")];
    target.on_each("/hook", answers);
    let rest = "verify = { type = \"none\" }\nmax_attempts = 3";
    let keybearer = start(&endpoint("hook", &target.url("/hook"), rest)).await;
    let path = path(&keybearer, "hook").await;
    assert_eq!(send(&keybearer, &path, "1").await, 202);
    let id = deliveries(&keybearer, "hook").await[0]["id"].take();
    // During the first attempt, a later one, and the last one that there may be.
    for attempt in 1..=3 {
        target.wait_for_requests(attempt).await;
        replay(&keybearer, id.as_str().unwrap()).await;
        gate.open();
    }
    wait_for(&keybearer, "hook", "delivered", 1).await;
    assert_eq!(texts(&target), ["1"; 4]);
}

#[tokio::test]
async fn in_any_order_one_that_fails_holds_up_nothing() {
    let target = Upstream::start().await;
    target.on(
        "/hook/bad",
        Answer::sized("422 Unprocessable Content", "", ""),
    );
    let rest = "verify = { type = \"none\" }\nordered = false";
    let keybearer = start(&endpoint("hook", &target.url("/hook"), rest)).await;
    let path = path(&keybearer, "hook").await;
    for number in 0..40 {
        let below = if number < 30 { "/bad" } else { "/good" };
        let status = send(&keybearer, &format!("{path}{below}"), &number.to_string()).await;
        assert_eq!(status, 202);
    }
    wait_for(&keybearer, "hook", "delivered", 10).await;
    assert_eq!(told(&keybearer, "hook").await["waiting"], 30);
}

#[tokio::test]
async fn a_slow_target_is_given_up_on_and_slows_nobody_else() {
    let target = Upstream::start().await;
    let gate = Gate::new();
    let slow = Answer::silence().behind(&gate);
    target.on_each("/slow", [slow, Answer::ok("")]);
    let endpoints = [
        endpoint(
            "slow",
            &target.url("/slow"),
            "verify = { type = \"none\" }\ntimeout = \"500ms\"",
        ),
        open("good", &target.url("/good")),
    ];
    let keybearer = start(&endpoints.concat()).await;
    let (slow, good) = (
        path(&keybearer, "slow").await,
        path(&keybearer, "good").await,
    );
    assert_eq!(send(&keybearer, &slow, "1").await, 202);
    target.wait_for_requests(1).await;
    for _ in 0..20 {
        assert_eq!(send(&keybearer, &good, "x").await, 202);
    }
    wait_for(&keybearer, "good", "delivered", 20).await;
    wait_for(&keybearer, "slow", "delivered", 1).await;
    let [delivery] = &deliveries(&keybearer, "slow").await[..] else {
        panic!("one delivery");
    };
    assert_eq!(delivery["attempts"], 2);
    keybearer
        .logged(&["Webhooks not delivered", "not answered within 500ms"])
        .await;
}

#[tokio::test]
async fn a_full_queue_says_so_and_recovers() {
    let address = free_address();
    let rest =
        "verify = { type = \"none\" }\nlimits = { request_body = \"10KiB\", queue = \"60KiB\" }";
    let down = endpoint("hook", &format!("http://{address}/"), rest);
    let other = Upstream::start().await;
    let keybearer = start(&(down + &open("other", &other.url("/")))).await;
    let path = path(&keybearer, "hook").await;
    let content = "x".repeat(9000);
    let mut taken = 0;
    let refused = loop {
        let answer = webhook(&keybearer, &path, &content).send().await;
        match answer.status {
            202 => taken += 1,
            _ => break answer,
        }
        assert!(taken < 10, "no bound");
    };
    let detail = refused.problem(503, "webhook-queue-full", "destination_unavailable");
    assert!(detail.contains("full"), "{detail}");
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(taken, 6);
    // What belongs to others has its own room.
    let beside = super::path(&keybearer, "other").await;
    assert_eq!(send(&keybearer, &beside, &content).await, 202);
    let target = Upstream::at(&address.to_string()).await;
    let oldest = deliveries(&keybearer, "hook").await.last().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    replay(&keybearer, &oldest).await;
    target.wait_for_requests(taken).await;
    wait_for(&keybearer, "hook", "delivered", taken).await;
    // What was delivered makes room, the oldest first.
    for _ in 0..3 {
        assert_eq!(send(&keybearer, &path, &content).await, 202);
    }
    target.wait_for_requests(taken + 3).await;
    let kept = deliveries(&keybearer, "hook").await;
    assert_eq!(kept.len(), taken);
    assert!(kept.iter().all(|it| it["id"] != *oldest));
    let metrics = keybearer.metrics().await;
    let labels = [("endpoint", "hook"), ("result", "full")];
    let full = metrics.value("keybearer_webhooks_received_total", &labels);
    assert_eq!(full, Some(1.0));
}

#[tokio::test]
async fn what_is_over_is_kept_for_its_time() {
    let target = Upstream::start().await;
    let rest = "verify = { type = \"none\" }\nretain = \"1s\"";
    let endpoints = endpoint("brief", &target.url("/"), rest) + &open("long", &target.url("/"));
    let keybearer = start(&endpoints).await;
    for name in ["brief", "long"] {
        let path = path(&keybearer, name).await;
        assert_eq!(send(&keybearer, &path, "1").await, 202);
        wait_for(&keybearer, name, "delivered", 1).await;
    }
    // Every half minute, and when it starts.
    let (setup, _) = keybearer.stop().await;
    let again = async || std::time::SystemTime::now();
    let begun = again().await;
    eventually("a second", async || {
        (begun.elapsed().ok()? > std::time::Duration::from_millis(1100)).then_some(())
    })
    .await;
    let keybearer = setup.start().await;
    path(&keybearer, "brief").await;
    wait_for(&keybearer, "brief", "delivered", 0).await;
    assert_eq!(deliveries(&keybearer, "long").await.len(), 1);
    assert_eq!(
        target.count(),
        2,
        "what was delivered is not delivered again"
    );
}

#[tokio::test]
async fn what_waits_takes_disk_and_no_memory() {
    /// In each half.
    const COUNT: usize = 4000;
    const SENDERS: usize = 16;
    const MIB: u64 = 1 << 20;
    let down = endpoint(
        "hook",
        &format!("http://{}/", free_address()),
        "verify = { type = \"none\" }\nordered = false",
    );
    let keybearer = start(&down).await;
    let path = path(&keybearer, "hook").await;
    let content = "x".repeat(4096);
    let send_half = async || {
        let senders = (0..SENDERS).map(async |_| {
            let mut client = RawClient::connect(keybearer.webhooks()).await;
            let request = webhook(&keybearer, &path, &content);
            for _ in 0..COUNT / SENDERS {
                client.send(request.bytes()).await;
                assert_eq!(client.response_to("POST").await.status, 202);
            }
        });
        join_all(senders).await;
        keybearer.resident()
    };
    let half = send_half().await;
    let whole = send_half().await;
    assert_eq!(told(&keybearer, "hook").await["waiting"], 2 * COUNT);
    let grown = whole.saturating_sub(half) / MIB;
    println!(
        "{} MiB resident after {COUNT}, {grown} MiB more after as many again",
        half / MIB
    );
    // As much again as 16 MiB of content came, and the database's own cache has its bound.
    assert!(grown < 12, "{grown} MiB more for what waits");
}
