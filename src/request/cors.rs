//! What a browser needs to see before a page of an allowed origin may read our answers
//! (Fetch standard, section 3.2: the CORS protocol).

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

/// Private Network Access: asked for when a public page calls localhost.
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");

/// The answer to a preflight of an allowed origin; none if the request is no preflight.
///
/// It is ours to answer: a browser sends preflights without credentials, and the upstream knows
/// nothing of the origin it would be asked about.
pub fn preflight(head: &Parts, origin: &HeaderValue) -> Option<Response<Bytes>> {
    let method = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if head.method != Method::OPTIONS {
        return None;
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(fields) = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, fields.clone());
    }
    if head.headers.contains_key(REQUEST_PRIVATE_NETWORK) {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    allow(headers, origin);
    Some(response)
}

/// Lets a page of `origin` read an answer; replaces what the upstream said of origins of its own.
pub fn allow(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.remove(http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn preflights_are_answered_and_other_requests_are_not() {
        let origin = HeaderValue::from_static("https://app.example");
        let ask = |method: &str| {
            let request = Request::builder()
                .method(method)
                .header(ACCESS_CONTROL_REQUEST_METHOD, "PUT")
                .header(ACCESS_CONTROL_REQUEST_HEADERS, "x-a");
            preflight(&request.body(()).unwrap().into_parts().0, &origin)
        };
        let answer = ask("OPTIONS").unwrap();
        assert_eq!(
            answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://app.example"
        );
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "x-a");
        assert!(ask("PUT").is_none());
    }
}
