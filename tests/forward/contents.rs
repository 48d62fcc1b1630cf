//! Methods and contents, both ways.

use super::pair;
use crate::harness::{Answer, RawClient, Step};

#[tokio::test]
async fn every_method_passes() {
    let (upstream, keybearer) = pair("").await;
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY", "get",
    ] {
        upstream.on("/base/m", Answer::raw("HTTP/1.1 204 No Content\r\n\r\n"));
        let response = keybearer.request(method, "/p/m").send().await;
        assert_eq!(response.status, 204, "{method}");
        assert_eq!(upstream.last().method(), method);
    }
}

#[tokio::test]
async fn answers_without_content_leave_the_connection_usable() {
    let (upstream, keybearer) = pair("").await;
    let mut client = keybearer.caller().await;
    for (method, answer, status, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 5", 200, Some("5")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", 200, None),
        ("GET", "204 No Content", 204, None),
        ("GET", "304 Not Modified\r\nETag: \"x\"", 304, None),
        (
            "GET",
            "304 Not Modified\r\nContent-Length: 5",
            304,
            Some("5"),
        ),
        ("DELETE", "200 OK\r\nContent-Length: 0", 200, Some("0")),
    ] {
        upstream.on("/base/n", Answer::raw(format!("HTTP/1.1 {answer}\r\n\r\n")));
        let request = keybearer.request(method, "/p/n");
        let response = request.send_on(&mut client).await;
        assert_eq!(response.status, status, "{method} {answer}");
        assert!(response.body.is_empty());
        // RFC 9110 §8.6 allows the length of what GET would get; it must not be another one.
        if let Some(said) = response.header("content-length") {
            assert_eq!(Some(said), length, "{method} {answer}");
        }
    }
    let last = keybearer.get("/p/after").send_on(&mut client).await;
    assert_eq!(last.text(), "ok");
}

#[tokio::test]
async fn sized_content_stays_sized() {
    let (upstream, keybearer) = pair("").await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    for body in [&b""[..], b"x", &every_byte] {
        let request = keybearer
            .post("/p/s")
            .body("application/octet-stream", body);
        assert_eq!(request.send().await.status, 200);
        let seen = upstream.last();
        let length = body.len().to_string();
        assert_eq!(seen.header("content-length"), Some(length.as_str()));
        assert_eq!(seen.header("transfer-encoding"), None);
        assert!(seen.complete && seen.body == body);
    }
}

#[tokio::test]
async fn chunked_content_arrives_whole_and_in_order() {
    let (upstream, keybearer) = pair("").await;
    let chunks: Vec<String> = (0..500).map(|n| format!("<{n}>")).collect();
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    let request = keybearer.post("/p/c").chunks("text/plain", &chunks);
    assert_eq!(request.send().await.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.text(), chunks.concat());
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.header("content-length"), None);
}

#[tokio::test]
async fn a_get_may_have_content() {
    let (upstream, keybearer) = pair("").await;
    let request = keybearer
        .get("/p/search")
        .body("application/json", "{\"q\":1}");
    assert_eq!(request.send().await.status, 200);
    assert_eq!(upstream.last().text(), "{\"q\":1}");
}

#[tokio::test]
async fn answers_arrive_whole_however_they_are_framed() {
    let (upstream, keybearer) = pair("").await;
    for (name, answer) in [
        ("sized", Answer::ok("one two")),
        (
            "chunked",
            Answer::raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n",
            ),
        ),
        (
            "chunked with extensions and trailers",
            Answer::raw(
                "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n7;a=b\r\none two\r\n0\r\nX-T: 1\r\n\r\n",
            ),
        ),
        (
            "until close",
            Answer::raw("HTTP/1.1 200 OK\r\n\r\none two").then(Step::Close),
        ),
        (
            "HTTP/1.0 until close",
            Answer::raw("HTTP/1.0 200 OK\r\n\r\none two").then(Step::Close),
        ),
        (
            "length and chunked: chunked wins",
            Answer::raw(
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n7\r\none two\r\n0\r\n\r\n",
            ),
        ),
        (
            "after interim answers",
            Answer::raw(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\none two",
            ),
        ),
    ] {
        upstream.on("/base/a", answer);
        let mut client = keybearer.caller().await;
        let response = keybearer.get("/p/a").send_on(&mut client).await;
        assert!(response.complete, "{name}");
        assert_eq!(response.text(), "one two", "{name}");
        let framings =
            ["content-length", "transfer-encoding"].map(|name| response.head.all(name).len());
        assert_eq!(framings.iter().sum::<usize>(), 1, "{name}: {response:?}");
        let again = keybearer.get("/p/other").send_on(&mut client).await;
        assert_eq!(again.text(), "ok", "after {name}");
    }
}

