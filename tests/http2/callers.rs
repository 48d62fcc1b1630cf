//! Callers that speak HTTP/2 by prior knowledge.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, copy, split};
use tokio::net::{TcpStream, UnixStream};

use super::server::Http2Upstream;
use crate::harness::{
    Answer, Gate, Keybearer, Process, Setup, Upstream, connection, eventually, within,
};

const BEARER: &str = "auth = { type = \"bearer\", token = \"ours\" }";

/// A caller on a connection of its own.
async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn caller(keybearer: &Keybearer) -> SendRequest<Bytes> {
    speak(TcpStream::connect(keybearer.proxy()).await.unwrap()).await
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"))
}

async fn ask(
    sender: &mut SendRequest<Bytes>,
    request: http::request::Builder,
) -> Response<RecvStream> {
    let (answer, _) = sender
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    within("an answer", answer).await.unwrap()
}

async fn whole(response: Response<RecvStream>) -> (Vec<u8>, Option<HeaderMap>) {
    let mut content = response.into_body();
    let mut body = Vec::new();
    while let Some(data) = within("content", content.data()).await {
        let data = data.unwrap();
        content.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    (body, content.trailers().await.unwrap())
}

async fn pair(rest: &str) -> (Upstream, Keybearer) {
    let upstream = Upstream::start().await;
    let rest = format!("{BEARER}\n{rest}");
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), &rest)).await;
    (upstream, keybearer)
}

#[tokio::test]
async fn a_request_is_as_on_the_old_protocol() {
    let (upstream, keybearer) = pair("cookies = \"pass\"").await;
    let mut sender = caller(&keybearer).await;
    let asked = request("GET", "/p/x?y=1")
        .header("authorization", "Bearer mine")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers");
    let response = ask(&mut sender, asked).await;
    assert_eq!(response.status(), 200);
    assert_eq!(whole(response).await.0, b"ok");
    let seen = upstream.last();
    assert_eq!(seen.target(), "/base/x?y=1");
    assert_eq!(seen.header("authorization"), Some("Bearer ours"));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("te"), None, "the hop to an old one has none");
    let host = upstream.address().to_string();
    assert_eq!(seen.header("host"), Some(host.as_str()));
}

#[tokio::test]
async fn curl_speaks_it() {
    let (upstream, keybearer) = pair("").await;
    let url = format!("http://localhost:{}/p/up", keybearer.proxy().port());
    let mut curl = std::process::Command::new("curl");
    let args = [
        "-sS",
        "-4",
        "--http2-prior-knowledge",
        "--noproxy",
        "*",
        "-d",
        "hello",
    ];
    let told = ["-w", " %{http_version} %{http_code}", "-u", "me:mine", &url];
    let exit = Process::run(curl.args(args).args(told)).await;
    assert_eq!(exit.stdout, "ok 2 200", "{}", exit.stderr);
    assert_eq!(upstream.last().text(), "hello");
    assert_eq!(upstream.last().header("authorization"), Some("Bearer ours"));
}

#[tokio::test]
async fn the_authority_is_the_host() {
    let (_upstream, keybearer) = pair("").await;
    let mut sender = caller(&keybearer).await;
    let to = |authority: &str| {
        let builder = Request::builder().method("GET");
        builder.uri(format!("http://{authority}/p/x"))
    };
    for (asked, status, why) in [
        (to("localhost"), 200, "the authority alone"),
        (to("localhost").header("host", "localhost"), 200, "both"),
        (
            to("localhost").header("host", "127.0.0.1"),
            400,
            "they disagree",
        ),
        (to("evil.example"), 421, "another's name"),
        (to("me@localhost"), 400, "with a user"),
        (to("localhost").method("TRACE"), 405, "TRACE"),
        (
            to("localhost")
                .header("content-length", "0")
                .header("content-length", "0"),
            400,
            "two lengths",
        ),
        (to("localhost").header("expect", "tea"), 417, "expectations"),
        (
            to("localhost").header("origin", "http://evil.example"),
            403,
            "a page",
        ),
    ] {
        let response = ask(&mut sender, asked).await;
        assert_eq!(response.status(), status, "{why}");
        if status != 200 {
            let own = response.headers().get("proxy-status").is_some();
            assert!(own, "{why}: {response:?}");
        }
    }
    let connect = Request::builder().method("CONNECT").uri("localhost:80");
    let response = ask(&mut sender, connect).await;
    assert_eq!(response.status(), 405);
}

