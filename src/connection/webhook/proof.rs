//! How senders prove who they are: [`Proof`].

use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderName;
use zeroize::Zeroizing;

use super::template::Template;
use crate::secret::Secret;

/// What a delivery has to prove.
#[derive(Clone, Debug, PartialEq)]
pub struct Verify {
    /// The word for it, as in `verify.type`.
    pub kind: &'static str,
    /// What it comes down to.
    pub proof: Proof,
}

/// How a sender proves who it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// It knows the URL.
    None,
    /// User name and password (RFC 7617).
    Basic {
        /// The user name.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// A secret in a field.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        secret: Secret,
    },
    /// A secret in the query.
    Query {
        /// The parameter's name, decoded.
        name: Box<str>,
        /// Its value, decoded.
        secret: Secret,
    },
    /// A keyed digest of the content and more (RFC 2104).
    Hmac(Box<Hmac>),
    /// `Stripe-Signature`: a list of a time, and of digests of it and the content.
    Stripe(Signed),
    /// Standard Webhooks: `Webhook-Signature`, over ID, time and content.
    Standard(Signed),
}

impl Proof {
    /// The field and the parameter that hold a secret itself: they are told to nobody.
    pub fn secret_place(&self) -> (Option<&HeaderName>, Option<&str>) {
        match self {
            Self::Header { name, .. } => (Some(name), None),
            Self::Query { name, .. } => (None, Some(name)),
            _ => (None, None),
        }
    }
}

/// A secret, and for how long what was signed with it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// As the provider shows it.
    pub secret: Secret,
    /// How far the time may be from ours, either way.
    pub tolerance: Duration,
}

impl Signed {
    /// What Standard Webhooks' signatures are keyed with: the secret's bytes, which are written in
    /// base64, mostly behind `whsec_`. None if they are not.
    pub fn key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let text = self.secret.expose();
        let text = text.strip_prefix("whsec_").unwrap_or(text);
        // The libraries take it with padding or without.
        let engine = GeneralPurpose::new(
            &STANDARD,
            GeneralPurposeConfig::new()
                .with_decode_padding_mode(DecodePaddingMode::Indifferent)
                .with_decode_allow_trailing_bits(true),
        );
        let key = Zeroizing::new(engine.decode(text).ok()?);
        (!key.is_empty()).then_some(key)
    }
}

/// A keyed digest, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Hmac {
    /// The field that has it.
    pub header: HeaderName,
    /// What it is keyed with.
    pub secret: Secret,
    /// Of which digest.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// What stands before it in the field.
    pub prefix: Box<str>,
    /// What it is of.
    pub template: Template,
    /// The field that has the time of signing; one of the template's.
    pub timestamp: Option<HeaderName>,
    /// How far that may be from our time, either way; and for how long the same digest is not taken
    /// again. None: neither is looked at.
    pub tolerance: Option<Duration>,
}

impl Hmac {
    /// SHA-256 over the content, in hexadecimal digits.
    pub fn usual(header: HeaderName, secret: Secret) -> Self {
        Self {
            header,
            secret,
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: Box::default(),
            template: Template::body(),
            timestamp: None,
            tolerance: None,
        }
    }
}

/// The digest of an [`Hmac`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// For providers that know nothing better.
    Sha1,
    /// The usual one.
    Sha256,
    /// The long one.
    Sha512,
}

/// How a digest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Digits in either case.
    Hex,
    /// With the standard alphabet or the URL's, with padding or without.
    Base64,
}
