//! What AWS says of a request that it did not accept: [`Refusal`], where it is a matter of the
//! credential, the clock or the region, and no matter of the caller's.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use regex::bytes::Regex;

use super::body::Answer;
use super::expiry::{PATTERN_READS, is_readable, peek};
use crate::connection::aws::Region;

/// Why AWS did not accept a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The session token has come to its end.
    Expired,
    /// The keys are not known, or no longer.
    Keys,
    /// What was asked for is in another region, and in which if that was told.
    Region(Option<Box<str>>),
    /// The signature is not the one that AWS computes, and the answer may repeat what was signed.
    Signature,
    /// The connection's `refresh_on` says that its credential has expired.
    Signalled,
    /// The signature's time is too far from the server's, which is this.
    Skewed(SystemTime),
}

/// The codes of tokens that are over.
const EXPIRED: [&str; 3] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
];

/// The codes of keys that are not known.
const UNKNOWN: [&str; 3] = [
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
];

/// The codes of signatures that do not fit what they sign, or the keys.
const UNFIT: [&str; 3] = [
    "InvalidSignatureException",
    "InvalidToken",
    "SignatureDoesNotMatch",
];

/// The codes of signatures that are too old or too new, and of those that may be.
const SKEWED: [&str; 6] = [
    "AuthFailure",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// The codes of what is in another region.
const ELSEWHERE: [&str; 4] = [
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "IncorrectEndpoint",
    "PermanentRedirect",
];

/// AWS takes signatures that are five minutes off; a little less tells a clock from a slow request.
const TOLERATED: Duration = Duration::from_secs(4 * 60);

const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// What a request was signed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Whether the answer has no content that could tell a code.
    pub(super) is_head: bool,
    pub(super) is_s3: bool,
    pub(super) region: &'a Region,
    /// What the clock that it was signed by shows now.
    pub(super) now: SystemTime,
}

/// The refusal that an answer is, if it is one; and the answer.
pub(super) async fn read(
    response: Response<Answer>,
    asked: Asked<'_>,
) -> (Option<Refusal>, Response<Answer>) {
    if !may_refuse(response.status()) {
        return (None, response);
    }
    let (head, mut content) = response.into_parts();
    let mut text = bytes::Bytes::new();
    if is_readable(&head.headers) {
        (text, content) = peek(content, PATTERN_READS).await;
    }
    let code = code(&head.headers, &text);
    let refusal = told(code.as_deref(), &head.headers, &text, asked);
    (refusal, Response::from_parts(head, content))
}

fn may_refuse(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
    )
}

fn told(code: Option<&str>, headers: &HeaderMap, text: &[u8], asked: Asked<'_>) -> Option<Refusal> {
    let is_one_of = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
    // Services have tokens of their own that expire: ours is the one that the request was signed with.
    if is_one_of(&EXPIRED) && (text.is_empty() || OURS_EXPIRED.is_match(text)) {
        return Some(Refusal::Expired);
    }
    let silent = code.is_none() && asked.is_head;
    if (silent || is_one_of(&SKEWED))
        && let Some(date) = date(headers)
        && off(date, asked.now) > TOLERATED
    {
        return Some(Refusal::Skewed(date));
    }
    if let Some(elsewhere) = elsewhere(code, headers, text, asked) {
        return elsewhere;
    }
    // EC2 says so of sessions, too.
    if code == Some("RequestExpired") {
        return Some(Refusal::Expired);
    }
    match () {
        () if is_one_of(&UNKNOWN) => Some(Refusal::Keys),
        () if is_one_of(&UNFIT) => Some(Refusal::Signature),
        () => None,
    }
}

/// Whether an answer is about another region; if it names ours, it is about something else.
fn elsewhere(
    code: Option<&str>,
    headers: &HeaderMap,
    text: &[u8],
    asked: Asked<'_>,
) -> Option<Option<Refusal>> {
    let Region::One(ours) = asked.region else {
        return None;
    };
    let is_one_of = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));
    if asked.is_s3 && (is_one_of(&ELSEWHERE) || code.is_none() && asked.is_head) {
        let named = bucket_region(headers).or_else(|| first(&REGION, text));
        if let Some(named) = named {
            let is_other = *named != **ours;
            return Some(is_other.then_some(Refusal::Region(Some(named))));
        }
        return (code == Some("PermanentRedirect")).then_some(Some(Refusal::Region(None)));
    }
    let scope = (is_one_of(&UNFIT) || is_one_of(&SKEWED)) && SCOPE.is_match(text);
    scope.then_some(Some(Refusal::Region(None)))
}

/// The error's code: in a field, in XML or in JSON.
fn code(headers: &HeaderMap, text: &[u8]) -> Option<Box<str>> {
    let field = headers
        .get(ERROR_TYPE)
        .and_then(|value| value.to_str().ok());
    let code = match field {
        Some(field) => field.split(':').next().map(Into::into),
        None => first(&XML_CODE, text).or_else(|| first(&JSON_CODE, text)),
    }?;
    // A name may stand before it: `com.amazon.coral.service#ExpiredTokenException`.
    let short = code.rsplit('#').next().unwrap_or_default();
    Some(short.trim().into())
}

fn bucket_region(headers: &HeaderMap) -> Option<Box<str>> {
    let name = headers.get(BUCKET_REGION)?.to_str().ok()?;
    // What is shown to people comes from the upstream.
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        .then(|| name.into())
}

/// The server's time; none where the answer comes from a cache.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    if headers.contains_key(AGE) {
        return None;
    }
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// How far one time is from another.
fn off(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other)
        .unwrap_or_else(|earlier| earlier.duration())
}

