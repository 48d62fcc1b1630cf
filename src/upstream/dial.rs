//! From an upstream's name to a stream that HTTP is spoken on: its road, then TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dns::Resolver;
use super::fault::{Failure, Retry, tls_error};
use super::hop::{Hop, Patience};
use super::journey::Journey;
use super::peer::Peer;
use super::security::{Security, is_about_client};
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
    /// For TLS: how, as whom, and who must be there.
    pub(super) tls: Option<Security>,
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
                let Some(security) = &self.tls else {
                    return Ok(Transport::Tcp(stream));
                };
                let peer = address.to_string();
                let secured = self
                    .shake_hands(security, stream, &peer, patience, journey)
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
        security: &Security,
        stream: S,
        peer: &str,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<TlsStream<S>, Problem> {
        let began = Instant::now();
        let connector = TlsConnector::from(Arc::clone(&security.config));
        let name = security.name.clone();
        match timeout_at(patience.until, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => {
                journey.met(began, || Peer::of(stream.get_ref().1));
                Ok(stream)
            }
            Ok(Err(error)) => Err(self.handshake_failed(security, &error, peer)),
            Err(_) => Err(self.problem(
                Kind::ConnectTimeout,
                &format!("the TLS handshake with {peer} took longer than {patience}"),
            )),
        }
    }

    fn handshake_failed(&self, security: &Security, error: &io::Error, peer: &str) -> Problem {
        let (kind, text) = match tls_error(error) {
            Some(tls) => security.failure(tls),
            None => (
                Kind::TlsProtocol,
                format!(
                    "{peer} broke off the TLS handshake ({error}); check that it speaks TLS on this port"
                ),
            ),
        };
        self.problem(kind, &text)
    }

    /// A failure of the first exchange on a new connection, an alert in words: in TLS 1.3 an upstream
    /// that refuses the client says so after the client's handshake is done.
    pub(super) fn told(&self, failure: Failure) -> Failure {
        match (&self.tls, failure.alert) {
            (Some(security), Some(alert)) if is_about_client(alert) => {
                let problem = self.problem(Kind::TlsAlert, &security.refusal(alert));
                Failure::new(problem, Retry::Never)
            }
            _ => failure,
        }
    }

    fn problem(&self, kind: Kind, text: &str) -> Problem {
        self.hop().problem(kind, text)
    }
}
