//! The canonical request: what of a request is signed, in the one form in which both sides write it.

use std::ops::Range;

use http::HeaderMap;

use super::field;
use super::percent::{self, Place};
use super::scratch::{Part, Scratch};

/// How a path is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Whether dot segments and empty ones are taken out.
    pub(super) normalize: bool,
    /// Whether what is sent is encoded once more, its escapes included; else only once in all.
    pub(super) twice: bool,
}

impl Rules {
    /// Of S3, whose keys are arbitrary bytes: `//` and `.` are parts of them.
    pub(super) const S3: Self = Self {
        normalize: false,
        twice: false,
    };

    /// Of every other service.
    pub(super) const OTHERS: Self = Self {
        normalize: true,
        twice: true,
    };
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'r> {
    pub(super) method: &'r str,
    /// As it is sent.
    pub(super) path: &'r str,
    /// As it is sent.
    pub(super) query: Option<&'r str>,
    /// All of them; [`field::is_signed`] chooses.
    pub(super) headers: &'r HeaderMap,
    /// `X-Amz-Content-Sha256`.
    pub(super) payload: &'r [u8],
}

/// Writes the canonical request into `scratch.text`, and tells where in it the names of the signed
/// fields stand, separated by `;`.
pub(super) fn write(request: &Request<'_>, rules: Rules, scratch: &mut Scratch) -> Range<usize> {
    let text = &mut scratch.text;
    text.extend_from_slice(request.method.as_bytes());
    text.push(b'\n');
    write_path(request.path.as_bytes(), rules, text);
    text.push(b'\n');
    write_query(request.query.unwrap_or_default().as_bytes(), scratch);
    scratch.text.push(b'\n');
    let names = write_fields(request.headers, scratch);
    scratch.text.push(b'\n');
    scratch.text.extend_from_slice(request.payload);
    names
}

/// Writes a path as it is signed.
pub(super) fn write_path(path: &[u8], rules: Rules, out: &mut Vec<u8>) {
    let encode = if rules.twice {
        percent::encode
    } else {
        percent::encode_anew
    };
    if !rules.normalize {
        return encode(path, Place::Path, out);
    }
    let start = out.len();
    let mut last: &[u8] = b"";
    for segment in path.split(|&byte| byte == b'/') {
        last = segment;
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = out[start..].iter().rposition(|&byte| byte == b'/');
                out.truncate(start + parent.unwrap_or(0));
            }
            name => {
                out.push(b'/');
                encode(name, Place::Path, out);
            }
        }
    }
    // A path that ends in a folder keeps its slash (RFC 3986 section 5.2.4), and is never empty.
    if matches!(last, b"" | b"." | b"..") || out.len() == start {
        out.push(b'/');
    }
}

/// The parameters of a query, without the empty pieces (`&&`), which are none: a name, and a value
/// if there is a `=`.
pub(super) fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let pieces = query.split(|&byte| byte == b'&');
    pieces.filter(|piece| !piece.is_empty()).map(|piece| {
        let end = piece.iter().position(|&byte| byte == b'=');
        match end {
            Some(end) => (&piece[..end], Some(&piece[end + 1..])),
            None => (piece, None),
        }
    })
}

/// Writes the parameters sorted by name and then by value, as they are when encoded.
fn write_query(query: &[u8], scratch: &mut Scratch) {
    let Scratch { text, parts, index } = scratch;
    for (name, value) in parameters(query) {
        let start = parts.len();
        percent::encode_anew(name, Place::Query, parts);
        let middle = parts.len();
        percent::encode_anew(value.unwrap_or_default(), Place::Query, parts);
        let end = parts.len();
        index.push(Part { start, middle, end });
    }
    index.sort_unstable_by_key(|part| {
        (
            &parts[part.start..part.middle],
            &parts[part.middle..part.end],
        )
    });
    for (place, part) in index.iter().enumerate() {
        if place > 0 {
            text.push(b'&');
        }
        text.extend_from_slice(&parts[part.start..part.middle]);
        text.push(b'=');
        text.extend_from_slice(&parts[part.middle..part.end]);
    }
    scratch.clear_parts();
}

/// Writes the signed fields sorted by name, a line each, and then the names in one line.
fn write_fields(headers: &HeaderMap, scratch: &mut Scratch) -> Range<usize> {
    let Scratch { text, parts, index } = scratch;
    let mut last = None;
    // Values of one name follow each other.
    for (name, value) in headers.iter().filter(|(name, _)| field::is_signed(name)) {
        if last == Some(name) {
            parts.push(b',');
        } else {
            let start = parts.len();
            parts.extend_from_slice(name.as_str().as_bytes());
            let middle = parts.len();
            parts.push(b':');
            index.push(Part {
                start,
                middle,
                end: middle,
            });
        }
        last = Some(name);
        write_value(value.as_bytes(), parts);
        if let Some(part) = index.last_mut() {
            part.end = parts.len();
        }
    }
    index.sort_unstable_by_key(|part| &parts[part.start..part.middle]);
    for part in index.iter() {
        text.extend_from_slice(&parts[part.start..part.end]);
        text.push(b'\n');
    }
    text.push(b'\n');
    let start = text.len();
    for (place, part) in index.iter().enumerate() {
        if place > 0 {
            text.push(b';');
        }
        text.extend_from_slice(&parts[part.start..part.middle]);
    }
    let end = text.len();
    scratch.clear_parts();
    start..end
}

/// Writes a value without spaces around it, and with one space for several.
fn write_value(value: &[u8], out: &mut Vec<u8>) {
    let value = value.trim_ascii();
    if !value.contains(&b' ') {
        return out.extend_from_slice(value);
    }
    let words = value.split(|&byte| byte == b' ');
    for (place, word) in words.filter(|word| !word.is_empty()).enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}
