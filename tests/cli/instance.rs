//! `GET /api/status`: the instance itself, and what came of its last reload.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::harness::{Keybearer, Setup, connection};

const NONE: &str = "auth = { type = \"none\" }";

async fn status(keybearer: &Keybearer) -> Value {
    let response = keybearer.ask("GET", "/api/status").send().await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test]
async fn it_tells_what_came_of_the_last_reload() {
    let table = connection("p", "http://127.0.0.1:1", NONE);
    let keybearer = Keybearer::start(&table).await;
    let first = status(&keybearer).await;
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["generation"], 1);
    assert_eq!(first["ready"], true);
    let path = keybearer.setup().path("keybearer.toml");
    assert_eq!(first["config"], path.display().to_string());
    let time = |value: &Value| humantime::parse_rfc3339(value.as_str().unwrap()).unwrap();
    assert!(time(&first["started_at"]) <= SystemTime::now());
    assert_eq!(first["reload"]["result"], "success");
    assert_eq!(first["reload"]["errors"], json!([]));
    assert_eq!(first["reload"]["at"], first["started_at"]);

    // Exactly what the reload itself answers.
    let bad = "[connections.a]\nbase_ulr = \"http://127.0.0.1\"\nauth = { type = \"none\" }\n";
    let text = keybearer.setup().text_with(bad);
    keybearer.setup().replace("keybearer.toml", &text);
    let answer = keybearer.reload().await;
    assert_eq!(answer.status, 422);
    let rejected = status(&keybearer).await;
    assert_eq!(rejected["reload"]["result"], "failure");
    assert_eq!(rejected["reload"]["errors"], answer.json()["errors"]);
    let first_error = &rejected["reload"]["errors"][0];
    for key in ["file", "line", "column", "key", "message"] {
        assert!(!first_error[key].is_null(), "{key}: {first_error}");
    }
    assert_eq!(rejected["generation"], 1, "it goes on with what it had");
    assert!(time(&rejected["reload"]["at"]) >= time(&first["reload"]["at"]));

    // A connection that compiles, but cannot be built, has no place in a file.
    let unbuildable = format!(
        "{}tls = {{ ca_certificate = \"ca.pem\" }}\n",
        connection("a", "https://127.0.0.1:1", NONE)
    );
    keybearer.setup().write(
        "ca.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let text = keybearer.setup().text_with(&unbuildable);
    keybearer.setup().replace("keybearer.toml", &text);
    let answer = keybearer.reload().await;
    assert_eq!(answer.status, 422);
    let rejected = status(&keybearer).await;
    assert_eq!(rejected["reload"]["errors"], answer.json()["errors"]);

    keybearer.reconfigure(&table).await;
    let good = status(&keybearer).await;
    assert_eq!(
        (&good["reload"]["result"], &good["generation"]),
        (&json!("success"), &json!(2))
    );
    assert_eq!(good["reload"]["errors"], json!([]));
    assert_eq!(good["started_at"], first["started_at"]);
}

#[tokio::test]
async fn it_is_guarded_as_the_rest_of_the_api() {
    let setup = Setup::new().admin("token = \"the-admin-token\"");
    let keybearer = setup
        .tables(&connection("p", "http://127.0.0.1:1", NONE))
        .start()
        .await;
    let ask = || keybearer.ask("GET", "/api/status");
    assert_eq!(ask().send().await.status, 401);
    let with = ask().header("Authorization", "Bearer the-admin-token");
    let response = with.send().await;
    assert_eq!(response.status, 200);
    assert!(!response.text().contains("the-admin-token"));
    let foreign = ask().header("Origin", "https://evil.example");
    assert_eq!(foreign.send().await.status, 403);
    let post = keybearer.ask("POST", "/api/status");
    let post = post.header("Authorization", "Bearer the-admin-token");
    assert_eq!(post.send().await.status, 405);
}

/// A secret that stands in the wrong place of the file is masked here, too.
#[tokio::test]
async fn no_secret_is_told() {
    let keybearer = Keybearer::start(&connection("p", "http://127.0.0.1:1", NONE)).await;
    let bad = "[connections.a]\nbase_url = \"http://127.0.0.1:1\"\nauth = { type = \"bearer\", tokne = \"canary-4711\" }\n";
    let text = keybearer.setup().text_with(bad);
    keybearer.setup().replace("keybearer.toml", &text);
    assert_eq!(keybearer.reload().await.status, 422);
    let told = status(&keybearer).await.to_string();
    assert!(told.contains("tokne"), "{told}");
    assert!(!told.contains("canary"), "{told}");
    let (_, exit) = keybearer.stop().await;
    assert!(!exit.stderr.contains("canary"), "{}", exit.stderr);
}
