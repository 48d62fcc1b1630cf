//! Upstreams that speak HTTP/2, and callers of either protocol.

use std::sync::atomic::Ordering::SeqCst;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::server::{Http2Upstream, Manners};
use crate::harness::{
    Authority, Keybearer, RawClient, Setup, Upstream, connection, eventually, within,
};

const BEARER: &str = "auth = { type = \"bearer\", token = \"ours\" }";

fn cleartext(upstream: &Http2Upstream) -> String {
    connection("p", &upstream.url(""), &format!("http = \"2\"\n{BEARER}"))
}

async fn pair(manners: Manners) -> (Http2Upstream, Keybearer) {
    let upstream = Http2Upstream::mannered(manners, None).await;
    let keybearer = Keybearer::start(&cleartext(&upstream)).await;
    (upstream, keybearer)
}

const PLAIN: Manners = Manners {
    streams: 100,
    requests: usize::MAX,
};

async fn secured(manners: Manners, rest: &str) -> (Http2Upstream, Keybearer) {
    let authority = Authority::new();
    let certificate = authority.issue(&["127.0.0.1"]);
    let upstream = Http2Upstream::mannered(manners, Some(&certificate)).await;
    let rest = format!("{BEARER}\ntls = {{ ca_certificate = \"ca.pem\" }}\n{rest}");
    let setup = Setup::new().file("ca.pem", authority.pem());
    let table = connection("p", &upstream.url(""), &rest);
    (upstream, setup.tables(&table).start().await)
}

