//! A configuration, from files to values: [`load`] reads the sources, parses their shape and
//! compiles it into a [`Config`] in which nothing can be wrong; or reports every error at once.

pub mod diagnostic;
pub mod source;

mod check;
mod compile;
mod document;
mod fault;
mod file;
mod gather;
mod mask;
pub(crate) mod quote;
mod section;
pub(crate) mod shape;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use zeroize::Zeroizing;

use self::compile::{compile, names};
use self::diagnostic::{Diagnostic, Diagnostics};
use self::document::Document;
use self::fault::Faults;
use self::gather::gather;
pub(crate) use self::shape::{is_variable_name, nearest};
use self::source::{Location, Outside, Reader, Sources};
use crate::connection::agents::Access;
use crate::connection::auth::Field;
use crate::connection::url::BaseUrl;
use crate::connection::webhook::Endpoint;
use crate::connection::{Connection, Tls};
use crate::secret::Secret;

/// Reads the configuration at `location` whole, and reports everything that is wrong with it.
pub fn load(location: &Location, outside: &dyn Outside) -> Loaded {
    let reader = Reader::new(outside);
    let faults = Faults::default();
    let documents = gather(location, &reader, &faults);
    let config = compile(&documents, &reader, &faults);
    Loaded {
        result: match faults.tell(&documents) {
            None => Ok(config),
            Some(diagnostics) => Err(diagnostics),
        },
        sources: reader.into_sources(),
    }
}

/// Reads the configuration at `location` with one more file after its own, which is not there yet:
/// `path` says where the relative paths in its `text` lead from.
///
/// With diagnostics, the configuration lacks the connections that are wrong.
pub(crate) fn load_with(
    location: &Location,
    outside: &dyn Outside,
    path: PathBuf,
    text: Zeroizing<String>,
) -> (Config, Option<Diagnostics>) {
    let reader = Reader::new(outside);
    let faults = Faults::default();
    let mut documents = gather(location, &reader, &faults);
    documents.push(Document::new(path, text));
    let config = compile(&documents, &reader, &faults);
    (config, faults.tell(&documents))
}

/// Every `auth.type`, with its keys but for `type` itself.
#[cfg(test)]
pub(crate) fn keys_of_auth() -> Vec<(&'static str, Vec<&'static str>)> {
    file::AUTH
        .now
        .iter()
        .map(|(name, shape)| {
            (
                *name,
                shape.available().filter(|key| *key != "type").collect(),
            )
        })
        .collect()
}

/// How the instance that runs with the configuration at `location` can be asked, however wrong the
/// rest of it is: whoever asks need not have the secrets of the connections.
pub fn console(location: &Location, outside: &dyn Outside) -> Console {
    let reader = Reader::new(outside);
    let faults = Faults::default();
    let documents = gather(location, &reader, &faults);
    let admin = compile(&documents, &reader, &faults).admin;
    let doubts = faults.tell(&documents).map_or_else(Vec::new, |all| {
        let concerns = |key: &str| key == "include" || key.starts_with("admin");
        let concerns = |fault: &&Diagnostic| fault.key().is_none_or(concerns);
        all.as_slice().iter().filter(concerns).cloned().collect()
    });
    Console {
        admin,
        doubts,
        connections: names(&documents),
    }
}

/// What a configuration says of its console, and of what there is to ask for.
#[derive(Clone, Debug)]
pub struct Console {
    /// `[admin]`; none if it is switched off, or if nothing tells where it is. A token that cannot be
    /// read is none.
    pub admin: Option<Admin>,
    /// What is wrong with that, or with a file as a whole.
    pub doubts: Vec<Diagnostic>,
    /// The names of all connections, however wrong they are.
    pub connections: Vec<String>,
}

/// What came of reading a configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, or all that is wrong with it.
    pub result: Result<Config, Diagnostics>,
    /// What was read, in either case.
    pub sources: Sources,
}

