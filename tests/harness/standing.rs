//! What the console's API says of a connection, and waiting until it says it.

use serde_json::Value;

use super::{Keybearer, eventually};

/// What the API says of a connection.
pub async fn shown(keybearer: &Keybearer, name: &str) -> Value {
    let path = format!("/api/connections/{name}");
    let response = keybearer.ask("GET", &path).send().await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// Waits until a connection's credential is in this state, and gives what the API says then.
pub async fn wait_for_state(keybearer: &Keybearer, name: &str, state: &str) -> Value {
    eventually(&format!("`{name}` to be {state}"), async || {
        let shown = shown(keybearer, name).await;
        (shown["state"] == state).then_some(shown)
    })
    .await
}
