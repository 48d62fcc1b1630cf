//! The request target as it is sent: in a form that every server reads, and verifies, alike.

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;

use super::canonical::{self, Rules};
use super::percent::{self, Place};
use super::scratch;

/// Writes a request target as it is to be sent; none if it gets too long by that.
///
/// Servers that check a signature read the target first and then write it canonically, and differ in
/// how they read what is not canonical already: `+`, `;`, broken escapes, `&&`. So the query is
/// encoded anew, with its parameters in their order, and by S3's rules the path, too. Other services
/// sign the path's bytes as they are sent, which leaves nothing to be read in two ways.
pub(super) fn canonical(uri: Uri, rules: Rules) -> Option<Uri> {
    let Some(given) = uri
        .path_and_query()
        .filter(|given| given.path().starts_with('/'))
    else {
        return Some(uri);
    };
    let changed = scratch::with(|scratch| {
        write(given, rules, &mut scratch.text);
        (scratch.text != given.as_str().as_bytes()).then(|| Bytes::copy_from_slice(&scratch.text))
    });
    let Some(changed) = changed else {
        return Some(uri);
    };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(changed).ok()?);
    Uri::from_parts(parts).ok()
}

fn write(given: &PathAndQuery, rules: Rules, out: &mut Vec<u8>) {
    if rules.twice {
        out.extend_from_slice(given.path().as_bytes());
    } else {
        canonical::write_path(given.path().as_bytes(), rules, out);
    }
    let query = given.query().unwrap_or_default().as_bytes();
    for (place, (name, value)) in canonical::parameters(query).enumerate() {
        out.push(if place == 0 { b'?' } else { b'&' });
        percent::encode_anew(name, Place::Query, out);
        if let Some(value) = value {
            out.push(b'=');
            percent::encode_anew(value, Place::Query, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(target: &str, rules: Rules) -> String {
        let uri = Uri::try_from(target).unwrap();
        canonical(uri, rules).unwrap().to_string()
    }

    #[test]
    fn paths_are_sent_canonically_to_s3_and_as_they_are_to_others() {
        for (target, s3, why) in [
            ("/", "/", "root"),
            ("/a%20b/c", "/a%20b/c", "canonical already"),
            ("/a//b/./c/", "/a//b/./c/", "parts of a key"),
            ("/a+b:c@d=e", "/a%2Bb%3Ac%40d%3De", "reserved"),
            ("/%7e%41", "/~A", "escaped without need"),
            (
                "/%c3%a4/\u{e4}",
                "/%C3%A4/%C3%A4",
                "hexadecimal in lower case, and none",
            ),
            ("/a%2Fb", "/a/b", "a slash is a slash in a key"),
            ("/100%/%zz", "/100%25/%25zz", "broken escapes"),
            ("/%2541", "/%2541", "encoded twice"),
            ("/%ff%00", "/%FF%00", "any byte"),
        ] {
            assert_eq!(sent(target, Rules::S3), s3, "{why}");
            assert_eq!(sent(target, Rules::OTHERS), target, "{why}");
        }
    }

    #[test]
    fn queries_are_sent_in_their_order_with_one_spelling() {
        for (query, expected, why) in [
            ("?b=1&a=2&b=0", "?b=1&a=2&b=0", "order and duplicates"),
            ("?acl", "?acl", "without a value"),
            ("?acl=", "?acl=", "with an empty one"),
            ("?a&&b&", "?a&b", "pieces that are no parameters"),
            ("?", "", "nothing"),
            ("?&", "", "nothing"),
            ("?=1&=", "?=1&=", "without a name"),
            ("?p=a+b%2b", "?p=a%20b%2B", "a space as forms write it"),
            (
                "?p=~:/*;",
                "?p=~%3A%2F%2A%3B",
                "what stays and what does not",
            ),
            ("?p=a=b", "?p=a%3Db", "a second equals sign"),
            ("?p=%zz%", "?p=%25zz%25", "broken escapes"),
            ("?\u{e4}=%c3%a4", "?%C3%A4=%C3%A4", "UTF-8"),
            ("?%61=%7E", "?a=~", "escaped without need"),
        ] {
            for rules in [Rules::S3, Rules::OTHERS] {
                assert_eq!(
                    sent(&format!("/k{query}"), rules),
                    format!("/k{expected}"),
                    "{why}"
                );
            }
        }
    }

    #[test]
    fn the_rest_of_an_address_stays() {
        assert_eq!(
            sent("http://h:1/a+b?c+d", Rules::S3),
            "http://h:1/a%2Bb?c%20d"
        );
        assert_eq!(sent("*", Rules::S3), "*");
        assert_eq!(sent("h:443", Rules::S3), "h:443");
    }

    #[test]
    fn what_gets_too_long_is_none() {
        let uri = Uri::try_from(format!("/{}", "+".repeat(60_000))).unwrap();
        assert_eq!(canonical(uri, Rules::S3), None);
    }
}
