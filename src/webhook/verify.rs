//! Whether a delivery comes from whom it says: [`verify`], over the request as it was received.
//!
//! Every field and parameter that a proof rests on stands in the request once, or nothing is proved:
//! whoever reads it next may read another one. Digests are compared as text, in constant time, so that
//! there is one way only to write each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Method};
use ring::digest::{SHA256, digest};
use ring::hmac;
use subtle::ConstantTimeEq;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::connection::webhook::{Algorithm, Encoding, Hmac, Part, Proof, Signed};
use crate::secret::Secret;

const STRIPE: HeaderName = HeaderName::from_static("stripe-signature");
/// Of Standard Webhooks.
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A request as its sender signed it.
#[derive(Clone, Copy)]
pub struct Arrived<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Path and query, byte for byte.
    pub path: &'a str,
    /// The URL before those, without a final `/`.
    pub origin: &'a str,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Its content.
    pub body: &'a [u8],
}

/// What a proof is known by that is good once only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// A digest of what makes it unique.
    pub digest: [u8; 16],
    /// From when on its time alone refuses it.
    pub until: SystemTime,
    /// Whether a later attempt of the sender has the same, with a later time.
    pub renews: bool,
}

/// Why nothing is proved, for whoever configured the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// A field or parameter is not there.
    #[error("there is no {0}")]
    Absent(Box<str>),
    /// It is there more than once.
    #[error("there is more than one {0}")]
    Ambiguous(Box<str>),
    /// It cannot be read.
    #[error("{0} is not what this endpoint's `verify` takes")]
    Malformed(Box<str>),
    /// It is another one.
    #[error("{0} is wrong; compare the secret here with the sender's")]
    Wrong(Box<str>),
    /// It was made too long ago, or for later.
    #[error(
        "the signature was made {} s {}, and {} s are tolerated; check both clocks",
        offset.as_secs(), if *is_past { "ago" } else { "ahead of the time here" }, tolerance.as_secs()
    )]
    Late {
        /// How far its time is from ours.
        offset: Duration,
        /// Whether it is before ours.
        is_past: bool,
        /// How far it may be.
        tolerance: Duration,
    },
}

/// Checks what a delivery has to prove; gives what it is known by, if that is good once only.
///
/// # Errors
/// Nothing is proved.
pub fn verify(
    proof: &Proof,
    arrived: &Arrived<'_>,
    now: SystemTime,
) -> Result<Option<Mark>, Unproved> {
    match proof {
        Proof::None => Ok(None),
        Proof::Basic { username, password } => {
            basic(arrived.headers, username, password).map(|()| None)
        }
        Proof::Header { name, secret } => header(arrived.headers, name, secret).map(|()| None),
        Proof::Query { name, secret } => {
            let query = arrived.path.split_once('?').map_or("", |(_, query)| query);
            parameter(query, name, secret).map(|()| None)
        }
        Proof::Hmac(settings) => keyed(settings, arrived, now),
        Proof::Stripe(signed) => stripe(signed, arrived, now).map(Some),
        Proof::Standard(signed) => standard(signed, arrived, now).map(Some),
    }
}

/// What can be said before the content is there: whether a proof that needs none of it holds, and whether
/// one that does is there at all.
///
/// # Errors
/// Nothing will be proved.
pub fn glance(proof: &Proof, headers: &HeaderMap, query: Option<&str>) -> Result<(), Unproved> {
    match proof {
        Proof::None => Ok(()),
        Proof::Basic { username, password } => basic(headers, username, password),
        Proof::Header { name, secret } => header(headers, name, secret),
        Proof::Query { name, secret } => parameter(query.unwrap_or_default(), name, secret),
        Proof::Hmac(settings) => one(headers, &settings.header).map(drop),
        Proof::Stripe(_) => one(headers, &STRIPE).map(drop),
        Proof::Standard(_) => one(headers, &SIGNATURE).map(drop),
    }
}

fn header(headers: &HeaderMap, name: &HeaderName, secret: &Secret) -> Result<(), Unproved> {
    let given = one(headers, name)?.as_bytes();
    same(given, secret.expose().as_bytes(), || shown(name))
}

