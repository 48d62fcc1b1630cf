//! Signatures of content that is signed chunk by chunk, each over the one before: [`ChunkSigner`].

use std::fmt;

use ring::hmac;

use super::digest::{EMPTY, hex, hex_of};
use super::stamp::Stamp;
use crate::upstream::aws_chunked::SignChunk;

/// Signs the chunks of one request, whose head it has signed.
pub struct ChunkSigner {
    key: hmac::Key,
    /// Time and scope, as they stand in each text to sign.
    head: Box<[u8]>,
    /// What was signed before: the head or a chunk.
    previous: [u8; 64],
}

impl ChunkSigner {
    /// Follows the signature of a head.
    pub(super) fn new(key: hmac::Key, stamp: &Stamp, scope: &[u8], seed: [u8; 64]) -> Self {
        Self {
            key,
            head: [b"\n", stamp.as_bytes(), b"\n", scope, b"\n"]
                .concat()
                .into(),
            previous: seed,
        }
    }

    fn sign(&self, kind: &[u8], hashes: &[&[u8]]) -> [u8; 64] {
        let mut text = hmac::Context::with_key(&self.key);
        text.update(kind);
        text.update(&self.head);
        text.update(&self.previous);
        for hash in hashes {
            text.update(b"\n");
            text.update(hash);
        }
        hex(text.sign().as_ref())
    }
}

impl SignChunk for ChunkSigner {
    fn chunk(&mut self, sha256: &[u8; 32]) -> [u8; 64] {
        let hashes = [EMPTY.as_bytes(), &hex(sha256)];
        self.previous = self.sign(b"AWS4-HMAC-SHA256-PAYLOAD", &hashes);
        self.previous
    }

    fn trailer(&mut self, canonical: &[u8]) -> [u8; 64] {
        self.sign(b"AWS4-HMAC-SHA256-TRAILER", &[&hex_of(canonical)])
    }
}

impl fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkSigner").finish_non_exhaustive()
    }
}
