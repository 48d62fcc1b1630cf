//! People link connections, and what they gave stays: through restarts, crashes and lost races.
//!
//! The consents are given to a certified authorization server, which rotates refresh tokens and ends
//! a whole grant when one is shown twice.

mod answers;
mod browser;
mod command;
mod consent;
mod courier;
mod crash;
mod device;
mod files;
mod outside;
mod races;
mod restart;
mod shutdown;
mod silence;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use serde_json::Value;
use url::Url;

use crate::harness::{
    AuthorizationServer, AuthorizationSettings, Keybearer, OAuthClient, Person, Response, Setup,
    connection,
};
pub use crate::harness::{shown, wait_for_state};

/// The client's secret: nothing but the token endpoint is to see it.
pub const SECRET: &str = "canary-client-secret-7c1e";

/// A keybearer with the connection `drive`, and the servers that it leads to.
pub struct World {
    pub server: AuthorizationServer,
    pub keybearer: Keybearer,
}

impl World {
    /// One in which nobody has consented, with these further keys of `auth`.
    pub async fn start(more: &str) -> Self {
        let server = AuthorizationServer::start(settings()).await;
        let keybearer = setup().tables(&drive(&server, more)).start().await;
        Self { server, keybearer }
    }

    /// One in which somebody has consented.
    pub async fn linked(settings: AuthorizationSettings) -> Self {
        let server = AuthorizationServer::start(settings).await;
        let keybearer = setup().tables(&drive(&server, "")).start().await;
        link(&keybearer, "drive").await;
        Self { server, keybearer }
    }

    /// How many refreshes were answered with tokens.
    pub async fn refreshed(&self) -> usize {
        let log = self.server.token_requests("refresh_token").await;
        log.iter()
            .filter(|request| request.outcome == "issued")
            .count()
    }

    /// Ends it as a power cut would, and starts it again.
    pub async fn restart(self) -> Self {
        let (setup, _) = self.keybearer.kill().await;
        Self {
            keybearer: setup.start().await,
            server: self.server,
        }
    }

    /// Asserts that the connection works, and that the server has never seen a refresh token twice.
    pub async fn assert_works(&self) {
        let response = call(&self.keybearer, "/drive/x").await;
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.json()["sub"], "jane");
        assert_eq!(self.server.reuses().await, 0);
    }
}

/// An authorization server with a client for people.
pub fn settings() -> AuthorizationSettings {
    AuthorizationSettings::with(client("id")).scopes(&["read"])
}

pub fn client(id: &str) -> OAuthClient {
    OAuthClient::basic(id, SECRET).authorization_code("/oauth/callback")
}

/// A configuration whose console has a port that is known beforehand and stays after a restart: the
/// provider sends people there.
pub fn setup() -> Setup {
    Setup::new()
        .admin(&format!("listen = \"127.0.0.1:{}\"", free_port()))
        .env("CLIENT_SECRET", SECRET)
}

/// A port below those that the system gives to whoever asks for any.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Relaxed) + std::process::id() * 61;
        let port = 10_000 + u16::try_from(step % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The connection `drive`.
pub fn drive(server: &AuthorizationServer, more: &str) -> String {
    let auth = format!("auth = {}", auth(server, "id", more));
    connection("drive", server.resource_url(), &auth)
}

/// An `auth` table of people, with these further keys.
pub fn auth(server: &AuthorizationServer, client_id: &str, more: &str) -> String {
    format!(
        "{{ type = \"oauth2_authorization_code\", authorization_url = \"{}\", token_url = \"{}\", \
         client_id = \"{client_id}\", client_secret = {{ env = \"CLIENT_SECRET\" }}, \
         scopes = [\"read\"]{more} }}",
        server.authorization_url(),
        server.token_url(),
    )
}

/// Begins a consent, and gives what the API says.
pub async fn begin(keybearer: &Keybearer, name: &str) -> Value {
    let path = format!("/api/connections/{name}/link");
    let response = keybearer.ask("POST", &path).send().await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// The URL that a person is sent to, of a new consent.
pub async fn authorization_url(keybearer: &Keybearer, name: &str) -> Url {
    let begun = begin(keybearer, name).await;
    Url::parse(begun["authorization_url"].as_str().unwrap()).unwrap()
}

/// Jane consents.
pub async fn link(keybearer: &Keybearer, name: &str) {
    let url = authorization_url(keybearer, name).await;
    let page = Person::new("jane").consent(url.as_str()).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("is linked"), "{page:?}");
    wait_for_state(keybearer, name, "ready").await;
}

/// A parameter of a URL's query.
pub fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// A caller's GET.
pub async fn call(keybearer: &Keybearer, target: &str) -> Response {
    keybearer.get(target).send().await
}
