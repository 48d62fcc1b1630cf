//! What passes through an agent.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::erp;
use crate::harness::{Answer, Authority, Keybearer, Setup, Site, Step, Upstream, eventually};

#[tokio::test]
async fn a_request_reaches_an_upstream_over_tls_from_end_to_end() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["localhost"])).await;
    let port = upstream.address().port();
    let rest = "tls.ca_certificate = \"upstream-ca.pem\"\nauth = { type = \"bearer\", token = \"canary\" }";
    let tables = erp(&format!("https://localhost:{port}/base"), rest);
    let setup = Setup::new().file("upstream-ca.pem", authority.pem());
    let site = Site::start_with(setup, "", &tables).await;
    let agent = site.agent(&[&format!("localhost:{port}")]).await;
    for n in 0..3 {
        let response = site.keybearer.get(&format!("/erp/{n}")).send().await;
        assert_eq!(response.status, 200, "{response:?}");
        let last = upstream.last();
        assert_eq!(last.header("authorization"), Some("Bearer canary"));
        assert_eq!(last.target(), format!("/base/{n}"));
        assert_eq!(last.server_name.as_deref(), Some("localhost"));
    }
    assert_eq!(upstream.connections(), 1, "it is kept for the next request");
    let shown = site.standing().await;
    assert_eq!(shown["connected"], 1);
    let instance = &shown["instances"][0];
    assert_eq!(instance["streams"], 1);
    assert_eq!(instance["streams_total"], 1);
    assert_eq!(instance["state"], "connected");
    assert_eq!(instance["version"], env!("CARGO_PKG_VERSION"));
    assert!(instance["bytes_sent"].as_u64() > Some(300), "{instance}");
    assert!(
        instance["bytes_received"].as_u64() > Some(300),
        "{instance}"
    );
    eventually("a heartbeat", async || {
        let shown = site.standing().await;
        shown["instances"][0]["round_trip_ms"].as_f64()
    })
    .await;
    let shown = site
        .keybearer
        .ask("GET", "/api/connections/erp")
        .send()
        .await
        .json();
    assert_eq!(shown["agent"], json!({"name": "dc", "connected": 1}));
    let metrics = site.keybearer.ask("GET", "/metrics").send().await.text();
    for line in [
        r#"keybearer_agent_connected{agent="dc"} 1"#,
        r#"keybearer_agent_streams{agent="dc"} 1"#,
        r#"keybearer_agent_connections_total{agent="dc",result="accepted"} 1"#,
        r#"keybearer_agent_bytes_total{agent="dc",direction="sent"} "#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!agent.log().contains("canary"), "{}", agent.log());
    assert!(!site.keybearer.log().contains("canary"));
}

