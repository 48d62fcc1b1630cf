//! Linking a connection: `/api/connections/NAME/link`, the link's page, and `/oauth/callback`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::Console;
use super::connections::unknown;
use super::guard::{Visitor, refuse};
use super::pages::{Depth, Shell, encoded};
use crate::auth::credentials::Credential;
use crate::auth::oauth2::consent::Outcome;
use crate::auth::oauth2::link::{NotLinkable, Returned, code};
use crate::problem::{Kind, Problem};

/// How a person consents.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Flow {
    /// In a browser that can reach the console.
    #[default]
    Browser,
    /// On another device (RFC 8628).
    Device,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    flow: Flow,
}

/// Begins a consent.
pub(super) async fn begin(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    content: Bytes,
) -> Response {
    let wanted = if content.trim_ascii().is_empty() {
        Ok(Wanted::default())
    } else {
        serde_json::from_slice(&content)
    };
    let Ok(Wanted { flow }) = wanted else {
        let text = r#"send no content, or {"flow": "browser"} or {"flow": "device"}"#;
        return refuse(&Problem::new(Kind::ContentMalformed, text));
    };
    let credential = match credential(&console, &name) {
        Ok(credential) => credential,
        Err(problem) => return refuse(&problem),
    };
    let begun = match flow {
        Flow::Browser => credential.link(&console.consents).await.map(
            |(consent, url)| json!({ "consent": consent.id, "authorization_url": url.as_str() }),
        ),
        Flow::Device => credential
            .link_device(&console.consents)
            .await
            .map(|(consent, device)| {
                json!({
                    "consent": consent.id,
                    "verification_uri": device.verification_uri,
                    "verification_uri_complete": device.verification_uri_complete,
                    "user_code": device.user_code,
                    "expires_in": device.lifetime.as_secs(),
                })
            }),
    };
    match begun {
        Ok(begun) => Json(begun).into_response(),
        Err(error) => refuse(&not_linkable(&error)),
    }
}

/// Forgets the tokens.
pub(super) async fn forget(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
) -> Response {
    let credential = match credential(&console, &name) {
        Ok(credential) => credential,
        Err(problem) => return refuse(&problem),
    };
    match credential.forget().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(&not_linkable(&error)),
    }
}

/// What came of a consent so far.
pub(super) async fn outcome(
    State(console): State<Arc<Console>>,
    Path((name, id)): Path<(String, String)>,
) -> Response {
    let consent = console.consents.get(&id);
    let Some(consent) = consent.filter(|consent| *consent.connection == *name) else {
        let text = "there is no such consent, or it was too long ago";
        return refuse(&Problem::new(Kind::NoRoute, text));
    };
    let told = match consent.outcome() {
        Outcome::Failed(why) => json!({ "outcome": "failed", "detail": why }),
        Outcome::Linked => json!({ "outcome": "linked" }),
        Outcome::Pending => json!({ "outcome": "pending" }),
    };
    Json(told).into_response()
}

/// The page that a 503 names: its link leads to the provider.
pub(super) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let begun = match credential(&console, &name) {
        Ok(credential) => credential.link(&console.consents).await,
        Err(problem) => {
            return failed(&visitor, problem.status(), &name, problem.detail());
        }
    };
    match begun {
        Ok((_, url)) => document(
            &visitor,
            StatusCode::OK,
            &format!("Link {name}"),
            &html! {
                p { "The connection " strong { (name) } " uses an account at another service. Open the link, log in there and consent; you then come back here." }
                p { a id="link" href=(url.as_str()) rel="noreferrer" { "Link your account at " (url.host_str().unwrap_or_default()) } }
                p { "The link is good for ten minutes and for one use." }
            },
        ),
        Err(error) => failed(&visitor, StatusCode::CONFLICT, &name, &error.to_string()),
    }
}

/// What a provider sends back (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Deserialize)]
pub(super) struct Callback {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    iss: Option<String>,
}

/// Where the provider sends a person back to.
pub(super) async fn callback(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    callback: Result<Query<Callback>, QueryRejection>,
) -> Response {
    // One that has a parameter twice is not taken (RFC 6749 section 3.1).
    let Ok(Query(callback)) = callback else {
        return stray(&visitor);
    };
    let consent = callback
        .state
        .as_deref()
        .and_then(|state| console.consents.take(state));
    let Some(consent) = consent else {
        return stray(&visitor);
    };
    let returned = Returned {
        code: callback.code.as_deref().map(code),
        error: callback.error,
        error_description: callback.error_description,
        iss: callback.iss,
    };
    let name = Arc::clone(&consent.connection);
    match consent.complete(returned).await {
        Outcome::Linked => document(
            &visitor,
            StatusCode::OK,
            &format!("{name} is linked"),
            &html! { p id="outcome" { "The connection " strong { (name) } " is linked. You can close this page: keybearer keeps the access fresh from now on." } p { a href={ "../connections/" (encoded(&name)) } { "The connection" } } },
        ),
        Outcome::Failed(why) => failed(&visitor, StatusCode::BAD_GATEWAY, &name, &why),
        Outcome::Pending => failed(
            &visitor,
            StatusCode::GATEWAY_TIMEOUT,
            &name,
            "the provider has not answered yet; look at the connection's state",
        ),
    }
}

/// An answer that nobody waits for.
fn stray(visitor: &Visitor) -> Response {
    let text = "This answer belongs to no consent that was begun here, or it came twice, too late or garbled. Begin again from the link.";
    document(
        visitor,
        StatusCode::BAD_REQUEST,
        "Not linked",
        &html! { p id="outcome" { (text) } },
    )
}

fn failed(visitor: &Visitor, status: StatusCode, name: &str, why: &str) -> Response {
    document(
        visitor,
        status,
        &format!("{name} is not linked"),
        &html! {
            p id="outcome" { "The connection " strong { (name) } " was not linked: " (why) "." }
        },
    )
}

fn document(visitor: &Visitor, status: StatusCode, title: &str, content: &Markup) -> Response {
    let shell = Shell {
        title,
        depth: Depth::Below,
        visitor,
        events: None,
        scripts: &[],
        // Whoever comes back from a provider need not have proven anything.
        banner: Markup::default(),
    };
    shell.page(status, &html! { h1 { (title) } (content) })
}

fn credential(console: &Console, name: &str) -> Result<Arc<Credential>, Problem> {
    let snapshot = console.reader.take();
    let live = snapshot.live(name).ok_or_else(unknown)?;
    live.authenticator
        .credential()
        .cloned()
        .ok_or_else(|| not_linkable(&NotLinkable::NotNeeded))
}

fn not_linkable(error: &NotLinkable) -> Problem {
    Problem::new(Kind::NotLinkable, error.to_string())
}
