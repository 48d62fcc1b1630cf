//! A request's head as HTTP/2 has it: `head`.

use http::header::{CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{HeaderValue, Method, Request, Uri, Version};

use crate::connection::url::Scheme;
use crate::problem::{Kind, Problem};

/// The caller's `TE: trailers` (RFC 9110 section 10.1.4), an extension of its request: the field itself
/// is of the hop to us.
#[derive(Clone, Copy, Debug)]
pub struct TakesTrailers;

/// The head of a request whose content has `length` bytes, if that is known: its `Host` becomes
/// `:authority`, and what frames messages of HTTP/1.1 goes (RFC 9113 section 8.3.1).
///
/// # Errors
/// The `Host` is no authority, which none is that comes from a base URL.
pub(super) fn head(
    mut parts: Parts,
    scheme: Scheme,
    length: Option<u64>,
) -> Result<Request<()>, Problem> {
    let host = parts.headers.remove(HOST);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    uri.scheme = Some(match scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    });
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    parts.uri = Uri::from_parts(uri).map_err(|_| no_authority())?;
    parts.version = Version::HTTP_2;
    parts.headers.remove(TRANSFER_ENCODING);
    if parts.extensions.get::<TakesTrailers>().is_some() {
        parts
            .headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(length) = length
        && (length > 0 || expects_content(&parts.method))
        && !parts.headers.contains_key(CONTENT_LENGTH)
    {
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Request::from_parts(parts, ()))
}

/// Whether that there is none is told, too (RFC 9110 section 8.6).
fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

#[cold]
fn no_authority() -> Problem {
    Problem::new(Kind::Internal, "the request has no host to be sent to")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(request: http::request::Builder, length: Option<u64>) -> Request<()> {
        let parts = request.body(()).unwrap().into_parts().0;
        head(parts, Scheme::Https, length).unwrap()
    }

    #[test]
    fn the_host_becomes_the_authority() {
        let request = Request::get("/a?b").header(HOST, "api.example:8443");
        let request = request.header(TRANSFER_ENCODING, "chunked");
        let request = sent(request, None);
        assert_eq!(request.uri(), "https://api.example:8443/a?b");
        assert!(request.headers().is_empty(), "{:?}", request.headers());
    }

    #[test]
    fn lengths_are_told_as_on_the_other_protocol() {
        for (method, length, told) in [
            ("GET", Some(0), None),
            ("POST", Some(0), Some("0")),
            ("DELETE", Some(3), Some("3")),
            ("POST", None, None),
        ] {
            let request = Request::builder().method(method).uri("/").header(HOST, "h");
            let request = sent(request, length);
            let found = request.headers().get(CONTENT_LENGTH);
            assert_eq!(found.map(|it| it.to_str().unwrap()), told, "{method}");
        }
    }

    #[test]
    fn trailers_are_asked_for_where_the_caller_did() {
        let request = Request::get("/").header(HOST, "h").extension(TakesTrailers);
        assert_eq!(sent(request, None).headers()[TE], "trailers");
    }
}
