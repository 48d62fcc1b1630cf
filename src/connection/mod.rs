//! A connection: a named upstream API with its base URL, credential, rules and limits.
//!
//! Values that cannot be wrong: nothing here is optional that is needed, no text is left unparsed.
//! The configuration compiles to these; everything above works on them.

pub mod agents;
pub mod allow;
pub mod auth;
pub mod aws;
pub mod identity;
pub mod key;
pub mod network;
pub mod oauth2;
pub mod proxy;
pub mod url;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use rustls_pki_types::{CertificateDer, ServerName};

use self::allow::Allow;
use self::auth::Auth;
use self::identity::ClientIdentity;
use self::network::Road;
use self::oauth2::ExpirySignal;
use self::proxy::Proxy;
use self::url::{BaseUrl, Destination, Prefix};

/// One connection, as compiled from the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The name, as in `[connections.NAME]`.
    pub name: Arc<str>,
    /// The local route.
    pub prefix: Prefix,
    /// Host names that route here too, lower case, without port.
    pub hosts: Vec<Box<str>>,
    /// Where requests go.
    pub base_url: BaseUrl,
    /// What they carry.
    pub auth: Auth,
    /// Signs of an answer that a credential with a lifetime has expired; none: the status 401.
    pub refresh_on: Option<Vec<ExpirySignal>>,
    /// The protocol spoken to the upstream.
    pub http: HttpVersion,
    /// Whether cookies pass.
    pub cookies: Cookies,
    /// New attempts after a first one that failed.
    pub retries: u32,
    /// Which requests are let through.
    pub allow: Allow,
    /// What is taken out beyond the fixed list.
    pub strip: Strip,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How much to take.
    pub limits: Limits,
    /// How to trust the upstream, and what to show it.
    pub tls: Tls,
    /// How its hosts are reached.
    pub road: Road,
    /// Whether field names keep their letter case on the way up.
    pub header_case: HeaderCase,
}

impl Connection {
    /// The proxy that leads to its base URL, if one does.
    pub fn proxy(&self) -> Option<&Proxy> {
        match (self.base_url.destination(), &self.road) {
            (Destination::Server { scheme, host, port }, Road::Proxied(proxies)) => {
                proxies.toward(*scheme, host, *port)
            }
            _ => None,
        }
    }
}

/// The protocol spoken to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// Whatever is agreed on by ALPN; HTTP/1.1 in cleartext.
    Auto,
    /// HTTP/1.1 only.
    Http11,
    /// HTTP/2 only: agreed on by ALPN, or in cleartext by prior knowledge.
    Http2,
}

/// What happens to the caller's `Cookie` and the upstream's `Set-Cookie`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookies {
    /// Both pass.
    Pass,
    /// Both are removed.
    Strip,
}

/// What happens to the letter case of field names on the way to an HTTP/1.1 upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderCase {
    /// Lower case, which every correct server takes.
    Lower,
    /// As caller and configuration wrote them.
    Preserve,
}

/// What is stripped on top of the fixed list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strip {
    /// Field names.
    pub headers: Vec<HeaderName>,
    /// Query parameter names, decoded.
    pub query: Vec<Box<str>>,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For name resolution, TCP and TLS together.
    pub connect: Duration,
    /// Between two reads, from the upstream or of the caller's content.
    pub read: Duration,
    /// Between two writes to the upstream.
    pub write: Duration,
    /// For a pooled connection without a request.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(60),
            write: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    }
}

/// How much to take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one request's content.
    pub request_body: u64,
    /// Of content that is held in memory to be merged, hashed or replayed.
    pub signed_body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: 1 << 30,
            signed_body: 16 << 20,
        }
    }
}

/// Who an upstream must be, who it is shown that we are, and the least TLS that will do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// What is presented to servers that ask for a client certificate.
    pub client: Option<Arc<ClientIdentity>>,
    /// Trusted instead of the system's roots.
    pub ca_certificate: Option<Arc<[CertificateDer<'static>]>>,
    /// SNI and verified name, if not the base URL's host.
    pub server_name: Option<ServerName<'static>>,
    /// The least version that is spoken.
    pub min_version: TlsVersion,
}

impl Tls {
    /// The same for another host than the base URL's.
    #[must_use]
    pub fn without_server_name(&self) -> Self {
        Self {
            server_name: None,
            ..self.clone()
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    /// The version of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Tls12, Self::Tls13]
            .into_iter()
            .find(|version| version.name() == name)
    }
}
