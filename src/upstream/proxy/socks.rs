//! SOCKS 5 (RFC 1928, RFC 1929): a proxy is asked to lead through.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error, TargetAddr};

use super::{not_let_in, too_slow};
use crate::connection::proxy::{Protocol, Proxy};
use crate::problem::{Kind, Problem};
use crate::upstream::dial::Dialer;
use crate::upstream::hop::{Hop, Patience};
use crate::upstream::journey::{Journey, Phase};

impl Dialer {
    /// Connects to the upstream by way of a SOCKS proxy.
    pub(super) async fn ask_socks(
        &self,
        proxy: &Proxy,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<TcpStream, Problem> {
        let to = self.hop();
        if proxy.protocol == Protocol::Socks5h && to.address().is_none() {
            let target = TargetAddr::Domain(to.host.into(), to.port);
            return self.ask_for(proxy, target, patience, journey).await;
        }
        let addresses = to.resolve(&self.resolver, patience, journey).await?;
        let mut last = None;
        for &address in &*addresses {
            let target = TargetAddr::Ip(SocketAddr::new(address, to.port));
            match self.ask_for(proxy, target, patience, journey).await {
                Ok(stream) => return Ok(stream),
                // What a proxy cannot reach may have another address.
                Err(problem) if is_about_address(problem.kind()) => last = Some(problem),
                Err(problem) => return Err(problem),
            }
        }
        Err(last.unwrap_or_else(|| to.problem(Kind::NameNotResolved, "its name has no address")))
    }

    async fn ask_for(
        &self,
        proxy: &Proxy,
        target: TargetAddr<'_>,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<TcpStream, Problem> {
        let hop = Hop::of(proxy);
        let (stream, _) = hop.connect(&self.resolver, patience, journey).await?;
        let began = Instant::now();
        let shown = match &target {
            TargetAddr::Ip(address) => address.to_string(),
            TargetAddr::Domain(..) => self.hop().authority(),
        };
        let asked = async {
            match &proxy.login {
                Some(login) => {
                    let (username, password) = (login.username.expose(), login.password.expose());
                    Socks5Stream::connect_with_password_and_socket(
                        stream, target, username, password,
                    )
                    .await
                }
                None => Socks5Stream::connect_with_socket(stream, target).await,
            }
        };
        match timeout_at(patience.until, asked).await {
            Ok(Ok(stream)) => {
                journey.record(Phase::Proxy, began, || format!("{hop} leads to {shown}"));
                Ok(stream.into_inner())
            }
            Ok(Err(error)) => Err(refused(hop, proxy, &shown, &error)),
            Err(_) => Err(too_slow(hop, &shown, patience)),
        }
    }
}

fn is_about_address(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ConnectionRefused | Kind::ProxyRefused | Kind::Unreachable
    )
}

/// A reply in words (RFC 1928 sections 3 and 6, RFC 1929 section 2).
fn refused(hop: Hop<'_>, proxy: &Proxy, to: &str, error: &Error) -> Problem {
    let unreachable = |what: &str| {
        let text = format!("it cannot reach {to}: {what}; check base_url, and the proxy's network");
        hop.problem(Kind::Unreachable, &text)
    };
    match error {
        Error::NoAcceptableAuthMethods | Error::PasswordAuthFailure(_) => {
            not_let_in(hop, proxy, "SOCKS authentication")
        }
        Error::ConnectionRefused => hop.problem(
            Kind::ConnectionRefused,
            &format!("{to} refused its connection; check that it runs, and the port in base_url"),
        ),
        Error::ConnectionNotAllowedByRuleset => hop.problem(
            Kind::ProxyRefused,
            &format!(
                "it refused to lead to {to}; allow that host and port in its rules, or add the host to network.no_proxy if it can be reached without it"
            ),
        ),
        Error::HostUnreachable => unreachable("the host is unreachable"),
        Error::NetworkUnreachable => unreachable("the network is unreachable"),
        Error::TtlExpired => unreachable("the way is too long, or took too long"),
        Error::GeneralSocksServerFailure => unreachable("a general failure; its log may tell more"),
        Error::AddressTypeNotSupported => hop.problem(
            Kind::ProxyRefused,
            &format!(
                "it does not take an address such as that of {to}; write `socks5://` to have names resolved here, `socks5h://` to have it resolve them"
            ),
        ),
        Error::Io(error) => hop.problem(
            Kind::ConnectionTerminated,
            &format!(
                "it closed the connection instead of leading to {to} ({error}); check that it is a SOCKS 5 proxy, and its log"
            ),
        ),
        other => hop.problem(
            Kind::ProtocolError,
            &format!(
                "it does not answer in SOCKS 5 ({other}); check scheme and port in {}",
                hop.key
            ),
        ),
    }
}