fn first(pattern: &Regex, text: &[u8]) -> Option<Box<str>> {
    let found = pattern.captures(text)?.get(1)?;
    std::str::from_utf8(found.as_bytes()).ok().map(Into::into)
}

macro_rules! patterns {
    ($($(#[$doc:meta])* $name:ident = $pattern:literal;)*) => {$(
        $(#[$doc])*
        // A test compiles every one of them.
        #[allow(clippy::expect_used)]
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a pattern"));
    )*};
}

patterns! {
    XML_CODE = r"<Code>([A-Za-z0-9._]{1,100})</Code>";
    JSON_CODE = r#""(?:__type|code|Code)"\s*:\s*"([A-Za-z0-9.#_]{1,200})""#;
    REGION = r"<Region>([a-z0-9-]{1,40})</Region>";
    /// What is said of the token that a request was signed with.
    OURS_EXPIRED = r"(?i)<Code>ExpiredToken</Code>|security token included in the request (?:is|has) expired|provided token has expired";
    /// What services without buckets say.
    SCOPE = r"(?i)credential should be scoped to a valid region";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(fields: &[(&'static str, &str)], text: &str) -> Option<Refusal> {
        asked(fields, text, true)
    }

    fn asked(fields: &[(&'static str, &str)], text: &str, is_s3: bool) -> Option<Refusal> {
        let headers = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let asked = Asked {
            is_head: text.is_empty(),
            is_s3,
            region: &Region::One("us-east-1".into()),
            now: httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap(),
        };
        let code = code(&headers, text.as_bytes());
        told(code.as_deref(), &headers, text.as_bytes(), asked)
    }

    const LATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:59:37 GMT");
    const SAME: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:50:37 GMT");

    #[test]
    fn tokens_that_are_over_are_told_by_their_code() {
        for (fields, text) in [
            (
                &[][..],
                "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>",
            ),
            (
                &[],
                r#"{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"The security token included in the request is expired"}"#,
            ),
            (&[SAME], "<Code>RequestExpired</Code>"),
            (
                &[("x-amzn-errortype", "ExpiredTokenException:http://internal")],
                "",
            ),
        ] {
            assert_eq!(refusal(fields, text), Some(Refusal::Expired), "{text}");
        }
        assert_eq!(refusal(&[SAME], "<Code>AccessDenied</Code>"), None);
        let theirs =
            r#"{"__type":"ExpiredTokenException","message":"Token expired: registration token"}"#;
        assert_eq!(refusal(&[SAME], theirs), None, "a token of the caller's");
    }

    #[test]
    fn keys_that_are_not_known_and_signatures_that_do_not_fit_are_told_apart() {
        for (code, told) in [
            ("InvalidAccessKeyId", Refusal::Keys),
            ("InvalidClientTokenId", Refusal::Keys),
            ("SignatureDoesNotMatch", Refusal::Signature),
            ("InvalidToken", Refusal::Signature),
        ] {
            let text = format!("<Code>{code}</Code>");
            assert_eq!(refusal(&[SAME], &text), Some(told), "{code}");
        }
    }

    #[test]
    fn a_clock_is_wrong_where_the_servers_date_is_far_off() {
        let skewed = |fields: &[_], text| matches!(refusal(fields, text), Some(Refusal::Skewed(_)));
        let code = "<Code>RequestTimeTooSkewed</Code>";
        assert!(skewed(&[LATE], code));
        assert!(skewed(&[LATE], ""), "HEAD");
        assert!(skewed(&[LATE], r#"{"__type":"InvalidSignatureException"}"#));
        assert!(!skewed(&[SAME], code) && !skewed(&[], code));
        assert!(!skewed(&[LATE], "<Code>NoSuchBucket</Code>"));
        assert!(!skewed(&[LATE], "<Code>AccessDenied</Code>"));
        assert!(
            !skewed(&[LATE], r#"{"message":"x is required"}"#),
            "no code"
        );
        assert!(!skewed(&[LATE, ("age", "600")], code), "from a cache");
    }

    #[test]
    fn other_regions_are_named() {
        let elsewhere = Some(Refusal::Region(Some("eu-west-1".into())));
        let malformed = "<Code>AuthorizationHeaderMalformed</Code><Message>…</Message><Region>eu-west-1</Region>";
        assert_eq!(refusal(&[SAME], malformed), elsewhere);
        let field = ("x-amz-bucket-region", "eu-west-1");
        assert_eq!(
            refusal(&[SAME, field], "<Code>PermanentRedirect</Code>"),
            elsewhere
        );
        assert_eq!(refusal(&[SAME, field], ""), elsewhere, "HEAD");
        let ours = ("x-amz-bucket-region", "us-east-1");
        assert_eq!(refusal(&[SAME, ours], ""), None);
        let odd = ("x-amz-bucket-region", "<script>");
        assert_eq!(refusal(&[SAME, odd], ""), None);
        let text = r#"{"__type":"InvalidSignatureException","message":"Credential should be scoped to a valid Region, not 'us-east-1'."}"#;
        assert_eq!(asked(&[SAME], text, false), Some(Refusal::Region(None)));
        let theirs = "<Error><Region>eu-west-1</Region></Error>";
        assert_eq!(asked(&[SAME], theirs, false), None, "of an application");
        assert_eq!(
            refusal(&[SAME, field], "<Code>AccessDenied</Code>"),
            None,
            "denied wherever it is"
        );
    }
}
