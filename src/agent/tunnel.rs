//! One agent's connection, as the proxy holds it: [`Tunnel`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::refusal::Refusal;
use super::relay::LIMIT;
use super::stream::TunnelStream;
use crate::metrics::AgentMetrics;
use crate::secret::Secret;

/// How an agent proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// By a certificate of an authority.
    Certificate,
    /// By this token.
    Token(Secret),
}

/// An agent's connection, on which streams are opened.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) name: Arc<str>,
    pub(super) peer: SocketAddr,
    /// As it says itself.
    pub(super) version: Box<str>,
    pub(super) since: SystemTime,
    pub(super) proof: Proof,
    sender: SendRequest<Bytes>,
    /// Whether no more streams are opened on it: the agent goes, or is gone.
    leaving: AtomicBool,
    /// Tells it.
    left: CancellationToken,
    /// Ends it.
    pub(super) end: CancellationToken,
    pub(super) traffic: Traffic,
    metrics: Option<AgentMetrics>,
}

/// What a tunnel carries and has carried.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) open: AtomicU64,
    pub(super) opened: AtomicU64,
    /// Bytes to the agent.
    pub(super) sent: AtomicU64,
    /// Bytes from it.
    pub(super) received: AtomicU64,
    /// The last sign of life, and how long it took.
    pub(super) heartbeat: Mutex<Option<(SystemTime, Duration)>>,
}

/// Why no stream was opened.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// The tunnel is no more, or takes no more streams: another may.
    Gone,
    /// The agent does not connect.
    Refused(Refusal),
}

impl Tunnel {
    /// A tunnel that streams can be opened on.
    pub(super) fn new(
        name: Arc<str>,
        peer: SocketAddr,
        version: Box<str>,
        proof: Proof,
        sender: SendRequest<Bytes>,
        metrics: Option<AgentMetrics>,
    ) -> Self {
        Self {
            name,
            peer,
            version,
            since: SystemTime::now(),
            proof,
            sender,
            leaving: AtomicBool::new(false),
            left: CancellationToken::new(),
            end: CancellationToken::new(),
            traffic: Traffic::default(),
            metrics,
        }
    }

    /// Has a connection opened to `authority`, `HOST:PORT`, by the agent, which gives up after `limit`.
    ///
    /// # Errors
    /// There is no connection; nothing was sent to whatever is there.
    pub(super) async fn open(
        self: &Arc<Self>,
        authority: &Uri,
        limit: Duration,
    ) -> Result<TunnelStream, NotOpened> {
        // Counted from the beginning: whoever looks for the tunnel with the fewest sees it.
        let place = Place::take(self);
        let gone = |_| {
            self.leave();
            NotOpened::Gone
        };
        let mut sender = self.sender.clone().ready().await.map_err(gone)?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = authority.clone();
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        request
            .headers_mut()
            .insert(LIMIT, HeaderValue::from(limit));
        let (response, send) = sender.send_request(request, false).map_err(gone)?;
        let response = response.await.map_err(|error| match error.reason() {
            // The agent's own refusal of one stream says nothing of the others.
            Some(_) if error.is_reset() => NotOpened::Gone,
            _ => gone(error),
        })?;
        let (head, recv) = response.into_parts();
        match head.status {
            StatusCode::OK => Ok(TunnelStream::new(recv, send, place)),
            status => Err(NotOpened::Refused(Refusal::read(status, &head.headers))),
        }
    }

    /// Opens no more streams on it.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.left.cancel();
    }

    /// Whether streams are opened on it.
    pub(super) fn is_staying(&self) -> bool {
        !self.leaving.load(Ordering::Relaxed)
    }

    /// Notes that the agent has answered, after `took`.
    pub(super) fn seen(&self, took: Duration) {
        *self.traffic.heartbeat.lock() = Some((SystemTime::now(), took));
    }
}

/// A stream's place in what is counted of its tunnel.
#[derive(Debug)]
pub(super) struct Place(Arc<Tunnel>);

impl Place {
    fn take(tunnel: &Arc<Tunnel>) -> Self {
        tunnel.traffic.open.fetch_add(1, Ordering::Relaxed);
        tunnel.traffic.opened.fetch_add(1, Ordering::Relaxed);
        if let Some(metrics) = &tunnel.metrics {
            metrics.streams.inc();
        }
        Self(Arc::clone(tunnel))
    }

    /// Whether the tunnel goes or is gone.
    pub(super) fn is_leaving(&self) -> bool {
        !self.0.is_staying()
    }

    /// What tells that.
    pub(super) fn leaving(&self) -> CancellationToken {
        self.0.left.clone()
    }

    pub(super) fn sent(&self, count: usize) {
        let count = count as u64;
        self.0.traffic.sent.fetch_add(count, Ordering::Relaxed);
        if let Some(metrics) = &self.0.metrics {
            metrics.sent.inc_by(count);
        }
    }

    pub(super) fn received(&self, count: usize) {
        let count = count as u64;
        self.0.traffic.received.fetch_add(count, Ordering::Relaxed);
        if let Some(metrics) = &self.0.metrics {
            metrics.received.inc_by(count);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.traffic.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(metrics) = &self.0.metrics {
            metrics.streams.dec();
        }
    }
}
