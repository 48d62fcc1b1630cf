//! Signature Version 4 and 4A in the head of a request: [`Signer`].

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use ring::hmac;

use super::canonical::{self, Request, Rules};
use super::chunk::ChunkSigner;
use super::clock::Clock;
use super::digest::hex;
use super::key::{DayKey, DayKeys, Means, Scope};
use super::payload::PayloadHash;
use super::scratch;
use super::stamp::Stamp;
use super::target;
use crate::auth::Invalid;
use crate::auth::aws::keys::Keys;
use crate::connection::aws::{Aws, Region};

/// The time of a signature.
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// How it covers the content. S3 and OpenSearch Serverless demand it, and no service minds it.
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// The token of a session's keys.
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// Where a signature of version 4A holds.
const REGION_SET: HeaderName = HeaderName::from_static("x-amz-region-set");

/// Signs the requests of a connection with the keys that it has at the moment.
pub struct Signer {
    keys: Keys,
    scope: Scope,
    rules: Rules,
    token: Option<HeaderValue>,
    region_set: Option<HeaderValue>,
    days: DayKeys,
    clock: Arc<Clock>,
}

/// Why a request was not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignFault {
    /// Content cannot be signed in chunks for a set of regions.
    #[error("content is signed in chunks for one region only; name one as `region`")]
    Chunks,
    /// There is no `Host`, which every signature covers.
    #[error("the request has no `Host` field to be signed")]
    Host,
    /// The time cannot be written.
    #[error("the clock shows a time before 1970 or after 9999; set it")]
    Time,
}

/// A request target that is too long once it is encoded as AWS demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path and query are longer than 64 KiB when encoded for signing; shorten them")]
pub struct TargetTooLong;

impl Signer {
    /// Makes ready what all signatures of these keys share.
    ///
    /// # Errors
    /// An access key ID, a token, a region or a service that cannot stand in a field.
    pub fn new(settings: &Aws, keys: Keys, clock: Arc<Clock>) -> Result<Self, Invalid> {
        check_id(keys.id.expose())?;
        let scope = Scope {
            region: settings.region.clone(),
            service: settings.service.clone(),
        };
        let (Region::One(region) | Region::Set(region)) = &scope.region;
        let region = field(region)?;
        field(&scope.service)?;
        let token = keys.session_token.as_ref();
        let token = token
            .map(|token| crate::auth::sensitive(token.expose()))
            .transpose()?;
        let today = Stamp::new(clock.now()).map_or([b'0'; 8], |stamp| stamp.day());
        Ok(Self {
            token,
            region_set: matches!(scope.region, Region::Set(_)).then_some(region),
            rules: if settings.is_s3() {
                Rules::S3
            } else {
                Rules::OTHERS
            },
            days: DayKeys::new(today, &keys, &scope),
            keys,
            scope,
            clock,
        })
    }

    /// What it signs with.
    #[cfg(test)]
    pub(in crate::auth::aws) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whether requests show a session's token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The clock by which to sign, corrected by what the upstream has told of its own.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The request target as it is to be sent, so that whoever verifies the signature reads what was
    /// signed. It comes before [`Self::sign`].
    ///
    /// # Errors
    /// It gets too long by being encoded.
    pub fn target(&self, uri: Uri) -> Result<Uri, TargetTooLong> {
        target::canonical(uri, self.rules).ok_or(TargetTooLong)
    }

    /// Signs a head as it is at this moment, so that nothing of it may change any more but what
    /// proxies change. `now` is the time that the signature bears: [`Clock::now`].
    ///
    /// Gives what signs the content, if that is signed in chunks.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn sign(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
        payload: PayloadHash,
        now: SystemTime,
    ) -> Result<Option<ChunkSigner>, SignFault> {
        if !headers.contains_key(HOST) {
            return Err(SignFault::Host);
        }
        let in_chunks = matches!(payload, PayloadHash::Chunks { .. });
        if in_chunks && self.region_set.is_some() {
            return Err(SignFault::Chunks);
        }
        let stamp = Stamp::new(now).ok_or(SignFault::Time)?;
        let key = self.days.on(stamp.day(), &self.keys, &self.scope);
        let mut digits = [0; 64];
        let text = payload.text(&mut digits);
        self.write_fields(headers, &stamp, payload.value(text));
        let (authorization, chunks) = scratch::with(|scratch| {
            let request = Request {
                method: method.as_str(),
                path: uri.path(),
                query: uri.query(),
                headers,
                payload: text,
            };
            let names = canonical::write(&request, self.rules, scratch);
            let canonical = scratch.text.len();
            key.write_text_to_sign(&stamp, &mut scratch.text);
            let (names, to_sign) = (&scratch.text[names], &scratch.text[canonical..]);
            match &key.means {
                Means::Hmac(hmac) => {
                    let signature = hex(hmac::sign(hmac, to_sign).as_ref());
                    let chunks = in_chunks
                        .then(|| ChunkSigner::new(hmac.clone(), &stamp, &key.scope, signature));
                    (self.authorization(&key, names, &signature), chunks)
                }
                Means::Ecdsa(pair) => {
                    let signature = pair.sign(to_sign);
                    (self.authorization(&key, names, signature.as_bytes()), None)
                }
            }
        });
        headers.insert(AUTHORIZATION, authorization);
        Ok(chunks)
    }

    /// Writes the fields that are signed and tell of the signature, over any that are there.
    fn write_fields(&self, headers: &mut HeaderMap, stamp: &Stamp, payload: HeaderValue) {
        headers.insert(DATE, stamp.value());
        headers.insert(CONTENT_SHA256, payload);
        for (name, value) in [
            (SECURITY_TOKEN, &self.token),
            (REGION_SET, &self.region_set),
        ] {
            match value {
                Some(value) => headers.insert(name, value.clone()),
                None => headers.remove(name),
            };
        }
    }

    fn authorization(&self, key: &DayKey, names: &[u8], signature: &[u8]) -> HeaderValue {
        let parts = [
            key.means.algorithm(),
            b" Credential=",
            self.keys.id.expose().as_bytes(),
            b"/",
            &key.scope,
            b", SignedHeaders=",
            names,
            b", Signature=",
            signature,
        ];
        // Its parts were found in fields, or were checked when the signer was made.
        let mut value = HeaderValue::from_maybe_shared(Bytes::from(parts.concat()))
            .expect("characters of fields");
        value.set_sensitive(true);
        value
    }
}

/// Two signers are equal if they write the same into a request at the same time.
impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys && self.scope == other.scope
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

fn field(text: &str) -> Result<HeaderValue, Invalid> {
    HeaderValue::try_from(text).map_err(|_| Invalid::Field)
}

/// The ID stands among other things in a field: it must end where it ends.
fn check_id(id: &str) -> Result<(), Invalid> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    if !id.is_empty() && id.bytes().all(fits) {
        Ok(())
    } else {
        Err(Invalid::AccessKeyId)
    }
}
