//! The spans of a request.

use std::collections::HashSet;

use super::{logged, only, told, tracing};
use crate::harness::{
    Answer, Collector, Keybearer, Process, Setup, Step, Upstream, connection, traces,
};

#[tokio::test]
async fn a_request_is_a_server_span_with_a_client_span_in_it() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let more =
        "service_name = \"egress\"\nattributes = { \"deployment.environment.name\" = \"test\" }";
    let tables = connection("api", &upstream.url("/base"), "") + &collector.table(more);
    let keybearer = Keybearer::start(&tables).await;
    keybearer.get("/api/x%2Fy?secret=1").send().await;
    let spans = collector.exactly(2).await;
    let (server, client) = (
        only(&spans, "SERVER", "GET /api"),
        only(&spans, "CLIENT", "GET"),
    );
    assert_eq!(server.parent, "");
    assert_eq!((&client.trace, &client.parent), (&server.trace, &server.id));
    assert_eq!(
        told(&upstream.requests()[0]),
        ["00", &*server.trace, &client.id, "01"]
    );
    assert!(!server.is_error() && !client.is_error());
    // The client's span is within the server's.
    let bounds = |span: &crate::harness::Span| {
        (span.span.start_time_unix_nano, span.span.end_time_unix_nano)
    };
    let (outer, inner) = (bounds(server), bounds(client));
    assert!(
        outer.0 <= inner.0 && inner.1 <= outer.1,
        "{outer:?} {inner:?}"
    );
    assert_eq!(
        server.attributes(),
        [
            "http.request.method=GET",
            "http.response.status_code=200",
            "http.route=/api",
            "keybearer.connection=api",
            "network.protocol.version=1.1",
            "server.address=127.0.0.1",
            &format!("server.port={}", keybearer.proxy().port()),
            "url.path=/api/x%2Fy",
            "url.scheme=http",
        ]
    );
    assert_eq!(
        client.attributes(),
        [
            "http.request.method=GET",
            "http.response.status_code=200",
            "keybearer.connection=api",
            "network.protocol.version=1.1",
            "server.address=127.0.0.1",
            &format!("server.port={}", upstream.address().port()),
            &format!("url.full={}", upstream.url("/base/x%2Fy")),
        ]
    );
    let of_service: Vec<_> = server.resource.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        of_service,
        [
            "service.name",
            "service.version",
            "service.instance.id",
            "deployment.environment.name"
        ]
    );
    assert_eq!(server.resource[0].1, "egress");
    let line = keybearer.logged(&["\"Request\"", "/api/x"]).await;
    assert_eq!(logged(&line), (server.trace.clone(), server.id.clone()));
}

#[tokio::test]
async fn each_side_of_it_has_its_own_version_of_http() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    let url = format!("http://localhost:{}/api/", keybearer.proxy().port());
    for (option, version) in [
        ("--http1.0", "1.0"),
        ("--http1.1", "1.1"),
        ("--http2-prior-knowledge", "2"),
    ] {
        let mut curl = std::process::Command::new("curl");
        let args = ["-sS", "-4", "--noproxy", "*", option, &url];
        Process::run(curl.args(args)).await;
        let spans = collector.exactly(2).await;
        let versions = spans
            .iter()
            .map(|it| it.attribute("network.protocol.version"));
        let versions: Vec<_> = versions.collect();
        assert_eq!(versions, [version, "1.1"], "{option}");
        collector.0.take();
    }
}

#[tokio::test]
async fn of_a_long_path_as_much_is_told_as_there_is_room_for() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    let path = format!("/api/{}", "x".repeat(10_000));
    assert_eq!(keybearer.get(&path).send().await.status, 200);
    let spans = collector.exactly(2).await;
    let server = only(&spans, "SERVER", "GET /api");
    assert_eq!(server.attribute("url.path"), path[..2048]);
    let url = only(&spans, "CLIENT", "GET").attribute("url.full");
    assert!(url.ends_with('x') && url.len() < 2200, "{url}");
}

#[tokio::test]
async fn each_attempt_is_a_span_of_its_own() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let answers = [Answer::silence(), Answer::silence(), Answer::ok("ok")];
    upstream.on_each("/base/", answers);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    assert_eq!(keybearer.get("/api/").send().await.status, 200);
    let spans = collector.exactly(4).await;
    let attempts = &spans[1..];
    let requests = upstream.requests();
    for (count, (attempt, request)) in attempts.iter().zip(&requests).enumerate() {
        assert_eq!((attempt.kind, &attempt.parent), ("CLIENT", &spans[0].id));
        assert_eq!(told(request)[2], attempt.id, "each is told its own");
        let (resent, error) = (
            attempt.attribute("http.request.resend_count"),
            attempt.attribute("error.type"),
        );
        match count {
            0 => assert_eq!((&*resent, &*error), ("", "connection-terminated")),
            1 => assert_eq!((&*resent, &*error), ("1", "connection-terminated")),
            _ => assert_eq!((&*resent, &*error), ("2", "")),
        }
        assert_eq!(attempt.is_error(), count < 2);
    }
    assert!(!spans[0].is_error());
    let ids: HashSet<_> = spans.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), 4, "{spans:?}");
}

