//! From an upstream's name to a stream that HTTP is spoken on: its road, then TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dns::Resolver;
use super::hop::{Hop, Patience};
use super::journey::Journey;
use super::peer::Peer;
use super::stream::Transport;
use crate::connection::network::Road;
use crate::problem::{Kind, Problem};

/// Where to dial, on which road, and how to trust what answers.
#[derive(Debug)]
pub(super) struct Dialer {
    /// Name or address.
    pub(super) host: Box<str>,
    /// The port.
    pub(super) port: u16,
    /// For TLS: the configuration and the name that the certificate must have.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// What leads there.
    pub(super) road: Road,
    /// What knows the addresses of names.
    pub(super) resolver: Arc<Resolver>,
}

impl Dialer {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// What failed, for the caller to read.
    pub(super) async fn dial(
        &self,
        limit: Duration,
        journey: &mut Journey,
    ) -> Result<Transport, Problem> {
        let patience = Patience::new(limit);
        match &self.road {
            Road::Direct => {
                let (stream, address) = self
                    .hop()
                    .connect(&self.resolver, patience, journey)
                    .await?;
                let Some((config, name)) = &self.tls else {
                    return Ok(Transport::Tcp(stream));
                };
                let peer = address.to_string();
                let secured = self
                    .shake_hands(config, name, stream, &peer, patience, journey)
                    .await?;
                Ok(Transport::Tls(Box::new(secured)))
            }
        }
    }

    fn hop(&self) -> Hop<'_> {
        Hop {
            role: "upstream",
            host: &self.host,
            port: self.port,
            key: "base_url",
        }
    }

    /// TLS with the upstream, over whatever leads there; `peer` says who is at its end, as far as is
    /// known.
    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        stream: S,
        peer: &str,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<TlsStream<S>, Problem> {
        let began = Instant::now();
        let connector = TlsConnector::from(Arc::clone(config));
        match timeout_at(patience.until, connector.connect(name.clone(), stream)).await {
            Ok(Ok(stream)) => {
                journey.met(began, || Peer::of(stream.get_ref().1));
                Ok(stream)
            }
            Ok(Err(error)) => Err(self.handshake_failed(&error, name, peer)),
            Err(_) => Err(self.problem(
                Kind::ConnectTimeout,
                &format!("the TLS handshake with {peer} took longer than {patience}"),
            )),
        }
    }

    fn handshake_failed(&self, error: &io::Error, name: &ServerName<'_>, peer: &str) -> Problem {
        let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        else {
            let text = format!(
                "{peer} broke off the TLS handshake ({error}); check that it speaks TLS on this port"
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
        self.hop().problem(kind, text)
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
