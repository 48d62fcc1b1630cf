//! How a connection's hosts are reached: [`Road`].

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::proxy::{Protocol, Proxy};
use super::url::Scheme;
use crate::secret::Secret;

/// The way to every host that a connection needs: its base URL's, and those of its credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Road {
    /// Through the on-prem agent of this name.
    Agent(Arc<str>),
    /// Straight.
    #[default]
    Direct,
    /// Through a proxy, where one leads to the host.
    Proxied(Arc<Proxies>),
}

/// Which proxy leads to which hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<Proxy>,
    /// For `https` URLs.
    pub https: Option<Proxy>,
    /// Hosts that are reached straight.
    pub except: Vec<Exception>,
}

/// Hosts that no proxy leads to, as in `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Exception {
    hosts: Hosts,
    /// Any, if none was written.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Hosts {
    /// All of them: `*`.
    Any,
    /// An address or a network; names are not resolved to compare them.
    Network(IpNet),
    /// A name and all below it; lower case.
    Name(Box<str>),
}

/// A text is no [`Exception`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a host, a `.suffix`, an address, a network such as `10.0.0.0/8`, or `*`")]
pub struct InvalidException;

// === impl Road ===

impl Road {
    /// A road on which this proxy leads to every host.
    pub fn through(proxy: Proxy) -> Self {
        Self::Proxied(Arc::new(Proxies {
            http: Some(proxy.clone()),
            https: Some(proxy),
            except: Vec::new(),
        }))
    }

    /// The agent that it goes through.
    pub fn agent(&self) -> Option<&Arc<str>> {
        match self {
            Self::Agent(name) => Some(name),
            Self::Direct | Self::Proxied(_) => None,
        }
    }

    /// Whether a proxy on it is spoken to in TLS.
    pub fn is_tls(&self) -> bool {
        let Self::Proxied(proxies) = self else {
            return false;
        };
        let mut both = [&proxies.http, &proxies.https].into_iter().flatten();
        both.any(|proxy| proxy.protocol == Protocol::Https)
    }

    /// Each secret of it, with what names it.
    pub fn secrets(&self) -> Vec<(&str, &Secret)> {
        let Self::Proxied(proxies) = self else {
            return Vec::new();
        };
        let mut secrets: Vec<(&str, &Secret)> = Vec::new();
        for proxy in [&proxies.http, &proxies.https].into_iter().flatten() {
            if let Some(login) = &proxy.login
                && !secrets.iter().any(|(key, _)| **key == *proxy.key)
            {
                secrets.push((&proxy.key, &login.password));
            }
        }
        secrets
    }

    /// The road to one server: straight where no proxy leads there.
    pub fn toward(&self, scheme: Scheme, host: &str, port: u16) -> Self {
        match self {
            Self::Agent(_) | Self::Direct => self.clone(),
            Self::Proxied(proxies) => match proxies.toward(scheme, host, port) {
                Some(_) => self.clone(),
                None => Self::Direct,
            },
        }
    }
}

// === impl Proxies ===

impl Proxies {
    /// The proxy that leads to a server, if one does.
    pub fn toward(&self, scheme: Scheme, host: &str, port: u16) -> Option<&Proxy> {
        let excepted = self.except.iter().any(|except| except.covers(host, port));
        self.of(scheme).filter(|_| !excepted)
    }

    /// The proxy for URLs of a scheme.
    pub fn of(&self, scheme: Scheme) -> Option<&Proxy> {
        match scheme {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        }
    }
}

// === impl Exception ===

impl Exception {
    /// Parses one entry: a host (which stands for all below it, too), `.suffix`, an address, a
    /// network or `*`; each but a network may have a port.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn parse(text: &str) -> Result<Self, InvalidException> {
        let text = text.trim();
        if let Some(network) = network(text) {
            let hosts = Hosts::Network(network);
            return Ok(Self { hosts, port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, None),
            Some((host, port)) => (host, Some(port.parse().map_err(|_| InvalidException)?)),
        };
        let hosts = match network(host) {
            Some(network) => Hosts::Network(network),
            None if host == "*" => Hosts::Any,
            None => Hosts::Name(name(host).ok_or(InvalidException)?),
        };
        Ok(Self { hosts, port })
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        let covered = match &self.hosts {
            Hosts::Any => true,
            Hosts::Network(network) => host
                .parse::<IpAddr>()
                .is_ok_and(|address| network.contains(&address.to_canonical())),
            Hosts::Name(name) => is_at_or_below(host.trim_end_matches('.'), name),
        };
        covered && self.port.is_none_or(|only| only == port)
    }
}

/// The longest host name (RFC 1035 section 2.3.4).
const LONGEST: usize = 253;

fn network(text: &str) -> Option<IpNet> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let text = bare.unwrap_or(text);
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical().into()),
        Err(_) => text.parse().ok(),
    }
}

fn name(text: &str) -> Option<Box<str>> {
    let name = text.strip_prefix('.').unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = !name.is_empty() && name.len() <= LONGEST && name.chars().all(fits);
    is_name.then(|| name.to_lowercase().into())
}

fn is_at_or_below(host: &str, name: &str) -> bool {
    let Some(above) = host.len().checked_sub(name.len()) else {
        return false;
    };
    // Hosts of URLs are ASCII; one that is cut within a character ends like no name.
    let (below, end) = (host.get(..above), host.get(above..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(name))
        && below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_excepted_as_curl_does() {
        for (text, host, port, want) in [
            ("*", "a.example", 443, true),
            ("a.example", "a.example", 443, true),
            ("a.example", "A.Example.", 443, true),
            ("A.EXAMPLE", "b.a.example", 80, true),
            ("a.example", "ba.example", 443, false),
            (".a.example", "b.a.example", 443, true),
            (".a.example", "a.example", 443, true),
            ("a.example.", "a.example", 443, true),
            ("a.example:8443", "a.example", 8443, true),
            ("a.example:8443", "a.example", 443, false),
            ("*:80", "a.example", 80, true),
            ("*:80", "a.example", 81, false),
            ("10.0.0.0/8", "10.1.2.3", 80, true),
            ("10.0.0.0/8", "11.1.2.3", 80, false),
            ("10.0.0.0/8", "ten.example", 80, false),
            ("127.0.0.1", "127.0.0.1", 80, true),
            ("127.0.0.1:81", "127.0.0.1", 80, false),
            ("127.0.0.1", "localhost", 80, false),
            ("localhost", "localhost", 80, true),
            ("::1", "::1", 80, true),
            ("[::1]", "::1", 80, true),
            ("[::1]:81", "::1", 80, false),
            ("fd00::/8", "fd00:ec2::254", 80, true),
            ("127.0.0.1", "::ffff:127.0.0.1", 80, true),
        ] {
            let exception = Exception::parse(text).unwrap();
            assert_eq!(exception.covers(host, port), want, "{text} {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "http://a.example",
            "a.example:http",
            "a b",
            "*.a.example",
            "10.0.0.0/33",
            "a.example/8",
            "user@host",
        ] {
            assert!(Exception::parse(text).is_err(), "{text}");
        }
    }
}
