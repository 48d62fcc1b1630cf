//! Protocol Buffers, as much as OTLP needs of them: fields are appended to bytes, and read from them.
//!
//! What would come as structs of owned texts from generated code is written straight from where it is:
//! a span has twenty attributes, and there are two spans for each request.

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
    /// A number of any other kind.
    Number(u64),
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

/// Numbers of fields here are below 32, so that their tag has two bytes at most.
#[inline]
fn tag(out: &mut Vec<u8>, field: u8, kind: u8) {
    varint(out, u64::from(field) << 3 | u64::from(kind));
}

#[inline]
fn varint(out: &mut Vec<u8>, number: u64) {
    // Nearly all that there are.
    if number < 0x80 {
        out.push(number as u8);
    } else {
        long_varint(out, number);
    }
}

fn long_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The length of a number as `varint` writes it: seven bits to a byte.
#[inline]
pub(super) fn varint_length(number: u64) -> usize {
    match number {
        0..0x80 => 1,
        _ => (64 - number.leading_zeros() as usize).div_ceil(7),
    }
}

/// The length of a field below 16 with this number in it.
#[inline]
pub(super) fn number_length(number: u64) -> usize {
    1 + varint_length(number)
}

/// The length of a field below 16 with so many bytes in it.
#[inline]
pub(super) fn bytes_length(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

/// An `enum`, an `int64` or the like.
pub(super) fn number(out: &mut Vec<u8>, field: u8, number: u64) {
    tag(out, field, VARINT);
    varint(out, number);
}

pub(super) fn fixed64(out: &mut Vec<u8>, field: u8, number: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn fixed32(out: &mut Vec<u8>, field: u8, number: u32) {
    tag(out, field, FIXED32);
    out.extend_from_slice(&number.to_le_bytes());
}

/// A text or bytes.
#[inline]
pub(super) fn bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    begin(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// What stands before a text, bytes or a message of this length.
#[inline]
pub(super) fn begin(out: &mut Vec<u8>, field: u8, length: usize) {
    tag(out, field, LENGTH_DELIMITED);
    varint(out, length as u64);
}

/// A message, or a text that is put together, whose length shows when it is written.
#[inline]
pub(super) fn nested(out: &mut Vec<u8>, field: u8, write: impl FnOnce(&mut Vec<u8>)) {
    tag(out, field, LENGTH_DELIMITED);
    let start = out.len();
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    match length {
        0..0x80 => out[start] = length as u8,
        _ => lengthen(out, start, length),
    }
}

/// Makes room for a length that takes more than the one byte at `start`, and writes it.
fn lengthen(out: &mut Vec<u8>, start: usize, mut length: usize) {
    let end = out.len();
    let last = start + varint_length(length as u64) - 1;
    out.resize(end + last - start, 0);
    out.copy_within(start + 1..end, last + 1);
    for byte in &mut out[start..last] {
        *byte = length as u8 | 0x80;
        length >>= 7;
    }
    out[last] = length as u8;
}

/// The fields of a message, as far as they are well-formed.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let tag = take_varint(&mut message)?;
        let value = match (tag & 7) as u8 {
            VARINT => Value::Number(take_varint(&mut message)?),
            FIXED64 => Value::Number(u64::from_le_bytes(take(&mut message)?)),
            FIXED32 => Value::Number(u32::from_le_bytes(take(&mut message)?).into()),
            LENGTH_DELIMITED => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    })
}

fn take<const N: usize>(message: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = message.split_first_chunk()?;
    *message = rest;
    Some(*bytes)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(message)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_as_the_encoding_guide_has_them() {
        let mut out = Vec::new();
        number(&mut out, 1, 150);
        bytes(&mut out, 2, b"testing");
        fixed32(&mut out, 16, 1);
        assert_eq!(out, b"\x08\x96\x01\x12\x07testing\x85\x01\x01\x00\x00\x00");
    }

    #[test]
    fn what_was_written_is_read() {
        let long = vec![7; 20_000];
        let mut out = Vec::new();
        nested(&mut out, 1, |out| {
            number(out, 3, u64::MAX);
            nested(out, 4, |out| bytes(out, 1, &long));
        });
        fixed64(&mut out, 7, 8);
        let mut outer = fields(&out);
        let Some((1, Value::Bytes(inner))) = outer.next() else {
            panic!("{out:?}");
        };
        assert_eq!(outer.next(), Some((7, Value::Number(8))));
        assert_eq!(outer.next(), None);
        let mut inner = fields(inner);
        assert_eq!(inner.next(), Some((3, Value::Number(u64::MAX))));
        let Some((4, Value::Bytes(innermost))) = inner.next() else {
            panic!("{out:?}");
        };
        assert_eq!(fields(innermost).next(), Some((1, Value::Bytes(&long))));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes).count();
        }
    }
}
