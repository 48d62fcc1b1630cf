//! Upstream connections: kept, never mixed up, never trusted too long.

use super::pair;
use crate::harness::{Answer, Step};

#[tokio::test]
async fn one_upstream_connection_carries_request_after_request() {
    let (upstream, keybearer) = pair("").await;
    let mut client = keybearer.caller().await;
    for n in 0..20 {
        let request = match n % 3 {
            0 => keybearer.get("/p/x"),
            1 => keybearer.post("/p/x").body("text/plain", "x"),
            _ => keybearer.post("/p/x").chunks("text/plain", &["x", "y"]),
        };
        assert_eq!(request.send_on(&mut client).await.text(), "ok");
    }
    for _ in 0..5 {
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
    }
    assert_eq!((upstream.connections(), upstream.count()), (1, 25));
}

#[tokio::test]
async fn a_stale_connection_costs_no_request() {
    let (upstream, keybearer) = pair("retries = 0").await;
    // Keeps the connection alive as far as the answer says, and then closes it.
    upstream.on("/base/x", Answer::ok("ok").then(Step::Close));
    let mut client = keybearer.caller().await;
    for n in 0..30 {
        let request = keybearer.post("/p/x").body("text/plain", "once");
        let response = request.send_on(&mut client).await;
        assert_eq!(response.status, 200, "request {n}: {}", response.text());
        upstream.wait_for_ended(n + 1).await;
    }
    assert_eq!(upstream.count(), 30, "each once");
}

#[tokio::test]
async fn a_connection_that_is_said_to_close_is_not_used_again() {
    let (upstream, keybearer) = pair("").await;
    upstream.on("/base/x", Answer::fields("Connection: close\r\n"));
    for _ in 0..3 {
        assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    }
    assert_eq!(upstream.connections(), 3);
}

#[tokio::test]
async fn bytes_after_an_answer_poison_nobody() {
    let (upstream, keybearer) = pair("").await;
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    upstream.on("/base/poison", Answer::raw(poison));
    let mut client = keybearer.caller().await;
    for _ in 0..10 {
        let first = keybearer.get("/p/poison").send_on(&mut client).await;
        assert_eq!(first.text(), "ok");
        let second = keybearer.get("/p/clean").send_on(&mut client).await;
        assert_eq!(second.text(), "ok");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_never_cross() {
    let (upstream, keybearer) = pair("").await;
    for n in 0..20 {
        upstream.on(&format!("/base/{n}"), Answer::ok(&format!("answer {n}")));
    }
    let callers = (0..20).map(|n| {
        let (request, address) = (keybearer.get(&format!("/p/{n}")), keybearer.proxy());
        tokio::spawn(async move {
            let mut client = crate::harness::RawClient::connect(address).await;
            for _ in 0..20 {
                let response = request.send_on(&mut client).await;
                assert_eq!(response.text(), format!("answer {n}"));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(upstream.count(), 400);
    let used = upstream.connections();
    assert!(used <= 20, "{used} connections for twenty callers");
}

#[tokio::test]
async fn an_idle_connection_is_given_up() {
    let (upstream, keybearer) = pair("timeouts = { idle = \"200ms\" }").await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    upstream.wait_for_ended(1).await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_upstream_of_http_1_0_is_not_sent_to_twice() {
    // hyper would remember its version, and drop content that it can only send in chunks.
    let (upstream, keybearer) = pair("").await;
    let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    upstream.on("/base/old", Answer::raw(old));
    assert_eq!(keybearer.get("/p/old").send().await.text(), "ok");
    let request = keybearer
        .post("/p/new")
        .chunks("text/plain", &["hel", "lo"]);
    assert_eq!(request.send().await.status, 200);
    assert_eq!(upstream.last().text(), "hello");
    assert_eq!(upstream.connections(), 2);
}