#[tokio::test]
async fn contents_of_any_length_pass_both_ways() {
    let upstream = Upstream::start().await;
    upstream.on("/up", Answer::ok("taken"));
    upstream.on("/down", Answer::download(9_000_000));
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let _agent = site.agent(&["127.0.0.1:*"]).await;
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let response = site
        .keybearer
        .post("/erp/up")
        .content(&content)
        .send()
        .await;
    assert_eq!(response.text(), "taken", "{response:?}");
    assert!(upstream.last().body == content, "not as it was sent");
    let response = site.keybearer.get("/erp/down").send().await;
    assert!(response.complete);
    assert_eq!(response.body.len(), 9_000_000);
    let instance = &site.standing().await["instances"][0];
    assert!(
        instance["bytes_sent"].as_u64() > Some(5_000_000),
        "{instance}"
    );
    assert!(
        instance["bytes_received"].as_u64() > Some(9_000_000),
        "{instance}"
    );
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let upstream = Upstream::start().await;
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let answer = Answer::raw(head)
        .then(Step::Fill(300_000))
        .then(Step::Close);
    upstream.on("/", answer);
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let _agent = site.agent(&["127.0.0.1:*"]).await;
    let response = site.keybearer.get("/erp/").send().await;
    assert!(response.complete, "{response:?}");
    assert_eq!(response.body.len(), 300_000);
    eventually("the end of the stream", async || {
        let shown = site.standing().await;
        (shown["instances"][0]["streams"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_web_socket_speaks_both_ways() {
    let upstream = Upstream::start().await;
    upstream.on("/ws", Answer::web_socket());
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let _agent = site.agent(&["127.0.0.1:*"]).await;
    let url = format!("ws://{}/erp/ws", site.keybearer.proxy());
    let stream = site.keybearer.caller().await.into_stream();
    let (mut socket, _) = client_async(url, stream).await.unwrap();
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        let echoed = socket.next().await.unwrap().unwrap();
        assert_eq!(echoed, Message::text(text));
    }
    socket.close(None).await.unwrap();
    upstream.wait_for_ended(1).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_upstream_connection() {
    let upstream = Upstream::start().await;
    upstream.on("/slow", Answer::stall());
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let _agent = site.agent(&["127.0.0.1:*"]).await;
    let mut caller = site.keybearer.caller().await;
    caller.send(site.keybearer.get("/erp/slow").bytes()).await;
    upstream.wait_for_requests(1).await;
    drop(caller);
    upstream.wait_for_ended(1).await;
}

#[tokio::test]
async fn nobody_waits_for_a_caller_that_does_not_read() {
    let upstream = Upstream::start().await;
    upstream.on("/down", Answer::download(64 << 20));
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let _agent = site.agent(&["127.0.0.1:*"]).await;
    let mut stalled = Vec::new();
    for _ in 0..24 {
        let mut caller = site.keybearer.caller().await;
        caller.send(site.keybearer.get("/erp/down").bytes()).await;
        caller.head().await.unwrap();
        stalled.push(caller);
    }
    // They are held up when nothing moves any more.
    let mut before = 0;
    eventually("all to be held up", async || {
        let sent = upstream.sent();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let held = sent > 0 && sent == before;
        before = sent;
        held.then_some(())
    })
    .await;
    // What the systems' sockets take is not bounded by us, but it is not all.
    assert!(upstream.sent() < 24 * (64 << 20), "somebody took it all");
    assert_eq!(site.keybearer.get("/erp/other").send().await.status, 200);
}

#[tokio::test]
async fn what_the_agent_cannot_open_is_told_with_what_to_do() {
    let upstream = Upstream::start().await;
    let port = upstream.address().port();
    let gone = {
        let other = Upstream::start().await;
        other.address().port()
    };
    let (silent, _full) = silent().await;
    let stranger = Upstream::tls(&Authority::new().issue(&["127.0.0.1"])).await;
    let tables = [
        erp(&upstream.url(""), ""),
        erp(&format!("http://127.0.0.1:{gone}"), "").replace("erp", "gone"),
        erp("http://nowhere.invalid:80", "").replace("erp", "nowhere"),
        erp("http://169.254.169.254:80", "").replace("erp", "metadata"),
        erp(
            &format!("http://{silent}"),
            "retries = 0\ntimeouts.connect = \"4s\"",
        )
        .replace("erp", "silent"),
        erp(&stranger.url(""), "").replace("erp", "stranger"),
    ];
    let site = Site::start(&tables.concat()).await;
    let allow = [
        &format!("127.0.0.1:{gone}"),
        "*.invalid:80",
        "0.0.0.0/0:80",
        &silent.to_string(),
        &stranger.address().to_string(),
    ];
    let agent = site.agent(&allow).await;
    let told = async |path: &str, status, slug, error, texts: &[&str]| {
        let response = site.keybearer.get(path).send().await;
        let detail = response.problem(status, slug, error);
        assert!(texts.iter().all(|text| detail.contains(text)), "{detail}");
    };
    let add = format!("--allow '127.0.0.1:{port}'");
    let listed = ["agent `dc`", "does not list it", &add];
    told(
        "/erp/",
        502,
        "agent-refused",
        "destination_ip_prohibited",
        &listed,
    )
    .await;
    let refused = ["agent `dc`", "refused the connection"];
    told(
        "/gone/",
        502,
        "connection-refused",
        "connection_refused",
        &refused,
    )
    .await;
    let unknown = ["agent `dc`", "nowhere.invalid:80", "not resolved there"];
    told("/nowhere/", 502, "name-not-resolved", "dns_error", &unknown).await;
    // A network of everything does not mean the metadata of a cloud.
    let metadata = ["--allow '169.254.169.254:80'"];
    told(
        "/metadata/",
        502,
        "agent-refused",
        "destination_ip_prohibited",
        &metadata,
    )
    .await;
    let told_by_agent = [&*format!(
        "agent `dc` cannot connect: {silent} took no connection"
    )];
    told(
        "/silent/",
        504,
        "connect-timeout",
        "connection_timeout",
        &told_by_agent,
    )
    .await;
    assert_eq!(upstream.count(), 0);
    // Whom to trust is the proxy's to say, as without an agent.
    let untrusted = ["an issuer that is not trusted"];
    told(
        "/stranger/",
        502,
        "tls-certificate",
        "tls_certificate_error",
        &untrusted,
    )
    .await;
    agent
        .logged(&["Destination not opened", "http_request_denied"])
        .await;
}

/// An address that takes no connection: as many wait to be accepted as may.
async fn silent() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(stream) = timeout(patience, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 16, "the system takes any number");
    }
    (address, (listener, waiting))
}

#[tokio::test]
async fn an_agent_that_was_never_there_is_named() {
    let upstream = Upstream::start().await;
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let response = site.keybearer.get("/erp/").send().await;
    let detail = response.problem(502, "agent-absent", "destination_unavailable");
    assert!(detail.contains("keybearer agent --name dc"), "{detail}");
    assert_eq!(site.connected().await, 0);
    let shown = site
        .keybearer
        .ask("GET", "/api/connections/erp")
        .send()
        .await
        .json();
    assert_eq!(shown["agent"], json!({"name": "dc", "connected": 0}));
    let metrics = site.keybearer.ask("GET", "/metrics").send().await.text();
    assert!(metrics.contains(r#"keybearer_agent_connected{agent="dc"} 0"#));
    assert_status(&site.keybearer, &site, 1, true).await;
    let _agent = site.agent(&["127.0.0.1:*"]).await;
    assert_status(&site.keybearer, &site, 0, false).await;
}

/// What `keybearer status` says, on a configuration that names the console's port.
async fn assert_status(keybearer: &Keybearer, site: &Site, code: i32, absent: bool) {
    let text = format!("[admin]\nlisten = \"{}\"\n", site.keybearer.console());
    let asking = Setup::new().file("keybearer.toml", &text);
    let exit = asking.config("keybearer.toml").run(&["status"]).await;
    assert_eq!(exit.code, Some(code), "{exit:?} {}", keybearer.log());
    assert_eq!(
        exit.stdout.contains("agent dc is not connected"),
        absent,
        "{exit:?}"
    );
}
