//! Step 8: what an upstream's answer loses, and how its locations are told to the caller.

use std::sync::LazyLock;

use http::header::{CONTENT_LENGTH, CONTENT_LOCATION, LOCATION, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{HOP_BY_HOP, UNFIT_FOR_TRAILERS, announced, remove_nominated, remove_where};
use super::names::NameSet;
use crate::connection::url::{BaseUrl, Destination, rest_after};
use crate::connection::{Connection, Cookies};
use crate::problem::PROXY_STATUS;

static ALWAYS: LazyLock<NameSet> = LazyLock::new(|| HOP_BY_HOP.into_iter().collect());
static NOT_IN_TRAILERS: LazyLock<NameSet> = LazyLock::new(|| {
    let ours = ["proxy-status", "www-authenticate", "authorization"];
    UNFIT_FOR_TRAILERS.into_iter().chain(ours).collect()
});
static WITH_COOKIES: LazyLock<NameSet> = LazyLock::new(|| {
    HOP_BY_HOP
        .into_iter()
        .chain(["set-cookie", "set-cookie2"])
        .collect()
});

/// Takes out of an answer what was meant for the hop to us, and cookies unless they pass.
pub fn strip(headers: &mut HeaderMap, cookies: Cookies) {
    // A length beside a transfer coding is void (RFC 9112 section 6.3), and hyper leaves both.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let announced = match headers.get(CONTENT_LENGTH) {
        Some(length) => {
            // Equal lengths in a list are one length (RFC 9110 section 8.6): it is told as one.
            if let Some((first, _)) = length.to_str().ok().and_then(|text| text.split_once(','))
                && let Ok(first) = HeaderValue::from_str(first.trim())
            {
                headers.insert(CONTENT_LENGTH, first);
            }
            None
        }
        // Trailers follow content whose length was not told.
        None => announced(headers, |name| !is_unfit(name.as_str().as_bytes())),
    };
    // Only answers of our own say that they are ours.
    let ours = |value: &HeaderValue| {
        value
            .as_bytes()
            .windows(9)
            .any(|part| part.eq_ignore_ascii_case(b"keybearer"))
    };
    if headers.get_all(PROXY_STATUS).iter().any(ours) {
        headers.remove(PROXY_STATUS);
    }
    remove_nominated(headers);
    let unwanted: &NameSet = match cookies {
        Cookies::Pass => &ALWAYS,
        Cookies::Strip => &WITH_COOKIES,
    };
    remove_where(headers, |name| unwanted.contains(name));
    if let Some(announced) = announced {
        headers.insert(TRAILER, announced);
    }
}

/// Takes out of what follows an answer's content what would be taken out of its head, and what may
/// stand in no trailer.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    remove_where(trailers, is_unfit);
}

fn is_unfit(name: &[u8]) -> bool {
    WITH_COOKIES.contains(name) || NOT_IN_TRAILERS.contains(name)
}

/// Tells locations under the base URL as paths under `prefix`; leaves all others alone.
///
/// `prefix` is empty where the request was routed by its host.
pub fn relocate(headers: &mut HeaderMap, connection: &Connection, prefix: &str) {
    for name in [LOCATION, CONTENT_LOCATION] {
        relocate_field(headers, &name, &connection.base_url, prefix);
    }
}

fn relocate_field(headers: &mut HeaderMap, name: &HeaderName, base: &BaseUrl, prefix: &str) {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let Some(local) = local_reference(value, base, prefix) else {
        return;
    };
    if let Ok(value) = HeaderValue::try_from(local) {
        headers.insert(name, value);
    }
}

/// The reference as the caller can follow it, if it lies under the base URL.
fn local_reference(reference: &str, base: &BaseUrl, prefix: &str) -> Option<String> {
    let path = path_on_host(reference, base)?;
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let (path, suffix) = path.split_at(end);
    super::pin::check_path(if path.is_empty() { "/" } else { path }).ok()?;
    let rest = rest_after(base.path(), path)?;
    let root = if prefix.is_empty() && rest.is_empty() {
        "/"
    } else {
        ""
    };
    // A reference that starts with `//` would name a host.
    let reference = format!("{prefix}{root}{rest}{suffix}");
    (!reference.starts_with("//")).then_some(reference)
}

