//! The whole signer, beside what others have published and made.

mod chunks;
mod differential;
mod fields;
mod published;
mod suite;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::clock::Clock;
use super::signer::Signer;
use crate::auth::aws::keys::Keys;
use crate::connection::aws::{AccessKey, Aws, Payload, Region, Source};
use crate::secret::{Origin, Secret};

fn secret(text: &str) -> Secret {
    Secret::new(text, Origin::Literal)
}

fn keys(id: &str, key: &str, token: Option<&str>) -> Keys {
    Keys {
        id: secret(id),
        secret: secret(key),
        session_token: token.map(secret),
    }
}

fn settings(service: &str, region: Region) -> Aws {
    Aws {
        kind: "aws_access_key",
        service: service.into(),
        region,
        payload: Payload::Auto,
        source: Source::AccessKey(AccessKey {
            id: secret(""),
            secret: secret(""),
            session_token: None,
        }),
    }
}

fn one(region: &str) -> Region {
    Region::One(region.into())
}

fn signer(service: &str, region: Region, keys: Keys) -> Signer {
    Signer::new(&settings(service, region), keys, Arc::new(Clock::default())).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn headers<'h>(fields: impl IntoIterator<Item = (&'h str, &'h str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The part of `Authorization` that begins with a word, up to the comma.
fn part(headers: &HeaderMap, word: &str) -> String {
    let value = headers["authorization"].to_str().unwrap();
    let (_, rest) = value.split_once(word).unwrap();
    rest.split(',').next().unwrap().to_owned()
}
