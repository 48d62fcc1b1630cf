//! SHA-256, and how it is written.

use ring::digest::{SHA256, digest};

/// The hash of nothing, in hexadecimal.
pub(super) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The SHA-256 of a text, in hexadecimal.
pub(super) fn hex_of(text: &[u8]) -> [u8; 64] {
    hex(digest(&SHA256, text).as_ref())
}

/// 32 bytes in hexadecimal, in lower case.
pub(super) fn hex(bytes: &[u8]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'0'; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_in_lower_case() {
        assert_eq!(hex_of(b""), EMPTY.as_bytes());
        assert_eq!(
            &hex_of(b"abc"),
            b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