#[tokio::test]
async fn callers_of_the_old_protocol_reach_upstreams_of_the_new() {
    for (upstream, keybearer) in [pair(PLAIN).await, secured(PLAIN, "").await] {
        for _ in 0..5 {
            let request = keybearer.post("/p/x?y=1").body("text/plain", "hello");
            let request = request.header("Authorization", "Bearer mine");
            assert_eq!(request.send().await.text(), "ok");
        }
        let seen = upstream.last();
        let uri = seen.head.uri();
        assert_eq!(upstream.url("/x?y=1"), uri.to_string());
        let headers = seen.head.headers();
        assert_eq!(headers["authorization"], "Bearer ours");
        assert_eq!(headers["content-length"], "5");
        assert!(!headers.contains_key("host"), "{headers:?}");
        assert_eq!(seen.body, b"hello");
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test]
async fn a_thousand_requests_at_once_share_few_connections() {
    const COUNT: usize = 1000;
    let (upstream, keybearer) = secured(PLAIN, "").await;
    let mut requests = Vec::new();
    for _ in 0..COUNT {
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.get("/p/hold").bytes()).await;
        requests.push(caller);
    }
    upstream.release(COUNT).await;
    for mut caller in requests {
        let response = within("an answer", caller.response()).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    let connections = upstream.connections();
    assert!((10..=12).contains(&connections), "{connections}");
}

#[tokio::test]
async fn goodbyes_under_load_fail_nothing() {
    let manners = Manners {
        requests: 7,
        ..PLAIN
    };
    let (upstream, keybearer) = secured(manners, "").await;
    let load = async |method: &str| {
        for _ in 0..60 {
            let request = keybearer.request(method, "/p/x");
            let request = match method {
                "POST" => request.body("text/plain", "hello"),
                _ => request,
            };
            let response = request.send().await;
            assert_eq!(response.status, 200, "{method}: {}", response.text());
        }
    };
    let mut loads = Vec::new();
    for _ in 0..4 {
        loads.push(load("POST"));
        loads.push(load("GET"));
    }
    within("all requests", futures_util::future::join_all(loads)).await;
    assert!(upstream.connections() > 10, "{}", upstream.connections());
}

#[tokio::test]
async fn a_request_that_was_refused_unseen_is_sent_again_whatever_its_method() {
    let (upstream, keybearer) = pair(PLAIN).await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    let request = keybearer.post("/p/refuse").body("text/plain", "hello");
    assert_eq!(request.send().await.text(), "ok");
    assert_eq!(upstream.last().body, b"hello");
}

#[tokio::test]
async fn a_stream_whose_end_comes_behind_all_content_is_not_reset() {
    let (upstream, keybearer) = pair(PLAIN).await;
    let get = async |path| keybearer.get(path).send().await.text();
    assert_eq!(get("/p/late").await, "ok");
    // It comes behind whatever was said of the first.
    assert_eq!(get("/p/x").await, "ok");
    upstream.release(1).await;
    assert_eq!(get("/p/x").await, "ok");
    let resets = upstream.shared().resets.lock().unwrap().clone();
    assert_eq!((resets, upstream.connections()), (vec![], 1));
}

#[tokio::test]
async fn a_reset_stream_fails_alone() {
    let (upstream, keybearer) = pair(PLAIN).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.get("/p/hold").bytes()).await;
        held.push(caller);
    }
    let broken = keybearer.post("/p/reset").send().await;
    let detail = broken.problem(502, "stream-reset", "http_response_incomplete");
    assert!(detail.contains("reset"), "{detail}");
    upstream.release(20).await;
    for mut caller in held {
        assert_eq!(within("an answer", caller.response()).await.status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn upstreams_that_do_not_speak_it_are_told_of() {
    let authority = Authority::new();
    let old = Upstream::tls(&authority.issue(&["127.0.0.1"])).await;
    let plain = Upstream::start().await;
    let setup = Setup::new().file("ca.pem", authority.pem());
    let rest = format!("http = \"2\"\n{BEARER}\ntls = {{ ca_certificate = \"ca.pem\" }}");
    let tables = connection("tls", &old.url(""), &rest)
        + &connection("plain", &plain.url(""), &format!("http = \"2\"\n{BEARER}"));
    let keybearer = setup.tables(&tables).start().await;
    let response = keybearer.get("/tls/x").send().await;
    let detail = response.problem(502, "protocol-error", "http_protocol_error");
    assert!(
        detail.contains("ALPN") && detail.contains("`http`"),
        "{detail}"
    );
    let response = keybearer.get("/plain/x").send().await;
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(response.text().contains("HTTP/2"), "{}", response.text());
    assert_eq!(old.count(), 0);
}

#[tokio::test]
async fn an_upstream_that_speaks_the_old_protocol_only_is_dialed_at_once_by_all() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["127.0.0.1"])).await;
    let setup = Setup::new().file("ca.pem", authority.pem());
    let rest = format!("{BEARER}\ntls = {{ ca_certificate = \"ca.pem\" }}");
    let keybearer = setup
        .tables(&connection("p", &upstream.url(""), &rest))
        .start()
        .await;
    let requests = (0..50).map(async |_| keybearer.get("/p/x").send().await);
    for response in futures_util::future::join_all(requests).await {
        assert_eq!(response.text(), "ok");
    }
    assert_eq!(upstream.count(), 50);
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_stream() {
    let (upstream, keybearer) = pair(PLAIN).await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/p/wait").bytes()).await;
    let begun = async || (upstream.shared().begun.load(SeqCst) == 1).then_some(());
    eventually("the request", begun).await;
    drop(caller);
    let reset = async || upstream.shared().resets.lock().unwrap().first().copied();
    assert_eq!(eventually("the reset", reset).await, h2::Reason::CANCEL);
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_caller_that_reads_nothing_stops_the_upstream_and_no_other_caller() {
    let (upstream, keybearer) = pair(PLAIN).await;
    let before = keybearer.resident();
    let mut callers = Vec::new();
    for _ in 0..8 {
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.get("/p/fill").bytes()).await;
        callers.push(caller);
    }
    let mut sent = 0;
    let still = async || {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let seen = upstream.shared().sent.load(SeqCst);
        (std::mem::replace(&mut sent, seen) == seen && seen > 0).then_some(seen)
    };
    let sent = eventually("the upstream to stop", still).await;
    // What the system holds for each caller is most of it.
    assert!(sent < 8 * (8 << 20), "{sent}");
    let grown = keybearer.resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown}");
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
}

