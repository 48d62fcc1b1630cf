//! What a token endpoint says: [`TokenAnswer`], read leniently from JSON or a form, whatever the
//! answer's type claims, because providers differ from RFC 6749 section 5.1 in every part of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Map, Value};
use zeroize::Zeroize;

use super::fault::{Redactor, Refusal, TokenFault};
use crate::auth::fetch::{Answer, Endpoint};
use crate::secret::{Origin, Secret};

/// A token, and what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAnswer {
    /// The access token, or what the token's field names instead: a valid part of a field value.
    pub token: Secret,
    /// For how long it is good, from the moment on that the exchange was given as now; none where the answer does not say, or says a time that is over:
    /// taken at its word, such an answer would lead from one renewal straight to the next.
    pub lifetime: Option<Duration>,
    /// For the next token.
    pub refresh_token: Option<Secret>,
    /// What was granted, if that is told.
    pub scope: Option<String>,
}

/// Why an answer holds no token, its texts not yet fit to be shown.
#[derive(Debug)]
pub(in crate::auth) enum Unread {
    Refused(Raw),
    /// The status says it all; what the answer says may explain it.
    Busy(Option<Raw>),
    /// What is wrong, and what to do.
    Unusable(String, Option<Secret>),
}

/// An error answer's members as the server sent them.
#[derive(Debug)]
pub(in crate::auth) struct Raw {
    pub(super) error: String,
    description: Option<String>,
    uri: Option<String>,
}

/// Reads an answer; `field` leads to the token, `now` is when it arrived.
pub(super) fn read(
    answer: &Answer,
    field: &[Box<str>],
    now: SystemTime,
) -> Result<TokenAnswer, Unread> {
    let members = members(answer)?;
    members.token(field, now).map_err(|unread| match unread {
        Unread::Unusable(why, _) => Unread::Unusable(why, refresh_token(&members.0)),
        other => other,
    })
}

/// Reads an answer to a refresh. Slack nests a user's token where a code is exchanged, and not where it
/// is refreshed: then it stands at the top, under its own name.
pub(super) fn read_refreshed(
    answer: &Answer,
    field: &[Box<str>],
    now: SystemTime,
) -> Result<TokenAnswer, Unread> {
    let read = read(answer, field, now);
    match field {
        [_, .., name] => read.or_else(|unread| {
            self::read(answer, std::slice::from_ref(name), now).map_err(|_| unread)
        }),
        _ => read,
    }
}

/// A refresh token anywhere in an answer: one that was given in place of another is not to be lost,
/// whatever else is wrong.
fn refresh_token(value: &Value) -> Option<Secret> {
    let Value::Object(members) = value else {
        return None;
    };
    let here = text(value, "refresh_token").map(|token| Secret::new(token, Origin::Issued));
    here.or_else(|| members.values().find_map(refresh_token))
}

/// What an endpoint that takes forms says, if it says yes.
pub(in crate::auth) fn members(answer: &Answer) -> Result<Members, Unread> {
    let status = answer.status;
    let members = Members::parse(answer);
    let refusal = members.as_ref().and_then(Members::refusal);
    if is_busy(status) {
        return Err(match refusal {
            Some(raw) if is_polling(&raw.error) => Unread::Refused(raw),
            other => Unread::Busy(other),
        });
    }
    if let Some(raw) = refusal {
        return Err(Unread::Refused(raw));
    }
    members.filter(|_| status.is_success()).ok_or_else(|| {
        let client = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "`client_id`, the client's secret or key, and "
            }
            _ => "",
        };
        Unread::Unusable(format!(
            "it answered {} with {}, not as an endpoint of its kind does; check {client}`{{key}}`",
            status.as_u16(),
            answer.media_type.as_deref().unwrap_or("no media type")
        ), None)
    })
}

/// Whether the status alone says to come back later.
fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Codes that keep their meaning under any status.
fn is_polling(error: &str) -> bool {
    matches!(error, "authorization_pending" | "slow_down")
}

