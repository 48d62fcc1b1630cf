//! Content in S3's chunks, of which each has a signature.

/// What signs the chunks of one request's content, in their order.
pub trait SignChunk: Send {
    /// The signature of the next chunk, whose data has this SHA-256: 64 hexadecimal digits in lower
    /// case. The last chunk is empty.
    fn chunk(&mut self, sha256: &[u8; 32]) -> [u8; 64];

    /// The signature of the trailer, given as `name:value\n` for each of its fields.
    fn trailer(&mut self, canonical: &[u8]) -> [u8; 64];
}
