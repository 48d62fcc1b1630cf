//! What arrives at the listener, what of it reaches the target, and what is turned away.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{deliveries, endpoint, open, path, start, tables, told, webhook};
use crate::harness::{
    Answer, Authority, RawClient, Request, Response, Setup, Upstream, connection, eventually,
    within,
};

#[tokio::test]
async fn method_path_query_fields_and_content_reach_the_target_as_they_are() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/base"))).await;
    let path = path(&keybearer, "hook").await;
    let content: Vec<u8> = (0..=255).collect();
    let answer = Request::new(
        keybearer.webhooks(),
        "PUT",
        &format!("{path}/a%2Fb//c;d/?x=%20+&y&x=2"),
    )
    .header("X-Twice", "1")
    .header("X-Twice", "2")
    .header("Content-Encoding", "x-mine")
    .header("Authorization", "Bearer of-the-sender")
    .header("Connection", "close, X-Hop")
    .header("X-Hop", "1")
    .header("TE", "trailers")
    .header("User-Agent", "sender/1")
    .body("application/octet-stream", &content)
    .send()
    .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    target.wait_for_requests(1).await;
    let delivered = target.last();
    assert_eq!(delivered.method(), "PUT");
    assert_eq!(delivered.target(), "/base/a%2Fb//c;d/?x=%20+&y&x=2");
    assert_eq!(delivered.body, content);
    assert_eq!(delivered.head.all("x-twice"), ["1", "2"]);
    for (name, value) in [
        ("content-encoding", Some("x-mine")),
        ("content-type", Some("application/octet-stream")),
        ("authorization", Some("Bearer of-the-sender")),
        ("user-agent", Some("sender/1")),
        ("webhook-id", Some(&*id)),
        ("host", Some(&*target.address().to_string())),
        ("content-length", Some("256")),
        ("x-hop", None),
        ("te", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(delivered.header(name), value, "{name}");
    }
    let connection = delivered.header("connection").unwrap_or_default();
    assert!(!connection.contains("x-hop"), "{connection}");
    // What the URL has is known to whoever has it, and to no log.
    let secret = path.rsplit('/').next().unwrap();
    assert!(!keybearer.log().contains(secret), "{}", keybearer.log());
    assert!(!keybearer.log().contains("of-the-sender"));
}

#[tokio::test]
async fn the_senders_own_id_stays_and_chunks_are_framed_anew() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    let path = path(&keybearer, "hook").await;
    let request = Request::new(keybearer.webhooks(), "POST", &path);
    let request = request.header("Webhook-Id", "msg_1");
    let answer = request.chunks("text/plain", &["one ", "two"]).send().await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let get = Request::new(keybearer.webhooks(), "GET", &format!("{path}?ping"));
    assert_eq!(get.send().await.status, 202);
    target.wait_for_requests(2).await;
    let [first, second] = &target.take()[..] else {
        panic!("two requests");
    };
    assert_eq!(first.header("webhook-id"), Some("msg_1"));
    assert_eq!(first.header("content-length"), Some("7"));
    assert_eq!(first.text(), "one two");
    assert_eq!((second.method(), second.target()), ("GET", "/?ping"));
    assert_eq!(second.header("content-length"), None);
}

