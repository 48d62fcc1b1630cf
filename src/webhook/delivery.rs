//! A request as it is kept and delivered: [`Head`], and the content behind it.

use std::fmt;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::request::strip::end_to_end;

/// What is delivered beside the content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The method.
    pub method: String,
    /// What followed the endpoint's ID: empty, or starting with `/`.
    pub rest: String,
    /// The query; none if there was no `?`.
    pub query: Option<String>,
    /// The end-to-end fields in their order, each byte of a value as one character (ISO 8859-1).
    pub fields: Vec<(String, String)>,
}

/// Not what the fields and the query say.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// How long the head is, in bytes.
const LENGTH: usize = 4;

impl Head {
    /// What of a request is delivered.
    pub fn new(method: &Method, rest: &str, query: Option<&str>, headers: &HeaderMap) -> Self {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            let value = value.as_bytes().iter().map(|&byte| char::from(byte));
            (name.as_str().to_owned(), value.collect())
        };
        Self {
            method: method.as_str().to_owned(),
            rest: rest.to_owned(),
            query: query.map(str::to_owned),
            fields: end_to_end(headers).map(field).collect(),
        }
    }

    /// The fields, to be sent; without the length, as content is framed anew.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.fields.len() + 2);
        let fields = self.fields.iter();
        for (name, value) in fields.filter(|(name, _)| *name != CONTENT_LENGTH.as_str()) {
            // Each character was one byte.
            let value: Vec<u8> = value.chars().filter_map(|c| u8::try_from(c).ok()).collect();
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
                headers.append(name, value);
            }
        }
        headers
    }

    /// The head in bytes, with room for so much content behind it.
    pub(super) fn packed(&self, content: usize) -> Zeroizing<Vec<u8>> {
        // Texts in memory: nothing that cannot be written.
        let head = Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        let mut packed = Zeroizing::new(Vec::with_capacity(LENGTH + head.len() + content));
        // Heads are shorter by far: what is received has 64 KiB at the most.
        let length = u32::try_from(head.len()).unwrap_or_default();
        packed.extend_from_slice(&length.to_be_bytes());
        packed.extend_from_slice(&head);
        packed
    }

    /// The head, and where the content begins; none if it is none.
    pub(super) fn unpacked(packed: &[u8]) -> Option<(Self, usize)> {
        let (length, rest) = packed.split_first_chunk::<LENGTH>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let head = serde_json::from_slice(rest.get(..length)?).ok()?;
        Some((head, LENGTH + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_arrived_end_to_end() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", &b"application/json"[..]),
            ("x-twice", b"1"),
            ("x-twice", b"2"),
            ("x-latin", b"\xfc\xff caf\xe9"),
            ("connection", b"close, x-mine"),
            ("x-mine", b"hop"),
            ("transfer-encoding", b"chunked"),
        ] {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        let head = Head::new(&Method::PUT, "/a%2Fb", Some("x=1&y"), &headers);
        let names: Vec<_> = head.fields.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["content-type", "x-twice", "x-twice", "x-latin"]);
        let mut packed = head.packed(7);
        packed.extend_from_slice(b"content");
        let (found, at) = Head::unpacked(&packed).unwrap();
        assert_eq!((&found, &packed[at..]), (&head, &b"content"[..]));
        let sent = found.headers();
        assert_eq!(sent.len(), 4);
        assert_eq!(sent["x-latin"].as_bytes(), b"\xfc\xff caf\xe9");
        assert_eq!(sent.get_all("x-twice").iter().count(), 2);
        assert_eq!(Head::unpacked(b"\0\0\0\x09{}"), None);
    }
}
