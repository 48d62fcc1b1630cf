//! Section 5: health, metrics, the web page, and who may ask.

mod browser;
mod description;
mod sessions;

use crate::harness::{Keybearer, Process, RawClient, Setup, Upstream, connection, eventually};

fn table(upstream: &Upstream) -> String {
    connection(
        "p",
        &upstream.url("/base"),
        "auth = { type = \"bearer\", token = \"ours\" }",
    )
}

#[tokio::test]
async fn health_is_told() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            keybearer.ask("GET", path).send().await.status,
            200,
            "{path}"
        );
    }
    assert_eq!(keybearer.ask("GET", "/unknown").send().await.status, 404);
    assert_eq!(
        keybearer.ask("GET", "/p/x").send().await.status,
        404,
        "it is no proxy"
    );
    for path in ["/healthz", "/readyz", "/metrics", "/api/reload"] {
        let response = keybearer.get(path).send().await;
        response.problem(404, "no-route", "destination_not_found");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn there_is_room_again_once_clients_have_left() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    let health = keybearer.ask("GET", "/healthz");
    let answer = async |client: &mut RawClient| {
        client.send(health.bytes()).await;
        client.try_response_to("GET").await
    };
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(RawClient::connect(keybearer.console()).await);
    }
    let last = answer(silent.last_mut().unwrap()).await;
    assert!(last.is_none(), "one address has more than its places");
    drop(silent);
    // That the others have left is seen one by one.
    let again = async || {
        let mut client = RawClient::connect(keybearer.console()).await;
        answer(&mut client).await
    };
    let again = eventually("room", again).await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn metrics_have_the_promised_names_and_labels() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    for _ in 0..3 {
        keybearer.get("/p/x").send().await;
    }
    keybearer.post("/p/x").body("text/plain", "x").send().await;
    keybearer.get("/p/..").send().await;
    let labels = [("connection", "p"), ("method", "GET"), ("status", "200")];
    // A request is counted when its answer is through, a moment after the caller has it.
    let counted = async || {
        let metrics = keybearer.metrics().await;
        let requests = metrics.value("keybearer_requests_total", &labels);
        let durations = [("connection", "p")];
        let durations = metrics.value("keybearer_request_duration_seconds_count", &durations);
        (requests == Some(3.0) && durations >= Some(4.0)).then_some(metrics)
    };
    let metrics = eventually("requests in the metrics", counted).await;
    for (name, labels) in [
        (
            "keybearer_requests_total",
            &["connection", "method", "status"][..],
        ),
        (
            "keybearer_request_duration_seconds_bucket",
            &["connection", "le"],
        ),
        (
            "keybearer_upstream_duration_seconds_bucket",
            &["connection", "le"],
        ),
        ("keybearer_upstream_duration_seconds_count", &["connection"]),
        ("keybearer_config_reloads_total", &["result"]),
        ("keybearer_config_last_reload_success", &[]),
        ("keybearer_config_generation", &[]),
    ] {
        assert!(metrics.has(name), "{name}");
        assert_eq!(metrics.labels(name), labels, "{name}");
    }
    assert!(metrics.has("keybearer_build_info"));
    assert_eq!(
        metrics.value("keybearer_config_last_reload_success", &[]),
        Some(1.0)
    );
    let post = [("connection", "p"), ("method", "POST"), ("status", "200")];
    assert_eq!(metrics.value("keybearer_requests_total", &post), Some(1.0));
}

#[tokio::test]
async fn a_callers_invention_makes_no_new_metric() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    for n in 0..20 {
        keybearer
            .request(&format!("INVENTED{n}"), "/p/x")
            .send()
            .await;
    }
    let text = keybearer.ask("GET", "/metrics").send().await.text();
    assert!(!text.contains("INVENTED"), "unbounded label values: {text}");
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    let response = keybearer.ask("GET", "/metrics").send().await;
    let content_type = response.header("content-type").unwrap();
    assert!(content_type.starts_with("text/plain"), "{content_type}");
    assert!(
        response
            .text()
            .contains("# TYPE keybearer_config_generation gauge")
    );
}

#[tokio::test]
async fn the_console_answers_to_its_own_names_only() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    let port = keybearer.console().port();
    for (host, ours) in [
        (format!("127.0.0.1:{port}"), true),
        (format!("localhost:{port}"), true),
        (format!("LOCALHOST:{port}"), true),
        ("evil.example".to_owned(), false),
        (format!("evil.example:{port}"), false),
        (format!("localhost.evil.example:{port}"), false),
    ] {
        let response = keybearer.ask("GET", "/metrics").host(&host).send().await;
        match ours {
            true => assert_eq!(response.status, 200, "{host}"),
            false => assert!(
                [403, 421].contains(&response.status),
                "{host}: {response:?}"
            ),
        }
    }
}

