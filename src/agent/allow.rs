//! What an agent opens: [`Allow`], its own list, which the proxy cannot change.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{IpNet, Ipv6Net};

/// The destinations that may be opened.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    rules: Vec<Rule>,
}

/// A place to connect to, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Name or address.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// A name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name in lower case, without a dot at its end.
    Name(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    hosts: Hosts,
    ports: RangeInclusive<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// These addresses.
    Addresses(IpNet),
    /// This name.
    Name(Box<str>),
    /// Every name that ends so, the dot included.
    Suffix(Box<str>),
}

/// A text that says no destination.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// Everything.
    #[error(
        "`{0}` would open everything; name a host, `*.suffix`, or a network such as `10.0.0.0/8`"
    )]
    Everything(String),
    /// No name, address or network.
    #[error(
        "`{0}` is neither a host name nor an address nor a network; a rule is `host:port`, such as `erp.internal:443`"
    )]
    Host(String),
    /// An IPv6 address without brackets.
    #[error("`{0}` needs brackets around its IPv6 address: `[fd00::1]:443`")]
    NoBrackets(String),
    /// No port.
    #[error("`{0}` lacks a port; write `{0}:443`, or `{0}:*` for every port")]
    NoPort(String),
    /// Not a port, a range or `*`.
    #[error("`{0}` is no port; it is a number up to 65535, a range such as `8000-8100`, or `*`")]
    Port(String),
}

// === impl Allow ===

impl Allow {
    /// A list of rules, in any order.
    ///
    /// # Errors
    /// The first that is none.
    pub fn parse<'a>(rules: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidRule> {
        let rules = rules
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// Whether nothing is opened.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether a destination is on the list, before its name is resolved.
    pub fn lists(&self, destination: &Destination) -> bool {
        let Destination { host, port } = destination;
        self.rules.iter().any(|rule| {
            rule.ports.contains(port)
                && match (&rule.hosts, host) {
                    (Hosts::Addresses(net), Host::Address(address)) => {
                        net.contains(address) && is_meant(*net, *address)
                    }
                    (Hosts::Name(own), Host::Name(name)) => own == name,
                    (Hosts::Suffix(suffix), Host::Name(name)) => {
                        name.len() > suffix.len() && name.ends_with(&**suffix)
                    }
                    _ => false,
                }
        })
    }

    /// Checks an address that a listed destination has: a name must not lead to where no name should.
    ///
    /// # Errors
    /// What kind of address it is.
    pub fn check(&self, destination: &Destination, address: IpAddr) -> Result<(), Special> {
        let Some(special) = Special::of(address) else {
            return Ok(());
        };
        let as_address = Destination {
            host: Host::Address(address.to_canonical()),
            port: destination.port,
        };
        match &destination.host {
            Host::Name(name) if special == Special::Loopback && is_localhost(name) => Ok(()),
            _ if self.lists(&as_address) => Ok(()),
            _ => Err(special),
        }
    }
}

/// RFC 6761 section 6.3.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether a network that contains an address means it: a special one is only meant by a network of
/// its kind, or `0.0.0.0/0` would open every machine's metadata.
fn is_meant(net: IpNet, address: IpAddr) -> bool {
    let special = Special::of(address);
    special.is_none()
        || (Special::of(net.network()) == special && Special::of(net.broadcast()) == special)
}

// === impl Rule ===

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let text = text.trim();
        let told = || text.to_owned();
        if text.parse::<Ipv6Addr>().is_ok() || text.parse::<Ipv6Net>().is_ok() {
            return Err(InvalidRule::NoBrackets(told()));
        }
        if text.contains("://") {
            return Err(InvalidRule::Host(told()));
        }
        let split = text.rsplit_once(':').filter(|_| !text.ends_with(']'));
        let (host, port) = split.ok_or_else(|| InvalidRule::NoPort(told()))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(InvalidRule::NoBrackets(told()));
        }
        if matches!(host, "*" | "*.") {
            return Err(InvalidRule::Everything(told()));
        }
        let hosts = hosts(host).ok_or_else(|| InvalidRule::Host(told()))?;
        let ports = ports(port).ok_or_else(|| InvalidRule::Port(port.to_owned()))?;
        Ok(Self { hosts, ports })
    }
}

