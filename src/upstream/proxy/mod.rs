//! The road through a proxy: to it, through it, and TLS with the upstream at its end.
//!
//! What a proxy carries is a stream of bytes that it does not read; only requests for `http` upstreams
//! are given to an HTTP proxy as such, in [`absolute`] form.

pub(super) mod absolute;
mod connect;
mod rewound;
mod socks;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use self::rewound::Rewound;
use super::dial::{Dialer, Purpose, shake_hands};
use super::hop::{Hop, Patience};
use super::journey::Journey;
use super::stream::Transport;
use super::wire::Wire;
use crate::connection::network::Road;
use crate::connection::proxy::{Protocol, Proxy};
use crate::connection::url::Scheme;
use crate::problem::{Kind, Problem};

/// What leads to the upstream, before TLS with it.
enum Lead {
    Tcp(TcpStream),
    Wire(Wire),
}

/// A proxy's stream, as far as it is known what it speaks.
enum Near {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    /// The proxy that leads to the upstream, if one does.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        let scheme = match self.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        };
        match &self.road {
            Road::Proxied(proxies) => proxies.of(scheme),
            Road::Agent(_) | Road::Direct => None,
        }
    }

    /// The host that connections are made to: the upstream's, or that of the proxy before it.
    pub(super) fn first_host(&self) -> &str {
        self.proxy().map_or(&self.host, |proxy| &proxy.host)
    }

    /// Connects by way of the proxy.
    ///
    /// # Errors
    /// What failed, and at which hop, for the caller to read.
    pub(super) async fn dial_through(
        &self,
        purpose: Purpose,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<Transport, Problem> {
        let Some(proxy) = self.proxy() else {
            // A road is made for the scheme that it has a proxy for.
            return Err(Problem::new(Kind::Internal, "the road has no proxy"));
        };
        let lead = match proxy.protocol {
            Protocol::Http | Protocol::Https => {
                let near = self.near(proxy, patience, journey).await?;
                if purpose == Purpose::Requests && self.tls.is_none() {
                    return Ok(match near {
                        Near::Tcp(stream) => Transport::Tcp(stream),
                        Near::Tls(stream) => Transport::Tls(stream),
                    });
                }
                self.tunnel(proxy, near, patience, journey).await?
            }
            Protocol::Socks5 | Protocol::Socks5h => {
                Lead::Tcp(self.ask_socks(proxy, patience, journey).await?)
            }
        };
        self.end_to_end(lead, patience, journey).await
    }

    /// Connects to an HTTP proxy.
    async fn near(
        &self,
        proxy: &Proxy,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<Near, Problem> {
        let hop = Hop::of(proxy);
        let (stream, address) = hop.connect(&self.resolver, patience, journey).await?;
        let Some(security) = &self.proxy_tls else {
            return Ok(Near::Tcp(stream));
        };
        let peer = address.to_string();
        let secured = shake_hands(hop, security, stream, &peer, patience, journey);
        Ok(Near::Tls(Box::new(secured.await?)))
    }

    /// Has an HTTP proxy lead through.
    async fn tunnel(
        &self,
        proxy: &Proxy,
        near: Near,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<Lead, Problem> {
        Ok(match near {
            Near::Tcp(stream) => match self.ask(proxy, stream, patience, journey).await? {
                (stream, ahead) if ahead.is_empty() => Lead::Tcp(stream),
                (stream, ahead) => Lead::Wire(Wire(Box::new(Rewound::new(stream, ahead)))),
            },
            Near::Tls(stream) => {
                let (stream, ahead) = self.ask(proxy, stream, patience, journey).await?;
                Lead::Wire(Wire(Box::new(Rewound::new(stream, ahead))))
            }
        })
    }

    /// TLS with the upstream, where it speaks that.
    async fn end_to_end(
        &self,
        lead: Lead,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<Transport, Problem> {
        let Some(security) = &self.tls else {
            return Ok(match lead {
                Lead::Tcp(stream) => Transport::Tcp(stream),
                Lead::Wire(wire) => Transport::Tunnel(wire),
            });
        };
        let hop = self.hop();
        let peer = hop.authority();
        Ok(match lead {
            Lead::Tcp(stream) => {
                let secured = shake_hands(hop, security, stream, &peer, patience, journey);
                Transport::Tls(Box::new(secured.await?))
            }
            Lead::Wire(wire) => {
                let secured = shake_hands(hop, security, wire, &peer, patience, journey);
                Transport::TunnelTls(Box::new(secured.await?))
            }
        })
    }
}

impl<'a> Hop<'a> {
    /// A proxy as a hop.
    fn of(proxy: &'a Proxy) -> Self {
        Self {
            role: match proxy.protocol {
                Protocol::Http => "proxy http://",
                Protocol::Https => "proxy https://",
                Protocol::Socks5 => "proxy socks5://",
                Protocol::Socks5h => "proxy socks5h://",
            },
            host: &proxy.host,
            port: proxy.port,
            key: &proxy.key,
        }
    }

    /// `HOST:PORT`, as requests name it.
    fn authority(self) -> String {
        Hop { role: "", ..self }.to_string()
    }
}

/// The credentials of a proxy are not there, or not the right ones.
fn not_let_in(hop: Hop<'_>, proxy: &Proxy, said: &str) -> Problem {
    let remedy = match proxy.login {
        Some(_) => format!(
            "it refused the user name and password ({said}); check those in {}",
            hop.key
        ),
        None => format!(
            "it asks for a user name and password ({said}); write them into {} as `{}://USER:PASSWORD@{}`",
            hop.key,
            proxy.protocol.scheme(),
            hop.authority()
        ),
    };
    hop.problem(Kind::ProxyAuthentication, &remedy)
}

/// A proxy did not let through in time.
fn too_slow(hop: Hop<'_>, to: &str, patience: Patience) -> Problem {
    let text = format!(
        "it did not lead to {to} within {patience}; check the network between it and {to}, or raise timeouts.connect"
    );
    hop.problem(Kind::ConnectTimeout, &text)
}
