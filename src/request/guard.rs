//! Step 1: what is malformed, ambiguous or sent by a web page goes no further.

use std::net::{IpAddr, SocketAddr};

use http::header::{CONTENT_LENGTH, EXPECT, HOST, ORIGIN, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::problem::{Kind, Problem};

/// `Sec-Fetch-Site` (Fetch Metadata Request Headers).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The name in `Host`, without port and brackets, as the caller wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostName<'a>(pub &'a str);

/// Checks that the message can be read in one way only, and gives the name in its `Host`.
///
/// hyper has refused already what it cannot parse; what it hands on although two readers might
/// disagree on it is refused here: the number of `Host` fields, transfer codings, and methods that
/// would open a tunnel or echo the injected credential (RFC 9110 sections 9.3.6 and 9.3.8).
///
/// # Errors
/// The answer for the caller. The connection is closed where its framing is in doubt.
pub fn message(head: &Parts) -> Result<HostName<'_>, Problem> {
    // Methods are case-sensitive, but not to every framework.
    let name = head.method.as_str();
    if ["CONNECT", "TRACE", "TRACK"]
        .iter()
        .any(|refused| name.eq_ignore_ascii_case(refused))
    {
        return Err(method_refused(&head.method));
    }
    framing(head)?;
    expectation(&head.headers)?;
    host(head)
}

fn method_refused(method: &Method) -> Problem {
    let detail = format!("keybearer does not forward {method}; use another method");
    // A CONNECT that is refused may be followed by bytes that are no HTTP.
    Problem::new(Kind::MethodRefused, detail).closing()
}

fn framing(head: &Parts) -> Result<(), Problem> {
    // On HTTP/1.1 hyper has seen to that.
    if head.version == Version::HTTP_2 {
        return length(&head.headers);
    }
    let Some(coding) = head.headers.get(TRANSFER_ENCODING) else {
        return Ok(());
    };
    let one = head
        .headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .nth(1)
        .is_none();
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !one
        || !chunked
        || head.headers.contains_key(CONTENT_LENGTH)
        || head.version < Version::HTTP_11
    {
        return Err(malformed(
            "Transfer-Encoding must be exactly `chunked`, once and without Content-Length",
        ));
    }
    Ok(())
}

/// Lengths that differ, or are none, would be read by the next hop in its own way.
fn length(headers: &HeaderMap) -> Result<(), Problem> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let one = lengths.next();
    let is_number = one.is_none_or(|length| {
        !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit)
    });
    if !is_number || lengths.next().is_some() {
        return Err(malformed(
            "Content-Length must be a number, and there once at most",
        ));
    }
    Ok(())
}

fn expectation(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Problem::new(
                Kind::ExpectationFailed,
                "the only expectation that keybearer meets is `100-continue`; send no other in Expect",
            ))
        }
        _ => Ok(()),
    }
}

fn host(head: &Parts) -> Result<HostName<'_>, Problem> {
    let mut fields = head.headers.get_all(HOST).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(malformed("a request needs exactly one Host field"));
    };
    let text = field
        .to_str()
        .map_err(|_| malformed("the Host field has characters that no host has"))?;
    if let Some(authority) = head.uri.authority()
        && !authority.as_str().eq_ignore_ascii_case(text)
    {
        return Err(malformed(
            "the request target names another host than the Host field",
        ));
    }
    host_name(text)
        .map(HostName)
        .ok_or_else(|| malformed("the Host field is not `name` or `name:port`"))
}

/// The name part of `name[:port]` or `[v6][:port]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
pub fn host_name(text: &str) -> Option<&str> {
    let (name, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (name, after) = bracketed.split_once(']')?;
            let valid = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
            if !valid {
                return None;
            }
            (
                name,
                if after.is_empty() {
                    ""
                } else {
                    after.strip_prefix(':')?
                },
            )
        }
        None => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            (valid_name(name).then_some(name)?, port)
        }
    };
    (port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())).then_some(name)
}

fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

fn malformed(detail: &str) -> Problem {
    Problem::new(Kind::MalformedRequest, detail).closing()
}

/// Whom the listeners answer: prepared at load from `allowed_hosts` and `allowed_origins`.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    any_host: bool,
    hosts: Box<[Box<str>]>,
    origins: Box<[Box<str>]>,
}

impl Guard {
    /// Any host if `hosts` is none, else these names; these origins, in lower case.
    pub fn new(hosts: Option<Vec<Box<str>>>, origins: Vec<Box<str>>) -> Self {
        Self {
            any_host: hosts.is_none(),
            hosts: hosts.unwrap_or_default().into(),
            origins: origins.into(),
        }
    }

    /// Refuses a `Host` that is not ours: a page whose name was re-bound to this address by DNS
    /// carries its own name there.
    ///
    /// `local` is where the caller's connection arrived: our own address is always ours.
    ///
    /// # Errors
    /// The answer for the caller.
    pub fn host(&self, host: HostName<'_>, local: Option<SocketAddr>) -> Result<(), Problem> {
        if self.any_host
            || self.knows(host.0)
            || local.is_some_and(|local| is_address(host.0, local.ip()))
        {
            return Ok(());
        }
        let detail = format!(
            "`{}` is no host name of this proxy; add it to server.allowed_hosts if it is",
            host.0
        );
        Err(Problem::new(Kind::HostRefused, detail))
    }

