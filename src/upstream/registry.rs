//! One upstream per identity: [`Upstreams`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::Instant;

use super::Upstream;
use super::dial::Dialer;
use super::dns::Resolver;
use super::pool::Pool;
use super::proxy::absolute::Absolute;
use super::security::Security;
use super::tls::{self, Offer};
use super::trunks::Trunks;
use crate::agent::registry::Agents;
use crate::connection::auth::{Auth, Field};
use crate::connection::network::Road;
use crate::connection::proxy::Protocol;
use crate::connection::url::{BaseUrl, Destination, Scheme};
use crate::connection::{Connection, HeaderCase, HttpVersion, Tls, TlsVersion};

/// Everything in which two upstreams can differ: a connection never crosses from one to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    tls: Tls,
    road: Road,
    spellings: Option<Arc<[Box<str>]>>,
    http: HttpVersion,
}

/// Makes upstreams, one per identity, and keeps their pools across reloads.
#[derive(Debug, Default)]
pub struct Upstreams {
    known: Mutex<HashMap<Identity, Weak<Upstream>>>,
    /// By all of `tls` but `server_name`, which a handshake names by itself; and what is offered.
    configs: Mutex<HashMap<(Tls, Offer), Weak<ClientConfig>>>,
    resolver: Arc<Resolver>,
    agents: Arc<Agents>,
}

impl Upstreams {
    /// Upstreams some of which these agents lead to.
    pub fn behind(agents: Arc<Agents>) -> Self {
        Self {
            agents,
            ..Self::default()
        }
    }

    /// The agents that lead to some of them.
    pub fn agents(&self) -> &Arc<Agents> {
        &self.agents
    }

    /// The upstream of a connection: the one there is for its identity, else a new one; none for
    /// `builtin:echo`.
    ///
    /// # Errors
    /// The connection's certificates cannot be trusted as roots.
    pub fn build(&self, connection: &Connection) -> Result<Option<Arc<Upstream>>, rustls::Error> {
        let destination = connection.base_url.destination();
        let (tls, road) = (connection.tls.clone(), connection.road.clone());
        let spellings = spellings(connection);
        self.one_for(destination, tls, road, spellings, connection.http)
    }

    /// The upstream behind another URL that a connection needs, such as its token endpoint: reached and
    /// trusted as the connection is. Its `tls.server_name` is for the base URL's host alone.
    ///
    /// # Errors
    /// The connection's certificates cannot be trusted as roots.
    pub fn endpoint(
        &self,
        tls: &Tls,
        road: &Road,
        url: &BaseUrl,
    ) -> Result<Option<Arc<Upstream>>, rustls::Error> {
        let (tls, road) = (tls.without_server_name(), road.clone());
        self.one_for(url.destination(), tls, road, None, HttpVersion::Http11)
    }

    fn one_for(
        &self,
        destination: &Destination,
        tls: Tls,
        road: Road,
        spellings: Option<Arc<[Box<str>]>>,
        http: HttpVersion,
    ) -> Result<Option<Arc<Upstream>>, rustls::Error> {
        let Destination::Server { scheme, host, port } = destination else {
            return Ok(None);
        };
        let http = match (http, scheme) {
            // Without TLS there is nothing to agree by.
            (HttpVersion::Auto, Scheme::Http) => HttpVersion::Http11,
            (http, _) => http,
        };
        let upgradable = match http {
            HttpVersion::Auto => {
                let (tls, road, spellings) = (tls.clone(), road.clone(), spellings.clone());
                self.one_for(destination, tls, road, spellings, HttpVersion::Http11)?
            }
            HttpVersion::Http11 | HttpVersion::Http2 => None,
        };
        let identity = Identity {
            scheme: *scheme,
            host: host.clone(),
            port: *port,
            // In cleartext nothing of it is used, but for the trust in a proxy on the way.
            tls: match scheme {
                Scheme::Http => Tls {
                    ca_certificate: tls.ca_certificate,
                    ..Tls::default()
                },
                Scheme::Https => tls,
            },
            road: road.toward(*scheme, host, *port),
            spellings,
            http,
        };
        let mut known = self.known.lock();
        if let Some(upstream) = known.get(&identity).and_then(Weak::upgrade) {
            return Ok(Some(upstream));
        }
        let tls = match scheme {
            Scheme::Http => None,
            Scheme::Https => Some(Security {
                config: self.client_config(&identity.tls, http)?,
                name: server_name(&identity)?,
                client: identity.tls.client.clone(),
                least: identity.tls.min_version,
            }),
        };
        let dialer = Dialer {
            host: host.clone(),
            port: *port,
            tls,
            road: identity.road.clone(),
            proxy_tls: proxy_security(&identity)?,
            resolver: Arc::clone(&self.resolver),
            agents: Arc::clone(&self.agents),
        };
        let spellings = identity.spellings.clone();
        let upstream = Arc::new(Upstream {
            absolute: Absolute::of(&dialer)
                .filter(|_| http != HttpVersion::Http2)
                .map(Box::new),
            dialer,
            spellings,
            pool: Pool::default(),
            trunks: (http != HttpVersion::Http11).then(|| Arc::new(Trunks::new(http))),
            upgradable,
            http,
        });
        known.insert(identity, Arc::downgrade(&upstream));
        Ok(Some(upstream))
    }

