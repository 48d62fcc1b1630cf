//! A proxy that leads to upstreams: [`Proxy`].

use std::fmt;
use std::hash::{Hash, Hasher};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::Host;
use zeroize::Zeroizing;

use crate::secret::{Origin, Secret};

/// A proxy and what it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What is spoken with it.
    pub protocol: Protocol,
    /// Name or address; IPv6 without brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// Who asks; none where it asks nobody.
    pub login: Option<Login>,
    /// What names it: a key of the configuration or an environment variable.
    pub key: Box<str>,
}

/// What is spoken with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP: `CONNECT`, or requests in absolute form (RFC 9112 section 3.2.2).
    Http,
    /// The same over TLS.
    Https,
    /// SOCKS 5 (RFC 1928); names are resolved here.
    Socks5,
    /// SOCKS 5; names are resolved by the proxy.
    Socks5h,
}

/// A user of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: Secret,
    /// The password; may be empty.
    pub password: Secret,
}

/// How a proxy is written, which decides what may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// In a configuration: scheme and port are written out.
    Key,
    /// In an environment variable, as for curl: no scheme is `http`, no port curl's own.
    Variable,
}

/// Why a text is no [`Proxy`]; the text itself may hold a password, and is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    /// It has a path, a query or a fragment.
    #[error("has more than scheme, user, host and port; write `http://proxy:3128`")]
    Beyond,
    /// No host, or none that can be one.
    #[error("has no valid host; write `http://proxy:3128`")]
    Host,
    /// The user name or password cannot be sent.
    #[error(
        "has a user name or password that cannot be sent: it is UTF-8 without control characters, percent-encoded, the name without `:`, and for SOCKS 1 to 255 bytes each"
    )]
    Login,
    /// No port.
    #[error("has no port, a number from 1 to 65535; write `http://proxy:3128`")]
    Port,
    /// No scheme, or one that is not spoken.
    #[error(
        "starts with `http://`, `https://`, `socks5://` or `socks5h://`, or is `env` or `direct`"
    )]
    Scheme,
}

// === impl Proxy ===

impl Proxy {
    /// Parses `SCHEME://[USER:PASSWORD@]HOST:PORT`, which `key` names and which was read at `origin`.
    ///
    /// # Errors
    /// Says what is wrong with the text, without showing it.
    pub fn parse(
        text: &str,
        written: Written,
        key: &str,
        origin: &Origin,
    ) -> Result<Self, InvalidProxy> {
        let (scheme, rest) = match (text.split_once("://"), written) {
            (Some((scheme, rest)), _) => (scheme, rest),
            (None, Written::Variable) => ("http", text),
            (None, Written::Key) => return Err(InvalidProxy::Scheme),
        };
        let protocol = Protocol::parse(scheme).ok_or(InvalidProxy::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (userinfo, authority) = match rest.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(InvalidProxy::Beyond);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match (port, written) {
            (Some(port), _) => port.parse().ok().filter(|port| *port > 0),
            (None, Written::Variable) => Some(protocol.curls_port()),
            (None, Written::Key) => None,
        };
        Ok(Self {
            protocol,
            host: parse_host(host).ok_or(InvalidProxy::Host)?,
            port: port.ok_or(InvalidProxy::Port)?,
            login: match userinfo {
                None | Some("") => None,
                Some(text) => {
                    let login = Login::parse(text, protocol, origin);
                    Some(login.ok_or(InvalidProxy::Login)?)
                }
            },
            key: key.into(),
        })
    }

    /// The `Proxy-Authorization` that it is shown (RFC 7617), marked sensitive.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let Login { username, password } = self.login.as_ref()?;
        let (username, password) = (username.expose(), password.expose());
        // Room for just this, as a buffer that grows leaves copies behind.
        let mut plain = Zeroizing::new(String::with_capacity(username.len() + password.len() + 1));
        plain.extend([username, ":", password]);
        const SCHEME: &str = "Basic ";
        let room = SCHEME.len() + plain.len().div_ceil(3) * 4;
        let mut value = Zeroizing::new(String::with_capacity(room));
        value.push_str(SCHEME);
        BASE64_STANDARD.encode_string(plain.as_bytes(), &mut value);
        let bytes = std::mem::take(&mut *value).into_bytes();
        let mut value =
            HeaderValue::from_maybe_shared(Bytes::from_owner(Zeroizing::new(bytes))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// As it may be shown: without the user.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.protocol.scheme();
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// Without what is secret, which no hash has to tell apart.
impl Hash for Proxy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.protocol, &self.host, self.port).hash(state);
    }
}

