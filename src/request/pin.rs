//! Step 3: the caller's path stays under the base path, or is refused.

use bytes::{BufMut, Bytes, BytesMut};
use http::Uri;
use http::uri::PathAndQuery;

use crate::connection::url::BaseUrl;
use crate::problem::{Kind, Problem};

/// How often a path may be percent-encoded over before it is refused for that alone.
const DEEPEST_ENCODING: usize = 8;

/// Refuses a path that leaves its base, in any spelling that some server might read so.
///
/// Dot segments are looked for with path parameters (`..;x`), percent-encoded once or more, and
/// behind encoded slashes; backslashes, control characters and NUL likewise. Everything else stays
/// byte for byte: `%2F` in a segment, empty segments, `;`, `+`.
///
/// # Errors
/// The answer for the caller.
pub fn check_path(path: &str) -> Result<(), Problem> {
    if !path.starts_with('/') {
        return Err(refused("the request target is no absolute path"));
    }
    if is_plain(path.as_bytes()) {
        Ok(())
    } else {
        check_closely(path.as_bytes())
    }
}

/// Whether nothing in the path needs a closer look, in one pass.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        let plain = match byte {
            b'%' | b'\\' | b';' | 0x7f => false,
            b'.' => previous != b'/',
            other => other >= 0x20,
        };
        if !plain {
            return false;
        }
        previous = byte;
    }
    true
}

fn check_closely(path: &[u8]) -> Result<(), Problem> {
    if has_broken_escape(path) {
        return Err(refused(
            "the path has a `%` without two hexadecimal digits; encode it as `%25`",
        ));
    }
    let mut path = path.to_vec();
    for _ in 0..DEEPEST_ENCODING {
        check_reading(&path)?;
        let Some(decoded) = decode_once(&path) else {
            return Ok(());
        };
        path = decoded;
    }
    Err(refused("the path is percent-encoded over and over"))
}

/// Checks one reading of the path: as it is, or after some rounds of decoding.
fn check_reading(path: &[u8]) -> Result<(), Problem> {
    if path.contains(&b'\\') {
        return Err(refused("the path has a backslash, plain or encoded"));
    }
    if path.iter().any(|&b| b < 0x20 || b == 0x7f) {
        return Err(refused(
            "the path has a control character, plain or encoded",
        ));
    }
    // Overlong UTF-8 for `.`, `/` and `\`, which lenient decoders take for the real ones.
    if path
        .windows(2)
        .any(|pair| matches!(pair, [0xc0, 0xae | 0xaf] | [0xc1, 0x9c]))
    {
        return Err(refused(
            "the path has an overlong encoding of `.`, `/` or `\\`",
        ));
    }
    let dots = |segment: &[u8]| {
        let name = segment.split(|&b| b == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    };
    if path.split(|&b| b == b'/').any(dots) {
        return Err(refused(
            "the path has a `.` or `..` segment, plain or encoded",
        ));
    }
    Ok(())
}

fn has_broken_escape(path: &[u8]) -> bool {
    path.iter()
        .enumerate()
        .any(|(at, &b)| b == b'%' && escape(&path[at..]).is_none())
}

/// The path with each valid escape decoded once; none if there is none.
fn decode_once(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = escape(rest).map_or((byte, after), |byte| (byte, &rest[3..]));
        decoded.push(byte);
        rest = after;
    }
    (decoded.len() != path.len()).then_some(decoded)
}

fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |b: &u8| char::from(*b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn refused(detail: &str) -> Problem {
    Problem::new(Kind::PathRefused, detail)
}

/// Joins the base path, what followed the prefix, and the queries, byte for byte.
///
/// `scratch` is cut from, so that a run of requests shares one allocation.
///
/// # Errors
/// The caller's bytes do not make a request target.
pub fn join(
    base: &BaseUrl,
    rest: &str,
    query: Option<&str>,
    injected: Option<&[u8]>,
    scratch: &mut BytesMut,
) -> Result<Uri, Problem> {
    let injected = injected.unwrap_or_default();
    let query_len = query.map_or(0, |query| query.len() + 1);
    scratch.reserve(base.path().len() + rest.len() + query_len + injected.len() + 2);
    scratch.put_slice(base.path().as_bytes());
    scratch.put_slice(rest.as_bytes());
    if rest.is_empty() && (base.ends_with_slash() || base.path().is_empty()) {
        scratch.put_u8(b'/');
    }
    if let Some(query) = query {
        scratch.put_u8(b'?');
        scratch.put_slice(query.as_bytes());
    }
    if !injected.is_empty() {
        scratch.put_u8(if query.is_none() { b'?' } else { b'&' });
        scratch.put_slice(injected);
    }
    parse(scratch.split().freeze())
}

fn parse(target: Bytes) -> Result<Uri, Problem> {
    PathAndQuery::from_maybe_shared(target)
        .map(Uri::from)
        .map_err(|_| refused("the request target has characters that cannot stand in one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_leave_their_base_are_refused_in_every_spelling() {
        for (path, why) in [
            ("/a/../b", "plain"),
            ("/a/..", "at the end"),
            ("/./a", "single dot"),
            ("/a/%2e%2e/b", "encoded"),
            ("/a/.%2E/b", "half encoded"),
            ("/a/%252e%252e/b", "encoded twice"),
            ("/a/%25252e%25252e/b", "encoded three times"),
            ("/a/..;x=1/b", "path parameter"),
            ("/a/%2e%2e%3bx/b", "encoded path parameter"),
            ("/a/..%2fb", "encoded slash after"),
            ("/a%2f..%2fb", "encoded slashes around"),
            ("/a/..%252fb", "slash encoded twice"),
            ("/a\\b", "backslash"),
            ("/a%5cb", "encoded backslash"),
            ("/a%255cb", "backslash encoded twice"),
            ("/a%00", "NUL"),
            ("/a%0d%0ab", "line break"),
            ("/a%250ab", "line break encoded twice"),
            ("/a%7f", "delete"),
            ("/a\u{7f}", "plain delete"),
            ("/a\tb", "plain control"),
            ("/%c0%ae%c0%ae/a", "overlong dots"),
            ("/a%", "broken escape"),
            ("/a%zz", "broken escape"),
            ("a", "not absolute"),
            ("*", "asterisk-form"),
            ("", "empty"),
        ] {
            assert!(check_path(path).is_err(), "{path}: {why}");
        }
        assert!(
            check_path(&format!("/%{}2e", "25".repeat(20))).is_err(),
            "encoded over and over"
        );
    }

    #[test]
    fn everything_else_passes() {
        for path in [
            "/",
            "//",
            "/a//b",
            "/a%2Fb",
            "/a;v=1/b",
            "/a+b",
            "/a%20b",
            "/a/.hidden",
            "/a/...",
            "/a/..b",
            "/b../c",
            "/100%25",
            "/100%25zz",
            "/%C3%A4",
            "/a:b@c~d",
            "/a%3Bb",
            "/v1.0/x.json",
        ] {
            assert!(check_path(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn targets_are_joined_byte_for_byte() {
        let mut scratch = BytesMut::new();
        for (base, rest, query, injected, target) in [
            ("http://h", "", None, None, "/"),
            ("http://h/b", "", None, None, "/b"),
            ("http://h/b/", "", None, None, "/b/"),
            ("http://h/b/", "/x", None, None, "/b/x"),
            ("http://h/b", "/", None, None, "/b/"),
            ("http://h/b", "//x%2F", Some(""), None, "/b//x%2F?"),
            (
                "http://h",
                "/x",
                Some("a=&b&&c==%20+"),
                None,
                "/x?a=&b&&c==%20+",
            ),
            ("http://h", "/x", Some("a=1"), Some("k=v"), "/x?a=1&k=v"),
            ("http://h", "/x", None, Some("k=v"), "/x?k=v"),
        ] {
            let base = BaseUrl::parse(base).unwrap();
            let uri = join(
                &base,
                rest,
                query,
                injected.map(str::as_bytes),
                &mut scratch,
            )
            .unwrap();
            assert_eq!(uri.to_string(), target);
        }
    }

    proptest! {
        /// However often a traversal is encoded, and wherever it stands, it is found.
        #[test]
        fn encoded_traversals_are_always_found(before in "[a-z]{0,4}", rounds in 0usize..5, after in "[a-z]{0,4}") {
            let mut dots = String::from("..");
            for _ in 0..rounds {
                dots = dots.bytes().map(|b| format!("%{b:02x}")).collect();
            }
            let path = format!("/{before}/{dots}/{after}");
            prop_assert!(check_path(&path).is_err());
        }

        /// What is let through has no dot segment in any reading.
        #[test]
        fn what_passes_has_no_dot_segment(path in "/[a-z./%25eE;\\\\]{0,24}") {
            if check_path(&path).is_ok() {
                let mut reading = path.into_bytes();
                loop {
                    prop_assert!(!reading.split(|&b| b == b'/').any(|s| s == b".." || s == b"."));
                    match decode_once(&reading) { Some(next) => reading = next, None => break }
                }
            }
        }
    }
}
