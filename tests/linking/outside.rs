//! What comes from outside: answers at the callback that are none, browsers of other sites, the
//! admin token.

use super::consent::without;
use super::{World, authorization_url, call, drive, link, parameter, settings, setup, shown};
use crate::harness::{AuthorizationServer, Keybearer, Person, Response, eventually};

/// Asserts that a page is one of keybearer's, safe to be shown; gives its text.
fn page(response: &Response, status: u16) -> String {
    assert_eq!(response.status, status, "{response:?}");
    let is = |name: &str, value: &str| assert_eq!(response.header(name), Some(value), "{name}");
    is("content-type", "text/html; charset=utf-8");
    is("cache-control", "no-store");
    is("referrer-policy", "same-origin");
    is("x-content-type-options", "nosniff");
    is("x-frame-options", "DENY");
    let policy = response.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    let text = response.text();
    assert!(!text.contains("<script"), "{text}");
    text
}

async fn came_back(keybearer: &Keybearer, query: &str) -> Response {
    let target = format!("/oauth/callback?{query}");
    keybearer.ask("GET", &target).send().await
}

/// A new consent's `state`.
async fn state(keybearer: &Keybearer) -> String {
    parameter(&authorization_url(keybearer, "drive").await, "state").unwrap()
}

#[tokio::test]
async fn a_decline_is_told() {
    let World { server, keybearer } = World::start("").await;
    let url = authorization_url(&keybearer, "drive").await;
    let landed = Person::new("jane").decline(url.as_str()).await;
    assert_eq!(landed.status, 502, "{landed:?}");
    assert!(landed.body.contains("access_denied"), "{landed:?}");
    assert!(landed.body.contains("was not linked"), "{landed:?}");
    assert_eq!(shown(&keybearer, "drive").await["state"], "not_linked");
    assert_eq!(server.log().await.len(), 0);
    link(&keybearer, "drive").await;
}

#[tokio::test]
async fn answers_that_belong_to_no_consent_change_nothing() {
    let World { server, keybearer } = World::start("").await;
    for query in [
        "",
        "code=x",
        "state=&code=x",
        "state=unknown&code=x",
        "state=unknown&error=access_denied",
        "state=%ff&code=%00",
    ] {
        let text = page(&came_back(&keybearer, query).await, 400);
        assert!(text.contains("belongs to no consent"), "{query}: {text}");
    }
    // Nothing says which of two is meant.
    let state = state(&keybearer).await;
    let twice = format!("state={state}&code=canary-a&code=canary-b");
    let text = page(&came_back(&keybearer, &twice).await, 400);
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(server.log().await.len(), 0);
    assert_eq!(shown(&keybearer, "drive").await["state"], "not_linked");
}

