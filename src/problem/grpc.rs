//! Answers of keybearer's own to callers that speak gRPC, which read a status in fields and no problem
//! details (gRPC over HTTP/2, "Responses" and "HTTP2 Transport Mapping").

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response};

use super::{Kind, PROXY_STATUS, Problem};

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Longer messages are cut, in bytes: clients refuse heads that are too large.
const LONGEST: usize = 2048;

/// Whether a media type is one of gRPC; `application/grpc-web` is another protocol.
pub fn is_media(media: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    media
        .split_at_checked(GRPC.len())
        .is_some_and(|(begin, rest)| {
            begin.eq_ignore_ascii_case(GRPC)
                && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
}

/// A status of gRPC (google.rpc.Code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Status {
    /// What a kind of problem is to a caller that speaks gRPC: above all, whether it may try again.
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::MalformedRequest
            | Kind::PathRefused
            | Kind::ContentMalformed
            | Kind::ExpectationFailed
            | Kind::UnsupportedContent => Self::InvalidArgument,
            Kind::Unauthorized | Kind::WebhookUnverified => Self::Unauthenticated,
            Kind::OriginRefused | Kind::NotAllowed | Kind::EditRefused => Self::PermissionDenied,
            Kind::NoRoute | Kind::MethodRefused | Kind::HostRefused => Self::Unimplemented,
            Kind::CallerTimeout
            | Kind::ConnectTimeout
            | Kind::WriteTimeout
            | Kind::ResponseTimeout => Self::DeadlineExceeded,
            Kind::NotLinkable | Kind::ConfigNotWritable | Kind::ConfigRejected => {
                Self::FailedPrecondition
            }
            Kind::ContentTooLarge | Kind::HeadTooLarge | Kind::TooManyAttempts => {
                Self::ResourceExhausted
            }
            Kind::AgentRefused
            | Kind::Internal
            | Kind::ProtocolError
            | Kind::ProxyAuthentication
            | Kind::ProxyRefused
            | Kind::ResponseHeadTooLarge
            | Kind::UpgradeFailed
            | Kind::SignatureRefused
            | Kind::WrongRegion => Self::Internal,
            Kind::AgentAbsent
            | Kind::NameNotResolved
            | Kind::ConnectionRefused
            | Kind::Unreachable
            | Kind::TlsCertificate
            | Kind::TlsProtocol
            | Kind::TlsAlert
            | Kind::ConnectionTerminated
            | Kind::StreamReset
            | Kind::ClockSkew
            | Kind::CredentialUnavailable
            | Kind::NotLinked
            | Kind::WebhookNotKept
            | Kind::WebhookQueueFull => Self::Unavailable,
        }
    }

    /// What a stream that was reset with a code of HTTP/2 is (gRPC over HTTP/2, "Errors").
    fn of_reset(code: u32) -> Self {
        match h2::Reason::from(code) {
            h2::Reason::REFUSED_STREAM => Self::Unavailable,
            h2::Reason::CANCEL => Self::Cancelled,
            h2::Reason::ENHANCE_YOUR_CALM => Self::ResourceExhausted,
            h2::Reason::INADEQUATE_SECURITY => Self::PermissionDenied,
            _ => Self::Internal,
        }
    }
}

impl Problem {
    /// The whole answer for a caller that speaks gRPC: a status and nothing else.
    pub fn to_grpc(&self) -> Response<Bytes> {
        let inside = &*self.0;
        let status = match (inside.kind, inside.reset) {
            (Kind::StreamReset, Some(code)) => Status::of_reset(code),
            (kind, _) => Status::of(kind),
        };
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(GRPC_STATUS, HeaderValue::from(status as u16));
        if let Ok(message) = HeaderValue::try_from(encoded(&self.message())) {
            headers.insert(GRPC_MESSAGE, message);
        }
        headers.insert(PROXY_STATUS, inside.kind.proxy_status());
        if let Some(wait) = inside.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }

    /// All that a person needs, as there is one text only.
    fn message(&self) -> String {
        let inside = &*self.0;
        let mut message = format!("keybearer: {self}");
        if let Some(connection) = &inside.connection {
            // Writing into memory cannot fail.
            let _ = write!(message, " (connection {connection})");
        }
        if let Some(link) = &inside.link {
            let _ = write!(message, "; link: {link}");
        }
        message
    }
}

/// A message as its field has it: percent-encoded but for what can be printed.
fn encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes().take(LONGEST) {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_a_status_and_a_message() {
        for (kind, status) in [
            (Kind::CredentialUnavailable, "14"),
            (Kind::NotAllowed, "7"),
            (Kind::Unauthorized, "16"),
            (Kind::NoRoute, "12"),
            (Kind::ContentTooLarge, "8"),
            (Kind::ResponseTimeout, "4"),
        ] {
            let response = Problem::new(kind, "50 % of \u{e4}").to_grpc();
            assert_eq!(response.status(), 200, "{kind:?}");
            let headers = response.headers();
            assert_eq!(headers[GRPC_STATUS], status, "{kind:?}");
            assert_eq!(headers[CONTENT_TYPE], "application/grpc");
            assert_eq!(headers[PROXY_STATUS], kind.proxy_status());
            let message = headers[GRPC_MESSAGE].to_str().unwrap();
            assert!(message.ends_with("50 %25 of %C3%A4"), "{message}");
            assert!(response.body().is_empty());
        }
    }

    #[test]
    fn a_reset_keeps_its_meaning() {
        for (code, status) in [(8, "1"), (7, "14"), (11, "8"), (2, "13")] {
            let problem = Problem::new(Kind::StreamReset, "x").with_reset(code);
            assert_eq!(problem.to_grpc().headers()[GRPC_STATUS], status, "{code}");
        }
    }

    #[test]
    fn other_media_are_not_taken_for_grpc() {
        for (media, is_grpc) in [
            ("application/grpc", true),
            ("Application/GRPC+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_media(media.as_bytes()), is_grpc, "{media}");
        }
    }
}
