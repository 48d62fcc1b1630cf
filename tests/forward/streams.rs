//! What flows while it flows: events, WebSockets, back-pressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::pair;
use crate::harness::{Answer, Gate, Keybearer, Step, eventually, within};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn events_arrive_one_by_one() {
    let (upstream, keybearer) = pair("").await;
    let gate = Gate::new();
    let event = |n: usize| format!("data: {n}\n\n");
    let chunk = |text: String| Step::Send(format!("{:x}\r\n{text}\r\n", text.len()).into());
    let mut answer = Answer::raw(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for n in 0..3 {
        answer = answer.then(chunk(event(n))).then(Step::Wait(gate.clone()));
    }
    upstream.on("/base/events", answer.then(Step::Send("0\r\n\r\n".into())));
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/events").bytes()).await;
    for n in 0..3 {
        // The upstream sends the next one only after this one has been seen.
        client.until(&event(n)).await;
        gate.open();
    }
    client.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn uploads_arrive_while_they_are_sent() {
    let (upstream, keybearer) = pair("").await;
    let mut client = keybearer.caller().await;
    let head = "POST /p/u HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    for sent in 1..=3 {
        client.send("5\r\nhello\r\n").await;
        let arrived = async || (upstream.received() == sent * 5).then_some(());
        eventually("the chunk upstream", arrived).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
}

async fn web_socket(
    keybearer: &Keybearer,
    path: &str,
) -> WebSocketStream<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + use<>> {
    let stream = keybearer.caller().await.into_stream();
    let url = format!("ws://{}{path}", keybearer.proxy());
    let (socket, response) = within("handshake", tokio_tungstenite::client_async(url, stream))
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    socket
}

#[tokio::test]
async fn a_web_socket_echoes_through() {
    let (upstream, keybearer) = pair("").await;
    upstream.on("/base/ws", Answer::web_socket());
    let mut socket = web_socket(&keybearer, "/p/ws?room=1").await;
    for message in [
        Message::text("hello"),
        Message::binary(vec![0; 1 << 20]),
        Message::text("again"),
    ] {
        socket.send(message.clone()).await.unwrap();
        let echoed = within("echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed, message);
    }
    let handshake = upstream.last();
    assert_eq!(handshake.target(), "/base/ws?room=1");
    assert_eq!(handshake.header("upgrade"), Some("websocket"));
    assert_eq!(handshake.header("authorization"), Some("Bearer ours"));
    socket.close(None).await.unwrap();
    upstream.wait_for_ended(1).await;
}

#[tokio::test]
async fn a_web_socket_ends_upstream_when_its_caller_goes() {
    let (upstream, keybearer) = pair("").await;
    upstream.on("/base/ws", Answer::web_socket());
    drop(web_socket(&keybearer, "/p/ws").await);
    upstream.wait_for_ended(1).await;
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn a_refused_upgrade_is_an_answer() {
    let (upstream, keybearer) = pair("").await;
    upstream.on(
        "/base/ws",
        Answer::sized("403 Forbidden", "X-Why: no\r\n", "not you"),
    );
    let mut client = keybearer.caller().await;
    let head = format!("GET /p/ws HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
    client.send(&head).await;
    let response = client.response().await;
    assert_eq!(
        (response.status, response.text().as_str()),
        (403, "not you")
    );
    assert_eq!(response.header("x-why"), Some("no"));
}

#[tokio::test]
async fn a_switch_to_what_nobody_asked_for_is_refused() {
    let (upstream, keybearer) = pair("").await;
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
    upstream.on("/base/ws", Answer::raw(switch));
    for lines in ["", UPGRADE] {
        let mut client = keybearer.caller().await;
        let head = format!("GET /p/ws HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        client.send(&head).await;
        let response = client.response().await;
        response.problem(502, "upgrade-failed", "http_upgrade_failed");
    }
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_passed_on() {
    let (upstream, keybearer) = pair("").await;
    let response = keybearer
        .get("/p/x")
        .header("Connection", "Upgrade, HTTP2-Settings")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAMAAABkAAQAAP__")
        .send()
        .await;
    assert_eq!(response.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("upgrade"), None);
    assert_eq!(seen.header("http2-settings"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_the_upstream_back() {
    let (upstream, keybearer) = pair("").await;
    let size = 200 * MIB;
    upstream.on("/base/big", Answer::download(size));
    keybearer.get("/p/warm").send().await;
    let before = keybearer.resident();
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/big").bytes()).await;
    let stuck = settled(|| upstream.sent()).await;
    assert!(
        stuck < size / 2,
        "{stuck} bytes were taken from the upstream"
    );
    let growth = keybearer.resident().saturating_sub(before);
    assert!(
        growth < 16 * MIB,
        "{growth} bytes are held for a reader that does not read"
    );
    client.head().await.expect("the head");
    within("the rest", client.skip(size)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upstream_holds_the_caller_back() {
    let (upstream, keybearer) = pair("").await;
    let gate = Gate::new();
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let steps = vec![
        Step::Wait(gate.clone()),
        Step::ReadAndForget,
        Step::Send(ok.into()),
    ];
    upstream.on("/base/big", Answer(steps));
    keybearer.get("/p/warm").send().await;
    let before = keybearer.resident();
    let size = 200 * MIB;
    let written = Arc::<AtomicU64>::default();
    let mut client = keybearer.caller().await;
    let counter = Arc::clone(&written);
    let uploading = tokio::spawn(async move {
        let head =
            format!("POST /p/big HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n");
        client.send(&head).await;
        let block = vec![b'x'; 64 * 1024];
        while counter.load(SeqCst) < size {
            client.send(&block).await;
            counter.fetch_add(block.len() as u64, SeqCst);
        }
        client.response().await.status
    });
    let stuck = settled(|| written.load(SeqCst)).await;
    assert!(stuck < size / 2, "{stuck} bytes were taken from the caller");
    let growth = keybearer.resident().saturating_sub(before);
    assert!(
        growth < 16 * MIB,
        "{growth} bytes are held for an upstream that does not read"
    );
    gate.open();
    assert_eq!(within("the rest", uploading).await.unwrap(), 200);
    assert_eq!(upstream.received(), size);
}

/// Waits until a count that has begun no longer grows, and gives it.
async fn settled(count: impl Fn() -> u64) -> u64 {
    let (mut last, mut same) = (0, 0);
    eventually("a count to settle", async || {
        let now = count();
        same = if now > 0 && now == last { same + 1 } else { 0 };
        last = now;
        (same == 50).then_some(now)
    })
    .await
}

#[tokio::test]
async fn web_sockets_never_cross() {
    let (upstream, keybearer) = pair("").await;
    upstream.on("/base/ws", Answer::web_socket());
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(web_socket(&keybearer, "/p/ws").await);
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        socket.send(Message::text(n.to_string())).await.unwrap();
    }
    for (n, socket) in sockets.iter_mut().enumerate() {
        let echoed = within("echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed, Message::text(n.to_string()));
    }
    assert_eq!(upstream.connections(), 5, "a tunnel is never pooled");
}

#[tokio::test]
async fn an_upgrade_is_for_a_get_without_content() {
    let (upstream, keybearer) = pair("").await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for start in ["POST /p/x", "GET /p/x"] {
        let mut client = keybearer.caller().await;
        let head = format!(
            "{start} HTTP/1.1\r\nHost: localhost\r\n{upgrade}Content-Length: 5\r\n\r\nhello"
        );
        client.send(head).await;
        assert_eq!(client.response().await.status, 200, "{start}");
        let seen = upstream.last();
        assert_eq!(
            (seen.header("upgrade"), seen.text()),
            (None, "hello"),
            "{start}"
        );
    }
    upstream.on("/base/ws", Answer::web_socket());
    let mut client = keybearer.caller().await;
    let head =
        format!("GET /p/ws HTTP/1.1\r\nHost: localhost\r\n{upgrade}Content-Length: 0\r\n\r\n");
    client.send(head).await;
    client.until("\r\n\r\n").await;
    assert_eq!(
        upstream.last().header("content-length"),
        None,
        "what follows is the tunnel's"
    );
}

#[tokio::test]
async fn a_switch_of_protocols_without_proof_opens_no_tunnel() {
    let (upstream, keybearer) = pair("").await;
    let switch = |fields: &str| {
        format!(
            "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{fields}\r\n"
        )
    };
    for (fields, why) in [
        ("", "no proof"),
        (
            "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
            "another proof",
        ),
    ] {
        upstream.on("/base/ws", Answer::raw(switch(fields)));
        let mut client = keybearer.caller().await;
        let head = "GET /p/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.send(head).await;
        assert_eq!(client.response().await.status, 502, "{why}");
    }
}