    fn client_config(
        &self,
        tls: &Tls,
        http: HttpVersion,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut configs = self.configs.lock();
        let key = (tls.without_server_name(), Offer::of(http));
        if let Some(config) = configs.get(&key).and_then(Weak::upgrade) {
            return Ok(config);
        }
        let config = tls::client_config(&key.0, key.1)?;
        configs.insert(key, Arc::downgrade(&config));
        Ok(config)
    }

    /// Asks these DNS servers from now on; none: the system's.
    pub fn ask(&self, servers: &[SocketAddr]) {
        self.resolver.ask(servers);
    }

    /// Drops idle connections that are too old or closed, and forgets upstreams that nobody uses.
    pub fn sweep(&self, now: Instant) {
        let live: Vec<_> = {
            let mut known = self.known.lock();
            known.retain(|_, upstream| upstream.strong_count() > 0);
            known.values().filter_map(Weak::upgrade).collect()
        };
        self.configs
            .lock()
            .retain(|_, config| config.strong_count() > 0);
        self.resolver.sweep(now);
        live.iter().for_each(|upstream| upstream.sweep(now));
    }
}

/// For a proxy that is spoken to in TLS.
fn proxy_security(identity: &Identity) -> Result<Option<Security>, rustls::Error> {
    let Road::Proxied(proxies) = &identity.road else {
        return Ok(None);
    };
    match proxies.of(identity.scheme) {
        Some(proxy) if proxy.protocol == Protocol::Https => Ok(Some(Security {
            config: tls::proxy_config(identity.tls.ca_certificate.as_deref())?,
            name: named(&proxy.host)?,
            client: None,
            least: TlsVersion::Tls12,
        })),
        _ => Ok(None),
    }
}

/// SNI and the verified name: as configured, else the base URL's host.
fn server_name(identity: &Identity) -> Result<ServerName<'static>, rustls::Error> {
    match &identity.tls.server_name {
        Some(name) => Ok(name.clone()),
        None => named(&identity.host),
    }
}

/// A host as certificates name it.
fn named(host: &str) -> Result<ServerName<'static>, rustls::Error> {
    ServerName::try_from(host.to_owned())
        .map_err(|error| rustls::Error::General(format!("`{host}`: {error}")))
}

/// Names that are written in the configuration's case, where the connection preserves it.
fn spellings(connection: &Connection) -> Option<Arc<[Box<str>]>> {
    const OURS: [&str; 7] = [
        "Authorization",
        "Connection",
        "Content-Length",
        "Content-Type",
        "Host",
        "Transfer-Encoding",
        "Upgrade",
    ];
    if connection.header_case == HeaderCase::Lower {
        return None;
    }
    let fields: &[Field] = match &connection.auth {
        Auth::Custom(custom) => &custom.headers,
        Auth::Header(fields) => fields,
        Auth::Aws(_)
        | Auth::Basic(_)
        | Auth::Bearer(_)
        | Auth::None
        | Auth::OAuth2(_)
        | Auth::Query(_) => &[],
    };
    let written = fields.iter().map(|field| field.written.clone());
    // The configuration's spelling comes first, and so is the one that is found.
    Some(written.chain(OURS.map(Into::into)).collect())
}
