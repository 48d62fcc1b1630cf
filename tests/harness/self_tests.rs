//! The harness proves its own parts, so that a failing test speaks of keybearer.

use std::process::Command;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;

use super::keybearer::bound;
use super::message::Wire;
use super::script::chunk;
use super::{Answer, Authority, Gate, Metrics, Process, RawClient, Request, Step, Upstream};

#[tokio::test]
async fn upstream_records_every_byte_and_answers() {
    let upstream = Upstream::start().await;
    let mut client = RawClient::connect(upstream.address()).await;
    let head = "POST /a%2Fb?x=&y HTTP/1.1\r\nHoSt: h\r\nX-One:  v \r\nContent-Length: 3\r\n\r\n";
    client.send(format!("{head}abc")).await;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let request = upstream.last();
    assert_eq!(request.head.raw, head.as_bytes());
    assert_eq!(
        (request.method(), request.target()),
        ("POST", "/a%2Fb?x=&y")
    );
    assert_eq!(request.header("x-one"), Some("v"));
    assert_eq!((request.text(), request.complete), ("abc", true));
}

#[tokio::test]
async fn connections_are_kept_counted_and_seen_to_end() {
    let upstream = Upstream::start().await;
    let mut client = RawClient::connect(upstream.address()).await;
    let request = Request::new(upstream.address(), "GET", "/");
    request.send_on(&mut client).await;
    request.send_on(&mut client).await;
    assert_eq!((upstream.count(), upstream.connections()), (2, 1));
    drop(client);
    upstream.wait_for_ended(1).await;
}

#[tokio::test]
async fn chunked_content_is_read_both_ways_with_trailers() {
    let upstream = Upstream::start().await;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = Answer::raw(answer)
        .then(chunk("one"))
        .then(chunk("two"))
        .then(Step::Send("0\r\nX-End: yes\r\n\r\n".into()));
    upstream.on("/c", answer);
    let request = Request::new(upstream.address(), "POST", "/c").chunks("text/plain", &["a", "bc"]);
    let response = request.send().await;
    assert_eq!(response.text(), "onetwo");
    assert_eq!(response.trailers, [("X-End".to_owned(), "yes".to_owned())]);
    assert_eq!(upstream.last().text(), "abc");
}

#[tokio::test]
async fn answers_come_in_turn_and_the_last_one_stays() {
    let upstream = Upstream::start().await;
    upstream.on_each("/t", [Answer::silence(), Answer::ok("second")]);
    let request = Request::new(upstream.address(), "GET", "/t");
    let mut client = RawClient::connect(upstream.address()).await;
    client.send(request.bytes()).await;
    assert!(client.try_response_to("GET").await.is_none());
    assert_eq!(request.send().await.text(), "second");
    assert_eq!(request.send().await.text(), "second");
}

#[tokio::test]
async fn a_cut_answer_is_incomplete_and_a_gate_holds_it() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let answer = Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        .then(Step::Wait(gate.clone()))
        .then(Step::Close);
    upstream.on("/cut", answer);
    let mut client = RawClient::connect(upstream.address()).await;
    let request = Request::new(upstream.address(), "GET", "/cut");
    client.send(request.bytes()).await;
    assert_eq!(client.until("half").await.lines().last(), Some("half"));
    gate.open();
    assert!(client.closed().await.is_empty());
    gate.open();
    let response = request.send().await;
    assert!(!response.complete && response.text() == "half");
}

#[tokio::test]
async fn an_early_answer_precedes_the_content() {
    let upstream = Upstream::start().await;
    let early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
    upstream.on(
        "/e",
        Answer(vec![Step::Send(early.into()), Step::WaitForClose]),
    );
    let mut client = RawClient::connect(upstream.address()).await;
    client
        .send("POST /e HTTP/1.1\r\nContent-Length: 9999\r\n\r\nx")
        .await;
    assert_eq!(client.response().await.status, 413);
    assert!(!upstream.last().complete);
}

#[tokio::test]
async fn a_download_is_as_long_as_it_says() {
    let upstream = Upstream::start().await;
    upstream.on("/big", Answer::download(1_000_001));
    let request = Request::new(upstream.address(), "GET", "/big");
    assert_eq!(request.send().await.body.len(), 1_000_001);
    assert_eq!(upstream.sent(), 1_000_001);
}

#[tokio::test]
async fn a_web_socket_echoes() {
    let upstream = Upstream::start().await;
    upstream.on("/ws", Answer::web_socket());
    let stream = RawClient::connect(upstream.address()).await.into_stream();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://host/ws", stream)
        .await
        .unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
}

#[tokio::test]
async fn a_private_authority_is_trusted_by_itself_only() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (roots, certificate, trusted, why) in [
        (&ours, ours.issue(&["a.example"]), true, "valid"),
        (&other, ours.issue(&["a.example"]), false, "unknown"),
        (&ours, ours.issue(&["b.example"]), false, "wrong name"),
        (&ours, ours.issue_expired(&["a.example"]), false, "expired"),
    ] {
        let upstream = Upstream::tls(&certificate).await;
        let outcome = tls_get(&upstream, roots).await;
        assert_eq!(outcome.is_ok(), trusted, "{why}: {outcome:?}");
        if trusted {
            let server_name = upstream.last().server_name;
            assert_eq!(server_name.as_deref(), Some("a.example"));
        }
    }
}

async fn tls_get(upstream: &Upstream, authority: &Authority) -> std::io::Result<u16> {
    let tcp = tokio::net::TcpStream::connect(upstream.address()).await?;
    let name = ServerName::try_from("a.example").unwrap();
    let mut wire = Wire::new(authority.connector().connect(name, tcp).await?);
    wire.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await?;
    let head = wire.head().await?.expect("an answer");
    Ok(head.part(1).parse().unwrap())
}

#[tokio::test]
async fn a_process_is_captured_whole() {
    let mut command = Command::new("sh");
    let exit = Process::run(command.args(["-c", "echo out; echo err >&2; exit 3"])).await;
    assert_eq!(exit.code, Some(3));
    assert_eq!(
        (exit.stdout.as_str(), exit.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn a_listener_is_found_in_logs_of_both_formats() {
    let address = Some("127.0.0.1:4567".parse().unwrap());
    for line in [
        r#"{"level":"INFO","fields":{"message":"Listening","listener":"proxy","address":"127.0.0.1:4567"}}"#,
        r#"{"level":"INFO","message":"Listening","listener":"proxy","address":"127.0.0.1:4567"}"#,
        r#"2026-11-22T06:00:00Z  INFO keybearer: Listening listener="proxy" address=127.0.0.1:4567"#,
    ] {
        assert_eq!(bound(line, "proxy"), address, "{line}");
        assert_eq!(bound(line, "console"), None, "{line}");
    }
}

#[test]
fn metrics_are_read_by_name_and_label() {
    let metrics = Metrics::parse(
        "# TYPE a counter\na{connection=\"x\",method=\"GET\"} 2\na{connection=\"y\",method=\"GET\"} 3\nb 1\n",
    );
    assert_eq!(metrics.value("a", &[("connection", "y")]), Some(3.0));
    assert_eq!(metrics.value("b", &[]), Some(1.0));
    assert!(metrics.has("b") && !metrics.has("c"));
    assert_eq!(metrics.labels("a"), ["connection", "method"]);
}
