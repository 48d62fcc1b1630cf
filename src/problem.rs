//! Every answer of keybearer's own: [`Problem`], as RFC 9457 problem details with an RFC 9209
//! `Proxy-Status` field, so that a caller can tell it from the upstream's answer.

pub mod grpc;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

/// An answer of keybearer's own.
#[derive(Debug, Clone)]
pub struct Problem(Box<Inside>);

#[derive(Debug, Clone)]
struct Inside {
    kind: Kind,
    detail: String,
    connection: Option<Arc<str>>,
    close: bool,
    errors: Option<serde_json::Value>,
    credential_state: Option<&'static str>,
    link: Option<String>,
    retry_after: Option<Duration>,
    reset: Option<u32>,
}

impl Problem {
    /// A problem of a kind, told in a sentence that says what to do.
    // Cold: the compiler keeps what leads here out of the way of requests that go well.
    #[cold]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Inside {
            kind,
            detail: detail.into(),
            connection: None,
            close: false,
            errors: None,
            credential_state: None,
            link: None,
            retry_after: None,
            reset: None,
        }))
    }

    /// Adds a sentence to what is told.
    #[must_use]
    pub fn telling(mut self, more: &str) -> Self {
        self.0.detail.push_str(more);
        self
    }

    /// Names the connection it happened on.
    #[must_use]
    pub fn on(mut self, connection: &Arc<str>) -> Self {
        self.0.connection = Some(Arc::clone(connection));
        self
    }

    /// Closes the caller's connection after the answer: what follows on it cannot be trusted.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    /// Lists what was wrong one by one, as the extension member `errors`.
    #[must_use]
    pub fn with_errors(mut self, errors: serde_json::Value) -> Self {
        self.0.errors = Some(errors);
        self
    }

    /// Tells where the connection's credential stands, and where a person can consent.
    #[must_use]
    pub fn with_credential(mut self, state: &'static str, link: Option<String>) -> Self {
        self.0.credential_state = Some(state);
        self.0.link = link;
        self
    }

    /// Says when to ask again (RFC 9110 section 10.2.3), in whole seconds and at least one.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    /// Keeps the code of HTTP/2 with which the upstream reset the stream (RFC 9113 section 7).
    #[must_use]
    pub fn with_reset(mut self, code: u32) -> Self {
        self.0.reset = Some(code);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The sentence for the person who must act.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The status code it is answered with.
    pub fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    /// The whole answer.
    pub fn to_response(&self) -> Response<Bytes> {
        let Inside {
            kind,
            detail,
            connection,
            close,
            errors,
            credential_state,
            link,
            retry_after,
            reset: _,
        } = &*self.0;
        let body = Body {
            r#type: kind.uri(),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail,
            connection: connection.as_deref(),
            errors: errors.as_ref(),
            credential_state: *credential_state,
            link: link.as_deref(),
        };
        // Serializing strings and a number into memory cannot fail.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = kind.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PROXY_STATUS, kind.proxy_status());
        if *kind == Kind::MethodRefused {
            headers.insert(
                ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            );
        }
        if let Some(wait) = retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if *close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.title(), self.0.detail)
    }
}

impl std::error::Error for Problem {}

/// RFC 9457 section 3.1, and our extension members.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
}

/// `Proxy-Status` (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:literal, $slug:literal, $error:literal, $title:literal;)*) => {
        /// What can go wrong, one variant per fact that somebody can act on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them, in the order of their status codes.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The status code.
            pub fn status(self) -> StatusCode {
                // Every number in the table below is a valid status code; a test walks it.
                let code: u16 = match self { $(Self::$kind => $status,)* };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The last part of the problem's type URI.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            /// The proxy error type (RFC 9209 section 2.3).
            pub fn error(self) -> &'static str {
                match self { $(Self::$kind => $error,)* }
            }

            /// A short summary that is the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// The whole `Proxy-Status` field value.
            pub fn proxy_status(self) -> HeaderValue {
                match self {
                    $(Self::$kind => HeaderValue::from_static(concat!("keybearer; error=", $error)),)*
                }
            }
        }
    };
}

