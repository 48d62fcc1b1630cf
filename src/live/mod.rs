//! What is in force: the [`Snapshot`] that every request takes once, published whole.
//!
//! A [`Publisher`] builds a snapshot completely, reusing every part whose settings are equal, and
//! then swaps one pointer; there is nothing to roll back, as nothing was touched. A [`Reader`] can
//! only take what was published.

pub mod expiry;
pub mod recent;
pub mod reload;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard as Borrowed};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::watch;
use url::Url;

use self::recent::Recent;

use crate::auth::Authenticator;
use crate::auth::credentials::Credentials;
use crate::config::{Admin, AllowedHosts, Config, Listen, Server, Webhooks};
use crate::connection::{Connection, HeaderCase};
use crate::metrics::{ConnectionMetrics, Metrics};
use crate::request::guard::Guard;
use crate::request::route::Routes;
use crate::request::strip::Strip;
use crate::traces::context::TRACEPARENT;
use crate::traces::{Tracer, Traces};
use crate::upstream::{Upstream, Upstreams};

/// A published configuration, with everything that can be derived from it.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts publications, from 1.
    pub generation: u64,
    /// Whom the listeners answer.
    pub guard: Guard,
    /// Where requests go.
    pub routes: Routes<Arc<Live>>,
    /// What begins traces; none if nothing is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// Whether every request leaves a log line.
    pub access_log: bool,
    /// Whether callers' field names keep their letter case.
    pub header_case: HeaderCase,
    /// How long requests may still run once the process is asked to end.
    pub shutdown_grace: Duration,
    /// What the console demands; none if it is switched off.
    pub admin: Option<Admin>,
    /// Where others send webhooks, and where these go; none if nobody does.
    pub webhooks: Option<Webhooks>,
    lives: HashMap<Arc<str>, Arc<Live>>,
}

/// A connection, ready to be used.
#[derive(Debug)]
pub struct Live {
    /// Its settings.
    pub connection: Arc<Connection>,
    /// The `Host` field that its upstream gets.
    pub host: HeaderValue,
    /// What is taken out of its requests.
    pub strip: Arc<Strip>,
    /// Whether its upstream is told of traces: no name of the two fields is its own to strip or fill.
    pub tells_trace: bool,
    /// What its requests are given.
    pub authenticator: Authenticator,
    /// What answers; none for `builtin:echo`.
    pub upstream: Option<Arc<Upstream>>,
    /// Where a person can link it; none if there is nothing to link, or no console.
    pub link_page: Option<String>,
    /// Its counters, which outlive its settings.
    pub metrics: Arc<ConnectionMetrics>,
    /// Its last requests, which do as well; none if nobody can see them.
    pub recent: Option<Arc<Recent>>,
}

/// A connection that compiled, but cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("connection `{name}`: {reason}")]
pub struct BuildError {
    name: Arc<str>,
    reason: String,
}

impl Live {
    fn build(
        connection: &Arc<Connection>,
        public_url: Option<&Url>,
        before: Option<&Self>,
        parts: &Parts,
    ) -> Result<Self, BuildError> {
        let failed = |reason: String| BuildError {
            name: Arc::clone(&connection.name),
            reason,
        };
        let redirect = public_url.map(|url| below(url, "oauth/callback"));
        let authenticator = parts
            .credentials
            .build(connection, redirect.as_ref())
            .map_err(|error| failed(error.to_string()))?;
        let upstream = parts.upstreams.build(connection).map_err(|error| {
            failed(format!(
                "`tls` cannot be used ({error}); check tls.ca_certificate and tls.server_name"
            ))
        })?;
        let strip = Strip::new(connection);
        Ok(Self {
            host: connection.base_url.host_field(),
            tells_trace: !strip.takes(TRACEPARENT.as_ref()),
            strip: Arc::new(strip),
            link_page: public_url
                .filter(|_| authenticator.credential().is_some_and(|c| c.is_linkable()))
                .map(|url| below(url, &format!("link/{}", connection.name)).into()),
            authenticator,
            upstream,
            metrics: match before {
                Some(before) => Arc::clone(&before.metrics),
                None => Arc::new(parts.metrics.connection(&connection.name)),
            },
            recent: public_url.map(|_| {
                let kept = before.and_then(|before| before.recent.clone());
                kept.unwrap_or_default()
            }),
            connection: Arc::clone(connection),
        })
    }
}

