//! Attributes as OTLP has them: a name, and a value of one of several types.

use super::wire;

/// `attributes` of a span.
const ATTRIBUTES: u8 = 9;

#[inline(always)]
pub(super) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    text_in(out, ATTRIBUTES, name, value);
}

/// The same in another field than that of a span.
#[inline(always)]
pub(super) fn text_in(out: &mut Vec<u8>, field: u8, name: &str, value: &str) {
    let length = wire::bytes_length(value.len());
    begin(out, field, name, length);
    wire::bytes(out, 1, value.as_bytes());
}

/// A text that is put together.
#[inline]
pub(super) fn text_of<const N: usize>(out: &mut Vec<u8>, name: &str, parts: [&str; N]) {
    let text = parts.iter().map(|part| part.len()).sum();
    begin(out, ATTRIBUTES, name, wire::bytes_length(text));
    wire::begin(out, 1, text);
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[inline]
pub(super) fn boolean(out: &mut Vec<u8>, name: &str, value: bool) {
    begin(out, ATTRIBUTES, name, wire::number_length(value.into()));
    wire::number(out, 2, value.into());
}

#[inline]
pub(super) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    begin(out, ATTRIBUTES, name, wire::number_length(value));
    wire::number(out, 3, value);
}

/// What stands before a value of this length.
///
/// Its length is known, and so are those of what it stands in: nothing is written twice. Inlined, as
/// then the names' lengths are known to the compiler, too: there are some twenty attributes to a request.
#[inline(always)]
fn begin(out: &mut Vec<u8>, field: u8, name: &str, length: usize) {
    let pair = wire::bytes_length(name.len()) + wire::bytes_length(length);
    out.reserve(wire::bytes_length(pair));
    wire::begin(out, field, pair);
    wire::bytes(out, 1, name.as_bytes());
    wire::begin(out, 2, length);
}
