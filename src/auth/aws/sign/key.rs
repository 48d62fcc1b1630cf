//! The key that signs on one day, derived from the secret one.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ring::hmac;
use zeroize::Zeroizing;

use super::digest::hex_of;
use super::region_set::SetKey;
use super::stamp::Stamp;
use crate::auth::aws::keys::Keys;
use crate::connection::aws::Region;

/// Where and for what signatures hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) region: Region,
    pub(super) service: Box<str>,
}

/// What signs on one day.
pub(super) struct DayKey {
    day: [u8; 8],
    /// `20150830/us-east-1/s3/aws4_request`.
    pub(super) scope: Box<[u8]>,
    pub(super) means: Means,
}

/// By what is signed.
pub(super) enum Means {
    /// `AWS4-HMAC-SHA256`. ring does not zero its keys; this one is of a day, a region and a service,
    /// and worth nothing without them.
    Hmac(hmac::Key),
    /// `AWS4-ECDSA-P256-SHA256`: a key of all days, for a set of regions.
    Ecdsa(Arc<SetKey>),
}

/// A credential's key of the latest day, so that it is derived once a day.
pub(super) struct DayKeys(ArcSwap<DayKey>);

impl DayKeys {
    /// Derives the key of the first day.
    pub(super) fn new(day: [u8; 8], keys: &Keys, scope: &Scope) -> Self {
        Self(ArcSwap::from_pointee(DayKey {
            day,
            scope: scope.on(day),
            means: match &scope.region {
                Region::One(region) => Means::Hmac(derive(keys, day, region, &scope.service)),
                Region::Set(_) => Means::Ecdsa(Arc::new(SetKey::derive(keys))),
            },
        }))
    }

    /// The key of a day, without a lock; derived if it is not the latest one.
    pub(super) fn on(&self, day: [u8; 8], keys: &Keys, scope: &Scope) -> Guard<Arc<DayKey>> {
        let latest = self.0.load();
        if latest.day == day {
            return latest;
        }
        let key = Arc::new(DayKey {
            day,
            scope: scope.on(day),
            means: match (&latest.means, &scope.region) {
                (Means::Ecdsa(key), _) => Means::Ecdsa(Arc::clone(key)),
                (Means::Hmac(_), Region::One(region) | Region::Set(region)) => {
                    Means::Hmac(derive(keys, day, region, &scope.service))
                }
            },
        });
        // Of two that derive it at once either may stay: they are equal.
        self.0.store(Arc::clone(&key));
        Guard::from_inner(key)
    }
}

impl DayKey {
    /// Appends the text to sign to the canonical request, whose hash is in it.
    pub(super) fn write_text_to_sign(&self, stamp: &Stamp, canonical: &mut Vec<u8>) {
        let hash = hex_of(canonical);
        for line in [self.means.algorithm(), stamp.as_bytes(), &self.scope] {
            canonical.extend_from_slice(line);
            canonical.push(b'\n');
        }
        canonical.extend_from_slice(&hash);
    }
}

impl Scope {
    /// As signatures name it; a set of regions stands in a field of its own.
    fn on(&self, day: [u8; 8]) -> Box<[u8]> {
        let mut scope = day.to_vec();
        let region = match &self.region {
            Region::One(region) => Some(region.as_bytes()),
            Region::Set(_) => None,
        };
        for part in region
            .into_iter()
            .chain([self.service.as_bytes(), b"aws4_request"])
        {
            scope.push(b'/');
            scope.extend_from_slice(part);
        }
        scope.into()
    }
}

/// HMAC over HMAC: of the day by the secret, of the region by that, of the service, of the end.
fn derive(keys: &Keys, day: [u8; 8], region: &str, service: &str) -> hmac::Key {
    let secret = Zeroizing::new(format!("AWS4{}", keys.secret.expose()));
    let parts = [
        &day[..],
        region.as_bytes(),
        service.as_bytes(),
        b"aws4_request",
    ];
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    parts.iter().fold(key, |key, part| {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part).as_ref())
    })
}

impl Means {
    /// As signatures name it.
    pub(super) fn algorithm(&self) -> &'static [u8] {
        match self {
            Self::Hmac(_) => b"AWS4-HMAC-SHA256",
            Self::Ecdsa(_) => b"AWS4-ECDSA-P256-SHA256",
        }
    }
}

impl fmt::Debug for DayKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DayKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Origin, Secret};
    use std::time::{Duration, UNIX_EPOCH};

    const DAY: [u8; 8] = *b"20150830";

    fn keys(secret: &str) -> Keys {
        Keys {
            id: Secret::new("AKIDEXAMPLE", Origin::Literal),
            secret: Secret::new(secret, Origin::Literal),
            session_token: None,
        }
    }

    fn scope() -> Scope {
        Scope {
            region: Region::One("us-east-1".into()),
            service: "iam".into(),
        }
    }

    fn tag(key: &DayKey) -> Vec<u8> {
        match &key.means {
            Means::Hmac(key) => hmac::sign(key, b"text").as_ref().to_vec(),
            Means::Ecdsa(_) => panic!("no HMAC"),
        }
    }

    #[test]
    fn it_is_the_key_that_the_sdk_derives() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let time = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let theirs = aws_sigv4::sign::v4::generate_signing_key(secret, time, "us-east-1", "iam");
        let theirs = hmac::Key::new(hmac::HMAC_SHA256, theirs.as_ref());
        let ours = derive(&keys(secret), DAY, "us-east-1", "iam");
        assert_eq!(
            hmac::sign(&ours, b"text").as_ref(),
            hmac::sign(&theirs, b"text").as_ref()
        );
    }

    #[test]
    fn it_is_kept_for_a_day_and_derived_for_another() {
        let (keys, scope) = (keys("secret"), scope());
        let days = DayKeys::new(DAY, &keys, &scope);
        let first = Arc::clone(&days.on(DAY, &keys, &scope));
        assert!(Arc::ptr_eq(&first, &days.on(DAY, &keys, &scope)), "kept");

        let next = Arc::clone(&days.on(*b"20150831", &keys, &scope));
        assert_ne!(tag(&first), tag(&next));
        assert_eq!(*next.scope, *b"20150831/us-east-1/iam/aws4_request");
        assert!(Arc::ptr_eq(&next, &days.on(*b"20150831", &keys, &scope)));

        let again = days.on(DAY, &keys, &scope);
        assert_eq!(tag(&first), tag(&again), "derived anew, the same");
    }

    #[test]
    fn everything_that_is_derived_from_makes_another() {
        let scopes = [
            scope(),
            Scope {
                region: Region::One("us-east-2".into()),
                ..scope()
            },
            Scope {
                service: "sts".into(),
                ..scope()
            },
        ];
        let mut tags = Vec::new();
        for secret in ["secret", "other"] {
            for scope in &scopes {
                let days = DayKeys::new(DAY, &keys(secret), scope);
                tags.push(tag(&days.on(DAY, &keys(secret), scope)));
            }
        }
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), 6);
    }
}
