//! What the console's paths answer.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE};
use serde_json::{Value, json};

use super::Console;
use super::guard::refuse;
use crate::live::reload::{Cause, Rejected};
use crate::problem::{Kind, Problem};

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(console): State<Arc<Console>>) -> (StatusCode, &'static str) {
    match console.ready.get() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

pub(super) async fn metrics(State(console): State<Arc<Console>>) -> Response {
    let now = SystemTime::now();
    for live in console.reader.take().lives() {
        if let Some(credential) = live.authenticator.credential() {
            credential.measure(now);
        }
    }
    if let Some(webhooks) = console.webhooks.clone() {
        // Reads from the disk. What it panics of shows in what is missing.
        let _ = tokio::task::spawn_blocking(move || webhooks.measure()).await;
    }
    match console.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => refuse(&Problem::new(
            Kind::Internal,
            format!("metrics not rendered: {error}"),
        )),
    }
}

/// The API's description (OpenAPI 3.1), with this build's version.
const DESCRIPTION: &str = include_str!("openapi.json");

pub(super) async fn description() -> Response {
    // A test reads the description, so it is JSON.
    let mut description: Value = serde_json::from_str(DESCRIPTION).unwrap_or_default();
    description["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    Json(description).into_response()
}

/// Answers the generation in force, or everything that is wrong with the files.
pub(super) async fn reload(State(console): State<Arc<Console>>) -> Response {
    let reloader = Arc::clone(&console.reloader);
    match tokio::task::spawn_blocking(move || reloader.reload(Cause::Api)).await {
        Ok(Ok(generation)) => Json(json!({ "generation": generation })).into_response(),
        Ok(Err(rejected)) => refuse(&rejection(&rejected)),
        Err(error) => refuse(&Problem::new(
            Kind::Internal,
            format!("the reload broke off: {error}"),
        )),
    }
}

fn rejection(rejected: &Rejected) -> Problem {
    let detail = "the configuration was not changed; mend what `errors` lists and reload again";
    Problem::new(Kind::ConfigRejected, detail).with_errors(json!(rejected))
}

pub(super) async fn not_found() -> Response {
    refuse(&Problem::new(Kind::NoRoute, "the console has no such path"))
}

pub(super) async fn method_refused() -> Response {
    let detail = "this path of the console is for other methods; `Allow` lists them";
    let mut response = refuse(&Problem::new(Kind::MethodRefused, detail));
    // The proxy's list; the router adds the path's own where there is none.
    response.headers_mut().remove(ALLOW);
    response
}