#[tokio::test]
async fn only_what_is_an_error_is_one() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let whole = Answer::sized("404 Not Found", "", "");
    upstream.on("/base/missing", whole);
    upstream.on("/base/broken", Answer::sized("500 Oh", "", ""));
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    upstream.on("/base/half", Answer::raw(half).then(Step::Close));
    let tables = connection("api", &upstream.url("/base"), "retries = 0")
        + &connection("gone", "http://127.0.0.1:1/", "retries = 0")
        + &connection("echo", "builtin:echo", "")
        + &collector.table("");
    let keybearer = Keybearer::start(&tables).await;
    for (method, path, of_server, of_client) in [
        ("GET", "/api/missing", "", "404"),
        ("GET", "/api/broken", "500", "500"),
        ("GET", "/api/half", "answer-broke-off", "answer-broke-off"),
        ("GET", "/gone/", "connection-refused", "connection-refused"),
        ("GET", "/nowhere", "", "none"),
        ("BREW", "/echo/", "", "none"),
        ("TRACE", "/api/", "", "none"),
    ] {
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.request(method, path).bytes()).await;
        caller.try_response_to(method).await;
        drop(caller);
        let count = if of_client == "none" { 1 } else { 2 };
        let spans = collector.exactly(count).await;
        let (server, client) = (&spans[0], spans.get(1));
        let of = |span: &crate::harness::Span| {
            let error = span.attribute("error.type");
            assert_eq!(span.is_error(), !error.is_empty(), "{path}: {span:?}");
            error
        };
        assert_eq!((server.kind, &*of(server)), ("SERVER", of_server), "{path}");
        assert_eq!(client.map_or("none".to_owned(), of), of_client, "{path}");
        let is_cut = path == "/api/half";
        let aborted = server.attribute("keybearer.aborted");
        assert_eq!(aborted, if is_cut { "true" } else { "" }, "{path}");
        let (name, original) = match method {
            "BREW" => ("HTTP /echo", "BREW"),
            _ => ("", ""),
        };
        assert_eq!(server.attribute("http.request.method_original"), original);
        assert!(name.is_empty() || server.span.name == name, "{server:?}");
        collector.0.take();
    }
}

#[tokio::test]
async fn a_problem_says_where_to_look_for_it() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    upstream.on("/base/", Answer::silence());
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    let failed = keybearer.post("/api/").content("x").send().await;
    assert_eq!(failed.status, 502);
    let spans = collector.exactly(2).await;
    for texts in [["\"Request failed\"", "\"api\""], ["\"Request\"", "/api/"]] {
        let line = keybearer.logged(&texts).await;
        let ids = (spans[0].trace.clone(), spans[0].id.clone());
        assert_eq!(logged(&line), ids, "{line}");
    }
}

/// What asks for a WebSocket.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn a_web_socket_is_told_too() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    upstream.on("/base/", Answer::web_socket());
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    let mut caller = keybearer.caller().await;
    let head = format!("GET /api/ HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
    caller.send(&head).await;
    assert_eq!(caller.response().await.status, 101);
    let spans = collector.exactly(2).await;
    let client = only(&spans, "CLIENT", "GET");
    assert_eq!(client.attribute("http.response.status_code"), "101");
    assert_eq!(told(&upstream.requests()[0])[2], client.id);
}

/// Values of secrets and of what callers send stand in no span.
#[tokio::test]
async fn no_span_tells_a_secret() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    upstream.on(
        "/base/",
        Answer::sized("401 No", "X-Canary: canary-answer\r\n", ""),
    );
    let auths = [
        "auth = { type = \"bearer\", token = \"canary-bearer\" }",
        "auth = { type = \"basic\", username = \"canary-user\", password = \"canary-password\" }",
        "auth = { type = \"header\", headers = { X-Key = \"canary-header\" } }",
        "auth = { type = \"query\", params = { key = \"canary-param\" } }",
    ];
    let mut tables = traces(
        &collector.0.url(""),
        "headers = { X-Tenant = \"canary-shown-to-the-collector\" }",
    );
    for (index, auth) in auths.iter().enumerate() {
        tables += &connection(&format!("c{index}"), &upstream.url("/base"), auth);
    }
    let keybearer = Setup::new().tables(&tables).start().await;
    for index in 0..auths.len() {
        let request = keybearer.post(&format!("/c{index}/?q=canary-query"));
        let request = request
            .header("Authorization", "Bearer canary-of-the-caller")
            .header("X-Other", "canary-field")
            .header("User-Agent", "canary-agent")
            .body("text/plain", "canary-content");
        assert_eq!(request.send().await.status, 401);
    }
    let spans = collector.exactly(2 * auths.len()).await;
    assert!(
        spans
            .iter()
            .all(|span| span.attribute("error.type") == "401" || span.kind == "SERVER")
    );
    let text = collector.text();
    let shown = "canary-shown-to-the-collector";
    assert!(text.contains(shown), "{text}");
    assert!(!text.replace(shown, "").contains("canary"), "{text}");
    let metrics = keybearer.ask("GET", "/metrics").send().await.text();
    let console = keybearer.ask("GET", "/api/connections").send().await.text();
    for told in [keybearer.log(), metrics, console] {
        assert!(!told.contains(shown), "{told}");
    }
}
