//! Fields of a head by how far they go: those of one hop, those that go end to end, those that follow
//! content.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Hop-by-hop fields (RFC 9110 section 7.6.1, RFC 2616 section 13.5.1). What `Trailer` announces is
/// announced anew, where it is passed on.
pub(super) const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What may not stand behind content, as it frames or routes the message, says who sends it or how the
/// content is to be read (RFC 9110 section 6.5.1).
pub(super) const UNFIT_FOR_TRAILERS: [&str; 17] = [
    "age",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expires",
    "host",
    "location",
    "max-forwards",
    "range",
    "retry-after",
    "set-cookie",
    "trailer",
    "vary",
];

/// What of a request's fields is meant for whoever answers it in the end, in their order; without `Host`,
/// which is that of the next hop, and without a word about how the content is to be waited for.
pub fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    const OF_A_HOP: [&str; 3] = ["host", "expect", "proxy-authorization"];
    let nominated = nominated(headers);
    headers.iter().filter(move |(name, _)| {
        let of_a_hop = HOP_BY_HOP.iter().chain(&OF_A_HOP);
        !of_a_hop.into_iter().any(|hop| *name == *hop) && !nominated.contains(name)
    })
}

/// Sets a field whose name is not known at compile time, or not to the standard.
///
/// Never inlined: a request runs so much code that a second copy of this would have to be brought into
/// the processor's cache for it.
#[inline(never)]
pub fn set(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    headers.insert(name, value);
}

/// Removes the fields that `Connection` names (RFC 9110 section 7.6.1).
///
/// Never those that frame or route the message: nobody may take them away by naming them.
pub(super) fn remove_nominated(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        headers.remove(name);
    }
}

/// The fields that `Connection` names, but for those that frame or route the message.
pub(super) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    if !headers.get_all(CONNECTION).iter().any(names_a_field) {
        return Vec::new();
    }
    let tokens = headers.get_all(CONNECTION).iter().flat_map(tokens);
    let names = tokens.filter_map(|token| HeaderName::from_bytes(token).ok());
    names
        .filter(|name| {
            ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE, CONNECTION].contains(name)
        })
        .collect()
}

/// The names in `Trailer` (RFC 9110 section 6.6.2) that pass, as one field.
pub(super) fn announced(
    headers: &HeaderMap,
    passes: impl Fn(&HeaderName) -> bool,
) -> Option<HeaderValue> {
    let names = headers.get_all(TRAILER).iter().flat_map(tokens);
    let names = names.filter_map(|name| HeaderName::from_bytes(name).ok());
    let passed: Vec<_> = names.filter(passes).collect();
    let names: Vec<_> = passed.iter().map(HeaderName::as_str).collect();
    HeaderValue::try_from(names.join(", "))
        .ok()
        .filter(|value| !value.is_empty())
}

/// Whether a `Connection` value is more than the `close` and `keep-alive` of nearly every request.
fn names_a_field(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    !value.eq_ignore_ascii_case(b"close") && !value.eq_ignore_ascii_case(b"keep-alive")
}

/// The comma-separated tokens of a field value.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
}

/// Removes every field that `unwanted` says, looking at each name once.
pub(super) fn remove_where(headers: &mut HeaderMap, mut unwanted: impl FnMut(&[u8]) -> bool) {
    const BATCH: usize = 8;
    loop {
        let mut found: [Option<HeaderName>; BATCH] = [const { None }; BATCH];
        let mut count = 0;
        for name in headers.keys() {
            if unwanted(name.as_str().as_bytes()) {
                found[count] = Some(name.clone());
                count += 1;
                if count == BATCH {
                    break;
                }
            }
        }
        for name in found.iter().flatten() {
            headers.remove(name);
        }
        if count < BATCH {
            return;
        }
    }
}
