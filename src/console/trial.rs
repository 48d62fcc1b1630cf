//! `POST /api/connections/NAME/test`: a request of our own, told step by step.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Console;
use super::connections::unknown;
use super::guard::refuse;
use crate::problem::{Kind, Problem};
use crate::proxy::trial::{Ask, Trial};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    method: Option<String>,
    path: Option<String>,
    /// Whether the request is sent at all, once the upstream was reached.
    send: Option<bool>,
}

/// Sends a request through a connection, and answers with what came of it, whatever that is.
pub(super) async fn run(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    content: Bytes,
) -> Response {
    let wanted = if content.trim_ascii().is_empty() {
        Ok(Wanted::default())
    } else {
        serde_json::from_slice(&content)
    };
    let Ok(Wanted { method, path, send }) = wanted else {
        let text = r#"send no content, or {"method": "GET", "path": "/…", "send": true}"#;
        return refuse(&Problem::new(Kind::ContentMalformed, text));
    };
    let ask = Ask::new(
        method.as_deref().unwrap_or("GET"),
        path.as_deref().unwrap_or_default(),
    );
    let ask = match ask {
        Ok(mut ask) => {
            ask.sends = send.unwrap_or(true);
            ask
        }
        Err(error) => return refuse(&Problem::new(Kind::ContentMalformed, error.to_string())),
    };
    let live = console.reader.take().live(&name).cloned();
    match live {
        Some(live) => Json(Trial::run(&console.proxy, &live, &ask).await).into_response(),
        None => refuse(&unknown()),
    }
}
