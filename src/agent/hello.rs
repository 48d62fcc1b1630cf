//! How an agent introduces itself: one HTTP/1.1 request, which is upgraded (RFC 9110 section 7.8).

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::Empty;
use zeroize::Zeroizing;

/// Where it is sent to.
pub(super) const PATH: &str = "/agent";

/// What the connection is upgraded to: HTTP/2 whose client is whoever was asked.
pub(super) const PROTOCOL: &str = "keybearer-agent/1";

/// Carries the agent's name.
pub(super) const NAME: HeaderName = HeaderName::from_static("keybearer-agent");

/// A token that no header field can carry.
#[derive(Debug, thiserror::Error)]
#[error("the token has a line break or another control character")]
pub(super) struct Unsendable;

/// The agent's request.
///
/// # Errors
/// The token cannot be sent.
pub(super) fn request(
    host: &HeaderValue,
    name: &HeaderValue,
    token: Option<&str>,
) -> Result<Request<Empty<Bytes>>, Unsendable> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(PATH);
    let headers = request.headers_mut();
    headers.insert(HOST, host.clone());
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("keybearer/", env!("CARGO_PKG_VERSION"))),
    );
    headers.insert(NAME, name.clone());
    if let Some(token) = token {
        let field = Zeroizing::new(format!("Bearer {token}"));
        let mut value = HeaderValue::from_str(&field).map_err(|_| Unsendable)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// Whether a request is an agent's, for a protocol that is spoken here.
pub(super) fn is_hello<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST
        && request.uri().path() == PATH
        && request
            .headers()
            .get(UPGRADE)
            .is_some_and(|protocol| protocol == PROTOCOL)
}

/// The token that a request presents.
pub(super) fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// The version that an agent says it has, from its `User-Agent`.
pub(super) fn version(headers: &HeaderMap) -> Box<str> {
    const LONGEST: usize = 32;
    let version = headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .and_then(|agent| agent.strip_prefix("keybearer/"));
    version
        .unwrap_or_default()
        .chars()
        .take(LONGEST)
        .collect::<String>()
        .into()
}