#[tokio::test]
async fn an_http_1_0_caller_gets_no_chunks() {
    let (upstream, keybearer) = pair("").await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n";
    upstream.on("/base/old", Answer::raw(chunked));
    let mut client = keybearer.caller().await;
    client
        .send("GET /p/old HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await;
    let response = client.response().await;
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.text(), "one");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (upstream, keybearer) = pair("").await;
    let mut all = Vec::new();
    for name in ["1", "2", "3"] {
        upstream.on(&format!("/base/{name}"), Answer::ok(name));
        all.extend(keybearer.get(&format!("/p/{name}")).bytes());
    }
    let mut client = keybearer.caller().await;
    client.send(&all).await;
    for name in ["1", "2", "3"] {
        assert_eq!(client.response().await.text(), name);
    }
}

#[tokio::test]
async fn a_caller_that_expects_continue_is_told_to() {
    let (upstream, keybearer) = pair("").await;
    let mut client = keybearer.caller().await;
    send_expecting(&mut client, "/p/e").await;
    let interim = client.head().await.expect("an interim answer");
    assert_eq!(interim.part(1), "100");
    client.send("hello").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(upstream.last().text(), "hello");
}

#[tokio::test]
async fn a_refused_caller_is_not_told_to_continue() {
    let (upstream, keybearer) = pair("").await;
    let mut client = keybearer.caller().await;
    send_expecting(&mut client, "/nowhere").await;
    let response = client.response().await;
    response.problem(404, "no-route", "destination_not_found");
    assert!(response.interim.is_empty(), "{response:?}");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_upstream_may_refuse_before_the_content_comes() {
    let (upstream, keybearer) = pair("").await;
    let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";
    let answer = Answer(vec![Step::Send(refusal.into()), Step::WaitForClose]);
    upstream.on("/base/e", answer);
    let mut client = keybearer.caller().await;
    send_expecting(&mut client, "/p/e").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (401, "no"));
}

async fn send_expecting(client: &mut RawClient, target: &str) {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    );
    client.send(head).await;
}

#[tokio::test]
async fn content_over_its_limit_is_refused() {
    let (upstream, keybearer) = pair("limits = { request_body = \"1KiB\" }").await;
    let (fits, long) = ("x".repeat(1024), "x".repeat(1025));
    let sized = |body: &str| keybearer.post("/p/l").body("text/plain", body);
    let chunked = |body: &str| keybearer.post("/p/l").chunks("text/plain", &[body]);
    for request in [sized(&fits), chunked(&fits)] {
        assert_eq!(request.send().await.status, 200);
    }
    upstream.take();
    for request in [sized(&long), chunked(&long)] {
        let detail = request.send().await;
        let detail = detail.problem(413, "content-too-large", "http_request_error");
        assert!(detail.contains("request_body"), "what to change: {detail}");
        assert!(upstream.take().iter().all(|seen| !seen.complete));
    }
}

#[tokio::test]
async fn content_of_unknown_length_arrives_with_every_method() {
    // hyper's client takes a GET for one without content unless it is told.
    let (upstream, keybearer) = pair("").await;
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PATCH"] {
        let request = keybearer
            .request(method, "/p/x")
            .chunks("text/plain", &["hel", "lo"]);
        assert_eq!(request.send().await.status, 200, "{method}");
        assert_eq!(upstream.last().text(), "hello", "{method}");
    }
}

#[tokio::test]
async fn an_answer_with_trailers_is_whole_and_its_connection_used_again() {
    let (upstream, keybearer) = pair("").await;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    upstream.on("/base/trailers", Answer::raw(answer));
    for _ in 0..3 {
        assert_eq!(keybearer.get("/p/trailers").send().await.text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
    let line = keybearer.logged(&["/p/trailers"]).await;
    assert!(!line.contains("aborted"), "{line}");
}