#[tokio::test]
async fn no_web_page_changes_anything() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Cookie", "session=1"),
    ] {
        let response = keybearer
            .ask("POST", "/api/reload")
            .header(name, value)
            .send()
            .await;
        assert_eq!(response.status, 403, "{name}: {value}");
    }
    let response = keybearer.ask("GET", "/api/reload").send().await;
    assert_eq!(response.status, 405, "reading changes nothing");
    assert_eq!(
        keybearer.reload().await.status,
        200,
        "no browser needs no CSRF token"
    );
}

#[tokio::test]
async fn a_token_is_asked_for_where_one_is_set() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().env("ADMIN", "the-admin-token");
    let setup = setup
        .admin("token = { env = \"ADMIN\" }")
        .tables(&table(&upstream));
    let keybearer = setup.start().await;
    for (value, status) in [
        (None, 401),
        (Some("Bearer wrong"), 401),
        (Some("Bearer the-admin-toke"), 401),
        (Some("Bearer the-admin-token-"), 401),
        (Some("Basic dGhlLWFkbWluLXRva2Vu"), 401),
        (Some("Bearer the-admin-token"), 200),
        (Some("bearer the-admin-token"), 200),
    ] {
        let request = keybearer.ask("POST", "/api/reload");
        let request = match value {
            Some(value) => request.header("Authorization", value),
            None => request,
        };
        let response = request.send().await;
        assert_eq!(response.status, status, "{value:?}");
        if status == 401 {
            let challenge = response.header("www-authenticate").unwrap_or_default();
            assert!(
                challenge.starts_with("Bearer"),
                "RFC 9110 §15.5.2: {challenge}"
            );
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            keybearer.ask("GET", path).send().await.status,
            200,
            "probes have no token"
        );
    }
}

#[tokio::test]
async fn the_console_may_be_off() {
    // The harness learns a console's port; without one, `check` has to do.
    let upstream = Upstream::start().await;
    let text = format!("[admin]\nlisten = \"off\"\n{}", table(&upstream));
    let setup = Setup::new().file("off.toml", &text).config("off.toml");
    let exit = setup.run(&["check"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[tokio::test]
async fn a_reload_changes_the_token() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().admin("token = { file = \"token\" }");
    let setup = setup.file("token", "first").tables(&table(&upstream));
    let keybearer = setup.start().await;
    let asked = async |token: &str| {
        let request = keybearer.ask("GET", "/metrics");
        request
            .header("Authorization", &format!("Bearer {token}"))
            .send()
            .await
            .status
    };
    assert_eq!((asked("first").await, asked("second").await), (200, 401));
    keybearer.setup().replace("token", "second");
    eventually("the second token", async || {
        (asked("second").await == 200).then_some(())
    })
    .await;
    assert_eq!(asked("first").await, 401);
}

#[tokio::test]
async fn the_health_command_asks_whatever_the_file_says_by_now() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    let admin = format!("[admin]\nlisten = \"{}\"\n", keybearer.console());
    for (name, text, code) in [
        ("right.toml", admin.clone(), 0),
        (
            "spoilt.toml",
            format!("{admin}[connections.x]\nbase = 1\n"),
            0,
        ),
        (
            "elsewhere.toml",
            "[admin]\nlisten = \"127.0.0.1:1\"\n".to_owned(),
            1,
        ),
        ("off.toml", "[admin]\nlisten = \"off\"\n".to_owned(), 2),
    ] {
        keybearer.setup().write(name, &text);
        let mut command = keybearer.setup().command(&["health", "--config", name]);
        assert_eq!(Process::run(&mut command).await.code, Some(code), "{name}");
    }
}

#[tokio::test]
async fn a_reload_never_opens_a_console_that_the_network_reaches() {
    let upstream = Upstream::start().await;
    let wide = |admin: &str| {
        let text = Setup::new().tables(&table(&upstream)).text();
        // The name by which the harness waits for it.
        let admin = format!("public_url = \"http://0.0.0.0\"\n{admin}");
        text.replacen("listen = \"127.0.0.1:0\"", &admin, 1)
    };
    let setup = Setup::new().config("wide.toml");
    let setup = setup.file("wide.toml", &wide("listen = \"0.0.0.0:0\"\ntoken = \"t\""));
    let keybearer = setup.start().await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], keybearer.console().port()));
    let asked = async |token: &str| {
        let request = crate::harness::Request::new(address, "GET", "/metrics").host("localhost");
        request.header("Authorization", token).send().await.status
    };
    assert_eq!((asked("Bearer t").await, asked("").await), (200, 401));
    keybearer
        .setup()
        .replace("wide.toml", &wide("listen = \"127.0.0.1:0\""));
    keybearer.logged(&["admin.listen", "restart"]).await;
    assert_eq!((asked("Bearer t").await, asked("").await), (401, 401));
}
