//! Content put into AWS's framing: [`Layout`] says how, before it is there; [`Encoder`] does it.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};
use ring::digest::{SHA256, digest};

use super::trailer::{Announced, Trailers, signature_line};
use super::{
    CHUNK_SIGNATURE, CONTENT_SHA256, DECODED_LENGTH, SIGNATURE, SignChunk, TRAILER,
    TRAILER_SIGNATURE, framing,
};

/// How much data a chunk has, but for the last: S3 asks for 8 KiB at the least.
const CHUNK: u64 = 64 << 10;

/// Whether chunks are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Each is, and so are the trailers.
    Signed,
    /// They are not, which S3 takes over TLS and with a trailer.
    Unsigned,
}

/// How content is going to be framed: everything that its head has to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    coverage: Coverage,
    decoded: u64,
    trailers: Announced,
}

impl Layout {
    /// Content of `decoded` bytes, which `trailers` follow.
    pub fn new(coverage: Coverage, decoded: u64, trailers: Announced) -> Self {
        Self {
            coverage,
            decoded,
            trailers,
        }
    }

    /// Whether checksums follow the content.
    pub fn has_trailers(&self) -> bool {
        !self.trailers.is_empty()
    }

    /// What stands in place of the content's hash.
    pub fn payload(&self) -> &'static str {
        match (self.coverage, self.trailers.is_empty()) {
            (Coverage::Signed, true) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            (Coverage::Signed, false) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            (Coverage::Unsigned, _) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }

    /// How long it will be with its framing; none where that depends on the value of a trailer, or
    /// is more than can be.
    pub fn encoded_length(&self) -> Option<u64> {
        let whole = (self.decoded / CHUNK).checked_mul(self.chunk_length(CHUNK))?;
        let last = match self.decoded % CHUNK {
            0 => 0,
            rest => self.chunk_length(rest),
        };
        let trailers = self.trailers.encoded_length()?;
        let signature = match self.coverage {
            Coverage::Signed if !self.trailers.is_empty() => {
                (TRAILER_SIGNATURE.len() + SIGNATURE + ":\r\n".len()) as u64
            }
            _ => 0,
        };
        let end = self.head_length(0) as u64 + trailers + signature + "\r\n".len() as u64;
        whole.checked_add(last)?.checked_add(end)
    }

    /// Writes into a head what it has to say: `x-amz-content-sha256`, the length with and without
    /// framing, the coding, and the trailers' names.
    pub fn write_fields(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_SHA256, HeaderValue::from_static(self.payload()));
        headers.insert(DECODED_LENGTH, HeaderValue::from(self.decoded));
        match self.encoded_length() {
            Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
            None => headers.remove(CONTENT_LENGTH),
        };
        match self.trailers.field() {
            Some(names) => headers.insert(TRAILER, names),
            None => headers.remove(TRAILER),
        };
        framing::add_coding(headers);
    }

    /// How long a chunk with this much data is.
    fn chunk_length(&self, size: u64) -> u64 {
        self.head_length(size) as u64 + size + "\r\n".len() as u64
    }

    /// How long a chunk's first line is.
    fn head_length(&self, size: u64) -> usize {
        let digits = size.checked_ilog2().unwrap_or(0) as usize / 4 + 1;
        let signature = match self.coverage {
            Coverage::Signed => CHUNK_SIGNATURE.len() + SIGNATURE,
            Coverage::Unsigned => 0,
        };
        digits + signature + "\r\n".len()
    }
}

/// Content as it is framed: what arrives smaller than a chunk is gathered, one chunk at a time.
pub struct Encoder {
    layout: Layout,
    /// There where the layout is a signed one.
    signer: Option<Box<dyn SignChunk>>,
    /// How much data is still to be taken.
    left: u64,
    /// The chunk that is gathered: place for its first line, and data.
    chunk: BytesMut,
    /// How long that line will be.
    head: usize,
    /// How much data it lacks.
    lacking: usize,
}