#[tokio::test]
async fn what_is_no_webhook_is_turned_away_and_counted() {
    let target = Upstream::start().await;
    let endpoints = [
        open("hook", &target.url("/base")),
        endpoint(
            "small",
            &target.url("/"),
            "verify = { type = \"none\" }\nlimits = { request_body = \"10B\" }",
        ),
    ];
    let keybearer = start(&endpoints.concat()).await;
    let hook = path(&keybearer, "hook").await;
    let small = path(&keybearer, "small").await;
    let send = async |method: &str, target: &str, content: &str| {
        let request = Request::new(keybearer.webhooks(), method, target);
        request.body("text/plain", content).send().await
    };
    let unknown = format!("/hooks/{}", "0".repeat(32));
    for target in [
        "/",
        "/hooks/",
        "/hooks",
        &unknown,
        &hook[..hook.len() - 1],
        &hook.to_uppercase(),
    ] {
        let answer = send("POST", target, "x").await;
        answer.problem(404, "no-route", "destination_not_found");
    }
    for method in ["OPTIONS", "TRACE", "PROPFIND"] {
        let answer = send(method, &hook, "").await;
        answer.problem(405, "method-refused", "http_request_denied");
        assert_eq!(
            answer.header("allow"),
            Some("GET, POST, PUT, PATCH, DELETE")
        );
    }
    for rest in [
        "/../x",
        "/%2e%2e/x",
        "/a/%252e%252e",
        "/a\\b",
        "/%5c",
        "/.",
        "/%00",
    ] {
        let answer = send("POST", &format!("{hook}{rest}"), "x").await;
        answer.problem(400, "path-refused", "http_request_error");
    }
    let answer = send("POST", &small, "0123456789+").await;
    let detail = answer.problem(413, "content-too-large", "http_request_error");
    assert!(detail.contains("limits.request_body"), "{detail}");
    let chunked = Request::new(keybearer.webhooks(), "POST", &small);
    let answer = chunked
        .chunks("text/plain", &["012345", "6789+"])
        .send()
        .await;
    answer.problem(413, "content-too-large", "http_request_error");
    assert_eq!(send("POST", &small, "0123456789").await.status, 202);
    target.wait_for_requests(1).await;
    assert_eq!(target.count(), 1);
    let metrics = keybearer.metrics().await;
    let count = |endpoint: &str, result: &str| {
        let labels = [("endpoint", endpoint), ("result", result)];
        metrics.value("keybearer_webhooks_received_total", &labels)
    };
    assert_eq!(count("", "unknown"), Some(6.0));
    assert_eq!(count("hook", "malformed"), Some(10.0));
    assert_eq!(count("small", "too_large"), Some(2.0));
    assert_eq!(count("small", "accepted"), Some(1.0));
}

#[tokio::test]
async fn content_that_breaks_off_is_not_kept() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    let path = path(&keybearer, "hook").await;
    let mut client = RawClient::connect(keybearer.webhooks()).await;
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345");
    client.send(head).await;
    drop(client);
    let mut client = RawClient::connect(keybearer.webhooks()).await;
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    client.send(head).await;
    let answer = client.try_response_to("POST").await;
    assert!(answer.is_none_or(|answer| answer.status >= 400));
    assert_eq!(webhook(&keybearer, &path, "whole").send().await.status, 202);
    target.wait_for_requests(1).await;
    assert_eq!(target.last().text(), "whole");
    assert_eq!(deliveries(&keybearer, "hook").await.len(), 1);
}

#[tokio::test]
async fn a_target_behind_a_connection_gets_its_credential() {
    let target = Upstream::start().await;
    let connections = connection(
        "app",
        &target.url("/base"),
        "auth = { type = \"bearer\", token = \"canary-token\" }",
    );
    let hook = "[webhooks.endpoints.hook]\nconnection = \"app\"\npath = \"/hook\"\nverify = { type = \"none\" }\n";
    let keybearer = Setup::new()
        .tables(&(connections + &tables(hook)))
        .start()
        .await;
    let path = path(&keybearer, "hook").await;
    let answer = webhook(&keybearer, &format!("{path}/x?y=1"), "{}")
        .header("Authorization", "Bearer of-the-sender")
        .header("Origin", "https://sender.example")
        .header("X-Event", "push")
        .send()
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    target.wait_for_requests(1).await;
    let delivered = target.last();
    assert_eq!(delivered.target(), "/base/hook/x?y=1");
    assert_eq!(
        delivered.header("authorization"),
        Some("Bearer canary-token")
    );
    assert_eq!(delivered.header("x-event"), Some("push"));
    assert_eq!(delivered.text(), "{}");
    assert!(delivered.header("webhook-id").is_some());
    assert!(!keybearer.log().contains("canary"));
}

