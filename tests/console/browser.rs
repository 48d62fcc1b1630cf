//! The web page, in a real browser: people who look, link and log in, and a page that attacks.

use std::path::Path;

use serde_json::json;

use super::table;
use crate::agent::erp;
use crate::harness::{
    Answer, AuthorizationServer, Keybearer, Setup, Site, Upstream, Walk, connection, wait_for_state,
};
use crate::linking;

/// One connection of every state that can be had without waiting.
async fn colourful(upstream: &Upstream, server: &AuthorizationServer) -> Setup {
    let tables = table(upstream)
        + &linking::drive(server, "")
        + &connection(
            "down",
            "http://127.0.0.1:1/",
            "auth = { type = \"header\", headers = { X-Key = \"canary\" } }",
        )
        + &connection(
            "wrong",
            "http://127.0.0.1:1/",
            "auth = { type = \"oauth2_client_credentials\", token_url = \"http://127.0.0.1:1/t\", client_id = \"i\", client_secret = \"canary\" }",
        );
    linking::setup().tables(&tables)
}

#[tokio::test]
async fn pages_are_accessible_in_both_schemes_wide_and_narrow() {
    let upstream = Upstream::start().await;
    let server = AuthorizationServer::start(linking::settings()).await;
    let keybearer = colourful(&upstream, &server).await.start().await;
    for n in 0..20 {
        keybearer
            .get(&format!("/p/a/rather/long/path/{n}"))
            .send()
            .await;
        keybearer.get("/down/x").send().await;
    }
    // With a banner.
    let broken = keybearer.setup().text() + "\n[connections.x]\nbase = \"http://a\"\n";
    keybearer.setup().replace("keybearer.toml", &broken);
    assert_eq!(keybearer.reload().await.status, 422);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    let settings = json!({
        "pictures": pictures,
        "pages": {
            "list": "", "down": "connections/down", "drive": "connections/drive", "agents": "agents", "new": "new",
            "link": "link/drive", "none": "?q=nothing", "login": "login",
        },
    });
    let (found, _) = Walk::begin(&keybearer, "looks", settings).done().await;
    assert_eq!(found, json!([]), "pictures: {}", pictures.display());
}

#[tokio::test]
async fn a_person_links_tests_and_links_again_when_the_provider_revoked_it() {
    let server = AuthorizationServer::start(linking::settings().access_token_lifetime(2)).await;
    let keybearer = linking::setup()
        .tables(&linking::drive(&server, ""))
        .start()
        .await;
    let mut walk = Walk::begin(&keybearer, "links", json!({ "name": "drive" }));
    walk.meet("linked", None).await;
    wait_for_state(&keybearer, "drive", "ready").await;
    server.revoke_grants().await;
    let (_, met) = walk.done().await;
    let verdicts: Vec<_> = met
        .iter()
        .filter_map(|met| met["verdict"].as_str())
        .collect();
    assert_eq!(verdicts.len(), 2, "{met:?}");
    for verdict in verdicts {
        assert!(verdict.starts_with("200: it works"), "{verdict}");
        assert!(verdict.contains("Injected: authorization"), "{verdict}");
    }
    wait_for_state(&keybearer, "drive", "not_linked").await;
}

#[tokio::test]
async fn a_test_tells_its_phases_and_no_secret() {
    let upstream = Upstream::start().await;
    let table = table(&upstream).replace("ours", "canary-token-5b1d");
    let keybearer = Keybearer::start(&table).await;
    let (told, _) = Walk::begin(&keybearer, "tests", json!({ "name": "p" }))
        .done()
        .await;
    let outcome = told["outcome"].as_str().unwrap();
    assert!(outcome.starts_with("200: it works"), "{outcome}");
    assert!(outcome.contains("Injected: authorization"), "{outcome}");
    let requests = told["requests"].as_str().unwrap();
    assert!(requests.contains("POST /p/hello"), "{requests}");
    let page = told["page"].as_str().unwrap();
    assert!(!page.contains("canary") && !page.contains("q=1"), "{page}");
    assert_eq!(upstream.last().target(), "/base/hello?q=1");
}

