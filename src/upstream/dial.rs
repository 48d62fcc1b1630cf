//! From a name to a connected stream: resolve, connect, shake hands, each failure told apart.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::stream::Transport;
use crate::problem::{Kind, Problem};

/// Where to dial, and how to trust what answers.
#[derive(Debug)]
pub(super) struct Dialer {
    /// Name or address.
    pub(super) host: Box<str>,
    /// The port.
    pub(super) port: u16,
    /// For TLS: the configuration and the name that the certificate must have.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// How long dialing may take, and until when that is.
#[derive(Clone, Copy)]
struct Patience {
    limit: Duration,
    until: Instant,
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timeouts.connect ({:?})", self.limit)
    }
}

impl Dialer {
    /// Connects within `limit`; every address of the name gets its share of that time.
    ///
    /// # Errors
    /// What failed, for the caller to read.
    pub(super) async fn dial(&self, limit: Duration) -> Result<Transport, Problem> {
        let patience = Patience {
            limit,
            until: Instant::now() + limit,
        };
        let addresses = self.resolve(patience).await?;
        let (stream, address) = self.connect(&addresses, patience).await?;
        // Heads and small bodies leave at once; without it they may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some((config, name)) = &self.tls else {
            return Ok(Transport::Tcp(stream));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        match timeout_at(patience.until, connector.connect(name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(Transport::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(self.handshake_failed(&error, name, address)),
            Err(_) => Err(self.problem(
                Kind::ConnectTimeout,
                &format!("the TLS handshake with {address} took longer than {patience}"),
            )),
        }
    }

    async fn resolve(&self, patience: Patience) -> Result<Vec<SocketAddr>, Problem> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let hint = "check base_url, and the DNS settings of the machine keybearer runs on";
        match timeout_at(patience.until, lookup_host((&*self.host, self.port))).await {
            Ok(Ok(addresses)) => match addresses.collect::<Vec<_>>() {
                none if none.is_empty() => Err(self.problem(
                    Kind::NameNotResolved,
                    &format!("the name has no address; {hint}"),
                )),
                some => Ok(some),
            },
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
    async fn connect(
        &self,
        addresses: &[SocketAddr],
        patience: Patience,
    ) -> Result<(TcpStream, SocketAddr), Problem> {
        let mut last = None;
        for (index, &address) in addresses.iter().enumerate() {
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

    fn connect_failed(&self, error: &io::Error, address: SocketAddr) -> Problem {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            let text = format!(
                "{address} refused the connection; check that it runs, and the port in base_url"
            );
            return self.problem(Kind::ConnectionRefused, &text);
        }
        let text = format!("{address} cannot be reached ({error}); check the network and base_url");
        self.problem(Kind::Unreachable, &text)
    }

    fn connect_timed_out(&self, address: SocketAddr, patience: Patience) -> Problem {
        let text = format!(
            "{address} took no connection within {patience}; check the network and firewalls between"
        );
        self.problem(Kind::ConnectTimeout, &text)
    }

    fn handshake_failed(
        &self,
        error: &io::Error,
        name: &ServerName<'_>,
        address: SocketAddr,
    ) -> Problem {
        let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        else {
            let text = format!(
                "{address} broke off the TLS handshake ({error}); check that it speaks TLS on this port"
            );
            return self.problem(Kind::TlsProtocol, &text);
        };
        match tls {
            rustls::Error::InvalidCertificate(reason) => {
                self.problem(Kind::TlsCertificate, &in_words(reason, name))
            }
            rustls::Error::AlertReceived(alert) => {
                let text = format!(
                    "it refused the TLS handshake with the alert {alert:?}; it may ask for a client certificate, another name or another TLS version"
                );
                self.problem(Kind::TlsAlert, &text)
            }
            other => {
                let text = format!(
                    "the TLS handshake failed ({other}); check that it speaks TLS 1.2 or 1.3 on this port"
                );
                self.problem(Kind::TlsProtocol, &text)
            }
        }
    }

    fn problem(&self, kind: Kind, text: &str) -> Problem {
        Problem::new(
            kind,
            format!("upstream {}:{}: {text}", self.host, self.port),
        )
    }
}

/// A certificate's fault as somebody can act on it.
fn in_words(reason: &CertificateError, name: &ServerName<'_>) -> String {
    let name = name.to_str();
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; it must be renewed there (or this machine's clock is wrong)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check the clock of this machine".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "its certificate is not for `{name}`; if that is as it should be, set tls.server_name to a name it has"
        ),
        // A re-made issuer of a trusted name shows as a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is from an issuer that is not trusted; set tls.ca_certificate to the issuer's certificate".to_owned()
        }
        CertificateError::Revoked => "its certificate was revoked; it must be replaced there".to_owned(),
        other => format!("its certificate is not accepted ({other})"),
    }
}
