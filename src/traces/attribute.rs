//! Attributes as OTLP has them: a name, and a value of one of several types.

use super::wire;

/// `attributes` of a span.
const ATTRIBUTES: u8 = 9;

pub(super) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    text_in(out, ATTRIBUTES, name, value);
}

/// The same in another field than that of a span.
pub(super) fn text_in(out: &mut Vec<u8>, field: u8, name: &str, value: &str) {
    wire::nested(out, field, |out| {
        wire::bytes(out, 1, name.as_bytes());
        wire::nested(out, 2, |out| wire::bytes(out, 1, value.as_bytes()));
    });
}

pub(super) fn boolean(out: &mut Vec<u8>, name: &str, value: bool) {
    attribute(out, name, |out| wire::number(out, 2, value.into()));
}

pub(super) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    attribute(out, name, |out| wire::number(out, 3, value));
}

/// One whose value is written by `value`.
pub(super) fn attribute(out: &mut Vec<u8>, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    wire::nested(out, ATTRIBUTES, |out| {
        wire::bytes(out, 1, name.as_bytes());
        wire::nested(out, 2, value);
    });
}
