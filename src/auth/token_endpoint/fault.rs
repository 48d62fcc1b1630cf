//! Why there is no token: [`TokenFault`], which says what the cause means for whoever asked.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use zeroize::Zeroizing;

use super::form;
use crate::auth::fetch::{FetchFault, capped};
use crate::connection::auth::Parameter;
use crate::secret::Secret;

/// Why an endpoint gave nothing that can be used.
///
/// It is exactly one of [waiting for a person](Self::is_pending), [a dead
/// grant](Self::is_grant_dead), [misconfigured](Self::is_misconfigured) and
/// [transient](Self::is_transient).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// The server understood, and said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The network or the server failed; it may be asked again later.
    #[error("{detail}")]
    Unavailable {
        /// The endpoint, what failed, and what to do.
        detail: String,
        /// For how long the server wants no other request.
        retry_after: Option<Duration>,
    },
    /// The answer is none that an endpoint of its kind gives.
    #[error("{detail}")]
    Unusable {
        /// The endpoint, what is wrong, and what to do.
        detail: String,
        /// A refresh token that came with it all the same.
        refresh_token: Option<Secret>,
    },
}

/// An error answer (RFC 6749 section 5.2), free of what was sent and of what cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which endpoint refused.
    pub endpoint: String,
    /// The answer's status code; some providers refuse with 200.
    pub status: StatusCode,
    /// `error`.
    pub error: String,
    /// `error_description`.
    pub description: Option<String>,
    /// `error_uri`.
    pub uri: Option<String>,
}

/// What an error code means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The person, or the server's policy, said no.
    Denied,
    /// The grant is no longer good: expired, revoked, used.
    GrantDead,
    /// The request will be refused until somebody changes something.
    Misconfigured,
    /// The person has not decided yet (RFC 8628 section 3.5).
    Pending,
    /// The same, and it is asked for too often.
    SlowDown,
    /// The server has a moment of weakness.
    Transient,
}

// === impl TokenFault ===

impl TokenFault {
    pub(crate) fn unusable(detail: String) -> Self {
        Self::Unusable {
            detail,
            refresh_token: None,
        }
    }

    pub(crate) fn unavailable(detail: String) -> Self {
        Self::Unavailable {
            detail,
            retry_after: None,
        }
    }

    /// Whether code, refresh token, device code or assertion is no longer good: only a new consent
    /// helps, or a fresh read of a store that another process may have written.
    pub fn is_grant_dead(&self) -> bool {
        self.meaning() == Meaning::GrantDead
    }

    /// Whether every further request would end alike until somebody changes the configuration or
    /// the client's registration.
    pub fn is_misconfigured(&self) -> bool {
        matches!(self.meaning(), Meaning::Denied | Meaning::Misconfigured)
    }

    /// Whether a later request may succeed with nothing changed.
    pub fn is_transient(&self) -> bool {
        self.meaning() == Meaning::Transient
    }

    /// Whether a device's person has not decided yet; [`is_slow_down`](Self::is_slow_down) included.
    pub fn is_pending(&self) -> bool {
        matches!(self.meaning(), Meaning::Pending | Meaning::SlowDown)
    }

    /// Whether polling has to become slower by 5 seconds (RFC 8628 section 3.5).
    pub fn is_slow_down(&self) -> bool {
        self.meaning() == Meaning::SlowDown
    }

    /// Whether it was `access_denied`: for a device the person's no, for other grants the policy's
    /// (and then also [misconfigured](Self::is_misconfigured)).
    pub fn is_denied(&self) -> bool {
        self.meaning() == Meaning::Denied
    }

    /// Whether the device code's time is over (and so its [grant dead](Self::is_grant_dead)).
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.error == "expired_token")
    }

    /// For how long the server wants no other request, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Refused(_) | Self::Unusable { .. } => None,
        }
    }

    fn meaning(&self) -> Meaning {
        match self {
            Self::Refused(refusal) => refusal.meaning(),
            Self::Unavailable { .. } => Meaning::Transient,
            Self::Unusable { .. } => Meaning::Misconfigured,
        }
    }
}

impl From<FetchFault> for TokenFault {
    fn from(fault: FetchFault) -> Self {
        match fault {
            FetchFault::Unreachable(detail) => Self::unavailable(detail),
            FetchFault::Unusable(detail) => Self::unusable(detail),
        }
    }
}

// === impl Refusal ===

impl Refusal {
    fn meaning(&self) -> Meaning {
        known(&self.error).unwrap_or(Meaning::Misconfigured)
    }

    /// Whether a code is one of those that are told apart.
    pub(super) fn knows(code: &str) -> bool {
        known(code).is_some()
    }

    /// Whether a code says that the grant is no longer good.
    pub(super) fn is_dead(code: &str) -> bool {
        known(code) == Some(Meaning::GrantDead)
    }

    /// What to do about it.
    fn advice(&self) -> Option<&'static str> {
        Some(match self.error.as_str() {
            "invalid_client" | "incorrect_client_credentials" | "bad_client_secret" => {
                "check `client_id`, the client's secret or key, and `client_auth`"
            }
            "invalid_request" => "check the keys of `auth` against what the provider asks for",
            "invalid_scope" => "check `scopes`",
            "invalid_target" => "check `resource` and `audience`",
            "unauthorized_client" => "allow this grant for the client at the provider",
            "unsupported_grant_type" => "the provider does not know this grant; check `type`",
            "access_denied" => "the provider's policy, or the person, said no",
            _ if self.meaning() == Meaning::GrantDead => {
                "the grant is no longer good; it expired, was used or was revoked"
            }
            _ => return None,
        })
    }
}