/// A page of the console.
fn below(public_url: &Url, path: &str) -> Url {
    let mut url = public_url.clone();
    url.set_path(&format!(
        "{}/{path}",
        public_url.path().trim_end_matches('/')
    ));
    url
}

/// What outlives every configuration, and is reused by the next.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Pools of connections.
    pub upstreams: Arc<Upstreams>,
    /// Credentials with a lifetime.
    pub credentials: Arc<Credentials>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is traced.
    pub traces: Traces,
}

/// Publishes configurations.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
    parts: Parts,
    publishing: Mutex<()>,
    published: watch::Sender<u64>,
}

/// Takes what was published last.
#[derive(Clone, Debug)]
pub struct Reader {
    current: Arc<ArcSwap<Snapshot>>,
    published: watch::Receiver<u64>,
}

impl Snapshot {
    /// Begins to fetch credentials that have a lifetime.
    fn begin(&self) {
        let credentials = self
            .lives
            .values()
            .map(|live| live.authenticator.credential());
        credentials
            .flatten()
            .for_each(|credential| credential.begin());
    }

    /// Tells the metrics what does not change while it is in force.
    fn measure(&self) {
        for live in self.lives.values() {
            let identity = live.connection.tls.client.as_ref();
            let ends = identity.map(|identity| identity.not_after());
            live.metrics.certificate_expires(ends);
        }
    }

    /// All connections, in no order.
    pub fn lives(&self) -> impl Iterator<Item = &Arc<Live>> {
        self.lives.values()
    }

    /// The connection of a name.
    pub fn live(&self, name: &str) -> Option<&Arc<Live>> {
        self.lives.get(name)
    }
}

impl Reader {
    /// The snapshot, for as long as nothing is awaited.
    pub fn take(&self) -> Borrowed<Arc<Snapshot>> {
        self.current.load()
    }

    /// What tells of each publication, by its generation.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.clone()
    }
}

impl Publisher {
    /// Publishes a first configuration.
    ///
    /// # Errors
    /// A connection cannot be built.
    pub fn new(config: &Config, parts: Parts) -> Result<Self, BuildError> {
        let first = build(config, None, &parts)?;
        parts.upstreams.ask(&config.server.dns);
        let_agents_in(config, &parts);
        parts.traces.publish(first.tracer.clone());
        parts.metrics.loaded(Some(first.generation));
        first.measure();
        let current = Arc::new(ArcSwap::from_pointee(first));
        Ok(Self {
            current,
            parts,
            publishing: Mutex::new(()),
            published: watch::Sender::new(1),
        })
    }

    /// Builds a configuration whole, then publishes it; gives its generation.
    ///
    /// # Errors
    /// A connection cannot be built: what was in force stays so.
    pub fn publish(&self, config: &Config) -> Result<u64, BuildError> {
        let _one_at_a_time = self.publishing.lock();
        let before = self.current.load_full();
        let next = Arc::new(build(config, Some(&before), &self.parts)?);
        self.parts.upstreams.ask(&config.server.dns);
        self.current.store(Arc::clone(&next));
        let_agents_in(config, &self.parts);
        self.parts.traces.publish(next.tracer.clone());
        next.begin();
        next.measure();
        expiry::report(&next);
        for (name, live) in &before.lives {
            if !next.lives.contains_key(name) {
                live.metrics.forget();
            }
            let Some(credential) = live.authenticator.credential() else {
                continue;
            };
            let other = next
                .lives
                .get(name)
                .and_then(|live| live.authenticator.credential());
            if other.is_none() {
                credential.forget_metrics();
            }
            if !other.is_some_and(|other| Arc::ptr_eq(other, credential)) {
                credential.value.retire();
            }
        }
        self.published.send_replace(next.generation);
        Ok(next.generation)
    }

