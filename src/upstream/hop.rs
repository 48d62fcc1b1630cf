//! A host that is reached by TCP: [`Hop`], resolved and connected to, each failure told apart.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::dns::Resolver;
use super::journey::{Journey, Phase};
use crate::problem::{Kind, Problem};

/// A host that is reached by TCP: the upstream, or one that leads to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a> {
    /// What it is to us, such as `upstream`.
    pub(super) role: &'static str,
    /// Name or address.
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// The key of the configuration that names it.
    pub(super) key: &'static str,
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

impl Hop<'_> {
    /// Connects; every address of the name gets its share of the time.
    ///
    /// # Errors
    /// What failed, for the caller to read.
    pub(super) async fn connect(
        self,
        resolver: &Resolver,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<(TcpStream, SocketAddr), Problem> {
        let began = Instant::now();
        let addresses = self.resolve(resolver, patience).await?;
        journey.record(Phase::Resolve, began, || {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            format!("{} is {}", self.host, addresses.join(", "))
        });
        let began = Instant::now();
        let (stream, address) = self.first_of(&addresses, patience).await?;
        journey.record(Phase::Connect, began, || format!("to {address}"));
        // Heads and small bodies leave at once; without it they may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        Ok((stream, address))
    }

    async fn resolve(
        self,
        resolver: &Resolver,
        patience: Patience,
    ) -> Result<Vec<IpAddr>, Problem> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let hint = format!(
            "check {}, and the DNS settings of the machine keybearer runs on",
            self.key
        );
        match timeout_at(patience.until, resolver.resolve(self.host)).await {
            Ok(Ok(addresses)) => Ok(addresses),
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

    /// Tries the addresses in turn, so that one that is gone does not hide another that answers.
    async fn first_of(
        self,
        addresses: &[IpAddr],
        patience: Patience,
    ) -> Result<(TcpStream, SocketAddr), Problem> {
        let mut last = None;
        for (index, &address) in addresses.iter().enumerate() {
            let address = SocketAddr::new(address, self.port);
            let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = patience.until.saturating_duration_since(Instant::now()) / left;
            match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok((stream, address)),
                Ok(Err(error)) => last = Some(self.connect_failed(&error, address)),
                Err(_) => last = Some(self.connect_timed_out(address, patience)),
            }
        }
        Err(last.unwrap_or_else(|| self.problem(Kind::NameNotResolved, "the name has no address")))
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
        Problem::new(
            kind,
            format!("{} {}:{}: {text}", self.role, self.host, self.port),
        )
    }
}
