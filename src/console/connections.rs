//! `/api/connections`: what stands where.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Console;
use super::agents::Leads;
use super::guard::refuse;
use crate::agent::registry::Agents;
use crate::auth::state;
use crate::live::{Live, expiry};
use crate::problem::{Kind, Problem};

/// A connection, as the API tells it.
#[derive(Serialize)]
struct Shown<'a> {
    name: String,
    prefix: String,
    hosts: Vec<Box<str>>,
    base_url: String,
    auth: &'static str,
    state: &'static str,
    /// Of a credential with a lifetime, and so below.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_renews_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<expiry::Shown<'a>>,
    /// Of one that goes through an on-prem agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Leads>,
    /// Where a person can link it.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    requests: u64,
    errors: u64,
}

impl<'a> Shown<'a> {
    fn of(live: &'a Live, agents: &Agents, now: SystemTime) -> Self {
        let connection = &live.connection;
        let status = live.authenticator.credential().map(|c| c.value.status());
        let lease = status.as_ref().and_then(|status| status.lease.as_ref());
        let (requests, errors) = live.metrics.totals();
        Self {
            name: connection.name.to_string(),
            prefix: connection.prefix.to_string(),
            hosts: connection.hosts.clone(),
            base_url: connection.base_url.to_string(),
            auth: connection.auth.kind(),
            state: status
                .as_ref()
                .map_or(state::State::Ready, |status| status.state(now))
                .name(),
            credential_expires_at: lease.and_then(|lease| lease.expires).map(rfc3339),
            credential_renews_at: lease.and_then(|lease| lease.renews).map(rfc3339),
            retries_at: status
                .as_ref()
                .and_then(|status| status.retries)
                .map(rfc3339),
            last_error: status
                .as_ref()
                .and_then(|status| Some(status.problem()?.detail.clone())),
            client_certificate: expiry::Shown::of(connection, now),
            agent: Leads::of(&connection.road, agents),
            link: live.link_page.clone(),
            requests,
            errors,
        }
    }
}

/// A time as RFC 3339 has it, in whole seconds.
pub(super) fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

/// All connections, by name.
pub(super) async fn list(State(console): State<Arc<Console>>) -> Response {
    let now = SystemTime::now();
    let snapshot = console.reader.take();
    let mut shown: Vec<_> = snapshot
        .lives()
        .map(|live| Shown::of(live, &console.agents, now))
        .collect();
    shown.sort_by(|a, b| a.name.cmp(&b.name));
    Json(serde_json::json!({ "connections": shown })).into_response()
}

/// One connection.
pub(super) async fn one(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Response {
    match console.reader.take().live(&name) {
        Some(live) => Json(Shown::of(live, &console.agents, SystemTime::now())).into_response(),
        None => refuse(&unknown()),
    }
}

pub(super) fn unknown() -> Problem {
    Problem::new(
        Kind::NoRoute,
        "there is no connection of this name; `GET /api/connections` lists those there are",
    )
}
