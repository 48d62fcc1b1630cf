//! A webhook endpoint: what it takes, how senders prove who they are, and where deliveries go.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderName;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use zeroize::Zeroizing;

use super::Tls;
use super::url::BaseUrl;
use crate::secret::Secret;

/// One endpoint, as compiled from `[webhooks.endpoints.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The name, as in `[webhooks.endpoints.NAME]`.
    pub name: Arc<str>,
    /// Where deliveries go.
    pub target: Target,
    /// What a delivery has to prove.
    pub verify: Verify,
    /// What a subscription of Meta has to name; none: any is answered.
    pub verify_token: Option<Secret>,
    /// Whether deliveries wait for those that arrived before.
    pub order: Order,
    /// For how long a delivery is kept after it arrived, once it needs no further attempt.
    pub retain: Duration,
    /// After so many attempts a delivery counts as failed.
    pub max_attempts: u32,
    /// How long an attempt may take, from the connection to the end of the answer.
    pub timeout: Duration,
    /// How much to take.
    pub limits: Limits,
    /// How to trust the target, and what to show it.
    pub tls: Tls,
}

impl Endpoint {
    /// Its secrets, each by the key that holds it.
    pub fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        let of_proof = match &self.verify.proof {
            Proof::None => vec![],
            Proof::Basic { username, password } => {
                vec![("username", username), ("password", password)]
            }
            Proof::Header { secret, .. } | Proof::Query { secret, .. } => vec![("secret", secret)],
            Proof::Hmac(hmac) => vec![("secret", &hmac.secret)],
            Proof::Stripe(signed) | Proof::Standard(signed) => vec![("secret", &signed.secret)],
        };
        let token = self
            .verify_token
            .iter()
            .map(|token| ("verify_token", token));
        of_proof.into_iter().chain(token).collect()
    }
}

/// The listener's side of TLS.
///
/// # Errors
/// It cannot be spoken with this key.
pub fn server_tls(identity: CertifiedKey) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Where deliveries go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Through a connection: with its credential, by its way.
    Connection {
        /// The connection's name.
        name: Arc<str>,
        /// After its prefix, percent-encoded; empty, or starting with `/`.
        path: Box<str>,
    },
    /// To a server, without any credential.
    Url(BaseUrl),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { name, path } if path.is_empty() => write!(f, "connection {name}"),
            Self::Connection { name, path } => write!(f, "connection {name} {path}"),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// Whether deliveries wait for those that arrived before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each is tried until it was taken, or has failed; then the next.
    Arrival,
    /// Several at a time; one that is not taken holds up no other.
    Any,
}

/// How much an endpoint takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one request's content.
    pub request_body: u64,
    /// Of all that is kept for the endpoint.
    pub queue: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The longest that GitHub sends.
            request_body: 25 << 20,
            queue: 256 << 20,
        }
    }
}

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

/// What a digest is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Part]>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(Box<str>),
    /// The value of a field.
    Header(HeaderName),
    /// The request's method.
    Method,
    /// Its path and query, as the sender wrote them.
    Path,
    /// Its whole URL, as the sender knows it.
    Url,
    /// Its content.
    Body,
}

/// Why a text is no [`Template`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It says nothing of the content.
    #[error("`template` lacks `{{body}}`: anybody could change the content")]
    NoBody,
    /// A brace without its other one.
    #[error("`template` has a brace without its other one")]
    Unbalanced,
    /// What stands in braces is nothing known.
    #[error(
        "`template` knows no `{{{0}}}`; there are `{{body}}`, `{{header:NAME}}`, `{{method}}`, `{{path}}` and `{{url}}`"
    )]
    Unknown(String),
}

impl Template {
    /// The content alone.
    pub fn body() -> Self {
        Self([Part::Body].into())
    }

    /// Reads a text such as `v0:{header:X-Slack-Request-Timestamp}:{body}`.
    ///
    /// # Errors
    /// Says what is wrong with the text, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = rest.find(['{', '}']).unwrap_or(rest.len());
            let (plain, behind) = rest.split_at(at);
            if !plain.is_empty() {
                parts.push(Part::Text(plain.into()));
            }
            rest = behind;
            if !rest.is_empty() {
                let inside = rest
                    .strip_prefix('{')
                    .and_then(|rest| rest.split_once('}'))
                    .filter(|(name, _)| !name.contains('{'));
                let (name, behind) = inside.ok_or(InvalidTemplate::Unbalanced)?;
                parts.push(Part::named(name)?);
                rest = behind;
            }
        }
        match parts.contains(&Part::Body) {
            true => Ok(Self(parts.into())),
            false => Err(InvalidTemplate::NoBody),
        }
    }

    /// Its parts, in their order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The fields that it names.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|part| match part {
            Part::Header(name) => Some(name),
            _ => None,
        })
    }
}

impl Part {
    fn named(name: &str) -> Result<Self, InvalidTemplate> {
        let unknown = || InvalidTemplate::Unknown(name.to_owned());
        Ok(match name {
            "body" => Self::Body,
            "method" => Self::Method,
            "path" => Self::Path,
            "url" => Self::Url,
            _ => {
                let field = name.strip_prefix("header:").ok_or_else(unknown)?;
                Self::Header(field.parse().map_err(|_| unknown())?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_part_by_part() {
        let header = |name: &'static str| Part::Header(HeaderName::from_static(name));
        let text = |text: &str| Part::Text(text.into());
        for (template, parts) in [
            ("{body}", vec![Part::Body]),
            (
                "v0:{header:X-Time}:{body}",
                vec![text("v0:"), header("x-time"), text(":"), Part::Body],
            ),
            ("{url}{body}", vec![Part::Url, Part::Body]),
            (
                "{method} {path}\n{body}.",
                vec![
                    Part::Method,
                    text(" "),
                    Part::Path,
                    text("\n"),
                    Part::Body,
                    text("."),
                ],
            ),
        ] {
            assert_eq!(
                *Template::parse(template).unwrap().parts(),
                parts,
                "{template}"
            );
        }
    }

    #[test]
    fn what_is_no_template_says_why() {
        let unknown = |name: &str| InvalidTemplate::Unknown(name.to_owned());
        for (template, error) in [
            ("", InvalidTemplate::NoBody),
            ("{header:X-Time}", InvalidTemplate::NoBody),
            ("{body", InvalidTemplate::Unbalanced),
            ("body}", InvalidTemplate::Unbalanced),
            ("{{body}}", InvalidTemplate::Unbalanced),
            ("{Body}", unknown("Body")),
            ("{header:}{body}", unknown("header:")),
            ("{header:a b}{body}", unknown("header:a b")),
        ] {
            assert_eq!(Template::parse(template), Err(error), "{template}");
        }
    }
}