#[tokio::test]
async fn a_state_is_good_once() {
    let World { server, keybearer } = World::start("").await;
    let url = authorization_url(&keybearer, "drive").await;
    let landed = Person::new("jane").authorize(url.as_str()).await;
    let target = without(&landed, "");
    let text = page(&keybearer.ask("GET", &target).send().await, 200);
    assert!(text.contains("is linked"), "{text}");
    let text = page(&keybearer.ask("GET", &target).send().await, 400);
    assert!(text.contains("came twice"), "{text}");
    assert_eq!(server.token_requests("authorization_code").await.len(), 1);
    assert_eq!(call(&keybearer, "/drive/x").await.status, 200);
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_none() {
    let World { server, keybearer } = World::start("").await;
    for iss in ["https://evil.example", "not%20a%20url", ""] {
        let query = format!("state={}&code=x&iss={iss}", state(&keybearer).await);
        let text = page(&came_back(&keybearer, &query).await, 502);
        assert!(text.contains("another authorization server"), "{text}");
    }
    assert_eq!(server.log().await.len(), 0, "no code went anywhere");
    let query = format!("state={}", state(&keybearer).await);
    let text = page(&came_back(&keybearer, &query).await, 502);
    assert!(text.contains("neither a code nor an error"), "{text}");
    let query = format!("state={}&code=made-up", state(&keybearer).await);
    let text = page(&came_back(&keybearer, &query).await, 502);
    assert!(text.contains("invalid_grant"), "{text}");
}

#[tokio::test]
async fn what_others_say_is_shown_as_text() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    let script = "%3Cscript%3Ealert(1)%3C/script%3E%1b[31m%22%3E%3Cimg%20src=x%3E";
    let query = format!(
        "state={}&error={script}&error_description={script}",
        state(&keybearer).await
    );
    let text = page(&came_back(&keybearer, &query).await, 502);
    assert!(text.contains("&lt;script&gt;alert(1)"), "{text}");
    assert!(!text.contains("<img") && !text.contains('\x1b'), "{text}");
    let log = keybearer.logged(&["Connection not linked"]).await;
    assert!(!log.contains('\x1b'), "{log}");
    let text = page(
        &keybearer.ask("GET", "/link/%3Cscript%3E").send().await,
        404,
    );
    assert!(text.contains("&lt;script&gt;"), "{text}");
    let long = "x".repeat(10_000);
    let query = format!("state={}&error={long}", state(&keybearer).await);
    let text = page(&came_back(&keybearer, &query).await, 502);
    assert!(text.len() < 2_000, "{} bytes", text.len());
}

/// The link of a 503 may stand on a page of any site; what changes state may not come from there.
#[tokio::test]
async fn a_visit_from_another_site_sees_the_page_and_nothing_else_does() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    let from = async |method: &str, path: &str, mode: &str, dest: &str| {
        let request = keybearer.ask(method, path);
        let request = request.header("Sec-Fetch-Site", "cross-site");
        let request = request.header("Sec-Fetch-Mode", mode);
        request.header("Sec-Fetch-Dest", dest).send().await
    };
    page(
        &from("GET", "/link/drive", "navigate", "document").await,
        200,
    );
    for (method, path, mode, dest) in [
        ("GET", "/link/drive", "navigate", "iframe"),
        ("GET", "/link/drive", "no-cors", "image"),
        ("GET", "/link/drive", "cors", "empty"),
        ("GET", "/api/connections", "navigate", "document"),
        ("GET", "/metrics", "navigate", "document"),
        (
            "POST",
            "/api/connections/drive/link",
            "navigate",
            "document",
        ),
        ("DELETE", "/api/connections/drive/link", "cors", "empty"),
    ] {
        let response = from(method, path, mode, dest).await;
        response.problem(403, "origin-refused", "http_request_denied");
    }
}

#[tokio::test]
async fn the_admin_token_guards_all_but_the_callback() {
    let server = AuthorizationServer::start(settings()).await;
    let setup = setup()
        .env("ADMIN", "an-admin-token")
        .admin("token = { env = \"ADMIN\" }");
    let keybearer = setup.tables(&drive(&server, "")).start().await;
    for (method, path) in [
        ("POST", "/api/connections/drive/link"),
        ("DELETE", "/api/connections/drive/link"),
        ("GET", "/api/connections/drive/link/x"),
        ("GET", "/link/drive"),
    ] {
        let response = keybearer.ask(method, path).send().await;
        response.problem(401, "unauthorized", "http_request_denied");
    }
    let mut command = keybearer.spawn(&["link", "drive"]);
    let printed = async || command.stdout().lines().next().map(str::to_owned);
    let url = eventually("the URL", printed).await;
    let landed = Person::new("jane").consent(&url).await;
    assert!(landed.body.contains("is linked"), "{landed:?}");
    let exit = command.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(call(&keybearer, "/drive/x").await.status, 200);
    let status = keybearer.spawn(&["status"]).exit().await;
    assert_eq!(status.code, Some(0), "{}", status.stderr);
}
