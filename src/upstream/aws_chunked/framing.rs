//! What a caller's head says of its content: [`Coding`] and [`Framing`].

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::trailer::Announced;
use super::{CODING, CONTENT_SHA256, DECODED_LENGTH, TRAILER};
use crate::problem::{Kind, Problem};

/// How a caller sends its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As a stream of signed events, which neither ends nor has a length.
    Events,
    /// In AWS's framing.
    Framed(Framing),
    /// As it is.
    Plain,
}

impl Coding {
    /// What a head says, from which nothing was taken out yet.
    ///
    /// `x-amz-content-sha256` decides. `Content-Encoding` does not: some clients frame their content
    /// and do not say so there, and S3 keeps `aws-chunked` like any other coding where the hash is
    /// that of the content. Only of a request that has no hash, as nobody signed it, are
    /// `Content-Encoding` and `x-amz-decoded-content-length` together believed.
    ///
    /// # Errors
    /// The fields are malformed, or name a framing that is not known.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(hash) = single(headers, &CONTENT_SHA256)? else {
            if headers.contains_key(DECODED_LENGTH) && is_coded(headers) {
                return Framing::of(headers, Trailed::Yes, false).map(Self::Framed);
            }
            return Ok(Self::Plain);
        };
        let hash = hash.as_bytes().to_ascii_uppercase();
        let framing = match hash.strip_prefix(b"STREAMING-") {
            None => return Ok(Self::Plain),
            Some(b"AWS4-HMAC-SHA256-PAYLOAD" | b"AWS4-ECDSA-P256-SHA256-PAYLOAD") => {
                Framing::of(headers, Trailed::No, true)
            }
            Some(
                b"AWS4-HMAC-SHA256-PAYLOAD-TRAILER" | b"AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
            ) => Framing::of(headers, Trailed::Yes, true),
            Some(b"UNSIGNED-PAYLOAD-TRAILER") => Framing::of(headers, Trailed::Yes, false),
            Some(other) if other.ends_with(b"-EVENTS") => return Ok(Self::Events),
            Some(_) => Err(malformed(
                "`x-amz-content-sha256` names a framing that keybearer does not know; configure the client to send its content signed or unsigned as a whole",
            )),
        };
        framing.map(Self::Framed)
    }
}

/// How content is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing {
    decoded: Option<u64>,
    signed: bool,
    trailers: Announced,
}

/// Whether trailers follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trailed {
    No,
    Yes,
}

impl Framing {
    fn of(headers: &HeaderMap, trailed: Trailed, signed: bool) -> Result<Self, Problem> {
        let decoded = single(headers, &DECODED_LENGTH)?;
        let decoded = decoded.map(|value| {
            length(value).ok_or_else(|| {
                malformed("`x-amz-decoded-content-length` is not a number of bytes in digits")
            })
        });
        let trailers = match trailed {
            Trailed::No => Announced::default(),
            Trailed::Yes => Announced::parse(headers)?,
        };
        Ok(Self {
            decoded: decoded.transpose()?,
            signed,
            trailers,
        })
    }

    /// How long the content is without its framing, where the caller says so; S3 demands that.
    pub fn decoded_length(&self) -> Option<u64> {
        self.decoded
    }

    /// Whether each chunk is signed.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// What follows the content.
    pub fn trailers(&self) -> &Announced {
        &self.trailers
    }

    /// Takes all that is about the framing out of a head: what is left is that of the content, and
    /// says nothing of its length.
    pub fn take_fields(headers: &mut HeaderMap) {
        for name in [CONTENT_SHA256, DECODED_LENGTH, TRAILER, CONTENT_LENGTH] {
            headers.remove(name);
        }
        if !is_coded(headers) {
            return;
        }
        let codings: Vec<_> = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(tokens)
            .collect();
        let rest: Vec<_> = codings
            .into_iter()
            .filter(|token| !is_chunked(token))
            .collect();
        // What was cut from values at commas is a value.
        match HeaderValue::from_bytes(&rest.join(&b","[..])) {
            Ok(value) if !rest.is_empty() => headers.insert(CONTENT_ENCODING, value),
            _ => headers.remove(CONTENT_ENCODING),
        };
    }
}

/// Adds the framing to a head's codings, as the last one that was applied.
pub(super) fn add_coding(headers: &mut HeaderMap) {
    if is_coded(headers) {
        return;
    }
    // A second field continues the list (RFC 9110 section 5.3), but signatures and S3 are known to
    // read one.
    let codings: Vec<_> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(tokens)
        .collect();
    let all = [codings, vec![CODING.as_bytes()]].concat().join(&b","[..]);
    if let Ok(value) = HeaderValue::from_bytes(&all) {
        headers.insert(CONTENT_ENCODING, value);
    }
}

fn is_coded(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    values.any(|value| tokens(value).any(is_chunked))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let listed = value.as_bytes().split(|&b| b == b',');
    listed
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn is_chunked(token: &[u8]) -> bool {
    token.eq_ignore_ascii_case(CODING.as_bytes())
}

/// A field's value; two fields of one name could be read in two ways.
fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(malformed(&format!("there is more than one `{name}`")));
    }
    Ok(first)
}

/// Digits and nothing else: no sign, no space.
fn length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn malformed(text: &str) -> Problem {
    Problem::new(Kind::MalformedRequest, text)
}

#[cfg(test)]
mod tests;
