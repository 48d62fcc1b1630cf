//! Webhooks in, from their senders to their targets.

mod arrivals;
mod browser;
mod cli;
mod console;
mod crashes;
mod deliveries;
mod endpoints;
mod faults;
mod shown;
mod shutdown;
mod signatures;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

pub use self::shown::hook;

use crate::harness::{Keybearer, Request, Setup, eventually};

/// `[store]` and `[webhooks]`, with these tables of endpoints.
fn tables(endpoints: &str) -> String {
    format!("[store]\npath = \"store\"\n[webhooks]\nlisten = \"127.0.0.1:0\"\n{endpoints}")
}

/// An endpoint's table.
fn endpoint(name: &str, target: &str, rest: &str) -> String {
    format!("[webhooks.endpoints.{name}]\ntarget = \"{target}\"\n{rest}\n")
}

/// One that takes whatever comes.
fn open(name: &str, target: &str) -> String {
    endpoint(name, target, "verify = { type = \"none\" }")
}

async fn start(endpoints: &str) -> Keybearer {
    Setup::new().tables(&tables(endpoints)).start().await
}

/// What the console tells of an endpoint.
async fn told(keybearer: &Keybearer, name: &str) -> Value {
    let told = keybearer
        .ask("GET", &format!("/api/webhooks/{name}"))
        .send()
        .await;
    assert_eq!(told.status, 200, "{told:?}");
    told.json()
}

/// The path of an endpoint's URL, once it is in force.
async fn path(keybearer: &Keybearer, name: &str) -> String {
    let path = async || {
        let path = format!("/api/webhooks/{name}");
        let told = keybearer.ask("GET", &path).send().await;
        let url = (told.status == 200).then(|| told.json())?["url"]
            .as_str()?
            .to_owned();
        let at = url.find("/hooks/").expect("an ID");
        Some(url[at..].to_owned())
    };
    eventually(&format!("endpoint {name}"), path).await
}

/// A webhook with this content.
fn webhook(keybearer: &Keybearer, path: &str, content: &str) -> Request {
    Request::new(keybearer.webhooks(), "POST", path).body("application/json", content)
}

/// The deliveries of an endpoint, the latest first.
async fn deliveries(keybearer: &Keybearer, name: &str) -> Vec<Value> {
    let path = format!("/api/webhooks/{name}/deliveries");
    let told = keybearer.ask("GET", &path).send().await;
    assert_eq!(told.status, 200, "{told:?}");
    told.json()["deliveries"].as_array().unwrap().clone()
}

/// Waits until so many deliveries of an endpoint are in a state.
async fn wait_for(keybearer: &Keybearer, name: &str, state: &str, count: usize) {
    let enough = async || {
        let all = deliveries(keybearer, name).await;
        let found = all.iter().filter(|delivery| delivery["state"] == state);
        (found.count() == count).then_some(())
    };
    eventually(&format!("{count} deliveries {state}"), enough).await;
}

/// Since 1970.
fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
