//! From an upstream's name to a stream that HTTP is spoken on: its road, then TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::AlertDescription;
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
use super::through;
use crate::agent::registry::Agents;
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
    /// For a proxy that is spoken to in TLS, likewise.
    pub(super) proxy_tls: Option<Security>,
    /// What knows the addresses of names.
    pub(super) resolver: Arc<Resolver>,
    /// Who leads into private networks.
    pub(super) agents: Arc<Agents>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, which a proxy may take in absolute form.
    Requests,
    /// A stream of any bytes, which every proxy has to lead through.
    Stream,
}

impl Dialer {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// What failed, for the caller to read.
    pub(super) async fn dial(
        &self,
        purpose: Purpose,
        limit: Duration,
        journey: &mut Journey,
    ) -> Result<Transport, Problem> {
        let patience = Patience::new(limit);
        match &self.road {
            // On the heap, as few take either, and its state would be part of every dial's.
            Road::Agent(name) => Box::pin(self.dial_by_agent(name, patience, journey)).await,
            Road::Proxied(_) => Box::pin(self.dial_through(purpose, patience, journey)).await,
            Road::Direct => {
                let hop = self.hop();
                let (stream, address) = hop.connect(&self.resolver, patience, journey).await?;
                let Some(security) = &self.tls else {
                    return Ok(Transport::Tcp(stream));
                };
                let peer = address.to_string();
                let secured = shake_hands(hop, security, stream, &peer, patience, journey);
                Ok(Transport::Tls(Box::new(secured.await?)))
            }
        }
    }

    /// Connects through the agent `name`, TLS from end to end.
    async fn dial_by_agent(
        &self,
        name: &str,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<Transport, Problem> {
        let hop = self.hop();
        let wire = through::agent(&self.agents, name, hop, patience, journey).await?;
        let Some(security) = &self.tls else {
            return Ok(Transport::Tunnel(wire));
        };
        let peer = format!("{}:{} behind agent `{name}`", self.host, self.port);
        let secured = shake_hands(hop, security, wire, &peer, patience, journey);
        Ok(Transport::TunnelTls(Box::new(secured.await?)))
    }

    /// The upstream as a hop.
    pub(super) fn hop(&self) -> Hop<'_> {
        Hop {
            role: "upstream ",
            host: &self.host,
            port: self.port,
            key: "base_url",
        }
    }

    /// A failure of the first exchange on a new connection, an alert in words: in TLS 1.3 an upstream
    /// that refuses the client says so after the client's handshake is done.
    pub(super) fn told(&self, failure: Failure) -> Failure {
        match failure.alert.and_then(|alert| self.refused(alert)) {
            Some(problem) => Failure::new(problem, Retry::Never),
            None => failure,
        }
    }

    /// What an alert means, if it is about what the upstream was shown of us.
    pub(super) fn refused(&self, alert: AlertDescription) -> Option<Problem> {
        let security = self.tls.as_ref().filter(|_| is_about_client(alert))?;
        Some(self.hop().problem(Kind::TlsAlert, &security.refusal(alert)))
    }
}

/// TLS with a hop, over whatever leads there; `peer` says who is at its end, as far as is known.
pub(super) async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    hop: Hop<'_>,
    security: &Security,
    stream: S,
    peer: &str,
    patience: Patience,
    journey: &mut Journey,
) -> Result<TlsStream<S>, Problem> {
    let began = Instant::now();
    let connector = TlsConnector::from(Arc::clone(&security.config));
    let shaking = connector.connect(security.name.clone(), stream);
    match timeout_at(patience.until, shaking).await {
        Ok(Ok(stream)) => {
            journey.met(began, || Peer::of(stream.get_ref().1));
            Ok(stream)
        }
        Ok(Err(error)) => Err(handshake_failed(hop, security, &error, peer)),
        Err(_) => Err(hop.problem(
            Kind::ConnectTimeout,
            &format!("the TLS handshake with {peer} took longer than {patience}"),
        )),
    }
}

fn handshake_failed(hop: Hop<'_>, security: &Security, error: &io::Error, peer: &str) -> Problem {
    let (kind, text) = match tls_error(error) {
        Some(tls) => security.failure(tls, hop.key),
        None => (
            Kind::TlsProtocol,
            format!(
                "{peer} broke off the TLS handshake ({error}); check that it speaks TLS on this port"
            ),
        ),
    };
    hop.problem(kind, &text)
}
