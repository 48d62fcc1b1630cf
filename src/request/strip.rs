//! Step 5: the caller's credentials, fields of the connection it came on, and every place that the
//! connection itself fills, are taken out.

mod references;

use std::borrow::Cow;
use std::sync::LazyLock;

use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue};

pub use super::fields::end_to_end;
use super::fields::{HOP_BY_HOP, UNFIT_FOR_TRAILERS, announced, nominated, remove_where};
use super::names::{NameSet, fold};
use super::query;
use crate::connection::{Connection, Cookies};

/// Fields that carry a caller's credential, or claim to tell who the caller is.
const CREDENTIALS: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "dpop",
    "x-api-key",
    "api-key",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "forwarded",
    "x-forwarded",
];

/// Fields with which some servers let a request name another path: a way out of the base URL.
const PATH_OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];

const EXPECT: &str = "expect";

/// Every `X-Forwarded-*` goes, whichever they are.
const FORWARDED_PREFIX: &[u8] = b"x-forwarded-";

/// Fields that tell of a trace, as W3C Trace Context has them.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// Query parameters that carry a credential: RFC 6750 section 2.3, and presigned SigV4 requests.
const CREDENTIAL_PARAMETERS: [&str; 9] = [
    "access_token",
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// What else carries a caller's credential to AWS: that of an S3 Express session, and the scope of a
/// signature of version 4A.
const AWS_CREDENTIALS: [&str; 2] = ["x-amz-s3session-token", "x-amz-region-set"];

/// Query parameters of presigned requests for AWS: those of Signature Version 2, and the scope of 4A.
const AWS_PARAMETERS: [&str; 5] = [
    "awsaccesskeyid",
    "expires",
    "signature",
    "x-amz-region-set",
    "x-amz-s3session-token",
];

/// What is taken out of a connection's requests: prepared at load.
///
/// The fixed lists are shared; a connection keeps only what it adds to them.
#[derive(Clone, Debug)]
pub struct Strip {
    fixed: &'static Fixed,
    own_fields: Option<Box<NameSet>>,
    own_parameters: Option<Box<NameSet>>,
    /// Parameters that the credential fills.
    injected: Option<Box<NameSet>>,
}

/// Fields that are the same for many connections.
#[derive(Debug)]
struct Fixed {
    /// Those that go.
    taken: NameSet,
    /// These, and those of a trace: one look at a name tells that it is neither.
    noticed: NameSet,
}

static FIELDS: LazyLock<Fixed> = LazyLock::new(|| Fixed::new(fixed_fields()));
static FIELDS_AND_COOKIES: LazyLock<Fixed> =
    LazyLock::new(|| Fixed::new(fixed_fields().chain(["cookie"])));
static NOT_IN_TRAILERS: LazyLock<NameSet> =
    LazyLock::new(|| UNFIT_FOR_TRAILERS.into_iter().collect());
static PARAMETERS: LazyLock<NameSet> =
    LazyLock::new(|| CREDENTIAL_PARAMETERS.into_iter().collect());

fn fixed_fields() -> impl Iterator<Item = &'static str> {
    CREDENTIALS
        .into_iter()
        .chain(PATH_OVERRIDES)
        .chain(HOP_BY_HOP)
        .chain([EXPECT])
}