impl Unread {
    /// The fault, with everything taken out of it that was sent.
    pub(in crate::auth) fn told(
        self,
        endpoint: &Endpoint,
        answer: &Answer,
        redactor: &Redactor,
    ) -> TokenFault {
        let status = answer.status;
        match self {
            Self::Refused(raw) => TokenFault::Refused(raw.shown(endpoint, status, redactor)),
            Self::Busy(raw) => {
                let why = raw.map_or_else(String::new, |raw| {
                    let Refusal {
                        error, description, ..
                    } = raw.shown(endpoint, status, redactor);
                    let more = description.map_or_else(String::new, |text| format!(": {text}"));
                    format!(" (`{error}`{more})")
                });
                let detail = format!("{endpoint}: it answered {}{why}", status.as_u16());
                let retry_after = answer.retry_after;
                TokenFault::Unavailable {
                    detail,
                    retry_after,
                }
            }
            Self::Unusable(why, refresh_token) => {
                let why = why.replace("{key}", endpoint.role().key());
                let detail = format!("{endpoint}: {why}");
                TokenFault::Unusable {
                    detail,
                    refresh_token,
                }
            }
        }
    }
}

impl Raw {
    fn shown(self, endpoint: &Endpoint, status: StatusCode, redactor: &Redactor) -> Refusal {
        let shown = |text: String| Some(redactor.shown(&text, 300)).filter(|text| !text.is_empty());
        Refusal {
            endpoint: endpoint.to_string(),
            status,
            // A code that is known says nothing but itself, and decides what happens next.
            error: match Refusal::knows(&self.error) {
                true => self.error,
                false => redactor.shown(&self.error, 64),
            },
            description: self.description.and_then(shown),
            uri: self
                .uri
                .filter(|uri| uri.starts_with("https://") || uri.starts_with("http://"))
                .and_then(shown),
        }
    }
}

/// The members of an answer, zeroed when dropped.
pub(in crate::auth) struct Members(Value);

