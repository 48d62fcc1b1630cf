//! Host names and where to listen.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use url::Host;

use crate::config::Listen;
use crate::config::mask::without_userinfo_and_query;
use crate::connection::url::{BaseUrl, Destination};

/// The longest path of a Unix socket on every system that keybearer runs on (`sun_path`).
const LONGEST_SOCKET: usize = 103;

/// Why a text is no host name or no place to listen at.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidHost {
    #[error("`{0}` lacks a host; write `127.0.0.1:{0}`, or `0.0.0.0:{0}` for every address")]
    NoHost(String),
    #[error("`{0}` lacks a port; write `{0}:8080`")]
    NoPort(String),
    #[error("an IPv6 address with a port stands in brackets: `[::1]:8080`")]
    NoBrackets,
    #[error("`{0}` is not a port, a number up to 65535")]
    Port(String),
    #[error("`{0}` is not a host name or address")]
    Name(String),
    #[error("a host stands here without a port: `{0}`")]
    WithPort(String),
    #[error("this is `HOST:PORT` or `unix:/path`, not a URL")]
    Url,
    #[error("a Unix socket needs an absolute path of at most {LONGEST_SOCKET} bytes")]
    Socket,
}

/// Parses a host name or address as it stands in `Host`, without port: lower case, no brackets.
pub(super) fn name(text: &str) -> Result<Box<str>, InvalidHost> {
    let invalid = || InvalidHost::Name(without_userinfo_and_query(text));
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(address.to_string().into());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !text.ends_with(']')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(host) = name(host)
    {
        return Err(InvalidHost::WithPort(host.into()));
    }
    if text.contains(['*', '%', '@', '/']) {
        return Err(invalid());
    }
    match Host::parse(text.trim_end_matches('.')) {
        Ok(Host::Domain(name)) => Ok(name.into()),
        Ok(Host::Ipv4(address)) => Ok(address.to_string().into()),
        Ok(Host::Ipv6(address)) => Ok(address.to_string().into()),
        Err(_) => Err(invalid()),
    }
}

/// Parses `HOST:PORT`, `[::1]:8080` or `unix:/path`.
pub(super) fn listen(text: &str) -> Result<Listen, InvalidHost> {
    if let Some(path) = text.strip_prefix("unix:") {
        let fits = path.starts_with('/') && path.len() <= LONGEST_SOCKET && !path.contains('\0');
        return match fits {
            true => Ok(Listen::Unix(PathBuf::from(path))),
            false => Err(InvalidHost::Socket),
        };
    }
    if text.contains(['/', '@', '?']) {
        return Err(InvalidHost::Url);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(InvalidHost::NoBrackets);
    }
    let with_port = text.rsplit_once(':').filter(|_| !text.ends_with(']'));
    let Some((host, port)) = with_port else {
        return Err(match text.parse::<u16>() {
            Ok(_) => InvalidHost::NoHost(without_userinfo_and_query(text)),
            Err(_) => InvalidHost::NoPort(without_userinfo_and_query(text)),
        });
    };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidHost::Port(without_userinfo_and_query(port)));
    }
    let number = port
        .parse()
        .map_err(|_| InvalidHost::Port(without_userinfo_and_query(port)))?;
    match host {
        "" | "*" => Err(InvalidHost::NoHost(without_userinfo_and_query(port))),
        _ if host.contains(':') && !host.starts_with('[') => Err(InvalidHost::NoBrackets),
        _ => Ok(Listen::Tcp {
            host: name(host)?,
            port: number,
        }),
    }
}

/// `listen` as it is written.
pub(super) fn tell(listen: &Listen) -> String {
    match listen {
        Listen::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
        Listen::Tcp { host, port } => format!("{host}:{port}"),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Whether nothing but this machine can reach `listen`.
pub(super) fn is_local(listen: &Listen) -> bool {
    match listen {
        Listen::Tcp { host, .. } => is_loopback(host),
        Listen::Unix(_) => true,
    }
}

/// Whether `host` is this machine for sure: a loopback address, or `localhost`.
pub(super) fn is_loopback(host: &str) -> bool {
    Reach::of(host) == Reach::Loopback
}

/// Whether a request for `base_url` comes back to `listen`.
pub(super) fn leads_back(base_url: &BaseUrl, listen: &Listen) -> bool {
    let Destination::Server { host, port, .. } = base_url.destination() else {
        return false;
    };
    let Listen::Tcp {
        host: own,
        port: own_port,
    } = listen
    else {
        return false;
    };
    if own_port != port || *port == 0 {
        return false;
    }
    match (Reach::of(host), Reach::of(own)) {
        (Reach::Loopback | Reach::Wildcard, Reach::Wildcard) => true,
        (Reach::Loopback | Reach::Wildcard, Reach::Loopback) => !are_different_addresses(host, own),
        _ => host.eq_ignore_ascii_case(own),
    }
}

/// How far a host reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Loopback,
    Other,
    Wildcard,
}

impl Reach {
    fn of(host: &str) -> Self {
        match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_loopback() => Self::Loopback,
            Ok(address) if address.is_unspecified() => Self::Wildcard,
            Err(_) if is_localhost(host) => Self::Loopback,
            _ => Self::Other,
        }
    }
}

/// RFC 6761 section 6.3: `localhost` and all names below it.
fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Such as 127.0.0.1 and 127.0.0.2, which can be two servers; a name or wildcard can be any.
fn are_different_addresses(a: &str, b: &str) -> bool {
    let address = |text: &str| {
        let address = text.parse::<IpAddr>().ok()?.to_canonical();
        (!address.is_unspecified()).then_some(address)
    };
    matches!((address(a), address(b)), (Some(a), Some(b)) if a != b)
}