impl Strip {
    /// The fixed lists, what the connection asks for, and what its credential fills.
    pub fn new(connection: &Connection) -> Self {
        let fixed: &'static Fixed = match connection.cookies {
            Cookies::Pass => &FIELDS,
            Cookies::Strip => &FIELDS_AND_COOKIES,
        };
        let placement = connection.auth.placement();
        let own_fields = connection.strip.headers.iter().chain(&placement.headers);
        // Content that is looked into must not come compressed.
        let plain = looks_into_content(connection).then_some(&ACCEPT_ENCODING);
        let aws: (&[_], &[_]) = match connection.auth.aws() {
            Some(_) => (&AWS_CREDENTIALS, &AWS_PARAMETERS),
            None => (&[], &[]),
        };
        let own_fields = own_fields.chain(plain).map(HeaderName::as_str);
        let own_parameters = connection.strip.query.iter().chain(&placement.params);
        let own_parameters = own_parameters.map(|name| &**name);
        Self {
            fixed,
            own_fields: beyond(&fixed.taken, own_fields.chain(aws.0.iter().copied())),
            own_parameters: beyond(&PARAMETERS, own_parameters.chain(aws.1.iter().copied())),
            injected: beyond(
                &NameSet::default(),
                placement.params.iter().map(|name| &**name),
            ),
        }
    }

    /// Takes the fields out of a request's head.
    ///
    /// Where it has any of a trace, `keeps_trace` is asked whether they stay, and sees them before any
    /// is gone. Whatever it says, those go that the connection wants out or `Connection` names.
    pub fn head(&self, headers: &mut HeaderMap, keeps_trace: impl FnOnce(&HeaderMap) -> bool) {
        let nominated = nominated(headers);
        let mut has_trace = false;
        remove_where(headers, |name| {
            if !self.fixed.noticed.contains(name) {
                return self.takes_beyond(name);
            }
            let is_of_trace = TRACE.iter().any(|known| known.as_bytes() == name);
            has_trace |= is_of_trace;
            !is_of_trace
        });
        if has_trace {
            let are_kept = keeps_trace(headers);
            for name in TRACE {
                if !are_kept || self.takes_beyond(name.as_bytes()) {
                    headers.remove(name);
                }
            }
        }
        for name in nominated {
            headers.remove(name);
        }
    }

    /// Whether a field of this name is taken out of every head.
    pub fn takes(&self, name: &[u8]) -> bool {
        self.fixed.taken.contains(name) || self.takes_beyond(name)
    }

    /// Whether that is so for this connection, or for all names alike.
    fn takes_beyond(&self, name: &[u8]) -> bool {
        let own = self.own_fields.as_ref();
        own.is_some_and(|own| own.contains(name)) || is_forwarded(name)
    }

    /// Takes the fields out of what follows a request's content: all that would be taken out of its
    /// head, and what may stand in no trailer (RFC 9110 section 6.5.1).
    pub fn trailers(&self, trailers: &mut HeaderMap) {
        self.head(trailers, |_| true);
        remove_where(trailers, |name| NOT_IN_TRAILERS.contains(name));
    }

    /// What of a head's `Trailer` still holds for trailers without those fields; none if nothing does.
    pub fn announced(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        announced(headers, |name| {
            let mut fields = HeaderMap::new();
            fields.insert(name.clone(), HeaderValue::from_static(""));
            self.trailers(&mut fields);
            !fields.is_empty()
        })
    }

    /// The query without the parameters.
    pub fn query<'q>(&self, query: &'q str) -> Cow<'q, str> {
        query::remove(query, |name| {
            PARAMETERS.contains(name)
                || self
                    .own_parameters
                    .as_ref()
                    .is_some_and(|own| own.contains(name))
        })
    }
}

impl Fixed {
    fn new(names: impl Iterator<Item = &'static str>) -> Self {
        let taken: NameSet = names.collect();
        let mut noticed = taken.clone();
        TRACE.iter().for_each(|name| noticed.insert(name));
        Self { taken, noticed }
    }
}

/// Whether answers are read for signs that the credential has expired.
fn looks_into_content(connection: &Connection) -> bool {
    let signals = connection.refresh_on.iter().flatten();
    signals
        .into_iter()
        .any(|signal| signal.body.is_some() || signal.json.is_some())
}

/// The names that `fixed` has not.
fn beyond<'a>(fixed: &NameSet, names: impl Iterator<Item = &'a str>) -> Option<Box<NameSet>> {
    let mut own = names
        .filter(|name| !fixed.contains(name.as_bytes()))
        .peekable();
    own.peek()?;
    Some(Box::new(own.collect()))
}