    /// Begins to fetch the first configuration's credentials: once it is sure that it is used.
    pub fn begin(&self) {
        let first = self.current.load();
        first.begin();
        expiry::report(&first);
    }

    /// A reader of what is published.
    pub fn reader(&self) -> Reader {
        Reader {
            current: Arc::clone(&self.current),
            published: self.published.subscribe(),
        }
    }
}

/// A configuration as it would be in force, for whoever has this reader: nothing else learns of it.
///
/// # Errors
/// A connection cannot be built.
pub fn apart(config: &Config, parts: &Parts) -> Result<Reader, BuildError> {
    let snapshot = build(config, None, parts)?;
    parts.upstreams.ask(&config.server.dns);
    Ok(Reader {
        published: watch::channel(snapshot.generation).1,
        current: Arc::new(ArcSwap::from_pointee(snapshot)),
    })
}

fn let_agents_in(config: &Config, parts: &Parts) {
    let access = config
        .agents
        .as_ref()
        .map(|agents| Arc::clone(&agents.access));
    parts.upstreams.agents().publish(access);
}

fn build(
    config: &Config,
    before: Option<&Snapshot>,
    parts: &Parts,
) -> Result<Snapshot, BuildError> {
    let public_url = |admin: &Option<Admin>| admin.as_ref().map(|admin| admin.public_url.clone());
    let ours = public_url(&config.admin);
    // Only what is renewed knows the console's address.
    let moved = before.is_some_and(|before| public_url(&before.admin) != ours);
    let mut routes = Routes::default();
    let mut lives = HashMap::with_capacity(config.connections.len());
    for connection in &config.connections {
        let known = before.and_then(|before| before.lives.get(&connection.name));
        let live = match known {
            Some(live)
                if live.connection == *connection && !(moved && connection.auth.is_renewed()) =>
            {
                Arc::clone(live)
            }
            _ => {
                let known = known.map(|live| &**live);
                Arc::new(Live::build(connection, ours.as_ref(), known, parts)?)
            }
        };
        routes.insert_prefix(&connection.prefix, Arc::clone(&live));
        for host in &connection.hosts {
            routes.insert_host(host, Arc::clone(&live));
        }
        lives.insert(Arc::clone(&connection.name), live);
    }
    Ok(Snapshot {
        generation: before.map_or(1, |before| before.generation + 1),
        guard: guard(&config.server),
        routes,
        tracer: parts.traces.tracer(config.traces.as_ref()),
        access_log: config.log.access,
        header_case: header_case(config),
        shutdown_grace: config.server.shutdown_grace,
        admin: config.admin.clone(),
        webhooks: config.webhooks.clone(),
        lives,
    })
}

fn guard(server: &Server) -> Guard {
    let hosts = match &server.allowed_hosts {
        AllowedHosts::Any => None,
        AllowedHosts::Names(names) => Some(
            names
                .iter()
                .cloned()
                .chain(listener_names(server))
                .collect(),
        ),
    };
    Guard::new(hosts, server.allowed_origins.clone())
}

/// The names that the listeners were configured by, which are always ours.
fn listener_names(server: &Server) -> impl Iterator<Item = Box<str>> {
    server
        .listen
        .iter()
        .filter_map(Listen::host_name)
        .map(Into::into)
}

fn header_case(config: &Config) -> HeaderCase {
    let preserves = |connection: &Arc<Connection>| connection.header_case == HeaderCase::Preserve;
    if config.connections.iter().any(preserves) {
        HeaderCase::Preserve
    } else {
        HeaderCase::Lower
    }
}
