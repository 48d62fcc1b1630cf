//! How a signature covers the content: what stands in `X-Amz-Content-Sha256`.

use http::HeaderValue;
use ring::digest::{SHA256, digest};

use super::digest::{EMPTY, hex};

/// What is known of a request's content when its head is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadHash {
    /// There is none.
    Empty,
    /// Its SHA-256.
    Hash([u8; 32]),
    /// Nothing: it is not signed.
    Unsigned,
    /// Nothing, and it is sent in chunks with a trailer; none of them is signed.
    UnsignedTrailer,
    /// It is signed chunk by chunk while it is sent.
    Chunks {
        /// Whether a signed trailer follows.
        trailer: bool,
    },
}

impl PayloadHash {
    /// Of content that is at hand.
    pub fn of(content: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, content).as_ref());
        Self::Hash(hash)
    }

    /// As it is signed and sent; `hash` is where the digits of one are written.
    pub(super) fn text<'t>(&self, hash: &'t mut [u8; 64]) -> &'t [u8] {
        if let Self::Hash(sha256) = self {
            *hash = hex(sha256);
            hash
        } else {
            self.word().as_bytes()
        }
    }

    /// The field's value.
    pub(super) fn value(&self, text: &[u8]) -> HeaderValue {
        if let Self::Hash(_) = self {
            // Hexadecimal digits can stand in a field.
            HeaderValue::from_bytes(text).expect("hexadecimal digits")
        } else {
            HeaderValue::from_static(self.word())
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Empty | Self::Hash(_) => EMPTY,
            Self::Unsigned => "UNSIGNED-PAYLOAD",
            Self::UnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            Self::Chunks { trailer: false } => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Self::Chunks { trailer: true } => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        }
    }
}