fn is_forwarded(name: &[u8]) -> bool {
    name.len() > FORWARDED_PREFIX.len()
        && name
            .iter()
            .zip(FORWARDED_PREFIX)
            .all(|(&b, &known)| fold(b) == known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::context::{TRACEPARENT, TRACESTATE};

    fn strip() -> Strip {
        let own = ["x-injected", "authorization"].into_iter();
        Strip {
            fixed: &FIELDS_AND_COOKIES,
            own_fields: beyond(&FIELDS.taken, own),
            own_parameters: None,
            injected: None,
        }
    }

    fn stripped(fields: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        strip().head(&mut headers, |_| true);
        let mut left: Vec<_> = headers
            .keys()
            .map(|name| name.as_str().to_owned())
            .collect();
        left.sort();
        left
    }

    #[test]
    fn credentials_go_in_every_spelling_and_number() {
        let left = stripped(&[
            ("authorization", "a"),
            ("authorization", "b"),
            ("proxy_authorization", "x"),
            ("x_api_key", "x"),
            ("api-key", "x"),
            ("x-injected", "x"),
            ("x_injected", "x"),
            ("x-forwarded-for", "x"),
            ("x_forwarded_whatever", "x"),
            ("forwarded", "x"),
            ("x-original-url", "/admin"),
            ("expect", "100-continue"),
            ("te", "trailers"),
            ("x-amz-date", "x"),
            ("accept", "*/*"),
            ("x-amz-acl", "private"),
            ("x-forwardedness", "x"),
        ]);
        assert_eq!(left, ["accept", "x-amz-acl", "x-forwardedness"]);
    }

    #[test]
    fn fields_of_a_trace_go_where_they_are_no_good_or_not_wanted() {
        let left = |own: &[&str], is_good: bool, sent: &[&'static str]| {
            let strip = Strip {
                own_fields: beyond(&FIELDS.taken, own.iter().copied()),
                ..strip()
            };
            let value = HeaderValue::from_static("x");
            let fields = sent
                .iter()
                .map(|name| (HeaderName::from_static(name), value.clone()));
            let mut headers = HeaderMap::from_iter(fields);
            let mut seen = Vec::new();
            strip.head(&mut headers, |headers| {
                seen.extend(TRACE.map(|name| headers.contains_key(name)));
                is_good
            });
            let left = TRACE.map(|name| headers.contains_key(name));
            assert_eq!(
                headers.len(),
                1 + left.iter().filter(|is_left| **is_left).count()
            );
            (seen, left)
        };
        assert_eq!(TRACE, [TRACEPARENT, TRACESTATE]);
        let (none, both, no_parent) = (vec![], vec![true, true], vec![false, true]);
        let sent = ["traceparent", "accept", "te", "tracestate"];
        assert_eq!(left(&[], true, &sent[1..3]), (none, [false; 2]));
        assert_eq!(left(&[], true, &sent), (both.clone(), [true; 2]));
        assert_eq!(left(&[], false, &sent), (both.clone(), [false; 2]));
        assert_eq!(left(&[], false, &sent[1..]), (no_parent, [false; 2]));
        let own = ["traceparent", "x-other"];
        assert_eq!(left(&own, true, &sent), (both.clone(), [false, true]));
        assert_eq!(left(&TRACE, true, &sent), (both, [false; 2]));
    }

    #[test]
    fn nominated_fields_go_but_none_that_frames_the_message() {
        let left = stripped(&[
            ("connection", "close, X-Private ,host, content-length"),
            ("x-private", "x"),
            ("host", "h"),
            ("content-length", "3"),
            ("x-other", "x"),
        ]);
        assert_eq!(left, ["content-length", "host", "x-other"]);
    }

    #[test]
    fn an_ordinary_head_loses_nothing_else() {
        let ordinary = [
            "accept",
            "accept-language",
            "content-type",
            "host",
            "user-agent",
            "x-request-id",
        ];
        let mut fields: Vec<_> = ordinary.iter().map(|name| (*name, "x")).collect();
        fields.push(("connection", "keep-alive"));
        assert_eq!(stripped(&fields), ordinary);
    }

    #[test]
    fn presigned_parameters_go() {
        let strip = strip();
        let query =
            "list-type=2&X-Amz-Signature=x&x-amz-credential=y&X%2DAmz%2DDate=z&prefix=a%2Fb";
        assert_eq!(strip.query(query), "list-type=2&prefix=a%2Fb");
    }
}