fn parse_host(text: &str) -> Option<Box<str>> {
    Some(match Host::parse(text).ok()? {
        Host::Domain(name) => name.into(),
        Host::Ipv4(address) => address.to_string().into(),
        Host::Ipv6(address) => address.to_string().into(),
    })
}

// === impl Protocol ===

impl Protocol {
    fn parse(scheme: &str) -> Option<Self> {
        const ALL: [Protocol; 4] = [
            Protocol::Http,
            Protocol::Https,
            Protocol::Socks5,
            Protocol::Socks5h,
        ];
        let mut all = ALL.into_iter();
        all.find(|protocol| protocol.scheme().eq_ignore_ascii_case(scheme))
    }

    /// The scheme of its URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// Whether it is HTTP, with or without TLS.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    fn curls_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http | Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

// === impl Login ===

impl Login {
    fn parse(userinfo: &str, protocol: Protocol, origin: &Origin) -> Option<Self> {
        let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let (username, password) = (decoded(username)?, decoded(password)?);
        let fits = match protocol.is_http() {
            // RFC 7617 section 2.
            true => !username.contains(':'),
            // RFC 1929 section 2.
            false => [&username, &password]
                .iter()
                .all(|text| (1..=255).contains(&text.len())),
        };
        let secret =
            |mut text: Zeroizing<String>| Secret::new(std::mem::take(&mut *text), origin.clone());
        fits.then(|| Self {
            username: secret(username),
            password: secret(password),
        })
    }
}

/// A percent-encoded text, with room for just itself.
fn decoded(text: &str) -> Option<Zeroizing<String>> {
    let room = percent_decode_str(text).count();
    let mut bytes = Vec::with_capacity(room);
    bytes.extend(percent_decode_str(text));
    let text = match String::from_utf8(bytes) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            return None;
        }
    };
    (!text.contains(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, written: Written) -> Result<Proxy, InvalidProxy> {
        Proxy::parse(text, written, "network.proxy", &Origin::Literal)
    }

    #[test]
    fn its_parts_are_read_and_its_user_is_never_shown() {
        let proxy = parse(
            "http://u%40x:p%3a%25hunter2@Proxy.Example:3128/",
            Written::Key,
        )
        .unwrap();
        assert_eq!(proxy.to_string(), "http://proxy.example:3128");
        let login = proxy.login.as_ref().unwrap();
        assert_eq!(login.username.expose(), "u@x");
        assert_eq!(login.password.expose(), "p:%hunter2");
        let shown = format!("{proxy:?} {proxy} {:?}", proxy.authorization());
        assert!(
            !shown.contains("hunter2") && !shown.contains("u@x"),
            "{shown}"
        );
        assert_eq!(proxy.authorization().unwrap(), "Basic dUB4OnA6JWh1bnRlcjI=");
    }

    #[test]
    fn what_may_be_left_out_depends_on_where_it_stands() {
        for (text, want) in [
            ("proxy", "http://proxy:1080"),
            ("proxy:8080", "http://proxy:8080"),
            ("https://proxy", "https://proxy:443"),
            ("socks5h://[::1]", "socks5h://[::1]:1080"),
            ("SOCKS5://127.0.0.1:9", "socks5://127.0.0.1:9"),
            ("http://@proxy:1", "http://proxy:1"),
        ] {
            let proxy = parse(text, Written::Variable).unwrap();
            assert_eq!(proxy.to_string(), want, "{text}");
        }
        for (text, want) in [
            ("proxy:3128", InvalidProxy::Scheme),
            ("ftp://proxy:3128", InvalidProxy::Scheme),
            ("socks4://proxy:1", InvalidProxy::Scheme),
            ("http://proxy", InvalidProxy::Port),
            ("http://[::1]", InvalidProxy::Port),
            ("http://proxy:0", InvalidProxy::Port),
            ("http://proxy:99999", InvalidProxy::Port),
            ("http://:3128", InvalidProxy::Host),
            ("http://pro xy:3128", InvalidProxy::Host),
            ("http://proxy:3128/path", InvalidProxy::Beyond),
            ("http://proxy:3128?x", InvalidProxy::Beyond),
            ("http://u%3Au:p@proxy:3128", InvalidProxy::Login),
            ("http://u:%00@proxy:3128", InvalidProxy::Login),
            ("http://u:%ff@proxy:3128", InvalidProxy::Login),
            ("socks5://u@proxy:1080", InvalidProxy::Login),
        ] {
            assert_eq!(parse(text, Written::Key), Err(want), "{text}");
        }
    }
}
