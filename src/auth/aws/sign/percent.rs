//! Percent-encoding by the rules of Signature Version 4: RFC 3986's unreserved characters stay, and
//! every other byte becomes `%XX` in upper case.

use percent_encoding::{percent_decode, percent_encode_byte};

/// What is read or left as it is, apart from unreserved characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a path a slash stays.
    Path,
    /// In a query a `+` is a space: that is how forms write it, and how servers read it.
    Query,
}

/// Appends a text with each of its bytes encoded once, its own escapes included.
pub(super) fn encode(text: &[u8], place: Place, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| !stays(byte, place)) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(percent_encode_byte(rest[at]).as_bytes());
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends a text with its escapes decoded, and then encoded once.
///
/// A `%` without two hexadecimal digits is one that was meant as such: lenient servers read it so.
pub(super) fn encode_anew(text: &[u8], place: Place, out: &mut Vec<u8>) {
    let plain = text.iter().position(|&byte| !stays(byte, place));
    let (plain, rest) = text.split_at(plain.unwrap_or(text.len()));
    out.extend_from_slice(plain);
    // A run up to the next `+` or escape at a time: `+` is a space only where it is not an escape.
    let mut first = true;
    for part in rest.split(|&byte| byte == b'+' && place == Place::Query) {
        if !first {
            out.extend_from_slice(b"%20");
        }
        first = false;
        for byte in percent_decode(part) {
            if stays(byte, place) {
                out.push(byte);
            } else {
                out.extend_from_slice(percent_encode_byte(byte).as_bytes());
            }
        }
    }
}

fn stays(byte: u8, place: Place) -> bool {
    match byte {
        b'-' | b'.' | b'_' | b'~' => true,
        b'/' => place == Place::Path,
        other => other.is_ascii_alphanumeric(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_encoded_once_and_slashes_stay_in_paths() {
        for (text, path, query) in [
            ("", "", ""),
            ("aZ09-._~", "aZ09-._~", "aZ09-._~"),
            ("/a b", "/a%20b", "%2Fa%20b"),
            ("%2f%", "%252f%25", "%252f%25"),
            ("\u{e4}+", "%C3%A4%2B", "%C3%A4%2B"),
        ] {
            for (place, expected) in [(Place::Path, path), (Place::Query, query)] {
                let mut out = Vec::new();
                encode(text.as_bytes(), place, &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
            }
        }
    }

    #[test]
    fn escapes_are_decoded_before_bytes_are_encoded_anew() {
        for (text, path, query, why) in [
            ("", "", "", "empty"),
            ("a%2fb", "a/b", "a%2Fb", "a slash, lower case"),
            ("%7e%41", "~A", "~A", "unreserved"),
            ("a+b%2B", "a%2Bb%2B", "a%20b%2B", "plus"),
            ("%C3%a4\u{e4}", "%C3%A4%C3%A4", "%C3%A4%C3%A4", "UTF-8"),
            ("%ff", "%FF", "%FF", "what is not UTF-8"),
            ("%zz%4%", "%25zz%254%25", "%25zz%254%25", "broken escapes"),
            (
                "%+41",
                "%25%2B41",
                "%25%2041",
                "a plus in what is no escape",
            ),
            ("%2541", "%2541", "%2541", "encoded twice"),
            (
                "*!'();:@,$&=",
                "%2A%21%27%28%29%3B%3A%40%2C%24%26%3D",
                "%2A%21%27%28%29%3B%3A%40%2C%24%26%3D",
                "reserved",
            ),
        ] {
            for (place, expected) in [(Place::Path, path), (Place::Query, query)] {
                let mut out = Vec::new();
                encode_anew(text.as_bytes(), place, &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{why}");
            }
        }
    }
}
