//! The built-in upstream: answers with the request it received.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use serde::Serialize;

use super::content::Content;
use super::fault::content_problem;
use crate::connection::{Limits, Timeouts};
use crate::problem::Problem;

#[derive(Serialize)]
struct Echo<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: Vec<(&'a str, String)>,
    #[serde(flatten)]
    body: EchoBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum EchoBody<'a> {
    Body(&'a str),
    BodyBase64(String),
}

/// Answers with the request as JSON: `method`, `path`, `query`, `headers`, and `body`, or
/// `body_base64` where it is not UTF-8.
///
/// # Errors
/// The content broke off or is over its limit.
pub async fn answer(
    request: Request<Content>,
    limits: &Limits,
    timeouts: &Timeouts,
) -> Result<Response<Bytes>, Problem> {
    let (head, content) = request.into_parts();
    let content = content.collect(limits.signed_body, timeouts.read).await;
    let content = content.map_err(|fault| content_problem(&fault))?;
    let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let echo = Echo {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: head
            .headers
            .iter()
            .map(|(name, text)| (name.as_str(), value(text)))
            .collect(),
        body: match std::str::from_utf8(&content) {
            Ok(text) => EchoBody::Body(text),
            Err(_) => EchoBody::BodyBase64(BASE64_STANDARD.encode(&content)),
        },
    };
    // Strings in lists cannot fail to serialize.
    let mut body = serde_json::to_vec_pretty(&echo).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(Bytes::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