#[tokio::test]
async fn unix_sockets_speak_it_too() {
    let upstream = Upstream::start().await;
    let setup = Setup::new();
    let path = setup.path("kb.sock");
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let table = connection("p", &upstream.url(""), BEARER);
    let _keybearer = setup.server(&listen).tables(&table).start().await;
    let mut sender = speak(UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(ask(&mut sender, request("GET", "/p/x")).await.status(), 200);
}

#[tokio::test]
async fn trailers_pass_but_for_those_that_may_not() {
    let new = Http2Upstream::start().await;
    let old = Upstream::start().await;
    let tables = connection("new", &new.url(""), &format!("http = \"2\"\n{BEARER}"))
        + &connection("old", &old.url(""), BEARER);
    let keybearer = Keybearer::start(&tables).await;
    let mut sender = caller(&keybearer).await;
    for prefix in ["new", "old"] {
        let asked = request("POST", &format!("/{prefix}/trailed"))
            .header("te", "trailers")
            .header("trailer", "x-own, authorization");
        let (answer, mut content) = sender.send_request(asked.body(()).unwrap(), false).unwrap();
        content.send_data("hello".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        for name in [
            "authorization",
            "x-api-key",
            "cookie",
            "host",
            "x-forwarded-for",
            "x-own",
        ] {
            trailers.insert(name, HeaderValue::from_static("mine"));
        }
        content.send_trailers(trailers).unwrap();
        let response = within("an answer", answer).await.unwrap();
        assert_eq!(response.status(), 200);
        if prefix == "new" {
            let (body, trailers) = whole(response).await;
            assert_eq!(body, b"ok");
            let trailers = trailers.unwrap();
            assert_eq!(trailers["x-sum"], "1");
            assert_eq!(trailers.len(), 1, "{trailers:?}");
        }
    }
    let seen = new.last();
    assert_eq!(seen.trailers["x-own"], "mine");
    assert_eq!(seen.trailers.len(), 1, "{:?}", seen.trailers);
    assert_eq!(seen.head.headers()["te"], "trailers");
    assert_eq!(
        old.last().trailers,
        [("x-own".to_owned(), "mine".to_owned())]
    );
    // A caller of the old protocol, which says that it takes them.
    let asked = keybearer.get("/new/trailed").header("TE", "trailers");
    let response = asked.send().await;
    assert_eq!(response.text(), "ok");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn a_broken_answer_is_reset_with_the_upstreams_reason() {
    let upstream = Http2Upstream::start().await;
    let rest = format!("http = \"2\"\n{BEARER}");
    let keybearer = Keybearer::start(&connection("p", &upstream.url(""), &rest)).await;
    let mut sender = caller(&keybearer).await;
    let mut content = ask(&mut sender, request("GET", "/p/broken"))
        .await
        .into_body();
    let ended = async {
        loop {
            match content.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("an end that looks whole"),
            }
        }
    };
    let error = within("the end", ended).await;
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(ask(&mut sender, request("GET", "/p/x")).await.status(), 200);
}

#[tokio::test]
async fn a_reset_of_the_caller_reaches_the_upstream() {
    let upstream = Http2Upstream::start().await;
    let rest = format!("http = \"2\"\n{BEARER}");
    let keybearer = Keybearer::start(&connection("p", &upstream.url(""), &rest)).await;
    let mut sender = caller(&keybearer).await;
    let asked = request("POST", "/p/wait").body(()).unwrap();
    let (_answer, mut content) = sender.send_request(asked, false).unwrap();
    content.send_data("begun".into(), false).unwrap();
    let begun = async || (upstream.shared().begun.load(SeqCst) == 1).then_some(());
    eventually("the request", begun).await;
    content.send_reset(Reason::CANCEL);
    let reset = async || upstream.shared().resets.lock().unwrap().first().copied();
    assert_eq!(eventually("the reset", reset).await, Reason::CANCEL);
}

#[tokio::test]
async fn a_stream_that_is_not_read_ends_and_the_others_go_on() {
    let upstream = Http2Upstream::start().await;
    let rest = format!("http = \"2\"\n{BEARER}\ntimeouts = {{ write = \"1s\" }}");
    let keybearer = Keybearer::start(&connection("p", &upstream.url(""), &rest)).await;
    let mut sender = caller(&keybearer).await;
    // Its window is filled, and never opened again.
    let mut stalled = ask(&mut sender, request("GET", "/p/fill"))
        .await
        .into_body();
    let held = ask(&mut sender, request("GET", "/p/x")).await;
    assert_eq!(held.status(), 200);
    let ended = async {
        loop {
            match stalled.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("an end that looks whole"),
            }
        }
    };
    let error = within("the reset", ended).await;
    assert!(error.is_reset() && error.is_remote(), "{error}");
    assert_eq!(ask(&mut sender, request("GET", "/p/x")).await.status(), 200);
    let sent = upstream.shared().sent.load(SeqCst);
    assert!(sent < 8 << 20, "the upstream was stopped: {sent}");
}

#[tokio::test]
async fn what_runs_is_answered_before_the_end() {
    let (upstream, mut keybearer) = pair("").await;
    let gate = Gate::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    upstream.on("/base/x", Answer::raw(answer).behind(&gate));
    let mut sender = caller(&keybearer).await;
    let asked = request("GET", "/p/x").body(()).unwrap();
    let (answer, _) = sender.send_request(asked, true).unwrap();
    upstream.wait_for_requests(1).await;
    keybearer.signal(Signal::TERM);
    keybearer.wait_for_readyz(503).await;
    gate.open();
    let response = within("an answer", answer).await.unwrap();
    assert_eq!(whole(response).await.0, b"ok");
    assert_eq!(keybearer.exit().await.code, Some(0));
}

#[tokio::test]
async fn answers_that_are_taken_late_are_whole_at_the_end() {
    const COUNT: usize = 100;
    let (upstream, mut keybearer) = pair("").await;
    let text = "x".repeat(100_000);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
    upstream.on("/base/x", Answer::raw(head + &text));
    // What is said to it is not heard before the gate opens: more than the system holds.
    let (near, far) = tokio::io::duplex(1 << 16);
    let gate = Gate::new();
    let stream = TcpStream::connect(keybearer.proxy()).await.unwrap();
    tokio::spawn(relayed(far, stream, gate.clone()));
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 26)
        .handshake::<_, Bytes>(near)
        .await
        .unwrap();
    tokio::spawn(connection);
    let answers: Vec<_> = (0..COUNT)
        .map(|_| {
            let asked = request("GET", "/p/x").body(()).unwrap();
            sender.send_request(asked, true).unwrap().0
        })
        .collect();
    upstream.wait_for_requests(COUNT).await;
    keybearer.signal(Signal::TERM);
    keybearer.wait_for_readyz(503).await;
    // Longer than a caller is waited for that has taken all.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    gate.open();
    for answer in answers {
        let response = within("an answer", answer).await.unwrap();
        assert_eq!(whole(response).await.0.len(), text.len());
    }
    drop(sender);
    assert_eq!(keybearer.exit().await.code, Some(0));
}

/// Carries what a caller says at once, and what it is told from when the gate opens.
async fn relayed(caller: DuplexStream, server: TcpStream, gate: Gate) {
    let (mut from_caller, mut to_caller) = split(caller);
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { copy(&mut from_caller, &mut to_server).await });
    gate.pass().await;
    // It ends when either is gone.
    let _ = copy(&mut from_server, &mut to_caller).await;
}

#[tokio::test]
async fn content_is_limited_as_on_the_old_protocol() {
    let (_upstream, keybearer) = pair("limits = { request_body = \"1KiB\" }").await;
    let mut sender = caller(&keybearer).await;
    let asked = request("POST", "/p/x").body(()).unwrap();
    let (answer, mut content) = sender.send_request(asked, false).unwrap();
    content.send_data(vec![b'x'; 4096].into(), true).unwrap();
    let response = within("an answer", answer).await.unwrap();
    assert_eq!(response.status(), 413);
    let (body, _) = whole(response).await;
    assert!(String::from_utf8_lossy(&body).contains("limits.request_body"));
}