    fn knows(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Refuses what a browser sends for another site; gives the origin where it is an allowed one.
    ///
    /// # Errors
    /// The answer for the caller.
    pub fn origin<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a HeaderValue>, Problem> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = origins.next();
        if origins.next().is_some() {
            return Err(malformed("a request has one Origin field at most"));
        }
        if let Some(origin) = origin {
            let listed = |known: &str| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes());
            if self.origins.iter().any(|known| listed(known)) {
                return Ok(Some(origin));
            }
            if !is_same_origin(origin, headers.get(HOST)) {
                return Err(cross_site());
            }
        }
        let own = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
        if headers.get_all(SEC_FETCH_SITE).iter().all(own) {
            Ok(None)
        } else {
            Err(cross_site())
        }
    }
}

fn cross_site() -> Problem {
    Problem::new(
        Kind::OriginRefused,
        "a web page of another site made this request; add its origin to server.allowed_origins if it may",
    )
}

/// Whether `name` is the address itself.
fn is_address(name: &str, address: IpAddr) -> bool {
    name.parse::<IpAddr>()
        .is_ok_and(|named| named == address.to_canonical())
}

/// Whether a page served from this very listener made the request.
fn is_same_origin(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.as_bytes();
    let authority = origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"));
    matches!((authority, host), (Some(a), Some(host)) if a.eq_ignore_ascii_case(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        build(Request::builder()).body(()).unwrap().into_parts().0
    }

    #[test]
    fn host_field_is_one_name_and_perhaps_a_port() {
        for (text, name) in [
            ("localhost", Some("localhost")),
            ("localhost:8080", Some("localhost")),
            ("localhost:", Some("localhost")),
            ("[::1]:80", Some("::1")),
            ("[::1]", Some("::1")),
            ("a_b.example", Some("a_b.example")),
            ("", None),
            (":80", None),
            ("user@localhost", None),
            ("localhost/x", None),
            ("localhost:80:90", None),
            ("localhost:8x", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[]", None),
            ("a b", None),
            ("a,b", None),
        ] {
            assert_eq!(host_name(text), name, "{text}");
        }
    }

    #[test]
    fn ambiguous_messages_are_refused() {
        for (build, kind) in [
            (head(|r| r), Kind::MalformedRequest),
            (
                head(|r| r.header(HOST, "a").header(HOST, "a")),
                Kind::MalformedRequest,
            ),
            (
                head(|r| r.uri("http://b/x").header(HOST, "a")),
                Kind::MalformedRequest,
            ),
            (
                head(|r| {
                    r.header(HOST, "a")
                        .header("te", "x")
                        .header(TRANSFER_ENCODING, "gzip, chunked")
                }),
                Kind::MalformedRequest,
            ),
            (
                head(|r| {
                    r.header(HOST, "a")
                        .header(TRANSFER_ENCODING, "chunked")
                        .header(TRANSFER_ENCODING, "chunked")
                }),
                Kind::MalformedRequest,
            ),
            (
                head(|r| r.header(HOST, "a").header(EXPECT, "tea")),
                Kind::ExpectationFailed,
            ),
            (
                head(|r| r.method("TRACE").header(HOST, "a")),
                Kind::MethodRefused,
            ),
            (
                head(|r| r.method("track").header(HOST, "a")),
                Kind::MethodRefused,
            ),
            (
                head(|r| r.method("CONNECT").uri("a:1").header(HOST, "a:1")),
                Kind::MethodRefused,
            ),
        ] {
            assert_eq!(message(&build).unwrap_err().kind(), kind, "{build:?}");
        }
        let plain = head(|r| {
            r.header(HOST, "a:1")
                .header(TRANSFER_ENCODING, "Chunked")
                .header(EXPECT, "100-Continue")
        });
        assert_eq!(message(&plain).unwrap(), HostName("a"));
    }

    #[test]
    fn only_our_names_and_our_own_address_are_answered() {
        let guard = Guard::new(Some(vec!["localhost".into()]), Vec::new());
        let local = Some("10.1.2.3:8080".parse().unwrap());
        for (name, ours) in [
            ("LOCALHOST", true),
            ("localhost.", true),
            ("10.1.2.3", true),
            ("10.1.2.4", false),
            ("evil.example", false),
        ] {
            assert_eq!(guard.host(HostName(name), local).is_ok(), ours, "{name}");
        }
        assert!(
            Guard::new(None, Vec::new())
                .host(HostName("any"), None)
                .is_ok()
        );
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let guard = Guard::new(None, vec!["https://app.example".into()]);
        let case = |origin: Option<&str>, site: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("localhost:8080"));
            origin.map(|value| headers.insert(ORIGIN, value.parse().unwrap()));
            site.map(|value| headers.insert(SEC_FETCH_SITE, value.parse().unwrap()));
            guard
                .origin(&headers)
                .map(|allowed| allowed.is_some())
                .map_err(|problem| problem.kind())
        };
        assert_eq!(case(None, None), Ok(false));
        assert_eq!(case(None, Some("none")), Ok(false));
        assert_eq!(case(None, Some("same-origin")), Ok(false));
        assert_eq!(case(Some("http://localhost:8080"), None), Ok(false));
        assert_eq!(
            case(Some("https://app.example"), Some("cross-site")),
            Ok(true)
        );
        for (origin, site) in [
            (None, Some("cross-site")),
            (None, Some("same-site")),
            (Some("null"), None),
            (Some("http://localhost:3000"), Some("same-site")),
            (Some("https://app.example.evil"), None),
            (Some("http://localhost:8080"), Some("cross-site")),
        ] {
            assert_eq!(
                case(origin, site),
                Err(Kind::OriginRefused),
                "{origin:?} {site:?}"
            );
        }
    }
}
