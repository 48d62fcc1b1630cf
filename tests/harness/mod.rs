//! What the tests stand on: the built executable, upstreams that record, clients that write bytes,
//! an authorization server with people who consent.

mod agent;
mod assertion;
mod authorization_server;
mod authorization_settings;
pub mod aws;
mod browser;
mod certificates;
mod client;
mod collector;
mod consent_self_tests;
mod keybearer;
mod message;
mod metrics;
mod name_server;
pub mod nginx;
pub mod node;
mod oauth_self_tests;
mod person;
mod process;
mod proxy;
pub mod python;
mod script;
mod self_tests;
mod standing;
mod terminal;
mod upstream;
mod walk;

use std::future::Future;
use std::time::Duration;

pub use self::agent::{Agent, Site, TOKEN};
pub use self::authorization_server::{AuthorizationServer, Mode, TokenRequest};
pub use self::authorization_settings::{
    AuthorizationSettings, DEVICE_CODE, JWT_BEARER, OAuthClient,
};
pub use self::browser::Browser;
pub use self::certificates::{Authority, Certificate, DAY};
pub use self::client::{RawClient, Request, Response};
pub use self::collector::{Collector, Rotel, Span, traces};
pub use self::keybearer::{Keybearer, Setup, executable};
pub use self::metrics::Metrics;
pub use self::name_server::NameServer;
pub use self::person::Person;
pub use self::process::{Exit, Process};
pub use self::proxy::{LOGIN, Proxy, free_address};
pub use self::script::{Answer, Gate, Step};
pub use self::standing::{shown, wait_for_state};
pub use self::terminal::Terminal;
pub use self::upstream::{Recorded, Upstream};
pub use self::walk::Walk;

/// How long anything may take before a test calls it stuck: generous, as machines are shared.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `probe` gives a value, at most [`DEADLINE`].
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Waits for `future`, at most [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Whether what is tested is a release build, so that figures mean something.
pub fn release() -> bool {
    std::env::var("KEYBEARER_TEST_RELEASE").is_ok_and(|value| value == "1")
}

/// A `[connections.NAME]` table.
pub fn connection(name: &str, base_url: &str, rest: &str) -> String {
    format!("[connections.{name}]\nbase_url = \"{base_url}\"\n{rest}\n")
}

/// Base64 with padding, as in `Authorization: Basic`.
pub fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