/// The part of a reference after scheme and authority, if they are the base URL's or absent.
fn path_on_host<'a>(reference: &'a str, base: &BaseUrl) -> Option<&'a str> {
    let Destination::Server { scheme, host, port } = base.destination() else {
        return None;
    };
    let relative = match reference.split_once("://") {
        Some((named, relative)) if !named.contains(['/', '?', '#']) => named
            .eq_ignore_ascii_case(scheme.as_str())
            .then_some(relative)?,
        _ => match reference.strip_prefix("//") {
            Some(relative) => relative,
            None => return reference.starts_with('/').then_some(reference),
        },
    };
    let end = relative.find(['/', '?', '#']).unwrap_or(relative.len());
    let (authority, path) = relative.split_at(end);
    let (named, number) = split_port(authority);
    let number = if number.is_empty() {
        Some(scheme.default_port())
    } else {
        number.parse().ok()
    };
    (named.eq_ignore_ascii_case(host) && number == Some(*port)).then_some(path)
}

/// Host, without brackets, and port text of an authority.
fn split_port(authority: &str) -> (&str, &str) {
    match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or_default()),
        None => authority.rsplit_once(':').unwrap_or((authority, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_under_the_base_url_move_under_the_prefix() {
        let base = BaseUrl::parse("https://api.example/rest/v3").unwrap();
        for (reference, local, why) in [
            (
                "https://api.example/rest/v3/x?y=1#z",
                Some("/jira/x?y=1#z"),
                "absolute",
            ),
            (
                "HTTPS://API.example:443/rest/v3/x",
                Some("/jira/x"),
                "same origin, spelled otherwise",
            ),
            ("/rest/v3/x", Some("/jira/x"), "path alone"),
            ("/rest/v3", Some("/jira"), "the base itself"),
            (
                "//api.example/rest/v3/x",
                Some("/jira/x"),
                "scheme-relative",
            ),
            ("/rest/v30/x", None, "half a segment"),
            ("/other", None, "beside the base"),
            ("/rest/v3/../x", None, "out of the base"),
            (
                "https://api.example/login",
                None,
                "same host, beside the base",
            ),
            ("http://api.example/rest/v3/x", None, "another scheme"),
            ("https://api.example:8443/rest/v3/x", None, "another port"),
            ("https://evil.example/rest/v3/x", None, "another host"),
            (
                "https://api.example@evil.example/rest/v3/x",
                None,
                "userinfo",
            ),
            ("x/y", None, "relative: stays right as it is"),
            ("?page=2", None, "query alone: stays right as it is"),
            (
                "/login?next=https://api.example/rest/v3",
                None,
                "a URL in the query is no location",
            ),
        ] {
            assert_eq!(
                local_reference(reference, &base, "/jira").as_deref(),
                local,
                "{reference}: {why}"
            );
        }
    }

    #[test]
    fn locations_never_become_another_host() {
        let base = BaseUrl::parse("http://[::1]:8080").unwrap();
        assert_eq!(
            local_reference("http://[::1]:8080//evil.example/x", &base, ""),
            None
        );
        assert_eq!(
            local_reference("http://[::1]:8080", &base, "").as_deref(),
            Some("/")
        );
        assert_eq!(
            local_reference("http://[::1]:8080/a", &base, "").as_deref(),
            Some("/a")
        );
    }

    #[test]
    fn answers_lose_hop_by_hop_fields_and_cookies() {
        let headers = || {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("set-cookie", "a=b"),
                ("set-cookie", "c=d"),
                ("transfer-encoding", "chunked"),
                ("content-length", "5"),
                ("etag", "x"),
            ] {
                headers.append(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                );
            }
            headers
        };
        let mut stripped = headers();
        strip(&mut stripped, Cookies::Strip);
        assert_eq!(stripped.keys().collect::<Vec<_>>(), ["etag"]);
        let mut passed = headers();
        strip(&mut passed, Cookies::Pass);
        assert_eq!(passed.get_all("set-cookie").iter().count(), 2);
    }
}
