//! A webhook endpoint: what it takes, how senders prove who they are, and where deliveries go.

mod proof;
mod template;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

pub use self::proof::{Algorithm, Encoding, Hmac, Proof, Signed, Verify};
pub use self::template::{InvalidTemplate, Part, Template};
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
