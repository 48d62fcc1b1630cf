//! Credentials with a lifetime: OAuth 2.0 tokens against a certified authorization server and against
//! token endpoints that do as their script says, and secrets that commands tell.

mod changes;
mod commands;
mod concurrency;
mod dialects;
mod grants;
mod outage;
mod refusals;
mod signals;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

use crate::harness::{
    Answer, AuthorizationServer, Keybearer, Person, Recorded, Request, Response, Upstream, shown,
    wait_for_state,
};

/// A connection whose credential is this `auth` table, and these further keys.
pub fn api(name: &str, base_url: &str, auth: &str, rest: &str) -> String {
    format!(
        "[connections.{name}]\nbase_url = \"{base_url}\"\n{rest}\n[connections.{name}.auth]\n{auth}\n"
    )
}

/// `auth` with the client's own credential alone, and these further keys.
pub fn machine(token_url: &str, rest: &str) -> String {
    format!(
        "type = \"oauth2_client_credentials\"\ntoken_url = \"{token_url}\"\nclient_id = \"id\"\nclient_secret = \"client secret\"\n{rest}"
    )
}

/// `auth` with a person's consent at `server`, for the client `id`, and these further keys.
pub fn personal(server: &AuthorizationServer, id: &str, rest: &str) -> String {
    let (authorization, token) = (server.authorization_url(), server.token_url());
    format!(
        "type = \"oauth2_authorization_code\"\nauthorization_url = \"{authorization}\"\ntoken_url = \"{token}\"\nclient_id = \"{id}\"\n{rest}"
    )
}

/// A token endpoint's answer.
fn answer(members: &Value) -> Answer {
    let members = members.to_string();
    Answer::sized("200 OK", "Content-Type: application/json\r\n", &members)
}

/// A token endpoint's answer: this token for so many seconds.
pub fn token(token: &str, lifetime: u64) -> Answer {
    answer(&json!({ "access_token": token, "token_type": "Bearer", "expires_in": lifetime }))
}

/// A token endpoint that issues `one`, `two` and so on, each for so many seconds.
pub async fn issuing(tokens: &[&str], lifetime: u64) -> Upstream {
    let endpoint = Upstream::start().await;
    let answers = tokens.iter().map(|text| token(text, lifetime));
    endpoint.on_each("/token", answers);
    endpoint
}

/// The form fields of a token request.
fn form(request: &Recorded) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(&request.body)
        .into_owned()
        .collect()
}

/// Consents at the authorization server, and comes back to the console.
pub async fn link(keybearer: &Keybearer, name: &str, login: &str) -> Response {
    let path = format!("/api/connections/{name}/link");
    let begun = keybearer.ask("POST", &path).send().await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let url = begun.json()["authorization_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let back = Person::new(login).authorize(&url).await;
    come_back(keybearer, &back).await
}

/// Follows a provider's redirect to the console, wherever that listens.
async fn come_back(keybearer: &Keybearer, back: &Url) -> Response {
    let target = &back[url::Position::BeforePath..];
    keybearer.ask("GET", target).send().await
}

/// The answer, which has to be 200.
async fn fine(request: Request) -> Response {
    let response = request.send().await;
    assert_eq!(response.status, 200, "{response:?}");
    response
}

/// The token in a request that an API got.
fn bearer(request: &Recorded) -> &str {
    let field = request.header("authorization").unwrap_or_default();
    field.strip_prefix("Bearer ").unwrap_or_default()
}
