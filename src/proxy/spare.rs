//! A second copy of a request that may be repeated: [`Spare`].

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::upstream::content::{Content, SpareContent};

/// Whether doing it twice is doing it once (RFC 9110 section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

/// A request without its credential, put away in case that it has to be sent again.
///
/// Nearly every spare is dropped unused, so making one has to be cheap, and restoring it need not
/// be: the fields are copied as text into one piece of memory, which costs less than half of what
/// cloning a `HeaderMap` and dropping the clone does.
pub(super) struct Spare {
    method: Method,
    uri: Uri,
    /// For each field: length of name and value, four bytes each, then both.
    fields: Vec<u8>,
    extensions: Extensions,
    content: SpareContent,
}

/// Enough for the fields of nearly every request, so that the memory is taken once.
const USUAL: usize = 1024;

impl Spare {
    /// Copies a request whose content can perhaps be sent a second time.
    pub(super) fn of(request: &Request<Content>) -> Option<Self> {
        let content = request.body().spare()?;
        let mut fields = Vec::with_capacity(USUAL);
        for (name, value) in request.headers() {
            // The credential is written anew, and is nowhere but where it has to be.
            if value.is_sensitive() {
                continue;
            }
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            // hyper's limits on a head are far below 4 GiB.
            fields.extend_from_slice(&(name.len() as u32).to_ne_bytes());
            fields.extend_from_slice(&(value.len() as u32).to_ne_bytes());
            fields.extend_from_slice(name);
            fields.extend_from_slice(value);
        }
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields,
            extensions: request.extensions().clone(),
            content,
        })
    }

    /// The request as it was; none if its content turned out to be too long to be kept.
    pub(super) fn restore(self) -> Option<Request<Content>> {
        let mut request = Request::new(self.content.restore()?);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = restore(&self.fields);
        *request.extensions_mut() = self.extensions;
        Some(request)
    }
}

fn restore(mut fields: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    while let Some((name, value, rest)) = split(fields) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
        fields = rest;
    }
    headers
}

/// The first field, and what follows it.
fn split(fields: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, fields) = fields.split_first_chunk()?;
    let (value, fields) = fields.split_first_chunk()?;
    let (name, value) = (
        u32::from_ne_bytes(*name) as usize,
        u32::from_ne_bytes(*value) as usize,
    );
    let (name, fields) = fields.split_at_checked(name)?;
    let (value, rest) = fields.split_at_checked(value)?;
    Some((name, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_is_the_request_as_it_was() {
        let request = Request::builder()
            .method("PUT")
            .uri("/a?b")
            .header("x-a", "1")
            .header("x-a", "2")
            .header("accept", "\u{e4}")
            .header("x-empty", "");
        let request = request.body(Content::Empty).unwrap();
        let restored = Spare::of(&request).unwrap().restore().unwrap();
        assert_eq!(
            (restored.method(), restored.uri()),
            (request.method(), request.uri())
        );
        assert_eq!(restored.headers(), request.headers());
    }

    #[test]
    fn posting_twice_is_not_posting_once() {
        assert!(is_idempotent(&Method::PUT));
        assert!(!is_idempotent(&Method::POST) && !is_idempotent(&Method::PATCH));
    }
}
