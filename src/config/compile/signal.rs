//! `refresh_on`: the signs by which an answer tells that its credential has expired.

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use regex::bytes::Regex;
use serde_json::{Number, Value};
use toml::de::DeValue;

use crate::config::fault::Fault;
use crate::config::section::Section;
use crate::connection::auth::Auth;
use crate::connection::aws::{Aws, Source};
use crate::connection::oauth2::{ExpirySignal, Member, Pattern};
use crate::secret::Origin;

/// The `refresh_on` of a connection with this credential, or with one that was reported; none if it
/// says nothing.
pub(super) fn refresh_on(
    connection: &Section<'_>,
    auth: Option<&Auth>,
) -> Option<Vec<ExpirySignal>> {
    let entry = connection.entry("refresh_on")?;
    if auth.is_some_and(|auth| !has_lifetime(auth)) {
        let message =
            "`refresh_on` does nothing here, as this connection's credential never expires";
        let fault = Fault::at(entry.key_place, message);
        let hint =
            "it is for OAuth 2.0 types, for AWS roles, and for secrets that a `command` tells";
        connection.report(entry.key, fault.hint(hint));
    }
    let signals = connection.tables("refresh_on")?;
    Some(signals.iter().filter_map(signal).collect())
}

/// Whether a credential is one that can be renewed.
fn has_lifetime(auth: &Auth) -> bool {
    let is_told = |origin: &Origin| matches!(origin, Origin::Command(_));
    let is_session = |aws: &Aws| matches!(aws.source, Source::Role(_));
    matches!(auth, Auth::OAuth2(_))
        || matches!(auth, Auth::Aws(aws) if is_session(aws))
        || (auth.secrets().iter()).any(|(_, secret)| is_told(secret.origin()))
}

fn signal(section: &Section<'_>) -> Option<ExpirySignal> {
    const SIGNS: [&str; 4] = ["status", "header", "body", "json"];
    if !SIGNS
        .iter()
        .any(|sign| section.has(sign) || section.misspells(sign))
    {
        let message = "a sign needs at least one of `status`, `header`, `body` and `json`";
        section.missing("status", message);
    }
    let json = section.parse("json", pointer);
    let equals = equals(section);
    Some(ExpirySignal {
        status: status(section),
        header: section.parse("header", |text| {
            text.parse::<HeaderName>()
                .map_err(|_| format!("`{text}` is not a header name"))
        }),
        body: section.parse("body", pattern),
        json: json.map(|pointer| Member { pointer, equals }),
    })
}

/// A status code of three digits (RFC 9110 section 15).
fn status(section: &Section<'_>) -> Option<StatusCode> {
    let entry = section.entry("status")?;
    let number = entry.value.as_integer()?;
    let status = u16::from_str_radix(number.as_str(), number.radix()).ok();
    let status = status
        .filter(|status| (100..600).contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok());
    if status.is_none() {
        let fault = Fault::at(entry.place, "`status` is a number from 100 to 599");
        section.report(entry.key, fault);
    }
    status
}

fn pattern(text: &str) -> Result<Pattern, String> {
    match Regex::new(text) {
        Ok(_) if text.is_empty() => Err("`body` is empty, so every answer would match".to_owned()),
        Ok(regex) => Ok(Pattern(Arc::new(regex))),
        Err(error) => {
            // The last line says what is wrong; those before it draw where.
            let told = error.to_string();
            let reason = told.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ");
            Err(format!("`body` is not a regular expression: {reason}"))
        }
    }
}

/// A JSON Pointer (RFC 6901 section 3).
fn pointer(text: &str) -> Result<Box<str>, &'static str> {
    if !text.is_empty() && !text.starts_with('/') {
        return Err("`json` is a JSON Pointer: empty, or starting with `/` as in `/error/code`");
    }
    let mut escapes = text.split('~').skip(1);
    match escapes.all(|rest| rest.starts_with(['0', '1'])) {
        true => Ok(text.into()),
        false => Err("in a JSON Pointer, `~` is written as `~0` (and `/` in a name as `~1`)"),
    }
}

fn equals(section: &Section<'_>) -> Option<Value> {
    let entry = section.entry("equals")?;
    if !section.has("json") && !section.misspells("json") {
        let message = "`equals` is about the member that `json` names, which is missing";
        section.report(entry.key, Fault::at(entry.key_place, message));
    }
    let number = match entry.value {
        DeValue::String(text) => return Some(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => return Some(Value::from(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(Number::from),
        DeValue::Float(number) => number.as_str().parse().ok().and_then(Number::from_f64),
        _ => return None,
    };
    if number.is_none() {
        let message = "`equals` is not a number that JSON has";
        section.report(entry.key, Fault::at(entry.place, message));
    }
    number.map(Value::Number)
}