impl Members {
    /// A JSON object, or a form: known by the content, as providers send either under any type.
    fn parse(answer: &Answer) -> Option<Self> {
        let text = std::str::from_utf8(&answer.content).ok()?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            let members = Self(value);
            return members.0.is_object().then_some(members);
        }
        let formlike = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'{' | b'"');
        if !text.contains('=') || !text.bytes().all(formlike) {
            return None;
        }
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        let members: Map<_, _> = pairs
            .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
            .collect();
        Some(Self(Value::Object(members)))
    }

    pub(in crate::auth) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A member that is a text, and not an empty one.
    pub(in crate::auth) fn text(&self, name: &str) -> Option<&str> {
        text(&self.0, name)
    }

    /// What the answer says to be wrong: RFC 6749 section 5.2, or as GitHub, Slack, Okta and
    /// Facebook tell it.
    fn refusal(&self) -> Option<Raw> {
        let described = |error: &str, description: Option<&str>| Raw {
            error: error.to_owned(),
            description: description.map(str::to_owned),
            uri: self.text("error_uri").map(str::to_owned),
        };
        let description = ["error_description", "errorSummary", "message"];
        let description = description.iter().find_map(|name| self.text(name));
        if let Some(inner @ Value::Object(_)) = self.get("error") {
            let code = ["code", "status", "type"];
            let code = code.iter().find_map(|name| text(inner, name));
            return Some(described(code.unwrap_or("error"), text(inner, "message")));
        }
        if let Some(error) = self.text("error").or_else(|| self.text("errorCode")) {
            return Some(described(error, description));
        }
        (self.get("ok") == Some(&Value::Bool(false))).then(|| described("not ok", description))
    }

    fn token(&self, field: &[Box<str>], now: SystemTime) -> Result<TokenAnswer, Unread> {
        let missing = || {
            let name = field.join(".");
            Unread::Unusable(
                format!("its answer has no text `{name}`; check `{{key}}` and `token_field`"),
                None,
            )
        };
        let (leaf, parents) = field.split_last().ok_or_else(missing)?;
        let beside = parents
            .iter()
            .try_fold(&self.0, |value, name| step(value, name));
        let beside = beside.ok_or_else(missing)?;
        let token = step(beside, leaf)
            .and_then(Value::as_str)
            .filter(|token| !token.is_empty())
            .ok_or_else(missing)?;
        if !token.bytes().all(|b| matches!(b, b' '..=b'~')) {
            let name = field.join(".");
            return Err(Unread::Unusable(
                format!(
                    "its `{name}` has characters that no access token has (RFC 6749 appendix A.12); check `token_field`"
                ),
                None,
            ));
        }
        let places = [beside, &self.0];
        self.note_type();
        Ok(TokenAnswer {
            token: Secret::new(token, Origin::Issued),
            lifetime: if &**leaf == "id_token" {
                own_expiry(token).and_then(|expiry| until(expiry, now))
            } else {
                places.iter().find_map(|place| lifetime(place, now))
            },
            refresh_token: places
                .iter()
                .find_map(|place| text(place, "refresh_token"))
                .map(|token| Secret::new(token, Origin::Issued)),
            scope: places.iter().find_map(|place| scope(place)),
        })
    }

    /// A type other than Bearer is taken as well: whether the token works is told by the API, and
    /// providers write anything here.
    fn note_type(&self) {
        let kind = self.text("token_type").unwrap_or("bearer");
        if !kind.eq_ignore_ascii_case("bearer") {
            tracing::debug!("Token of a type other than Bearer");
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A member that the answer must have.
pub(in crate::auth) fn missing(name: &str) -> Unread {
    Unread::Unusable(format!("its answer has no `{name}`; check `{{key}}`"), None)
}

fn step<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    }
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn scope(place: &Value) -> Option<String> {
    match place.get("scope")? {
        Value::String(scope) => Some(scope.clone()),
        Value::Array(scopes) => {
            let scopes: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
            Some(scopes.join(" "))
        }
        _ => None,
    }
}

/// No token is good for longer: what says so is a mistake, and could not be added to a time.
const MAX_LIFETIME: f64 = 10.0 * 365.0 * 86_400.0;

/// `expires_in`, or the moment that Azure's first version (`expires_on`) and others (`expires_at`)
/// tell instead.
fn lifetime(place: &Value, now: SystemTime) -> Option<Duration> {
    let relative = place.get("expires_in").and_then(seconds);
    if let Some(lifetime) = relative.and_then(positive) {
        return Some(lifetime);
    }
    ["expires_on", "expires_at"]
        .iter()
        .filter_map(|name| place.get(name))
        .find_map(|moment| until(instant(moment)?, now))
}

fn positive(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(MAX_LIFETIME)))
}

/// The time that is left until a moment in seconds since 1970.
fn until(moment: f64, now: SystemTime) -> Option<Duration> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    positive(moment - now.as_secs_f64())
}

/// A number of seconds, written as a number or as a text.
pub(in crate::auth) fn seconds(value: &Value) -> Option<f64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    f64::is_finite(seconds).then_some(seconds)
}

/// A moment in seconds since 1970, from the same, from milliseconds, or from RFC 3339.
fn instant(value: &Value) -> Option<f64> {
    const FIRST_MILLISECONDS: f64 = 1e11;
    if let Some(number) = seconds(value) {
        let milliseconds = number >= FIRST_MILLISECONDS;
        return Some(if milliseconds { number / 1e3 } else { number });
    }
    let time = humantime::parse_rfc3339(value.as_str()?.trim()).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64())
}

/// `exp` of an ID token. Its signature is not looked at: it came from the token endpoint itself, and
/// is passed on and not believed.
fn own_expiry(token: &str) -> Option<f64> {
    let claims = token.split('.').nth(1)?.trim_end_matches('=');
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    seconds(claims.get("exp")?)
}

#[cfg(test)]
mod tests;
