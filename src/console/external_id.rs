//! `/api/external-id`: what a role's trust policy has to demand.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Console;
use super::guard::refuse;
use crate::auth::aws::external_id::{ExternalIds, Told};
use crate::connection::aws::ExternalId;
use crate::problem::{Kind, Problem};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    scope: Option<String>,
}

/// Tells the external ID of the deployment or of a scope, which is made if it never was.
pub(super) async fn external_id(State(console): State<Arc<Console>>, content: Bytes) -> Response {
    match tell(&console, &content).await {
        Ok(told) => Json(told).into_response(),
        Err(problem) => refuse(&problem),
    }
}

async fn tell(console: &Arc<Console>, content: &[u8]) -> Result<Told, Problem> {
    let wanted = match content.trim_ascii() {
        [] => Ok(Wanted::default()),
        content => serde_json::from_slice(content),
    };
    let Ok(Wanted { scope }) = wanted else {
        let text = r#"send no content, or {"scope": "NAME"}"#;
        return Err(Problem::new(Kind::ContentMalformed, text));
    };
    if let Some(invalid) = scope
        .as_deref()
        .and_then(|it| ExternalId::of_scope(it).err())
    {
        return Err(Problem::new(Kind::ContentMalformed, invalid.to_string()));
    }
    let ids = ids(console).await?;
    let connections: Vec<_> = {
        let snapshot = console.reader.take();
        let mut all: Vec<_> = (snapshot.lives())
            .map(|live| Arc::clone(&live.connection))
            .collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    };
    let told = Told::of(scope.as_deref(), &ids, &connections).await;
    told.map_err(|fault| unavailable(fault.detail))
}

/// The external ID that is sent for a role; none if none is.
pub(super) async fn resolve(
    console: &Arc<Console>,
    id: &ExternalId,
) -> Result<Option<Box<str>>, Problem> {
    let resolved = ids(console).await?.resolve(id).await;
    resolved.map_err(|fault| unavailable(fault.detail))
}

async fn ids(console: &Arc<Console>) -> Result<ExternalIds, Problem> {
    let credentials = Arc::clone(&console.credentials);
    // It may have to open the store.
    match tokio::task::spawn_blocking(move || credentials.external_ids()).await {
        Ok(Ok(ids)) => Ok(ids),
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
    }
}

fn unavailable(why: String) -> Problem {
    Problem::new(Kind::CredentialUnavailable, why)
}
