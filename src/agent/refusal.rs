//! Why an agent opened no connection: [`Refusal`], written by it and read by the proxy.

use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::problem::PROXY_STATUS;

/// The most that is told of it, in bytes.
const LONGEST: usize = 512;

/// What is in the way, by the names of RFC 9209 section 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The list allows the name, but not the address that it has.
    AddressProhibited,
    /// Nobody listens there.
    ConnectionRefused,
    /// The list does not have it.
    NotListed,
    /// The name has no address there.
    NotResolved,
    /// It took too long.
    TimedOut,
    /// It cannot be reached for another reason.
    Unreachable,
}

/// Why an agent opened no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is in the way.
    pub reason: Reason,
    /// The same in words, with what to do.
    pub detail: String,
}

impl Reason {
    const ALL: [Self; 6] = [
        Self::AddressProhibited,
        Self::ConnectionRefused,
        Self::NotListed,
        Self::NotResolved,
        Self::TimedOut,
        Self::Unreachable,
    ];

    /// The proxy error type.
    pub fn error(self) -> &'static str {
        match self {
            Self::AddressProhibited => "destination_ip_prohibited",
            Self::ConnectionRefused => "connection_refused",
            Self::NotListed => "http_request_denied",
            Self::NotResolved => "dns_error",
            Self::TimedOut => "connection_timeout",
            Self::Unreachable => "destination_unavailable",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NotListed => StatusCode::FORBIDDEN,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::AddressProhibited
            | Self::ConnectionRefused
            | Self::NotResolved
            | Self::Unreachable => StatusCode::BAD_GATEWAY,
        }
    }
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// As it is answered to a CONNECT.
    pub fn to_response(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.reason.status();
        let field = format!(
            "keybearer-agent; error={}; details=\"{}\"",
            self.reason.error(),
            quoted(&self.detail)
        );
        if let Ok(value) = HeaderValue::try_from(field) {
            response.headers_mut().insert(PROXY_STATUS, value);
        }
        response
    }

    /// What an answer says that is no success.
    pub fn read(status: StatusCode, headers: &HeaderMap) -> Self {
        let field = headers
            .get(PROXY_STATUS)
            .and_then(|value| value.to_str().ok());
        let field = field.unwrap_or_default();
        let error = field
            .split_once("error=")
            .map(|(_, rest)| rest.split([';', ' ']).next().unwrap_or_default());
        let known = Reason::ALL
            .into_iter()
            .find(|reason| Some(reason.error()) == error);
        let detail = field.split_once("details=\"").map_or_else(
            || format!("it answered {status}"),
            |(_, rest)| unquoted(rest),
        );
        Self::new(known.unwrap_or(Reason::Unreachable), detail)
    }
}

/// The inside of an RFC 9651 String, which is ASCII.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars().take(LONGEST) {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted
}

/// What stood in quotes, up to their end.
fn unquoted(text: &str) -> String {
    let mut unquoted = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next().filter(|&c| c != '"') {
        let c = if c == '\\' { chars.next() } else { Some(c) };
        unquoted.extend(c);
        if unquoted.len() >= LONGEST {
            break;
        }
    }
    unquoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_arrives_as_it_was_told() {
        for reason in Reason::ALL {
            let refusal = Refusal::new(reason, r#"it has "quotes", \ and; error=dns_error"#);
            let response = refusal.to_response();
            let read = Refusal::read(response.status(), response.headers());
            assert_eq!(read, refusal);
        }
    }

    #[test]
    fn what_no_agent_of_ours_says_is_told_plainly() {
        let read = Refusal::read(StatusCode::NOT_FOUND, &HeaderMap::new());
        assert_eq!(read.reason, Reason::Unreachable);
        assert_eq!(read.detail, "it answered 404 Not Found");
        let long = Refusal::new(Reason::NotListed, "\n".repeat(9000)).to_response();
        let read = Refusal::read(long.status(), long.headers());
        assert_eq!(read.detail, "?".repeat(LONGEST));
    }
}
