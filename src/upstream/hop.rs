//! A host that is reached by TCP: [`Hop`], resolved and connected to, each failure told apart.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::dns::Resolver;
use super::journey::{Journey, Phase};
use super::race::{Lost, race};
use crate::problem::{Kind, Problem};

/// A host that is reached by TCP: the upstream, or one that leads to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a> {
    /// What it is to us, as it stands in front of its name: `upstream `, or `proxy http://`.
    pub(super) role: &'static str,
    /// Name or address.
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// The key of the configuration that names it.
    pub(super) key: &'a str,
}

/// How long dialing may take, and until when that is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) limit: Duration,
    pub(super) until: Instant,
}

impl Patience {
    /// Patience that begins now.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            until: Instant::now() + limit,
        }
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timeouts.connect ({:?})", self.limit)
    }
}

impl fmt::Display for Hop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            role, host, port, ..
        } = self;
        match host.contains(':') {
            true => write!(f, "{role}[{host}]:{port}"),
            false => write!(f, "{role}{host}:{port}"),
        }
    }
}

impl Hop<'_> {
    /// Connects to the first of its addresses that answers.
    ///
    /// # Errors
    /// What failed, for the caller to read.
    pub(super) async fn connect(
        self,
        resolver: &Arc<Resolver>,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<(TcpStream, SocketAddr), Problem> {
        let addresses = self.resolve(resolver, patience, journey).await?;
        let began = Instant::now();
        let lately = &resolver.lately;
        let addresses = lately.order(&addresses, self.port);
        let connected = race(&addresses, patience.until, lately).await;
        let (stream, address) = connected.map_err(|lost| match lost {
            Lost::Failed(address, error) => self.connect_failed(&error, address),
            Lost::TimedOut(address) => self.connect_timed_out(address, patience),
        })?;
        journey.record(Phase::Connect, began, || format!("to {address}"));
        // Heads and small bodies leave at once; without it they may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        Ok((stream, address))
    }

    /// Its address, where that is what it is named by.
    pub(super) fn address(self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Its addresses; never none of them.
    ///
    /// # Errors
    /// What failed, for the caller to read.
    pub(super) async fn resolve(
        self,
        resolver: &Arc<Resolver>,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<Arc<[IpAddr]>, Problem> {
        if let Some(address) = self.address() {
            return Ok([address].into());
        }
        let began = Instant::now();
        let hint = format!(
            "check {}, and the DNS settings of the machine keybearer runs on",
            self.key
        );
        match timeout_at(patience.until, resolver.resolve(self.host)).await {
            Ok(Ok(addresses)) => {
                journey.record(Phase::Resolve, began, || {
                    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                    format!("{} is {}", self.host, addresses.join(", "))
                });
                Ok(addresses)
            }
            Ok(Err(error)) => Err(self.problem(
                Kind::NameNotResolved,
                &format!("its name was not resolved ({error}); {hint}"),
            )),
            Err(_) => Err(self.problem(
                Kind::ConnectTimeout,
                &format!("its name was not resolved within {patience}; {hint}"),
            )),
        }
    }

    fn connect_failed(self, error: &io::Error, address: SocketAddr) -> Problem {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            let text = format!(
                "{address} refused the connection; check that it runs, and the port in {}",
                self.key
            );
            return self.problem(Kind::ConnectionRefused, &text);
        }
        let text = format!(
            "{address} cannot be reached ({error}); check the network and {}",
            self.key
        );
        self.problem(Kind::Unreachable, &text)
    }

    fn connect_timed_out(self, address: SocketAddr, patience: Patience) -> Problem {
        let text = format!(
            "{address} took no connection within {patience}; check the network and firewalls between"
        );
        self.problem(Kind::ConnectTimeout, &text)
    }

    /// A problem that names this hop.
    pub(super) fn problem(self, kind: Kind, text: &str) -> Problem {
        Problem::new(kind, format!("{self}: {text}"))
    }
}