/// The standard's codes, and those that large providers use instead.
fn known(code: &str) -> Option<Meaning> {
    Some(match code {
        "access_denied" => Meaning::Denied,
        "authorization_pending" => Meaning::Pending,
        "slow_down" => Meaning::SlowDown,
        "bad_refresh_token"
        | "bad_verification_code"
        | "code_already_used"
        | "consent_required"
        | "expired_token"
        | "interaction_required"
        | "invalid_code"
        | "invalid_grant"
        | "invalid_refresh_token"
        | "login_required"
        | "token_expired"
        | "token_revoked" => Meaning::GrantDead,
        "fatal_error"
        | "internal_error"
        | "ratelimited"
        | "request_timeout"
        | "server_error"
        | "service_unavailable"
        | "temporarily_unavailable" => Meaning::Transient,
        "invalid_client"
        | "invalid_request"
        | "invalid_scope"
        | "invalid_target"
        | "unauthorized_client"
        | "unsupported_grant_type" => Meaning::Misconfigured,
        _ => return None,
    })
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: refused with `{}`", self.endpoint, self.error)?;
        if let Some(description) = &self.description {
            write!(f, " ({description})")?;
        }
        if let Some(uri) = &self.uri {
            write!(f, ", see {uri}")?;
        }
        self.advice().map_or(Ok(()), |text| write!(f, "; {text}"))
    }
}

/// Takes what was sent out of what is shown, should the server repeat it.
pub(in crate::auth) struct Redactor {
    words: Vec<Zeroizing<String>>,
}

/// What stands where a secret stood until all were looked for: nothing is found in it.
const MARK: &str = "\0";

/// So much of a secret tells which it is; half of one is never shown.
const MIN_CUT: usize = 8;

/// Shorter values of `params` are words and no secrets, and would be found everywhere.
const MIN_PARAM: usize = 5;

impl Redactor {
    pub(in crate::auth) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut redactor = Self { words: Vec::new() };
        for secret in secrets {
            redactor.add(Some(&secret));
        }
        redactor
    }

    /// A secret, as it is and in the encodings that it was sent in.
    pub(in crate::auth) fn add(&mut self, secret: Option<&Secret>) {
        let Some(text) = secret.map(Secret::expose).filter(|text| !text.is_empty()) else {
            return;
        };
        let encoded = Zeroizing::new(String::from_utf8_lossy(&form::encoded(text)).into_owned());
        let plus = Zeroizing::new(encoded.replace("%20", "+"));
        self.words.push(Zeroizing::new(text.to_owned()));
        self.words.push(encoded);
        self.words.push(plus);
        // The longest first, so that no part of one is left when another is a part of it.
        self.words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    }

    pub(in crate::auth) fn add_params(&mut self, params: &[Parameter]) {
        let secrets = params
            .iter()
            .filter(|param| param.value.expose().len() >= MIN_PARAM);
        for param in secrets {
            self.add(Some(&param.value));
        }
    }

    /// A server's text as it may be shown: redacted first, so that no cut hides a part of a secret.
    pub(in crate::auth) fn shown(&self, text: &str, length: usize) -> String {
        let mut shown = text.replace(MARK, " ");
        for word in &self.words {
            if shown.contains(word.as_str()) {
                shown = shown.replace(word.as_str(), MARK);
            }
            redact_cut(&mut shown, word);
        }
        let hidden = |c: char| (c.is_control() || is_invisible(c)) && !MARK.contains(c);
        let plain = shown.replace(hidden, " ").replace(MARK, "[redacted]");
        capped(plain.trim(), length)
    }
}

/// Takes out a long secret of which the server shows the beginning only.
fn redact_cut(shown: &mut String, word: &str) {
    let Some(start) = word.get(..MIN_CUT).filter(|_| word.len() >= 2 * MIN_CUT) else {
        return;
    };
    let mut from = 0;
    while let Some(at) = shown[from..].find(start).map(|at| from + at) {
        let same = shown[at..].chars().zip(word.chars());
        let length: usize = same
            .take_while(|(one, other)| one == other)
            .map(|(c, _)| c.len_utf8())
            .sum();
        shown.replace_range(at..at + length, MARK);
        from = at + MARK.len();
    }
}

/// Characters that change how the text around them is shown.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::secret;

    #[test]
    fn a_secret_is_taken_out_whole_encoded_and_cut_short() {
        let redactor = Redactor::new(["r", "a long secret/\u{e9}t\u{e9}", ""].map(secret));
        for (text, shown) in [
            ("x a long secret/\u{e9}t\u{e9} y", "x [redacted] y"),
            ("a%20long%20secret%2F%C3%A9t%C3%A9.", "[redacted]."),
            ("a+long+secret%2F%C3%A9t%C3%A9.", "[redacted]."),
            (
                "'a long sec...' a long secret/\u{e9}",
                "'[redacted]...' [redacted]",
            ),
            ("a long way", "a long way"),
            ("\u{202e}a\u{0}b\u{7f}c\n", "a b c"),
            ("four", "fou[redacted]"),
        ] {
            assert_eq!(redactor.shown(text, 100), shown);
        }
        let none = Redactor::new([]);
        assert_eq!(none.shown("\u{e9}t\u{e9}s", 3), "\u{e9}t\u{e9}\u{2026}");
    }
}