/// A whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[admin]`; none if switched off.
    pub admin: Option<Admin>,
    /// `[store]`.
    pub store: Store,
    /// `[log]`.
    pub log: Log,
    /// `[traces]`; none if there are to be none.
    pub traces: Option<Arc<Traces>>,
    /// `[agents]`; none if there are to be none.
    pub agents: Option<Agents>,
    /// `[webhooks]`; none if nothing listens for any.
    pub webhooks: Option<Webhooks>,
    /// `[connections]`, in the order of their names.
    pub connections: Vec<Arc<Connection>>,
}

/// `[server]`: the listeners that callers use.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// Worker threads; 0 is one per core.
    pub threads: usize,
    /// Which names may stand in `Host`.
    pub allowed_hosts: AllowedHosts,
    /// Browser origins that may call, as `scheme://host[:port]` in lower case.
    pub allowed_origins: Vec<Box<str>>,
    /// How long requests may still run once the process is asked to end.
    pub shutdown_grace: Duration,
    /// DNS servers that are asked instead of the system's; none: the system's.
    pub dns: Vec<SocketAddr>,
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `HOST:PORT`; a name is resolved when it is bound.
    Tcp {
        /// Name or address; IPv6 without brackets.
        host: Box<str>,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

impl Listen {
    /// The name that callers can know it by; none for a Unix socket, and for all addresses at once,
    /// as `0.0.0.0` is a name by which any web page may reach this machine.
    pub fn host_name(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => {
                let all = host
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.is_unspecified());
                (!all).then_some(host)
            }
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Which names may stand in `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHosts {
    /// `["*"]`.
    Any,
    /// These, in lower case, without port; IPv6 without brackets.
    Names(Vec<Box<str>>),
}

/// `[admin]`: the console's listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where to listen.
    pub listen: Listen,
    /// How browsers reach it.
    pub public_url: url::Url,
    /// What a client must present; always there unless `listen` is loopback or a Unix socket.
    pub token: Option<Secret>,
    /// Whether the console may write connections into the configuration, and try drafts of them with
    /// secrets of this machine.
    pub edit: Edit,
}

/// What the console may do to the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Write new connections into it.
    Allowed,
    /// Read it.
    Refused,
}

/// `[agents]`: where on-prem agents connect.
#[derive(Clone, Debug)]
pub struct Agents {
    /// Where to listen; never a Unix socket.
    pub listen: Listen,
    /// What lets them in.
    pub access: Arc<Access>,
}

/// `[webhooks]`: where others send webhooks.
#[derive(Clone, Debug)]
pub struct Webhooks {
    /// Where to listen.
    pub listen: Listen,
    /// How senders reach it; none: as it listens.
    pub public_url: Option<url::Url>,
    /// The listener's side of TLS; none: cleartext.
    pub tls: Option<Arc<ServerConfig>>,
    /// `[webhooks.endpoints]`, in the order of their names.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// `[store]`: where tokens are kept that must outlive a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Files in a folder.
    File {
        /// The folder; made if it is not there. None where nothing tells a place for it: neither
        /// `store.path` nor `$XDG_STATE_HOME` nor `$HOME` is set.
        folder: Option<PathBuf>,
        /// What values are sealed with; none: a key file in the folder, made if it is not there.
        key: Option<StoreKey>,
    },
    /// Nowhere: a restart forgets them.
    Memory,
}

/// The key that stored values are sealed with: 32 bytes in base64, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreKey(pub Secret);

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least level that is written.
    pub level: tracing::level_filters::LevelFilter,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether every request leaves a line.
    pub access: bool,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[traces]`: what a collector gets of spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// Where the collector takes them, without `/v1/traces`; never `builtin:echo`.
    pub endpoint: BaseUrl,
    /// What it is shown.
    pub headers: Vec<Field>,
    /// The share of traces that are exported of those that begin here, from 0 to 1.
    pub sample: f64,
    /// `service.name`.
    pub service_name: Box<str>,
    /// More attributes of this service, by their names.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// How to trust the collector, and what to show it.
    pub tls: Tls,
}
