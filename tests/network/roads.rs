//! Which requests go through which proxy: exceptions, the environment, reloads, and what else a
//! connection needs.

use super::through;
use crate::harness::{Answer, Authority, Keybearer, Proxy, Setup, Upstream, connection};

#[tokio::test]
async fn hosts_in_no_proxy_are_reached_straight() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::tinyproxy("").await;
    let port = upstream.address().port();
    let all = format!("[\"127.0.0.1:{port}\"]");
    for (exceptions, straight) in [
        ("[]", false),
        ("[\"*\"]", true),
        ("[\"127.0.0.0/8\"]", true),
        ("[\"127.0.0.1:1\"]", false),
        (&*all, true),
    ] {
        let rest = format!("network.no_proxy = {exceptions}");
        let url = format!("\"{}\"", proxy.url());
        let keybearer = Keybearer::start(&through(&upstream.url("/base"), &url, &rest)).await;
        let before = proxy.log().len();
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
        if straight {
            assert_eq!(proxy.log().len(), before, "{exceptions}");
        } else {
            proxy
                .logged(&format!("GET http://127.0.0.1:{port}/base/x"))
                .await;
        }
    }
}

#[tokio::test]
async fn the_environment_says_which_proxy_and_for_what() {
    let authority = Authority::new();
    let plain = Upstream::start().await;
    let secure = Upstream::tls(&authority.issue(&["127.0.0.1"])).await;
    let (one, other) = (Proxy::tinyproxy("").await, Proxy::tinyproxy("").await);
    let rest = "auth = { type = \"bearer\", token = \"ours\" }";
    let straight = format!("{rest}\nnetwork.proxy = \"direct\"");
    let keybearer = Setup::new()
        .file("ca.pem", authority.pem())
        .env("http_proxy", one.address().to_string())
        .env("HTTPS_PROXY", other.url())
        .env("NO_PROXY", "localhost,.internal.example")
        .tables("[defaults]\ntls.ca_certificate = \"ca.pem\"\nnetwork.proxy = \"env\"")
        .tables(&connection("plain", &plain.url("/base"), rest))
        .tables(&connection("secure", &secure.url("/base"), rest))
        .tables(&connection("straight", &plain.url("/straight"), &straight))
        .tables(&connection(
            "excepted",
            &format!("http://localhost:{}/excepted", plain.address().port()),
            rest,
        ))
        .start()
        .await;
    for name in ["plain", "secure", "straight", "excepted"] {
        let response = keybearer.get(&format!("/{name}/x")).send().await;
        assert_eq!(response.text(), "ok", "{name}");
    }
    one.logged(&plain.url("/base/x")).await;
    other.logged(&format!("CONNECT {}", secure.address())).await;
    let log = one.log() + &other.log();
    assert!(
        !log.contains("straight") && !log.contains("excepted"),
        "{log}"
    );
    assert!(!one.log().contains(&secure.address().to_string()));
    assert!(!other.log().contains(&plain.address().to_string()));
}

#[tokio::test]
async fn a_reload_changes_the_proxy_of_new_requests() {
    let upstream = Upstream::start().await;
    let (one, other) = (Proxy::tinyproxy("").await, Proxy::tinyproxy("").await);
    let setup = Setup::new().file("proxy", &one.url());
    let tables = through(&upstream.url("/base"), "{ file = \"proxy\" }", "");
    let keybearer = setup.tables(&tables).start().await;
    assert_eq!(keybearer.get("/p/first").send().await.text(), "ok");
    one.logged("/base/first").await;
    // A file of its own is watched.
    keybearer.setup().replace("proxy", &other.url());
    keybearer.reload().await;
    assert_eq!(keybearer.get("/p/second").send().await.text(), "ok");
    other.logged("/base/second").await;
    assert!(!one.log().contains("/base/second"));
    keybearer
        .reconfigure(&through(&upstream.url("/base"), "\"off\"", ""))
        .await;
    assert_eq!(keybearer.get("/p/third").send().await.text(), "ok");
    assert!(!(one.log() + &other.log()).contains("/base/third"));
}

#[tokio::test]
async fn tokens_are_fetched_by_the_same_way() {
    let authority = Authority::new();
    let server = Upstream::tls(&authority.issue(&["127.0.0.1"])).await;
    let token = "{\"access_token\": \"fetched\", \"token_type\": \"Bearer\", \"expires_in\": 3600}";
    server.on(
        "/token",
        Answer::sized("200 OK", "Content-Type: application/json\r\n", token),
    );
    let upstream = Upstream::tls(&authority.issue(&["127.0.0.1"])).await;
    let proxy = Proxy::tinyproxy("BasicAuth me hunter2-tiny").await;
    let lines = format!(
        "auth = {{ type = \"oauth2_client_credentials\", token_url = \"{}\", client_id = \"id\", client_secret = \"s\" }}\ntls.ca_certificate = \"ca.pem\"\nnetwork.proxy = {{ file = \"proxy\" }}",
        server.url("/token")
    );
    let keybearer = Setup::new()
        .file("ca.pem", authority.pem())
        .file("proxy", &proxy.url_with("me:hunter2-tiny"))
        .tables(&connection("p", &upstream.url("/base"), &lines))
        .start()
        .await;
    assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
    assert_eq!(
        upstream.last().header("authorization"),
        Some("Bearer fetched")
    );
    proxy.logged(&format!("CONNECT {}", server.address())).await;
    proxy
        .logged(&format!("CONNECT {}", upstream.address()))
        .await;
    let (_, exit) = keybearer.stop().await;
    assert!(!exit.stderr.contains("hunter2"), "{}", exit.stderr);
}
