//! `POST /api/drafts` and `POST /api/connections`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::Forms;
use super::check::{Checked, Ready, check};
use super::draft::{Draft, Sent, Wanted};
use super::told::{Missing, Told};
use super::trial;
use super::write::{Change, Unwritable};
use crate::config::{self, Edit};
use crate::console::guard::refuse;
use crate::live::reload::{Cause, Rejected};
use crate::problem::{Kind, Problem};
use crate::proxy::trial::Trial;

/// What is told of a draft.
#[derive(Serialize)]
struct Answer<'a> {
    /// As it would stand in the configuration.
    toml: &'a str,
    errors: &'a [Told],
    missing: &'a [Missing],
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
    /// Why there is no trial, though one was asked for and nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_tried: Option<String>,
}

/// Checks a draft, and tries it.
pub(super) async fn draft(
    State(forms): State<Arc<Forms>>,
    headers: HeaderMap,
    content: Result<Bytes, BytesRejection>,
) -> Response {
    let (draft, wanted, errors) = match sent(&headers, content) {
        Ok(sent) => Draft::of(sent),
        Err(problem) => return refuse(&problem),
    };
    let edit = forms.edit();
    let checked = forms.blocking(move |forms| check(&draft, errors, forms.surroundings(edit)));
    let checked = match checked.await {
        Ok(checked) => checked,
        Err(problem) => return refuse(&problem),
    };
    let Checked {
        toml,
        errors,
        missing,
        warnings,
        ready,
    } = checked;
    let (trial, not_tried) = match (wanted, ready) {
        (Some(wanted), Ok(ready)) => match tried(&forms, &wanted, ready, edit).await {
            Ok(trial) => (Some(trial), None),
            Err(why) => (None, Some(why)),
        },
        (Some(_), Err(why)) => (None, why),
        (None, _) => (None, None),
    };
    let answer = Answer {
        toml: &toml,
        errors: &errors,
        missing: &missing,
        warnings: &warnings,
        trial,
        not_tried,
    };
    Json(answer).into_response()
}

async fn tried(forms: &Forms, wanted: &Wanted, ready: Ready, edit: Edit) -> Result<Trial, String> {
    let ask = trial::ask(wanted, &ready, edit)?;
    let Ok(_place) = forms.places.try_acquire() else {
        return Err("other drafts are being tried; try again in a moment".to_owned());
    };
    trial::run(&forms.console, ready, &ask).await
}

/// Writes a draft into the configuration, and has it read again.
pub(super) async fn create(
    State(forms): State<Arc<Forms>>,
    headers: HeaderMap,
    content: Result<Bytes, BytesRejection>,
) -> Response {
    if forms.edit() == Edit::Refused {
        let detail = "the console does not write to the configuration, unless `allow_edit = true` in `[admin]`; `POST /api/drafts` tells the TOML to paste";
        return refuse(&Problem::new(Kind::EditRefused, detail));
    }
    let (mut draft, _, errors) = match sent(&headers, content) {
        Ok(sent) => Draft::of(sent),
        Err(problem) => return refuse(&problem),
    };
    // What is typed in is for trials; the configuration has to do without.
    draft.values.clear();
    let name = draft.name.clone();
    // It goes with the work: whoever asked may be gone before that is done.
    let one_at_a_time = Arc::clone(&forms.writing).lock_owned().await;
    let written = forms
        .blocking(move |forms| {
            let written = write(forms, &draft, errors);
            drop(one_at_a_time);
            written
        })
        .await;
    match written.flatten() {
        Ok(written) => {
            let content = json!({
                "name": name,
                "file": written.file,
                "generation": written.generation,
            });
            let mut response = (StatusCode::CREATED, Json(content)).into_response();
            // A name has nothing that a path would need encoded.
            if let Ok(place) = HeaderValue::try_from(format!("/connections/{name}")) {
                response.headers_mut().insert(LOCATION, place);
            }
            response
        }
        Err(problem) => refuse(&problem),
    }
}

/// What was done.
struct Written {
    file: String,
    generation: Option<u64>,
}

fn write(forms: &Forms, draft: &Draft, errors: Vec<Told>) -> Result<Written, Problem> {
    let surroundings = forms.surroundings(Edit::Allowed);
    let checked = check(draft, errors, surroundings);
    let mut wrong = checked.errors;
    wrong.extend(checked.missing.into_iter().map(Told::from));
    if !wrong.is_empty() {
        return Err(rejected(&wrong));
    }
    let change =
        Change::of(surroundings.location, &draft.name, &checked.toml).map_err(unwritable)?;
    // As the files will be read, and no other way.
    let after = config::load(surroundings.location, &change.shown(surroundings.outside));
    if let Err(diagnostics) = after.result {
        let told = diagnostics.as_slice().iter().map(|diagnostic| {
            let message = format!("{}: {}", diagnostic.file().display(), diagnostic.message());
            Told::elsewhere(message).hint(diagnostic.hint())
        });
        return Err(rejected(&told.collect::<Vec<_>>()));
    }
    change.make().map_err(unwritable)?;
    let file = change.path().display().to_string();
    let reloaded = forms.console.reloader.reload(Cause::Api);
    let generation = reloaded.map_err(|why| take_back(&change, &why))?;
    tracing::info!(connection = draft.name, file, "Connection written");
    Ok(Written { file, generation })
}

/// Undoes what would keep the next start from going well.
fn take_back(change: &Change, why: &Rejected) -> Problem {
    let undone = match change.undo() {
        Ok(()) => "nothing was written".to_owned(),
        Err(error) => format!("what was written stays, as {error}"),
    };
    rejected(&[Told::elsewhere(format!("{why}; {undone}"))])
}

fn rejected(errors: &[Told]) -> Problem {
    let detail = "nothing was written; mend what `errors` lists and send it again";
    Problem::new(Kind::ConfigRejected, detail).with_errors(json!(errors))
}

fn unwritable(why: Unwritable) -> Problem {
    let kind = match why {
        Unwritable::Changed(_)
        | Unwritable::Embedded
        | Unwritable::Exists(_)
        | Unwritable::Hidden
        | Unwritable::Io { .. }
        | Unwritable::Owner { .. } => Kind::ConfigNotWritable,
    };
    Problem::new(kind, why.to_string())
}

/// What the content says. None of it is told, as it may have secrets.
fn sent(headers: &HeaderMap, content: Result<Bytes, BytesRejection>) -> Result<Sent, Problem> {
    const SHAPE: &str = r#"send JSON: {"name": "…", "base_url": "…", "auth": {"type": "…", …}, …}, as docs/reference.md has it"#;
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_json = match (types.next(), types.next()) {
        (Some(one), None) => one.to_str().is_ok_and(|text| {
            let essence = text.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case("application/json")
        }),
        _ => false,
    };
    if !is_json {
        let detail = "send it as `Content-Type: application/json`";
        return Err(Problem::new(Kind::UnsupportedContent, detail));
    }
    let content = content.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("a draft is not longer than {} KiB", super::LONGEST >> 10);
            Problem::new(Kind::ContentTooLarge, detail)
        }
        _ => Problem::new(Kind::ContentMalformed, "the content did not arrive whole"),
    })?;
    serde_json::from_slice(&content).map_err(|_| Problem::new(Kind::ContentMalformed, SHAPE))
}