#[tokio::test]
async fn a_page_follows_agents_that_come_and_go() {
    let upstream = Upstream::start().await;
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let waits = json!([
        ["none", "Not connected"],
        ["here", "Heartbeat"],
        ["used", "of 1"],
        ["two", "2 connected"],
        ["gone", "Not connected"],
    ]);
    let mut walk = Walk::begin(&site.keybearer, "meets_agents", json!({ "waits": waits }));
    walk.meet("met", Some("none")).await;
    let allow = [&*upstream.address().to_string()];
    let first = site.agent(&allow).await;
    walk.meet("met", Some("here")).await;
    assert_eq!(site.keybearer.get("/erp/x").send().await.status, 200);
    walk.meet("met", Some("used")).await;
    let second = site.agent(&allow).await;
    walk.meet("met", Some("two")).await;
    drop((first, second));
    let (found, met) = walk.done().await;
    assert_eq!(found, json!([]), "axe-core, at each step");
    let page = |of: &str| met.iter().find(|met| met["met"] == of).unwrap()["page"].as_str();
    let used = page("used").unwrap();
    for part in ["dc", "Connected", "127.0.0.1:", env!("CARGO_PKG_VERSION")] {
        assert!(used.contains(part), "no {part}: {used}");
    }
    assert!(!page("gone").unwrap().contains("127.0.0.1:"), "{met:?}");
}

#[tokio::test]
async fn a_page_follows_what_happens_through_a_restart() {
    let upstream = Upstream::start().await;
    let port = linking::free_port();
    let setup = Setup::new().admin(&format!("listen = \"127.0.0.1:{port}\""));
    let keybearer = setup.tables(&table(&upstream)).start().await;
    let waits = json!([
        ["counted", "#c-p .figures", "0 % errors"],
        ["requests", "#c-p", "p50"],
        ["rejected", "#banner .rejected", "base_url"],
        ["mended", "#banner .rejected", null],
        ["away", "#live", "trying again"],
        ["back", "#live", "Live"],
    ]);
    let mut walk = Walk::begin(
        &keybearer,
        "follows",
        json!({ "name": "p", "waits": waits }),
    );
    walk.meet("met", Some("open")).await;
    keybearer.get("/p/x").send().await;
    walk.meet("met", Some("requests")).await;
    let good = keybearer.setup().text();
    let broken = format!("{good}\n[connections.x]\nbase = \"http://a\"\n");
    keybearer.setup().replace("keybearer.toml", &broken);
    walk.meet("met", Some("rejected")).await;
    keybearer.setup().replace("keybearer.toml", &good);
    walk.meet("met", Some("mended")).await;
    let (setup, _) = keybearer.kill().await;
    walk.meet("met", Some("away")).await;
    let _keybearer = setup.start().await;
    let (told, _) = walk.done().await;
    assert_eq!(
        told["focused"], "test-p",
        "what changes around it takes no focus"
    );
    assert_eq!(told["polls"], 0, "it is told, and does not ask");
}

#[tokio::test]
async fn a_page_tells_what_a_reload_has_changed() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    let settings = json!({
        "page": "connections/p", "focus": "#path",
        "waits": [["prefix", "#reach", "/moved"], ["injected", "#injected", "x-key"]],
    });
    let mut walk = Walk::begin(&keybearer, "follows", settings);
    walk.meet("met", Some("open")).await;
    let rest = "prefix = \"/moved\"\nauth = { type = \"header\", headers = { X-Key = \"k\" } }";
    let table = connection("p", &upstream.url("/base"), rest);
    keybearer.reconfigure(&table).await;
    let (told, _) = walk.done().await;
    assert_eq!(told["focused"], "path");
}

#[tokio::test]
async fn what_was_filled_in_outlives_a_restart() {
    let port = linking::free_port();
    let setup = Setup::new().admin(&format!("listen = \"127.0.0.1:{port}\""));
    let keybearer = setup.start().await;
    let mut walk = Walk::begin(&keybearer, "outlives", json!({}));
    walk.meet("met", Some("filled")).await;
    let (setup, _) = keybearer.kill().await;
    let _keybearer = setup.start().await;
    let (toml, _) = walk.done().await;
    let toml = toml.as_str().unwrap();
    assert!(toml.contains("https://kept.example"), "{toml}");
}