#[tokio::test]
async fn large_content_passes_as_fast_as_it_is_taken() {
    let (upstream, keybearer) = pair(PLAIN).await;
    let content = "x".repeat(20 << 20);
    let request = keybearer.post("/p/forget").body("text/plain", &content);
    assert_eq!(request.send().await.text(), "ok");
    assert_eq!(upstream.shared().received.load(SeqCst), content.len());
}

#[tokio::test]
async fn websockets_get_a_connection_of_the_old_protocol() {
    let (upstream, keybearer) = secured(PLAIN, "").await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    let mut caller = asked_for_websocket(&keybearer).await;
    let response = within("an answer", caller.response()).await;
    assert_eq!(response.status, 101, "{}", response.text());
    assert_eq!(upstream.connections(), 2);
    let (_upstream, keybearer) = pair(PLAIN).await;
    let mut caller = asked_for_websocket(&keybearer).await;
    let response = within("an answer", caller.response()).await;
    let detail = response.problem(502, "upgrade-failed", "http_upgrade_failed");
    assert!(detail.contains("`http`"), "{detail}");
}

#[tokio::test]
async fn requests_of_aws_are_signed_for_the_authority() {
    let aws = "auth = { type = \"aws_access_key\", service = \"execute-api\", region = \"eu-west-1\", access_key_id = \"AKIDEXAMPLE\", secret_access_key = \"canary\" }";
    let upstream = Http2Upstream::start().await;
    let rest = format!("http = \"2\"\n{aws}");
    let keybearer = Keybearer::start(&connection("p", &upstream.url(""), &rest)).await;
    let request = keybearer.post("/p/x?b=2&a=1").body("text/plain", "hello");
    assert_eq!(request.send().await.text(), "ok");
    let seen = upstream.last();
    let headers = seen.head.headers();
    let authorization = headers["authorization"].to_str().unwrap();
    assert_eq!(seen.body, b"hello");
    // Signed once more by AWS's own crate, with the authority for the host.
    let time = headers["x-amz-date"].to_str().unwrap();
    let time = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").unwrap();
    let identity =
        aws_credential_types::Credentials::new("AKIDEXAMPLE", "canary", None, None, "test");
    let identity = identity.into();
    let mut settings = aws_sigv4::http_request::SigningSettings::default();
    settings.excluded_headers = Some(vec![]);
    let params = aws_sigv4::sign::v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("execute-api")
        .time(time.and_utc().into())
        .settings(settings)
        .build()
        .unwrap();
    let signed = authorization.split("SignedHeaders=").nth(1).unwrap();
    let names: Vec<_> = signed.split(',').next().unwrap().split(';').collect();
    let host = seen.head.uri().authority().unwrap().to_string();
    let value = |name: &str| match name {
        "host" => host.clone(),
        name => headers[name].to_str().unwrap().to_owned(),
    };
    let fields: Vec<_> = names.iter().map(|name| (*name, value(name))).collect();
    let fields = fields.iter().filter(|(name, _)| *name != "x-amz-date");
    let request = aws_sigv4::http_request::SignableRequest::new(
        "POST",
        seen.head.uri().to_string(),
        fields.map(|(name, value)| (*name, value.as_str())),
        aws_sigv4::http_request::SignableBody::Bytes(b"hello"),
    );
    let (_, signature) = aws_sigv4::http_request::sign(request.unwrap(), &params.into())
        .unwrap()
        .into_parts();
    let expected = format!("Signature={signature}");
    assert!(
        authorization.ends_with(&expected),
        "{authorization} {expected}"
    );
    assert!(names.contains(&"host"), "{authorization}");
}

async fn asked_for_websocket(keybearer: &Keybearer) -> RawClient {
    let mut caller = keybearer.caller().await;
    let head = "GET /p/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    caller.send(head).await;
    caller
}

/// Agrees to WebSocket in HTTP/1.1, and says nothing after.
pub async fn websocket(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let accept = derive_accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.read_u8().await;
}