#[tokio::test]
async fn a_listener_with_a_certificate_takes_the_next_one_without_a_restart() {
    let authority = Authority::new();
    let target = Upstream::start().await;
    let (first, second) = (
        authority.issue(&["localhost"]),
        authority.issue(&["localhost"]),
    );
    let tls = "tls = { certificate = \"hooks.pem\", key = \"hooks.key\" }\n";
    let tables = tables("").replace(
        "listen = \"127.0.0.1:0\"\n",
        &format!("listen = \"127.0.0.1:0\"\n{tls}"),
    ) + &open("hook", &target.url("/"));
    let keybearer = Setup::new()
        .file("hooks.pem", first.pem())
        .file("hooks.key", first.key_pem())
        .file("ca.pem", authority.pem())
        .tables(&tables)
        .start()
        .await;
    let path = path(&keybearer, "hook").await;
    let url = told(&keybearer, "hook").await["url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let send = async || {
        let port = keybearer.webhooks().port();
        let ca = keybearer.setup().path("ca.pem");
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-sSv", "--cacert"]).arg(&ca).args(["-d", "{}"]);
        let answered = curl.arg(format!("https://localhost:{port}{path}")).output();
        let answered = within("curl", answered).await.unwrap();
        String::from_utf8_lossy(&answered.stderr).into_owned()
    };
    let said = send().await;
    assert!(said.contains("HTTP/1.1 202"), "{said}");
    let serial = |said: &str| {
        let mut lines = said.lines().filter(|line| line.contains("start date"));
        lines.next().map(str::to_owned)
    };
    let _ = serial(&said);
    keybearer.setup().replace("hooks.pem", second.pem());
    keybearer.setup().replace("hooks.key", second.key_pem());
    assert_eq!(keybearer.reload().await.status, 200);
    let shown = async || {
        let port = keybearer.webhooks().port();
        let mut openssl = tokio::process::Command::new("openssl");
        openssl.args(["s_client", "-connect", &format!("localhost:{port}")]);
        openssl.stdin(std::process::Stdio::null());
        let said = within("openssl", openssl.output()).await.unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let leaf = second.pem().split("-----END").next().unwrap().trim();
        let body: String = leaf.lines().skip(1).collect();
        let said: String = said.lines().collect();
        said.contains(&body).then_some(())
    };
    eventually("the second certificate", shown).await;
    let said = send().await;
    assert!(said.contains("HTTP/1.1 202"), "{said}");
    // Cleartext is not spoken there.
    let mut client = RawClient::connect(keybearer.webhooks()).await;
    client
        .send(format!("POST {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    let answer = client.try_response_to("POST").await;
    assert!(answer.is_none());
}

#[tokio::test]
async fn slow_senders_and_many_of_them_keep_nobody_out() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    let path = path(&keybearer, "hook").await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut client = RawClient::connect(keybearer.webhooks()).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx");
        client.send(head).await;
        slow.push(client);
    }
    let answer = within("an answer", webhook(&keybearer, &path, "{}").send()).await;
    assert_eq!(answer.status, 202);
    let mut first = slow.swap_remove(0);
    let given_up = tokio::time::timeout(Duration::from_secs(25), first.try_response_to("POST"));
    let answer = given_up
        .await
        .expect("an end of patience")
        .expect("an answer");
    answer.problem(408, "caller-timeout", "http_request_error");
}

#[tokio::test]
async fn an_answer_that_is_long_or_late_is_no_harm() {
    let target = Upstream::start().await;
    target.on("/long", Answer::download(10 << 20));
    let keybearer = start(&open("hook", &target.url("/long"))).await;
    let path = path(&keybearer, "hook").await;
    for _ in 0..3 {
        assert_eq!(webhook(&keybearer, &path, "{}").send().await.status, 202);
    }
    super::wait_for(&keybearer, "hook", "delivered", 3).await;
    assert_eq!(target.count(), 3);
}