#[tokio::test]
async fn a_person_logs_in_and_out() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().admin("token = \"canary-admin-token\"");
    let mut keybearer = setup.tables(&table(&upstream)).start().await;
    let settings = json!({ "token": "canary-admin-token" });
    let (_, met) = Walk::begin(&keybearer, "logs_in", settings).done().await;
    let find = |key: &str| met.iter().find(|met| !met[key].is_null()).unwrap();
    let asked = find("asked")["asked"].as_str().unwrap();
    assert!(asked.ends_with("/login?next=%2Fconnections%2Fp"), "{asked}");
    assert_eq!(find("refused")["refused"], "This is not the token.");
    assert_eq!(find("refused")["label"], "true");
    let inside = find("inside");
    assert!(
        inside["inside"]
            .as_str()
            .unwrap()
            .ends_with("/connections/p"),
        "{inside}"
    );
    let cookie = &inside["cookies"][0];
    assert_eq!(
        (&cookie["httpOnly"], &cookie["sameSite"]),
        (&json!(true), &json!("Strict"))
    );
    assert_eq!(find("script")["script"], "", "scripts see no cookie");
    assert_eq!(find("verdict")["verdict"], "200: it works");
    let log = keybearer.log();
    assert!(!log.contains("canary"), "{log}");
    assert!(keybearer.running());
}

#[tokio::test]
async fn a_hostile_page_neither_reads_nor_triggers_anything() {
    for token in [None, Some("canary-admin-token")] {
        let upstream = Upstream::start().await;
        let mut setup = Setup::new();
        if let Some(token) = token {
            setup = setup.admin(&format!("token = \"{token}\""));
        }
        let keybearer = setup.tables(&table(&upstream)).start().await;
        let attacker = Upstream::start().await;
        let page = "<!DOCTYPE html><title>Nice</title><body>";
        attacker.on(
            "/",
            Answer::sized("200 OK", "Content-Type: text/html\r\n", page),
        );
        // Another port is another origin, and the same site: the cookie's own rule would not help.
        for attacker in [
            attacker.url("/"),
            attacker.url("/").replace("127.0.0.1", "localhost"),
        ] {
            let settings = json!({ "attacker": attacker, "token": token, "name": "p" });
            let (tried, _) = Walk::begin(&keybearer, "is_attacked", settings)
                .done()
                .await;
            assert_eq!(
                tried,
                json!({
                    "read": "blocked", "blind read": "blocked", "change": "blocked",
                    "blind change": "blocked", "forget": "blocked", "own field": "blocked",
                    "log out": "blocked", "script": "blocked", "frame": "closed",
                    "web socket": "blocked", "event source": "blocked", "window": "closed",
                    "rebound": 421, "rebound text": false, "person": true,
                }),
                "{attacker} {token:?}"
            );
        }
        let request = keybearer.ask("GET", "/api/status");
        let request = match token {
            Some(token) => request.header("Authorization", &format!("Bearer {token}")),
            None => request,
        };
        assert_eq!(
            request.send().await.json()["generation"],
            1,
            "nothing was reloaded"
        );
    }
}

/// The picture of the documentation, of connections as people have them.
#[tokio::test]
#[ignore = "writes docs/console.png: `make screenshot`"]
async fn the_documentation_has_a_picture() {
    let upstream = Upstream::start().await;
    let server = AuthorizationServer::start(linking::settings()).await;
    let bearer = "auth = { type = \"bearer\", token = \"x\" }";
    let tables = connection("github", "https://api.github.com", bearer)
        + &connection(
            "jira",
            "https://example.atlassian.net/rest/api/3",
            "auth = { type = \"basic\", username = \"u\", password = \"x\" }",
        )
        + &connection("orders", &upstream.url(""), bearer)
        + &connection(
            "reports",
            "https://reports.example/v1",
            "auth = { type = \"header\", headers = { X-Key = \"x\" } }",
        )
        + &linking::drive(&server, "");
    let keybearer = linking::setup().tables(&tables).start().await;
    for n in 0..200 {
        keybearer.get(&format!("/orders/{n}")).send().await;
    }
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documentation");
    std::fs::create_dir_all(&pictures).unwrap();
    let settings = json!({ "pictures": pictures, "pages": { "list": "" } });
    Walk::begin(&keybearer, "looks", settings).done().await;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/console.png");
    std::fs::copy(pictures.join("list-1440-light.png"), docs).unwrap();
}
