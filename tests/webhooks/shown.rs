//! What the console, its API and the command line show of webhooks, and how the tests ask for it.

use crate::harness::{Keybearer, Request, Response, eventually};

/// A listener, and an endpoint `hook` that leads to `target`; more keys of it may follow.
pub fn hook(target: &str, rest: &str) -> String {
    let verify = match rest.contains("verify") {
        true => "",
        false => "verify = { type = \"none\" }\n",
    };
    format!(
        "[webhooks]\nlisten = \"127.0.0.1:0\"\n\n[webhooks.endpoints.hook]\ntarget = \"{target}\"\n{verify}{rest}\n"
    )
}

/// What the API says of an endpoint.
pub async fn endpoint(keybearer: &Keybearer, name: &str) -> serde_json::Value {
    let path = format!("/api/webhooks/{name}");
    let answer = keybearer.ask("GET", &path).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// A request to an endpoint's URL, with something behind it.
pub fn request(url: &str, behind: &str) -> Request {
    let (address, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let target = format!("/{path}{behind}");
    Request::new(address.parse().unwrap(), "POST", &target)
}

/// Sends a JSON text to an endpoint.
pub async fn send(keybearer: &Keybearer, name: &str, json: &str) -> Response {
    let shown = endpoint(keybearer, name).await;
    let request = request(shown["url"].as_str().unwrap(), "");
    let answer = request.body("application/json", json).send().await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer
}

/// The latest delivery of an endpoint, once it is in this state.
pub async fn latest(keybearer: &Keybearer, name: &str, state: &str) -> serde_json::Value {
    let path = format!("/api/webhooks/{name}/deliveries?limit=1");
    eventually(&format!("a delivery that is {state}"), async || {
        let mut listed = keybearer.ask("GET", &path).send().await.json();
        let latest = listed["deliveries"][0].take();
        (latest["state"] == state).then_some(latest)
    })
    .await
}

/// The ID of a delivery.
pub fn id(shown: &serde_json::Value) -> &str {
    shown["id"].as_str().unwrap()
}