#[tokio::test]
async fn the_slash_at_a_targets_end_stays() {
    let target = Upstream::start().await;
    let app = connection("app", &target.url("/base"), "");
    let endpoints = [
        open("url", &target.url("/hooks/")),
        "[webhooks.endpoints.connection]\nconnection = \"app\"\npath = \"/in/\"\nverify = { type = \"none\" }\n"
            .to_owned(),
    ];
    let tables = app + &tables(&endpoints.concat());
    let keybearer = Setup::new().tables(&tables).start().await;
    for (name, expected) in [
        ("url", ["/hooks/", "/hooks/x"]),
        ("connection", ["/base/in/", "/base/in/x"]),
    ] {
        let path = path(&keybearer, name).await;
        for (rest, expected) in ["", "/x"].into_iter().zip(expected) {
            let request = webhook(&keybearer, &format!("{path}{rest}"), "{}");
            assert_eq!(request.send().await.status, 202);
            target.wait_for_requests(1).await;
            assert_eq!(target.take()[0].target(), expected);
        }
    }
}

#[tokio::test]
async fn long_content_that_never_ends_takes_no_room_from_others() {
    let target = Upstream::start().await;
    let endpoints = open("hook", &target.url("/")) + &open("other", &target.url("/"));
    let keybearer = start(&endpoints).await;
    let hook = path(&keybearer, "hook").await;
    let other = path(&keybearer, "other").await;
    let (tell, finish) = watch::channel(false);
    // Three of them have all that one endpoint may have.
    let mut slow = Vec::new();
    for _ in 0..6 {
        let mut client = RawClient::connect(keybearer.webhooks()).await;
        let head = format!("POST {hook} HTTP/1.1\r\nHost: x\r\nContent-Length: 26214400\r\n\r\n");
        client.send(head).await;
        client.send(vec![b'x'; 24 << 20]).await;
        slow.push(tokio::spawn(trickle(client, 1 << 20, finish.clone())));
    }
    let refused = async || {
        let metrics = keybearer.metrics().await;
        let labels = [("endpoint", "hook"), ("result", "full")];
        let full = metrics.value("keybearer_webhooks_received_total", &labels);
        (full >= Some(3.0)).then_some(())
    };
    eventually("what finds no room to be turned away", refused).await;
    let long = "x".repeat(20 << 20);
    for (path, content) in [(&hook, "short"), (&other, "short"), (&other, &*long)] {
        let answer = within("an answer", webhook(&keybearer, path, content).send()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    // Those that have room come to their end.
    tell.send_replace(true);
    let mut accepted = 0;
    for sender in slow {
        let answer = sender.await.unwrap();
        accepted += usize::from(answer.is_some_and(|answer| answer.status == 202));
    }
    assert!(accepted >= 2, "{accepted}");
}

/// Sends what is left byte by byte, so often that it is not taken for a pause, until it is told to
/// finish; a minute is what all of its content may take.
async fn trickle(
    mut client: RawClient,
    left: usize,
    mut finish: watch::Receiver<bool>,
) -> Option<Response> {
    let mut rest = vec![b'x'; left];
    let second = Duration::from_secs(1);
    while timeout(second, finish.wait_for(|&told| told))
        .await
        .is_err()
    {
        client.send(rest.pop().as_slice()).await;
    }
    client.send(rest).await;
    client.try_response_to("POST").await
}

#[tokio::test]
async fn who_takes_no_answer_is_let_go() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    path(&keybearer, "hook").await;
    let mut client = RawClient::connect_narrow(keybearer.webhooks()).await;
    let requests = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200_000);
    // It ends by a close, as nothing is read of the answers.
    let written = tokio::time::timeout(Duration::from_secs(60), client.send(requests));
    written.await.expect("an end of patience");
}

#[tokio::test]
async fn heads_that_could_not_be_delivered_are_refused() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    let path = path(&keybearer, "hook").await;
    let long = format!("{path}?{}", "x".repeat(17 << 10));
    let answer = webhook(&keybearer, &long, "{}").send().await;
    answer.problem(431, "head-too-large", "http_request_error");
    let large = webhook(&keybearer, &path, "{}").header("X-Large", &"x".repeat(60 << 10));
    assert_eq!(large.send().await.status, 431);
    let mut many = webhook(&keybearer, &path, "{}");
    for number in 0..95 {
        many = many.header(&format!("X-{number}"), "1");
    }
    assert_eq!(many.send().await.status, 431);
    assert_eq!(webhook(&keybearer, &path, "{}").send().await.status, 202);
}
