//! What the system says about names: [`System`].

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

use super::query::Unresolved;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// For how long one server is waited for at most, however long `resolv.conf` says: a packet that is
/// lost is not to cost all of `timeouts.connect`.
const PATIENCE: Duration = Duration::from_secs(2);

/// `/etc/hosts`, and who is asked for other names, as they were read.
pub(super) struct System {
    /// Who is asked instead of those that the files name; none: those.
    pub(super) servers: Arc<[SocketAddr]>,
    asker: Result<TokioResolver, String>,
    search: Vec<Name>,
    ndots: usize,
    hosts: Hosts,
    stamps: [Stamp; 2],
}

/// What changes when a file does; none while there is no such file.
type Stamp = Option<(i64, i64, u64, u64)>;

impl System {
    /// Reads the files; `servers` are asked instead of the system's, if there are any.
    pub(super) fn read(servers: Arc<[SocketAddr]>) -> Self {
        // Before the content: a change in between is noticed afterwards.
        let stamps = stamps();
        let (config, options) = match settings(&servers) {
            Ok(settings) => settings,
            Err(why) => return Self::without(why, servers, stamps),
        };
        let mut search = Vec::new();
        for domain in config.search().iter().chain(config.domain()) {
            if !search.contains(domain) && !domain.is_root() {
                search.push(domain.clone());
            }
        }
        let ndots = options.ndots;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Self {
            servers,
            asker: builder.build().map_err(|error| error.to_string()),
            search,
            ndots,
            hosts: hosts(),
            stamps,
        }
    }

    /// One that was not read, and knows nobody to ask.
    pub(super) fn unread(servers: Arc<[SocketAddr]>) -> Self {
        Self::without("keybearer ends".to_owned(), servers, [None; 2])
    }

    fn without(why: String, servers: Arc<[SocketAddr]>, stamps: [Stamp; 2]) -> Self {
        Self {
            servers,
            asker: Err(why),
            search: Vec::new(),
            ndots: 1,
            hosts: hosts(),
            stamps,
        }
    }

    /// Whether the files are as they were read.
    pub(super) fn is_current(&self) -> bool {
        self.stamps == stamps()
    }

    /// Whether both were read from the same files.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.stamps == other.stamps
    }

    /// What `/etc/hosts` says of a name.
    pub(super) fn written(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        let mut name = Name::from_ascii(name).ok()?.to_lowercase();
        name.set_fqdn(true);
        let found = [RecordType::AAAA, RecordType::A]
            .into_iter()
            .filter_map(|family| {
                self.hosts
                    .lookup_static_host(&Query::query(name.clone(), family))
            });
        let addresses: Vec<_> = found
            .flat_map(|lookup| {
                let records = lookup.answers().iter();
                records
                    .filter_map(|record| record.data.ip_addr())
                    .collect::<Vec<_>>()
            })
            .collect();
        (!addresses.is_empty()).then(|| addresses.into())
    }

    /// Who is asked for names.
    ///
    /// # Errors
    /// Nobody, and what to do about it.
    pub(super) fn asker(&self) -> Result<&TokioResolver, Unresolved> {
        self.asker
            .as_ref()
            .map_err(|why| Unresolved::Failed(why.clone()))
    }

    /// The whole names that a name may stand for, in the order in which they are asked for
    /// (`search` and `ndots` in resolv.conf(5)).
    pub(super) fn candidates(&self, name: &str) -> Vec<Name> {
        let Ok(mut whole) = Name::from_ascii(name) else {
            return Vec::new();
        };
        if whole.is_fqdn() {
            return vec![whole];
        }
        let searched = self.search.iter().filter_map(|domain| {
            let mut below = whole.clone().append_domain(domain).ok()?;
            below.set_fqdn(true);
            Some(below)
        });
        let mut names: Vec<_> = searched.collect();
        whole.set_fqdn(true);
        let dots = name.matches('.').count();
        names.insert(if dots >= self.ndots { 0 } else { names.len() }, whole);
        names
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").finish_non_exhaustive()
    }
}

fn settings(servers: &[SocketAddr]) -> Result<(ResolverConfig, ResolverOpts), String> {
    let read = fs::read(RESOLV_CONF).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no {RESOLV_CONF}; set server.dns"),
        _ => format!("{RESOLV_CONF} cannot be read ({error}); mend it or set server.dns"),
    });
    let parsed = read.and_then(|text| {
        parse_resolv_conf(text).map_err(|error| {
            format!("{RESOLV_CONF} is of no use ({error}); mend it or set server.dns")
        })
    });
    let (config, mut options) = match (parsed, servers) {
        (Err(why), []) => return Err(why),
        (Err(_), _) => (ResolverConfig::default(), ResolverOpts::default()),
        (Ok(parsed), _) => parsed,
    };
    // `/etc/hosts` and answers are kept here, where their changes are noticed.
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.timeout = options.timeout.min(PATIENCE);
    options.attempts = options.attempts.max(2);
    if servers.is_empty() {
        return Ok((config, options));
    }
    let (domain, search, _) = config.into_parts();
    let servers = servers.iter().copied().map(name_server).collect();
    Ok((ResolverConfig::from_parts(domain, search, servers), options))
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn hosts() -> Hosts {
    let mut hosts = Hosts::default();
    if let Ok(file) = fs::File::open(HOSTS) {
        // What was read of it until then counts.
        let _ = hosts.read_hosts_conf(file);
    }
    hosts
}

fn stamps() -> [Stamp; 2] {
    [RESOLV_CONF, HOSTS].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        Some((seconds, nanoseconds, metadata.ino(), metadata.len()))
    })
}