fn basic(headers: &HeaderMap, username: &Secret, password: &Secret) -> Result<(), Unproved> {
    let given = text(headers, &AUTHORIZATION)?;
    let malformed = || Unproved::Malformed(shown(&AUTHORIZATION));
    let (scheme, encoded) = given.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim());
    let decoded = Zeroizing::new(decoded.map_err(|_| malformed())?);
    let expected = [username.expose(), password.expose()];
    let expected = Zeroizing::new(expected.join(":"));
    same(&decoded, expected.as_bytes(), || shown(&AUTHORIZATION))
}

fn parameter(query: &str, name: &str, secret: &Secret) -> Result<(), Unproved> {
    let what = || format!("query parameter `{name}`").into();
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let (_, given) = values.next().ok_or_else(|| Unproved::Absent(what()))?;
    if values.next().is_some() {
        return Err(Unproved::Ambiguous(what()));
    }
    same(given.as_bytes(), secret.expose().as_bytes(), what)
}

fn keyed(
    settings: &Hmac,
    arrived: &Arrived<'_>,
    now: SystemTime,
) -> Result<Option<Mark>, Unproved> {
    let header = &settings.header;
    let given = text(arrived.headers, header)?;
    let given = given
        .strip_prefix(&*settings.prefix)
        .ok_or_else(|| Unproved::Malformed(shown(header)))?;
    let algorithm = match settings.algorithm {
        Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    };
    let key = hmac::Key::new(algorithm, settings.secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    for part in settings.template.parts() {
        match part {
            Part::Text(text) => context.update(text.as_bytes()),
            Part::Header(name) => context.update(one(arrived.headers, name)?.as_bytes()),
            Part::Method => context.update(arrived.method.as_str().as_bytes()),
            Part::Path => context.update(arrived.path.as_bytes()),
            Part::Url => {
                context.update(arrived.origin.as_bytes());
                context.update(arrived.path.as_bytes());
            }
            Part::Body => context.update(arrived.body),
        }
    }
    let tag = context.sign();
    if !is_written(given, tag.as_ref(), settings.encoding) {
        return Err(Unproved::Wrong(shown(header)));
    }
    let Some(tolerance) = settings.tolerance else {
        return Ok(None);
    };
    let until = match &settings.timestamp {
        Some(name) => {
            let written = text(arrived.headers, name)?;
            let time = time(written).ok_or_else(|| Unproved::Malformed(shown(name)))?;
            within(time, tolerance, now)?
        }
        None => now + tolerance,
    };
    Ok(Some(Mark::of(tag.as_ref(), until)))
}

/// `Stripe-Signature: t=TIME,v1=DIGEST,…`: one time, and a digest for each secret that is in use.
fn stripe(signed: &Signed, arrived: &Arrived<'_>, now: SystemTime) -> Result<Mark, Unproved> {
    let malformed = || Unproved::Malformed(shown(&STRIPE));
    let given = text(arrived.headers, &STRIPE)?;
    let items = || given.split(',').filter_map(|item| item.split_once('='));
    let mut times = items().filter_map(|(key, value)| (key.trim() == "t").then_some(value));
    let written = times.next().ok_or_else(malformed)?;
    if times.next().is_some() {
        return Err(malformed());
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, signed.secret.expose().as_bytes());
    let tag = tag(&key, &[written.as_bytes(), b".", arrived.body]);
    let mut digests = items().filter_map(|(key, value)| (key.trim() == "v1").then_some(value));
    if !digests.any(|digest| is_written(digest, tag.as_ref(), Encoding::Hex)) {
        return Err(Unproved::Wrong(shown(&STRIPE)));
    }
    let time = time(written).ok_or_else(malformed)?;
    let until = within(time, signed.tolerance, now)?;
    Ok(Mark::of(tag.as_ref(), until))
}

/// Standard Webhooks: `Webhook-Signature: v1,DIGEST …`, a digest for each secret that is in use.
fn standard(signed: &Signed, arrived: &Arrived<'_>, now: SystemTime) -> Result<Mark, Unproved> {
    const ID: HeaderName = HeaderName::from_static("webhook-id");
    const TIME: HeaderName = HeaderName::from_static("webhook-timestamp");
    let id = one(arrived.headers, &ID)?;
    let written = text(arrived.headers, &TIME)?;
    let given = text(arrived.headers, &SIGNATURE)?;
    // The configuration takes no other secret.
    let key = signed.key().unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let parts = [id.as_bytes(), b".", written.as_bytes(), b".", arrived.body];
    let tag = tag(&key, &parts);
    let expected = BASE64_STANDARD.encode(tag.as_ref());
    let mut digests = given.split(' ').filter_map(|item| item.strip_prefix("v1,"));
    if !digests.any(|digest| is_same(digest.as_bytes(), expected.as_bytes())) {
        return Err(Unproved::Wrong(shown(&SIGNATURE)));
    }
    let time = time(written).ok_or_else(|| Unproved::Malformed(shown(&TIME)))?;
    let until = within(time, signed.tolerance, now)?;
    // An attempt to send it again has another time, and another signature.
    Ok(Mark {
        renews: true,
        ..Mark::of(id.as_bytes(), until)
    })
}

impl Mark {
    fn of(what: &[u8], until: SystemTime) -> Self {
        let hash = digest(&SHA256, what);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.as_ref()[..16]);
        Self {
            digest,
            until,
            renews: false,
        }
    }
}