kinds! {
    /// The message is malformed, ambiguous, or could be read in two ways.
    MalformedRequest = 400, "malformed-request", "http_request_error", "Malformed request";
    /// The path tries to leave its base, or could be read so.
    PathRefused = 400, "path-refused", "http_request_error", "Path refused";
    /// The content is not what the credential has to be merged into, or not what its framing says.
    ContentMalformed = 400, "content-malformed", "http_request_error", "Malformed content";
    /// The console asks for its token.
    Unauthorized = 401, "unauthorized", "http_request_denied", "Unauthorized";
    /// A webhook does not prove that it comes from its sender.
    WebhookUnverified = 401, "webhook-unverified", "http_request_denied", "Webhook not verified";
    /// A browser made the request for another site.
    OriginRefused = 403, "origin-refused", "http_request_denied", "Origin refused";
    /// Method or path is not in the connection's `allow`.
    NotAllowed = 403, "not-allowed", "http_request_denied", "Not allowed";
    /// The console is not to change the configuration.
    EditRefused = 403, "edit-refused", "http_request_denied", "Edit refused";
    /// No prefix or host takes the request.
    NoRoute = 404, "no-route", "destination_not_found", "No such route";
    /// `CONNECT`, `TRACE` or `TRACK`.
    MethodRefused = 405, "method-refused", "http_request_denied", "Method refused";
    /// The caller stopped sending its content.
    CallerTimeout = 408, "caller-timeout", "http_request_error", "Request content timed out";
    /// The connection has nothing that a person could link.
    NotLinkable = 409, "not-linkable", "http_request_denied", "Not linkable";
    /// The configuration is where the console cannot write.
    ConfigNotWritable = 409, "config-not-writable", "proxy_configuration_error", "Configuration not writable";
    /// The content is longer than a limit.
    ContentTooLarge = 413, "content-too-large", "http_request_error", "Content too large";
    /// The content has a type or coding that a credential cannot be merged into.
    UnsupportedContent = 415, "unsupported-content", "http_request_error", "Unsupported content";
    /// An `Expect` other than `100-continue`.
    ExpectationFailed = 417, "expectation-failed", "http_request_error", "Expectation failed";
    /// `Host` is none of ours.
    HostRefused = 421, "host-refused", "http_request_denied", "Misdirected request";
    /// A reload found the configuration invalid.
    ConfigRejected = 422, "config-rejected", "proxy_configuration_error", "Configuration rejected";
    /// Too many wrong tokens came from the same address.
    TooManyAttempts = 429, "too-many-attempts", "http_request_denied", "Too many attempts";
    /// The head is larger than can be read.
    HeadTooLarge = 431, "head-too-large", "http_request_error", "Request head too large";
    /// A fault of keybearer itself.
    Internal = 500, "internal", "proxy_internal_error", "Internal error";
    /// The upstream's name cannot be resolved.
    NameNotResolved = 502, "name-not-resolved", "dns_error", "Upstream name not resolved";
    /// The upstream refused the TCP connection.
    ConnectionRefused = 502, "connection-refused", "connection_refused", "Upstream refused the connection";
    /// The upstream cannot be reached.
    Unreachable = 502, "unreachable", "destination_unavailable", "Upstream unreachable";
    /// The upstream's certificate is not trusted.
    TlsCertificate = 502, "tls-certificate", "tls_certificate_error", "Upstream certificate not trusted";
    /// The TLS handshake failed otherwise.
    TlsProtocol = 502, "tls-protocol", "tls_protocol_error", "Upstream TLS handshake failed";
    /// The upstream answered the TLS handshake with an alert.
    TlsAlert = 502, "tls-alert", "tls_alert_received", "Upstream refused the TLS handshake";
    /// The on-prem agent that leads to the upstream is not connected.
    AgentAbsent = 502, "agent-absent", "destination_unavailable", "Agent not connected";
    /// The on-prem agent does not open connections to the upstream.
    AgentRefused = 502, "agent-refused", "destination_ip_prohibited", "Agent refused the destination";
    /// The upstream closed the connection before it answered.
    ConnectionTerminated = 502, "connection-terminated", "connection_terminated", "Upstream closed the connection";
    /// The proxy on the way wants credentials, or others.
    ProxyAuthentication = 502, "proxy-authentication", "proxy_configuration_error", "Proxy wants credentials";
    /// The proxy on the way does not lead to the upstream, by its own rules.
    ProxyRefused = 502, "proxy-refused", "destination_unavailable", "Proxy refused to lead there";
    /// The upstream reset the stream that the request was on, before it answered.
    StreamReset = 502, "stream-reset", "http_response_incomplete", "Upstream reset the stream";
    /// The upstream's answer is not HTTP.
    ProtocolError = 502, "protocol-error", "http_protocol_error", "Upstream answer is not HTTP";
    /// The upstream's answer has a head larger than can be read.
    ResponseHeadTooLarge = 502, "response-head-too-large", "http_response_header_section_size", "Upstream answer's head too large";
    /// The upstream switched protocols without being asked, or to another one.
    UpgradeFailed = 502, "upgrade-failed", "http_upgrade_failed", "Upgrade failed";
    /// AWS computes another signature than was sent.
    SignatureRefused = 502, "signature-refused", "proxy_configuration_error", "Signature refused";
    /// What is asked for is in another AWS region than the one that is signed for.
    WrongRegion = 502, "wrong-region", "proxy_configuration_error", "Signed for the wrong region";
    /// AWS refused a signature for its time; the clock is corrected since.
    ClockSkew = 503, "clock-skew", "destination_unavailable", "Clock was wrong";
    /// There is no credential to send, and why is known.
    CredentialUnavailable = 503, "credential-unavailable", "destination_unavailable", "Credential unavailable";
    /// Nobody has consented yet, or the consent is no longer good.
    NotLinked = 503, "not-linked", "proxy_configuration_error", "Connection not linked";
    /// A webhook cannot be kept now.
    WebhookNotKept = 503, "webhook-not-kept", "proxy_internal_error", "Webhook not kept";
    /// As many webhooks wait as may.
    WebhookQueueFull = 503, "webhook-queue-full", "destination_unavailable", "Webhook queue full";
    /// The upstream took no connection in time.
    ConnectTimeout = 504, "connect-timeout", "connection_timeout", "Upstream connection timed out";
    /// The upstream took no content in time.
    WriteTimeout = 504, "write-timeout", "connection_write_timeout", "Upstream stopped reading";
    /// The upstream did not answer in time.
    ResponseTimeout = 504, "response-timeout", "http_response_timeout", "Upstream answer timed out";
}

impl Kind {
    /// The problem's type (RFC 9457 section 3.1.1): a name, not a location.
    pub fn uri(self) -> String {
        format!("urn:keybearer:problem:{}", self.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_answered_with_its_own_status_and_type() {
        let mut slugs = std::collections::HashSet::new();
        for kind in Kind::ALL {
            let response = Problem::new(*kind, "what to do").to_response();
            assert_eq!(response.status(), kind.status());
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            assert!(slugs.insert(kind.slug()), "{} twice", kind.slug());
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(body["type"], kind.uri());
            assert_eq!(body["status"], kind.status().as_u16());
            assert_eq!(body["detail"], "what to do");
        }
    }

    #[test]
    fn an_answer_names_its_connection_and_closes_when_asked() {
        let problem = Problem::new(Kind::MalformedRequest, "x")
            .on(&"jira".into())
            .closing();
        let response = problem.to_response();
        assert_eq!(response.headers()[CONNECTION], "close");
        assert_eq!(
            response.headers()[PROXY_STATUS],
            "keybearer; error=http_request_error"
        );
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["connection"], "jira");
    }
}
