//! New connections by the console: a draft as TOML, what is wrong with it, its trial, its place in the
//! configuration.

mod browser;
mod errors;
mod trials;
mod types;
mod used;
mod writes;

use serde_json::{Value, json};

use crate::harness::{Keybearer, Response, Setup, Upstream, connection};

/// Typed in wherever a secret is; leaves in nothing but a trial's request.
const CANARY: &str = "canary-draft-93b1";

/// An instance with one connection, `p`.
async fn instance(upstream: &Upstream) -> Setup {
    Setup::new().tables(&connection("p", &upstream.url("/base"), ""))
}

async fn post(keybearer: &Keybearer, path: &str, content: &Value) -> Response {
    let request = keybearer.ask("POST", path);
    let content = content.to_string();
    request.body("application/json", content).send().await
}

/// What is told of a draft.
async fn drafted(keybearer: &Keybearer, content: &Value) -> Value {
    let response = post(keybearer, "/api/drafts", content).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

async fn create(keybearer: &Keybearer, content: &Value) -> Response {
    post(keybearer, "/api/connections", content).await
}

/// A draft without a credential.
fn plain(name: &str, base_url: &str) -> Value {
    json!({ "name": name, "base_url": base_url, "auth": { "type": "none" } })
}

/// A draft with a token.
fn bearer(name: &str, base_url: &str, token: &Value) -> Value {
    json!({ "name": name, "base_url": base_url, "auth": { "type": "bearer", "token": token } })
}

/// The fields that errors are about.
fn fields(told: &Value) -> Vec<&str> {
    let errors = told["errors"].as_array().unwrap();
    let fields = errors
        .iter()
        .map(|error| error["field"].as_str().unwrap_or("-"));
    fields.collect()
}

#[tokio::test]
async fn the_form_is_a_page_with_a_script() {
    let upstream = Upstream::start().await;
    let keybearer = instance(&upstream).await.start().await;
    let page = keybearer.ask("GET", "/new").send().await;
    assert_eq!(page.status, 200, "{page:?}");
    let text = page.text();
    for part in [
        "<form id=\"new-connection\"",
        "value=\"aws_iam_role\"",
        "/assets/form.js",
        "allow_edit = true",
    ] {
        assert!(text.contains(part), "no {part}");
    }
    assert!(!text.contains("Write it</button>"), "it is not allowed to");
    let script = keybearer.ask("GET", "/assets/form.js").send().await;
    let content_type = script.header("content-type").unwrap();
    assert!(
        content_type.starts_with("text/javascript"),
        "{content_type}"
    );
    assert!(script.text().contains("X-CSRF-Token"));

    let setup = instance(&upstream).await.admin("allow_edit = true");
    let keybearer = setup.start().await;
    let text = keybearer.ask("GET", "/new").send().await.text();
    assert!(text.contains("Write it</button>"), "{text}");
}

#[tokio::test]
async fn what_is_no_draft_is_refused() {
    let upstream = Upstream::start().await;
    let keybearer = instance(&upstream).await.start().await;
    let ask = || keybearer.ask("POST", "/api/drafts");
    let draft = plain("x", "https://a.example").to_string();
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
    ] {
        let response = ask().body(content_type, &draft).send().await;
        response.problem(415, "unsupported-content", "http_request_error");
    }
    let response = ask().content(&draft).send().await;
    response.problem(415, "unsupported-content", "http_request_error");
    for content in [
        "",
        "{",
        "[]",
        "{}",
        "{\"name\": 1}",
        &format!("{{\"name\": \"x\", \"{CANARY}\": 1}}"),
        &format!("{{\"name\": \"x\", \"values\": \"{CANARY}\"}}"),
        &format!("{{\"name\": \"x\", \"auth\": \"{CANARY}\"}}"),
    ] {
        let response = ask().body("application/json", content).send().await;
        let detail = response.problem(400, "content-malformed", "http_request_error");
        assert!(
            detail.contains("send JSON") && !detail.contains(CANARY),
            "{detail}"
        );
    }
    let long = json!({ "name": "x", "base_url": "x".repeat(300 << 10) }).to_string();
    let response = ask().body("application/json", long).send().await;
    response.problem(413, "content-too-large", "http_request_error");
    let charset = ask()
        .body("application/json; charset=utf-8", &draft)
        .send()
        .await;
    assert_eq!(charset.status, 200, "{charset:?}");
    let response = ask()
        .header("Cookie", "a=b")
        .body("application/json", &draft)
        .send()
        .await;
    assert_eq!(response.status, 403, "a browser without a token");
    assert_eq!(keybearer.ask("GET", "/api/drafts").send().await.status, 405);
}
