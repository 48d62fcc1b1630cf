//! `/api/status`: the instance itself, and whether it has what its files say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Console;
use super::connections::rfc3339;
use crate::config::source::Location;

pub(super) async fn status(State(console): State<Arc<Console>>) -> Json<Value> {
    let reloader = &console.reloader;
    let last = reloader.last();
    let errors = last.rejected.as_ref().map(|rejected| json!(**rejected));
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": rfc3339(reloader.started()),
        "config": path(reloader.location()),
        "generation": console.reader.take().generation,
        "ready": console.ready.get(),
        "reload": {
            "at": rfc3339(last.at),
            "result": last.result(),
            "errors": errors.unwrap_or_else(|| json!([])),
        },
    }))
}

/// Where the configuration is, from the root; none for the embedded default.
fn path(location: &Location) -> Option<String> {
    match location {
        Location::Embedded => None,
        Location::File(path) | Location::Folder(path) => Some(absolute(path).display().to_string()),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
