//! What AWS says when it refuses: [`Refusal`], and how much of it may be shown.

use std::error::Error;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use super::keys::Keys;
use crate::auth::fetch::{FetchFault, capped};

/// The longest text of AWS's that is shown, in characters.
const MAX_SHOWN: usize = 300;

/// What AWS said when it refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

impl<'a> Refusal<'a> {
    /// The one that stands behind an error of an SDK, if AWS refused.
    pub(super) fn of(error: &'a (dyn Error + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| {
            let meta = cause
                .downcast_ref::<AssumeRoleError>()
                .map(ProvideErrorMetadata::meta)
                .or_else(|| {
                    let other = cause.downcast_ref::<AssumeRoleWithWebIdentityError>();
                    other.map(ProvideErrorMetadata::meta)
                })?;
            Some(Self {
                code: meta.code().filter(|code| is_code(code))?,
                message: meta.message().unwrap_or_default(),
            })
        })
    }

    /// The one that an answer of STS holds. What only speaks like STS may wrap it in other elements
    /// than the SDK looks into.
    pub(super) fn of_sts(error: &'a SdkError<AssumeRoleError>) -> Option<Self> {
        Self::of(error).or_else(|| {
            let body = error.raw_response()?.body().bytes()?;
            let text = std::str::from_utf8(body).ok()?;
            Some(Self {
                code: element(text, "Code").filter(|code| is_code(code))?,
                message: element(text, "Message").unwrap_or_default(),
            })
        })
    }

    /// Whether the clock may be why.
    pub(super) fn may_be_clock(self) -> bool {
        self.is_clock() || self.is_signature()
    }

    /// Whether it is.
    pub(super) fn is_clock(self) -> bool {
        matches!(self.code, "RequestTimeTooSkewed" | "RequestExpired")
            || ["Signature expired", "Signature not yet current"]
                .iter()
                .any(|text| self.message.contains(text))
    }

    /// Whether the signature is wrong.
    pub(super) fn is_signature(self) -> bool {
        matches!(
            self.code,
            "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature"
        )
    }

    /// Who asked, as STS names it: `User: arn:… is not authorized to perform: …`.
    pub(super) fn asker(self) -> Option<&'a str> {
        let rest = self.message.split_once("User: ")?.1;
        let arn = rest.split_whitespace().next()?;
        arn.starts_with("arn:").then_some(arn)
    }

    /// Whether asking later may help.
    pub(super) fn is_passing(self) -> bool {
        let code = self.code;
        code.contains("Throttl")
            || code.starts_with("Internal")
            || code.starts_with("ServiceUnavailable")
            || matches!(
                code,
                "RequestLimitExceeded" | "TooManyRequestsException" | "IDPCommunicationError"
            )
    }
}

/// An error and its causes.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An exchange that brought no answer, if that is what stands behind an error of an SDK.
pub(super) fn fetch_fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a FetchFault> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// A text of AWS's as it may be shown: in one line, cut, without these keys.
pub(super) fn shown(text: &str, keys: Option<&Keys>) -> String {
    let mut text = text.to_owned();
    if let Some(keys) = keys {
        let secrets = [
            Some(&keys.id),
            Some(&keys.secret),
            keys.session_token.as_ref(),
        ];
        for secret in secrets.into_iter().flatten() {
            if !secret.expose().is_empty() {
                text = text.replace(secret.expose(), "…");
            }
        }
    }
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    capped(line.trim().trim_end_matches('.'), MAX_SHOWN)
}

/// Whether a text is an error's code, and may be shown as one.
fn is_code(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

/// What stands in the first element of a name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::secret;

    #[test]
    fn texts_are_shown_in_one_line_cut_and_without_keys() {
        let keys = Keys {
            id: secret("AKIDCANARY"),
            secret: secret("canary-secret"),
            session_token: Some(secret("canary-token")),
        };
        assert_eq!(shown(" a\nb canary-token c. ", Some(&keys)), "a b … c");
        assert_eq!(
            shown(&"x".repeat(1000), None).chars().count(),
            MAX_SHOWN + 1
        );
    }
}