fn hosts(text: &str) -> Option<Hosts> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Hosts::Addresses(IpNet::from(address.to_canonical())));
    }
    if let Ok(net) = bare.parse::<IpNet>() {
        return Some(Hosts::Addresses(net.trunc()));
    }
    match text.strip_prefix("*.") {
        Some(rest) => Some(Hosts::Suffix(format!(".{}", name(rest)?).into())),
        None => name(text).map(Hosts::Name),
    }
}

/// A host name, in lower case and without a dot at its end.
fn name(text: &str) -> Option<Box<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_name = text.len() <= 253
        && text.bytes().all(fits)
        && text.split('.').all(|label| (1..=63).contains(&label.len()));
    is_name.then(|| text.to_ascii_lowercase().into())
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    match text.split_once('-') {
        _ if text == "*" => Some(0..=u16::MAX),
        None => port(text).map(|port| port..=port),
        Some((first, last)) => {
            let range = port(first)?..=port(last)?;
            (!range.is_empty()).then_some(range)
        }
    }
}

// === impl Destination ===

impl Destination {
    /// Reads `HOST:PORT`, as a CONNECT has it.
    pub fn parse(authority: &str) -> Option<Self> {
        let (host, port) = authority.rsplit_once(':')?;
        let port = ports(port).filter(|_| port != "*" && !port.contains('-'))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) => Host::Name(name(host)?),
        };
        Some(Self {
            host,
            port: *port.start(),
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(address) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Addresses that stand for this machine or its surroundings, where services trust whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Of one link; a cloud's metadata is among them.
    LinkLocal,
    /// This machine.
    Loopback,
    /// A cloud's metadata service.
    Metadata,
    /// More than one machine.
    Multicast,
    /// No address, which reaches this machine.
    Unspecified,
}

impl Special {
    /// What an address stands for, however it is wrapped.
    fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Option<Self> {
        // Those that are not link-local: Alibaba, Oracle and Azure.
        const METADATA: [Ipv4Addr; 3] = [
            Ipv4Addr::new(100, 100, 100, 200),
            Ipv4Addr::new(192, 0, 0, 192),
            Ipv4Addr::new(168, 63, 129, 16),
        ];
        match address.octets() {
            [0, ..] => Some(Self::Unspecified),
            [127, ..] => Some(Self::Loopback),
            [169, 254, ..] => Some(Self::LinkLocal),
            [224..=239, ..] | [255, 255, 255, 255] => Some(Self::Multicast),
            _ if METADATA.contains(&address) => Some(Self::Metadata),
            _ => None,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Option<Self> {
        // AWS (instances, and EKS), Google, Oracle and Scaleway.
        const METADATA: [Ipv6Addr; 5] = [
            Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
            Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
            Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
            Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
            Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
        ];
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some(Self::Unspecified),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some(Self::Loopback),
            [0xfe80..=0xfebf, ..] => Some(Self::LinkLocal),
            [0xff00..=0xffff, ..] => Some(Self::Multicast),
            // An IPv4 address inside: compatible (RFC 4291 section 2.5.5.1), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056).
            [0, 0, 0, 0, 0, 0, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x64, 0xff9b, 1, _, _, _, high, low] => Self::of_v4(joined(high, low)),
            [0x2002, high, low, ..] => Self::of_v4(joined(high, low)),
            _ if METADATA.contains(&address) => Some(Self::Metadata),
            _ => None,
        }
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkLocal => "link-local",
            Self::Loopback => "the agent's own machine",
            Self::Metadata => "a cloud's metadata service",
            Self::Multicast => "multicast",
            Self::Unspecified => "unspecified",
        })
    }
}

#[cfg(test)]
mod tests;