fn tag(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

/// The only field of a name.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h http::HeaderValue, Unproved> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| Unproved::Absent(shown(name)))?;
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Unproved::Ambiguous(shown(name))),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Unproved> {
    let value = one(headers, name)?.to_str();
    value.map_err(|_| Unproved::Malformed(shown(name)))
}

/// Seconds or milliseconds since 1970.
fn time(text: &str) -> Option<SystemTime> {
    /// In seconds, of the year 5138; in milliseconds, of 1973.
    const MILLISECONDS_FROM: u64 = 100_000_000_000;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = text.parse().ok()?;
    let since = match number {
        0..MILLISECONDS_FROM => Duration::from_secs(number),
        _ => Duration::from_millis(number),
    };
    UNIX_EPOCH.checked_add(since)
}

/// From when on a time is too long ago; it is an error if that is now, or if it is too far ahead.
fn within(time: SystemTime, tolerance: Duration, now: SystemTime) -> Result<SystemTime, Unproved> {
    let (offset, is_past) = match now.duration_since(time) {
        Ok(age) => (age, true),
        Err(ahead) => (ahead.duration(), false),
    };
    // Whole seconds are what is signed.
    let is_late = offset.as_secs() > tolerance.as_secs();
    let until = time.checked_add(tolerance + Duration::from_secs(1));
    match until.filter(|_| !is_late) {
        Some(until) => Ok(until),
        None => Err(Unproved::Late {
            offset,
            is_past,
            tolerance,
        }),
    }
}

/// Whether a text is a digest in this encoding; of those that have several spellings, in any.
fn is_written(text: &str, digest: &[u8], encoding: Encoding) -> bool {
    let is = |expected: String| is_same(text.as_bytes(), expected.as_bytes());
    match encoding {
        Encoding::Hex => {
            let lower: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            is(lower.to_ascii_uppercase()) || is(lower)
        }
        Encoding::Base64 => [
            BASE64_STANDARD,
            STANDARD_NO_PAD,
            BASE64_URL_SAFE,
            BASE64_URL_SAFE_NO_PAD,
        ]
        .iter()
        .any(|engine| is(engine.encode(digest))),
    }
}

fn same(given: &[u8], expected: &[u8], what: impl Fn() -> Box<str>) -> Result<(), Unproved> {
    match is_same(given, expected) {
        true => Ok(()),
        false => Err(Unproved::Wrong(what())),
    }
}

/// In constant time but for the length: that of a secret says little, and a digest's is known.
fn is_same(given: &[u8], expected: &[u8]) -> bool {
    given.ct_eq(expected).into()
}

fn shown(name: &HeaderName) -> Box<str> {
    format!("field `{name}`").into()
}
