//! What AWS refuses, in words: [`Asked`], a session that was asked for, tells why it was not had.

use std::time::Duration;

use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;

use super::keys::Keys;
use super::offset::Offset;
use super::refusal::{Refusal, causes, fetch_fault, shown};
use crate::auth::fetch::FetchFault;
use crate::auth::state::{Fault, Lapse};
use crate::connection::aws::{ExternalId, Role, Source};

/// A session that was asked for.
pub(super) struct Asked<'a> {
    pub(super) role: &'a Role,
    /// Where the role's keys stand in `auth`: empty, or `source.` for the role of a source.
    pub(super) under: &'a str,
    /// As it was sent.
    pub(super) external_id: Option<&'a str>,
    /// Whose request it was.
    pub(super) keys: &'a Keys,
    /// How far STS's clock is ahead of this machine's, if the answer told.
    pub(super) ahead: Option<Offset>,
}

impl Asked<'_> {
    /// Why there is no session.
    pub(super) fn fault(&self, error: &SdkError<AssumeRoleError>) -> Fault {
        let raw = error.raw_response();
        let status = raw.map(|raw| raw.status().as_u16());
        let wait = raw.and_then(|raw| raw.headers().get("retry-after")?.parse().ok());
        let fault = match Refusal::of_sts(error) {
            Some(refusal) => self.refused(refusal, status),
            None => self.unanswered(error, status),
        };
        Fault {
            retry_after: wait.map(Duration::from_secs),
            ..fault
        }
    }

    fn unanswered(&self, error: &SdkError<AssumeRoleError>, status: Option<u16>) -> Fault {
        let role = &self.role.arn;
        let (lapse, text) = match (fetch_fault(error), status) {
            (Some(FetchFault::Unreachable(why)), _) => (Lapse::Passing, format!("STS {why}")),
            (Some(FetchFault::Unusable(why)), _) => {
                let text = format!("STS {why}; check `{}sts_endpoint`", self.under);
                (Lapse::Misconfigured, text)
            }
            (None, Some(status)) => {
                let lapse = if status >= 500 || status == 429 {
                    Lapse::Passing
                } else {
                    Lapse::Misconfigured
                };
                let text = format!(
                    "{} answered {status} and not as STS does; check `{}sts_endpoint`",
                    self.endpoint(),
                    self.under
                );
                (lapse, text)
            }
            (None, None) if matches!(error, SdkError::TimeoutError(_)) => {
                let text = format!("{} gave no answer in time", self.endpoint());
                (Lapse::Passing, text)
            }
            (None, None) => {
                let why = causes(error).last().map(ToString::to_string);
                let why = shown(&why.unwrap_or_default(), Some(self.keys));
                (
                    Lapse::Misconfigured,
                    format!("the request was not made: {why}"),
                )
            }
        };
        Fault::new(lapse, format!("no session of `{role}`: {text}"))
    }

    /// An answer without a session in it.
    pub(super) fn nothing(&self, what: &str) -> Fault {
        let detail = format!(
            "no session of `{}`: the answer of {} has {what}; check `{}sts_endpoint`",
            self.role.arn,
            self.endpoint(),
            self.under
        );
        Fault::new(Lapse::Passing, detail)
    }

    fn refused(&self, refusal: Refusal<'_>, status: Option<u16>) -> Fault {
        let Refusal { code, message } = refusal;
        let said = shown(message, Some(self.keys));
        let (lapse, text) = match code {
            _ if refusal.is_clock() => return self.clock(code),
            _ if message.contains("scoped to a valid region") => {
                (Lapse::Misconfigured, self.elsewhere())
            }
            _ if refusal.is_signature() => (Lapse::Misconfigured, self.wrong_secret()),
            "AccessDenied" | "AccessDeniedException" => {
                (Lapse::Misconfigured, self.denied(refusal))
            }
            "ExpiredToken" | "ExpiredTokenException" => self.expired(),
            "InvalidAccessKeyId" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
                self.unknown_keys()
            }
            "RegionDisabledException" => (Lapse::Misconfigured, self.disabled()),
            _ if message.contains("DurationSeconds") || message.contains("SessionDuration") => {
                (Lapse::Misconfigured, self.too_long(&said))
            }
            "ValidationError" | "ValidationException" => {
                let text = format!(
                    "{said}; check `{0}role_arn`, `{0}session_name` and `{0}external_id`",
                    self.under
                );
                (Lapse::Misconfigured, text)
            }
            _ if refusal.is_passing() || status.is_some_and(|status| status >= 500) => {
                (Lapse::Passing, format!("{said}; it is asked again"))
            }
            _ => (Lapse::Misconfigured, said),
        };
        let detail = format!(
            "STS gave no session of `{}` ({code}): {text}",
            self.role.arn
        );
        Fault::new(lapse, detail)
    }

    fn endpoint(&self) -> String {
        match &self.role.sts_endpoint {
            Some(url) => format!("STS `{}`", url.origin().ascii_serialization()),
            None => format!("STS in `{}`", self.role.sts_region),
        }
    }

    /// The role's trust policy, the asking identity's own policy, or the external ID.
    fn denied(&self, refusal: Refusal<'_>) -> String {
        let who = refusal.asker().map_or_else(
            || "the identity that asked".to_owned(),
            |arn| format!("`{}`", shown(arn, Some(self.keys))),
        );
        let (sent, hint) = self.external_id();
        let condition = match self.external_id {
            Some(id) => format!(
                ", under the condition {{\"StringEquals\": {{\"sts:ExternalId\": \"{id}\"}}}}"
            ),
            None => ", and under no condition on `sts:ExternalId`".to_owned(),
        };
        format!(
            "{who} may not assume it {sent}; its trust policy must name that identity (or its account) as `Principal` and allow `sts:AssumeRole`{condition}, and the identity's own policy must allow `sts:AssumeRole` on it; {hint}"
        )
    }

    /// Which external ID was sent, and what prints the policy that goes with it.
    fn external_id(&self) -> (String, String) {
        let id = self.external_id.unwrap_or_default();
        let key = format!("`{}external_id`", self.under);
        match &self.role.external_id {
            ExternalId::Generated(None) => (
                format!("with this deployment's external ID `{id}`"),
                "`keybearer external-id` prints the policy to paste".to_owned(),
            ),
            ExternalId::Generated(Some(scope)) => (
                format!("with the external ID `{id}` of the scope `{scope}`"),
                format!("`keybearer external-id --scope {scope}` prints the policy to paste"),
            ),
            ExternalId::Given(_) => (
                format!("with the external ID `{id}`"),
                format!("it stands in {key}, which must be what the policy demands"),
            ),
            ExternalId::None => (
                "without an external ID".to_owned(),
                format!("if the policy demands one, write it into {key} or leave that out"),
            ),
        }
    }

    fn expired(&self) -> (Lapse, String) {
        match &self.role.source {
            Source::AccessKey(key) => {
                let told = key.secret.command().is_some();
                let text = format!(
                    "the keys that asked have expired; replace them with `{0}source.session_token`, or have a command tell them",
                    self.under
                );
                let lapse = if told { Lapse::Passing } else { Lapse::Misconfigured };
                (lapse, text)
            }
            Source::Default => (
                Lapse::Passing,
                "the keys that the default chain found have expired; renew them where they come from".to_owned(),
            ),
            Source::Role(source) => {
                (Lapse::Passing, format!("the session of `{}` has expired", source.arn))
            }
        }
    }

    fn unknown_keys(&self) -> (Lapse, String) {
        let under = self.under;
        match &self.role.source {
            Source::AccessKey(key) => {
                let token = match &key.session_token {
                    Some(_) => format!("`{under}source.session_token` is not the one that came with it"),
                    None => format!("it is temporary and lacks `{under}source.session_token`"),
                };
                let text = format!(
                    "it does not know `{under}source.access_key_id`; the key was deleted or is inactive, or {token}"
                );
                (Lapse::Misconfigured, text)
            }
            Source::Default => (
                Lapse::Misconfigured,
                "it does not know the keys that the default chain found; they were deleted or are inactive, or a session token is missing".to_owned(),
            ),
            Source::Role(source) => {
                (Lapse::Passing, format!("it does not know the session of `{}` yet", source.arn))
            }
        }
    }

    fn wrong_secret(&self) -> String {
        let under = self.under;
        match &self.role.source {
            Source::AccessKey(_) => format!(
                "the signature is wrong; `{under}source.secret_access_key` does not belong to `{under}source.access_key_id`"
            ),
            Source::Default => {
                "the signature is wrong; the secret access key that the default chain found does not belong to its access key ID".to_owned()
            }
            Source::Role(_) => {
                "the signature is wrong; something between changes requests".to_owned()
            }
        }
    }

    fn elsewhere(&self) -> String {
        format!(
            "{} belongs to another region than `{}`, for which the request was signed; check `{2}sts_endpoint` and `region`",
            self.endpoint(),
            self.role.sts_region,
            self.under
        )
    }

    fn disabled(&self) -> String {
        format!(
            "STS is not activated in `{}` for this account; activate it there (IAM, account settings) or set `{}sts_endpoint` to that of a region where it is",
            self.role.sts_region, self.under
        )
    }

    fn too_long(&self, said: &str) -> String {
        let duration = humantime::format_duration(self.role.duration);
        let most = match &self.role.source {
            Source::Role(_) => "1h at most for a role that another role assumes",
            Source::AccessKey(_) | Source::Default => {
                "15m at least, and the role's maximum session duration at most"
            }
        };
        format!(
            "`{}duration` ({duration}) does not fit: {said}; it can be {most}",
            self.under
        )
    }

    fn clock(&self, code: &str) -> Fault {
        let off = self
            .ahead
            .filter(|offset| offset.distance() > Duration::from_secs(1))
            .map_or_else(String::new, |offset| format!(" ({offset})"));
        let detail = format!(
            "STS gave no session of `{}` ({code}): the request's time is wrong{off}; set this machine's clock, by NTP for example",
            self.role.arn
        );
        Fault::new(Lapse::Passing, detail)
    }
}

#[cfg(test)]
mod tests;
