//! Upstreams that close, stall or talk nonsense: one clear answer, and nothing lost.

use super::pair;
use crate::harness::{Answer, Step};

#[tokio::test]
async fn nonsense_is_told_as_such() {
    let (upstream, keybearer) = pair("").await;
    for (answer, why) in [
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "another protocol"),
        (
            "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{28}\r\n\r\n",
            "a TLS alert",
        ),
        ("HTTP/1.1 abc OK\r\n\r\n", "no status code"),
        ("HTTP/1.1 99 Low\r\n\r\n", "no such status code"),
        ("HTTP/7.0 200 OK\r\n\r\n", "no such version"),
        ("HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n", "a broken field name"),
        ("HTTP/1.1 200 OK\r\nX-Y: a\0b\r\n\r\n", "NUL in a field"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "two lengths",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
            "no length",
        ),
    ] {
        upstream.take();
        upstream.on("/base/x", Answer::raw(answer).then(Step::WaitForClose));
        let request = keybearer.post("/p/x").body("text/plain", "once");
        let response = request.send().await;
        response.problem(502, "protocol-error", "http_protocol_error");
        assert_eq!(response.json()["connection"], "p", "{why}");
        assert_eq!(upstream.count(), 1, "{why}: sent once, as it was read");
    }
    assert_eq!(keybearer.get("/p/after").send().await.status, 200);
}

#[tokio::test]
async fn an_answer_with_too_large_a_head_is_told_as_such() {
    let (upstream, keybearer) = pair("").await;
    let long = "v".repeat(2 << 20);
    let answer = format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 0\r\n\r\n");
    upstream.on("/base/x", Answer::raw(answer));
    let response = keybearer.post("/p/x").body("text/plain", "x").send().await;
    let error = "http_response_header_section_size";
    response.problem(502, "response-head-too-large", error);
}

#[tokio::test]
async fn a_close_before_the_answer_is_retried_where_that_is_safe() {
    for (method, retries, closes, status, attempts, why) in [
        ("GET", 1, 1, 200, 2, "GET may be repeated"),
        ("HEAD", 1, 1, 200, 2, "HEAD too"),
        ("OPTIONS", 1, 1, 200, 2, "OPTIONS too"),
        ("PUT", 1, 1, 200, 2, "PUT too, as it has no content here"),
        ("DELETE", 1, 1, 200, 2, "DELETE too"),
        ("GET", 1, 5, 502, 2, "once, no more"),
        ("GET", 3, 3, 200, 4, "as often as is set"),
        ("GET", 0, 1, 502, 1, "0 switches it off"),
        ("POST", 1, 1, 502, 1, "POST never, once it was read"),
        ("PATCH", 3, 1, 502, 1, "PATCH neither"),
    ] {
        let (upstream, keybearer) = pair(&format!("retries = {retries}")).await;
        let silent = std::iter::repeat_n(Answer::silence(), closes);
        let ok = Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        upstream.on_each("/base/x", silent.chain([ok]));
        let response = keybearer.request(method, "/p/x").send().await;
        assert_eq!(response.status, status, "{method}: {why}");
        assert_eq!(upstream.count(), attempts, "{method}: {why}");
        if status == 502 {
            response.problem(502, "connection-terminated", "connection_terminated");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_times_out() {
    let (upstream, keybearer) = pair("retries = 0\ntimeouts = { read = \"300ms\" }").await;
    upstream.on("/base/stall", Answer::stall());
    for request in [
        keybearer.get("/p/stall"),
        keybearer.post("/p/stall").body("text/plain", "x"),
    ] {
        let response = request.send().await;
        let detail = response.problem(504, "response-timeout", "http_response_timeout");
        assert!(detail.contains("300ms"), "how long it waited: {detail}");
    }
    assert_eq!(keybearer.get("/p/after").send().await.status, 200);
}

#[tokio::test]
async fn a_get_is_tried_again_after_a_timeout() {
    let (upstream, keybearer) = pair("timeouts = { read = \"500ms\" }").await;
    upstream.on_each("/base/x", [Answer::stall(), Answer::ok("second")]);
    assert_eq!(keybearer.get("/p/x").send().await.text(), "second");
    upstream.on_each("/base/y", [Answer::stall(), Answer::ok("second")]);
    let response = keybearer.post("/p/y").body("text/plain", "x").send().await;
    response.problem(504, "response-timeout", "http_response_timeout");
}

#[tokio::test]
async fn an_answer_that_stalls_in_the_middle_is_cut() {
    let (upstream, keybearer) = pair("timeouts = { read = \"300ms\" }").await;
    let answer = Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    upstream.on("/base/x", answer.then(Step::WaitForClose));
    let response = keybearer.get("/p/x").send().await;
    assert_eq!((response.status, response.complete), (200, false));
    upstream.wait_for_ended(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_stops_reading_times_out() {
    let (upstream, keybearer) = pair("timeouts = { write = \"300ms\" }").await;
    let gate = crate::harness::Gate::new();
    upstream.on("/base/x", Answer(vec![Step::Wait(gate)]));
    let mut client = keybearer.caller().await;
    let size = 64 << 20;
    let head = format!("POST /p/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n");
    client.send(head).await;
    // Ends early: keybearer answers, closes, and the write fails.
    client.send(vec![b'x'; size]).await;
    let response = client.response().await;
    response.problem(504, "write-timeout", "connection_write_timeout");
}

#[tokio::test]
async fn a_caller_that_stops_sending_times_out() {
    let (upstream, keybearer) = pair("timeouts = { read = \"300ms\" }").await;
    let mut client = keybearer.caller().await;
    let head = "POST /p/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf";
    client.send(head).await;
    let response = client.response().await;
    response.problem(408, "caller-timeout", "http_request_error");
    client.closed().await;
    upstream.wait_for_ended(1).await;
    assert!(!upstream.last().complete);
}
