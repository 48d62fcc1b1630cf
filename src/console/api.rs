//! What the console's paths answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, Uri};
use serde_json::json;

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
    match console.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => refuse(&Problem::new(
            Kind::Internal,
            format!("metrics not rendered: {error}"),
        )),
    }
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
    let errors = match rejected {
        Rejected::Build(error) => json!([{ "message": error.to_string() }]),
        Rejected::Config(diagnostics) => json!(diagnostics),
    };
    Problem::new(Kind::ConfigRejected, detail).with_errors(errors)
}

pub(super) async fn not_found() -> Response {
    refuse(&Problem::new(Kind::NoRoute, "the console has no such path"))
}

pub(super) async fn method_refused(uri: Uri) -> Response {
    let allow = if uri.path().starts_with("/api/") {
        "POST"
    } else {
        "GET, HEAD"
    };
    let detail = format!("this path of the console is for {allow}");
    let mut response = refuse(&Problem::new(Kind::MethodRefused, detail));
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}
