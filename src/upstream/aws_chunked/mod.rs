//! AWS's framing of content (`aws-chunked`): what callers sent in it is taken apart, checked and put
//! together again, in constant memory.
//!
//! ```text
//! 10000;chunk-signature=…⏎ data ⏎      signed, or without the extension
//! 0;chunk-signature=…⏎                 the last chunk is empty
//! x-amz-checksum-crc32:…⏎              trailers, as announced in `x-amz-trailer`
//! x-amz-trailer-signature:…⏎
//! ⏎
//! ```
//!
//! Callers sign with keys that mean nothing: their signatures are neither checked nor sent on. What
//! is checked is all the rest, as an object that was stored in part, or with bytes that somebody
//! changed, looks like any other.

pub mod checksum;
pub mod decode;
pub mod encode;
pub mod framed;
pub mod framing;
pub mod trailer;
pub mod unframed;

use http::HeaderName;

/// What the signature says of the content: its hash, or how it is framed.
pub const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// How long the content is without its framing.
pub const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");

/// The names of the trailers.
pub const TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");

/// The content coding that stands for the framing.
const CODING: &str = "aws-chunked";

/// The extension of a chunk that carries its signature.
const CHUNK_SIGNATURE: &str = ";chunk-signature=";

/// The trailer that carries the signature of those before it.
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// How long a signature is: HMAC-SHA256 in hexadecimal.
const SIGNATURE: usize = 64;

/// Signs content piece by piece while it is sent: each signature covers the one before it, and the
/// first that of the head.
pub trait SignChunk: Send {
    /// The signature of the next chunk, whose data has this hash, in lower-case hexadecimal. The
    /// last chunk is empty.
    fn chunk(&mut self, sha256: &[u8; 32]) -> [u8; SIGNATURE];

    /// The signature of the trailers, in lower-case hexadecimal; asked for once, after the last
    /// chunk. `canonical` is `name:value\n` for each, in the order in which they are sent.
    fn trailer(&mut self, canonical: &[u8]) -> [u8; SIGNATURE];
}

#[cfg(test)]
mod tests;