/// Content is not what its layout says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is shorter or longer than this many bytes.
    #[error("it does not have the {0} bytes that were announced")]
    Length(u64),
    /// What follows it is not what was announced.
    #[error("its trailers are not those that were announced")]
    Trailers,
}

impl Encoder {
    /// An encoder for one content; `signer` is asked for where chunks are signed.
    pub fn new(layout: Layout, signer: impl FnOnce() -> Box<dyn SignChunk>) -> Self {
        let signer = (layout.coverage == Coverage::Signed).then(signer);
        Self::with(layout, signer)
    }

    /// An encoder for one content of which nothing is signed, whatever the layout says.
    pub fn unsigned(layout: Layout) -> Self {
        let coverage = Coverage::Unsigned;
        Self::with(Layout { coverage, ..layout }, None)
    }

    fn with(layout: Layout, signer: Option<Box<dyn SignChunk>>) -> Self {
        Self {
            signer,
            left: layout.decoded,
            layout,
            chunk: BytesMut::new(),
            head: 0,
            lacking: 0,
        }
    }

    /// How it frames.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The next chunk, once `input`, from which it is taken, fills it; none once all of `input` was
    /// taken.
    ///
    /// # Errors
    /// There is more than was announced.
    pub fn encode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Mismatch> {
        if input.is_empty() {
            return Ok(None);
        }
        if self.lacking == 0 {
            self.begin()?;
        }
        let data = input.split_to(self.lacking.min(input.len()));
        self.chunk.extend_from_slice(&data);
        self.lacking -= data.len();
        self.left -= data.len() as u64;
        Ok((self.lacking == 0).then(|| self.end()))
    }

    /// The last chunk and what follows it, when no more content comes.
    ///
    /// # Errors
    /// There was less than announced, or other trailers.
    pub fn finish(&mut self, trailers: &Trailers) -> Result<Bytes, Mismatch> {
        if self.left > 0 {
            return Err(Mismatch::Length(self.layout.decoded));
        }
        if !trailers.match_names(&self.layout.trailers) {
            return Err(Mismatch::Trailers);
        }
        let mut last = self.first_line(&[]);
        last.extend_from_slice(&trailers.encoded());
        if let Some(signer) = self.signer.as_mut().filter(|_| !trailers.is_empty()) {
            last.extend_from_slice(&signature_line(&signer.trailer(&trailers.canonical())));
        }
        last.extend_from_slice(b"\r\n");
        Ok(last.into())
    }

    /// Makes place for the next chunk.
    fn begin(&mut self) -> Result<(), Mismatch> {
        let size = self.left.min(CHUNK);
        if size == 0 {
            return Err(Mismatch::Length(self.layout.decoded));
        }
        self.lacking = size as usize;
        self.chunk.reserve(self.layout.chunk_length(size) as usize);
        // Its first line has the signature of what follows.
        self.head = self.layout.head_length(size);
        self.chunk.resize(self.head, 0);
        Ok(())
    }

    /// The chunk that was gathered.
    fn end(&mut self) -> Bytes {
        self.chunk.extend_from_slice(b"\r\n");
        let mut chunk = self.chunk.split();
        let line = self.first_line(&chunk[self.head..chunk.len() - "\r\n".len()]);
        chunk[..self.head].copy_from_slice(&line);
        chunk.freeze()
    }

    /// A chunk's first line, as long as `head_length` says.
    fn first_line(&mut self, data: &[u8]) -> Vec<u8> {
        let mut line = format!("{:x}", data.len()).into_bytes();
        if let Some(signer) = &mut self.signer {
            let mut hash = [0; 32];
            hash.copy_from_slice(digest(&SHA256, data).as_ref());
            line.extend_from_slice(CHUNK_SIGNATURE.as_bytes());
            line.extend_from_slice(&signer.chunk(&hash));
        }
        line.extend_from_slice(b"\r\n");
        line
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A signer has keys.
        f.debug_struct("Encoder")
            .field("layout", &self.layout)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(in crate::upstream::aws_chunked) mod tests;
