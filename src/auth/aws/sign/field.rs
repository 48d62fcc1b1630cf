//! Which fields a signature covers.

use http::HeaderName;

/// Whether a field is signed: each is, but for those that may be another, or not there, when the
/// server checks the signature.
///
/// A signature that breaks on its way is a refused request, and the way is protected by TLS; the
/// services demand no more than `Host` and `X-Amz-*`. All of `X-Amz-*` is signed, as it is an order
/// to the service.
pub(super) fn is_signed(name: &HeaderName) -> bool {
    let name = name.as_str();
    if name.starts_with("x-amz-") {
        return true;
    }
    let changes = match name {
        // Where the signature itself stands.
        "authorization" => true,
        // For the next hop, which takes them out (RFC 9110 sections 7.6.1 and 10.1.1).
        "connection" | "expect" | "keep-alive" | "te" | "trailer" | "transfer-encoding"
        | "upgrade" => true,
        // Proxies add to them, count them down or write them anew (RFC 9110 section 7.6, RFC 7239,
        // RFC 9218 section 10, W3C Trace Context, AWS X-Ray).
        "forwarded" | "max-forwards" | "priority" | "traceparent" | "tracestate" | "user-agent"
        | "via" | "x-amzn-trace-id" | "x-real-ip" => true,
        // Caches and content networks replace them by what they can serve.
        "accept-encoding" | "cache-control" | "pragma" => true,
        // HTTP/2 may split it, and it is put together again in more than one way (RFC 9113 section
        // 8.2.3).
        "cookie" => true,
        _ => false,
    };
    // `Proxy-*` is for the next proxy; `Sec-*` tells of the browser, and is partly written by whoever
    // opens a WebSocket; `X-Forwarded-*` is added to by proxies.
    !changes
        && !["proxy-", "sec-", "x-forwarded-"]
            .iter()
            .any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_must_see_as_it_was_is_signed() {
        for name in [
            "host",
            "content-type",
            "content-md5",
            "content-length",
            "content-encoding",
            "range",
            "date",
            "if-match",
            "if-modified-since",
            "accept",
            "x-amz-date",
            "x-amz-acl",
            "x-amz-meta-user-agent",
            "x-amz-trailer",
            "x-amz-user-agent",
            "x-amz-decoded-content-length",
            "x-request-id",
            "origin",
            "x-forwarded",
        ] {
            assert!(is_signed(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn what_may_change_on_the_way_is_not() {
        for name in [
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "expect",
            "user-agent",
            "x-amzn-trace-id",
            "via",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-proto",
            "accept-encoding",
            "authorization",
            "proxy-authorization",
            "proxy-connection",
            "sec-websocket-key",
            "sec-fetch-site",
            "cookie",
            "traceparent",
            "cache-control",
        ] {
            assert!(!is_signed(&HeaderName::from_static(name)), "{name}");
        }
    }
}
