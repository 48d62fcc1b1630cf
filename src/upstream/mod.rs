//! What answers behind a base URL: [`Upstream`], one identity and its pool of connections.

mod arriving;
pub mod aws_chunked;
pub mod body;
pub mod content;
pub mod deadline;
mod dial;
pub mod dns;
pub mod echo;
pub mod fault;
pub mod flow;
mod hop;
pub mod journey;
mod link;
pub mod message;
mod multiplexed;
mod outflow;
mod patience;
pub mod peer;
mod pool;
mod proxy;
mod race;
mod recase;
mod registry;
pub mod replay;
mod security;
pub mod stream;
mod through;
pub mod tls;
mod trunk;
mod trunks;
mod upload;
pub mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use self::body::{Reuse, UpstreamBody};
use self::content::Content;
use self::dial::{Dialer, Purpose};
use self::fault::{Failure, Retry};
use self::journey::Journey;
use self::link::{Link, Signals};
use self::pool::Pool;
use self::proxy::absolute::{self, Absolute};
use self::recase::Recase;
pub use self::registry::Upstreams;
use self::stream::UpstreamStream;
use self::trunk::Trunk;
use self::trunks::Trunks;
use crate::connection::proxy::Proxy;
use crate::connection::{HttpVersion, Timeouts};
use crate::problem::{Kind, Problem};

/// A server of one identity: address, trust and protocol; and the idle connections to it.
#[derive(Debug)]
pub struct Upstream {
    dialer: Dialer,
    /// How requests look on their way; none where that is as usual.
    absolute: Option<Box<Absolute>>,
    /// Names to spell as configured; none where names go in lower case.
    spellings: Option<Arc<[Box<str>]>>,
    pool: Pool,
    /// What HTTP/2 may be spoken on; none where it never is.
    trunks: Option<Arc<Trunks>>,
    /// The same server where only HTTP/1.1 will do; none if it is this one, or there is none.
    upgradable: Option<Arc<Self>>,
    http: HttpVersion,
}

/// A connection that was made, in the protocol that both sides agreed on.
#[derive(Debug)]
enum Reached {
    Http1(Box<Link>),
    Http2(Trunk),
}

/// How one attempt is made.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When it begins.
    pub now: Instant,
    /// Whether only a connection will do that was never used.
    pub fresh: bool,
    /// Whether another attempt could follow if the connection turns out to be broken.
    pub repeatable: bool,
}

impl Upstream {
    /// Reaches the upstream on a connection that carries nothing, and closes it.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn probe(&self, timeouts: &Timeouts, journey: &mut Journey) -> Result<(), Problem> {
        let purpose = self.purpose();
        let reached = self.dialer.dial(purpose, timeouts.connect, journey).await;
        reached.map(drop)
    }

    /// What connections for requests are: a proxy does not take HTTP/2 in absolute form.
    fn purpose(&self) -> Purpose {
        match self.http {
            HttpVersion::Auto | HttpVersion::Http11 => Purpose::Requests,
            HttpVersion::Http2 => Purpose::Stream,
        }
    }

    /// A connection that nobody has used yet.
    async fn reach(&self, timeouts: &Timeouts) -> Result<Reached, Problem> {
        let until = Instant::now() + timeouts.connect;
        let (stream, signals) = self
            .connect(self.purpose(), timeouts, &mut Journey::default())
            .await?;
        let agreed = stream.agreed_on_http2();
        match self.http {
            HttpVersion::Http2 if !agreed && self.dialer.tls.is_some() => {
                let text = "it did not agree to HTTP/2 (ALPN) in the TLS handshake; check that it speaks HTTP/2, or set `http` to `auto`";
                return Err(self.dialer.hop().problem(Kind::ProtocolError, text));
            }
            HttpVersion::Auto | HttpVersion::Http11 if !agreed => {}
            HttpVersion::Http11 => {}
            HttpVersion::Auto | HttpVersion::Http2 => {
                let said = stream.last_word();
                let trunk = Trunk::open(stream, until).await;
                return trunk.map(Reached::Http2).map_err(|fault| {
                    let refused = said.alert().and_then(|alert| self.dialer.refused(alert));
                    refused.unwrap_or_else(|| {
                        let hop = self.dialer.hop();
                        hop.problem(fault.kind(), &fault.to_string())
                    })
                });
            }
        }
        let link = Link::new(stream, signals, timeouts).await;
        let link = link.map(Box::new).map_err(|error| not_taken(&error))?;
        self.pool.admit(&link);
        Ok(Reached::Http1(link))
    }

    /// A link that nobody has used yet; none if the upstream turns out to speak HTTP/2 now.
    async fn fresh_link(&self, timeouts: &Timeouts) -> Result<Option<Box<Link>>, Problem> {
        match self.reach(timeouts).await? {
            Reached::Http1(link) => Ok(Some(link)),
            Reached::Http2(trunk) => {
                if let Some(trunks) = &self.trunks {
                    trunks.adopt(trunk, timeouts.idle);
                }
                Ok(None)
            }
        }
    }

    async fn connect(
        &self,
        purpose: Purpose,
        timeouts: &Timeouts,
        journey: &mut Journey,
    ) -> Result<(UpstreamStream, Signals), Problem> {
        let transport = self.dialer.dial(purpose, timeouts.connect, journey).await?;
        let mut signals = Signals::default();
        let recase = self.spellings.as_ref().map(|names| {
            let expected = signals.head_expected.insert(Arc::default());
            Recase::new(Arc::clone(names), Arc::clone(expected))
        });
        let stream = UpstreamStream::new(transport, Arc::clone(&signals.probe), recase);
        Ok((stream, signals))
    }

    /// Whether requests may share connections, as far as is known: HTTP/2 was spoken the last time, or
    /// nothing was yet.
    pub fn is_multiplexed(&self) -> bool {
        self.trunks
            .as_ref()
            .is_some_and(|trunks| trunks.may_serve())
    }

    /// Makes one attempt: sends the request in `slot`, waits for the head of its answer.
    ///
    /// An idle connection is used if there is one; that some were closed by the upstream meanwhile
    /// is no failed attempt.
    ///
    /// # Errors
    /// Why there is no answer; the request is in its slot again where nothing of it was sent.
    pub async fn send(
        self: &Arc<Self>,
        slot: &mut Option<Request<Content>>,
        timeouts: &Timeouts,
        attempt: Attempt,
    ) -> Result<Response<UpstreamBody>, Failure> {
        if let Some(trunks) = &self.trunks
            && trunks.may_serve()
        {
            // On the heap, as are all exchanges but those of HTTP/1.1.
            let sent = self.send_multiplexed(trunks, slot, timeouts);
            if let Some(answered) = Box::pin(sent).await {
                return answered.map_err(|failure| self.placed(self.dialer.told(failure)));
            }
        }
        if let (Some(absolute), Some(request)) = (&self.absolute, &mut *slot) {
            absolute.apply(request);
        }
        let reuse = self.reuse(attempt);
        while !attempt.fresh
            && reuse == Reuse::Possible
            && let Some(mut link) = match attempt.repeatable {
                true => self.pool.take(attempt.now),
                false => self.pool.take_trusted(attempt.now),
            }
        {
            let rest = link.rest(attempt.now);
            let failure = match link.send(slot, timeouts, attempt.now).await {
                Ok(response) => return self.answer(response, link, timeouts, reuse),
                Err(failure) => failure,
            };
            if slot.is_some() || failure.problem.kind() == Kind::ConnectionTerminated {
                self.pool.ended(rest, Instant::now());
            }
            if slot.is_none() {
                // It may be new: the first one of all is made to learn the protocol by.
                return Err(self.placed(self.dialer.told(failure)));
            }
        }
        // On the heap, as it is seldom needed and would be the largest part of each request's state.
        let mut link = match Box::pin(self.fresh_link(timeouts)).await {
            Ok(Some(link)) => link,
            Ok(None) => return Box::pin(self.send_newly(slot, timeouts)).await,
            Err(problem) if is_settled(problem.kind()) => {
                return Err(Failure::new(problem, Retry::Never));
            }
            Err(problem) => return Err(Failure::new(problem, Retry::Always)),
        };
        match link.send(slot, timeouts, Instant::now()).await {
            Ok(response) => self.answer(response, link, timeouts, reuse),
            Err(failure) => Err(self.placed(self.dialer.told(failure))),
        }
    }

    /// The proxy on the way to it, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.dialer.proxy()
    }

    /// The DNS servers that are asked on the way to it; none: the system's.
    pub fn dns(&self) -> Arc<[SocketAddr]> {
        self.dialer.resolver.servers()
    }

    /// Drops idle connections that are of no use any more.
    fn sweep(&self, now: Instant) {
        let name = self.dialer.first_host();
        let trunks = self.trunks.as_ref();
        let is_shared = trunks.is_some_and(|trunks| trunks.sweep(now));
        let is_used = self.pool.sweep(now) || is_shared;
        if is_used
            && name.parse::<IpAddr>().is_err()
            && let Some(addresses) = self.dialer.resolver.current(name, now)
        {
            if let Some(trunks) = trunks {
                trunks.keep(&addresses);
            }
            self.pool.keep(addresses);
        }
    }

    /// A failure that names the proxy which was on the way.
    #[cold]
    fn placed(&self, failure: Failure) -> Failure {
        let Some(proxy) = self.dialer.proxy() else {
            return failure;
        };
        // What the caller did wrong has nothing to do with it.
        if failure.problem.status().is_client_error() {
            return failure;
        }
        let more = format!("; the way led through the proxy {proxy} ({})", proxy.key);
        Failure::new(failure.problem.telling(&more), failure.retry)
    }

    /// Sends the request to an upstream that has begun to speak HTTP/2.
    async fn send_newly(
        self: &Arc<Self>,
        slot: &mut Option<Request<Content>>,
        timeouts: &Timeouts,
    ) -> Result<Response<UpstreamBody>, Failure> {
        let sent = match &self.trunks {
            Some(trunks) => self.send_multiplexed(trunks, slot, timeouts).await,
            None => None,
        };
        // It has changed its mind once more.
        sent.unwrap_or_else(|| Err(Failure::new(speaks_http2_now(), Retry::Always)))
    }

    /// Whether a link may be shared with other requests. An HTTP proxy that reads them may close the
    /// connection behind any answer without having said so: one that cannot be repeated goes alone.
    fn reuse(&self, attempt: Attempt) -> Reuse {
        match self.absolute.is_some() && !attempt.repeatable {
            true => Reuse::Never,
            false => Reuse::Possible,
        }
    }

    /// The answer with its link, which goes back to the pool when all of it was read.
    fn answer(
        self: &Arc<Self>,
        response: Response<Incoming>,
        mut link: Box<Link>,
        timeouts: &Timeouts,
        reuse: Reuse,
    ) -> Result<Response<UpstreamBody>, Failure> {
        if self.absolute.is_some()
            && let Some(proxy) = self.dialer.proxy()
            && let Some(problem) = absolute::refusal(proxy, &response)
        {
            return Err(Failure::new(problem, Retry::Never));
        }
        link.answered(&response, timeouts);
        let now = Instant::now();
        let version = response.version();
        let reuse = if version < Version::HTTP_11 {
            Reuse::Never
        } else {
            reuse
        };
        Ok(response.map(|incoming| {
            UpstreamBody::on_link(incoming, link, Arc::clone(self), timeouts, now, reuse)
        }))
    }

    /// Sends the request in `slot`, which asks for an upgrade, on a connection of its own.
    ///
    /// # Errors
    /// Why there is no answer; the request is in its slot still where nothing of it was sent.
    pub async fn send_upgrade(
        &self,
        slot: &mut Option<Request<Content>>,
        timeouts: &Timeouts,
    ) -> Result<Response<Incoming>, Failure> {
        if self.http == HttpVersion::Http2 {
            let text = "the connection speaks HTTP/2 only (`http = \"2\"`), and WebSocket needs HTTP/1.1; set `http` to `auto`";
            let problem = Problem::new(Kind::UpgradeFailed, text);
            return Err(Failure::new(problem, Retry::Never));
        }
        let this = self.upgradable.as_deref().unwrap_or(self);
        let connected = this
            .connect(Purpose::Stream, timeouts, &mut Journey::default())
            .await;
        let (stream, signals) = match connected {
            Ok(connected) => connected,
            Err(problem) => return Err(Failure::new(problem, Retry::Always)),
        };
        let handshake = link::builder(signals.head_expected.is_some())
            .handshake(TokioIo::new(stream))
            .await;
        let (mut sender, driver) =
            handshake.map_err(|error| Failure::new(not_taken(&error), Retry::Always))?;
        if let Some(expected) = &signals.head_expected {
            expected.store(true, Ordering::Relaxed);
        }
        // It ends with the upgraded stream, or with the answer that refuses the upgrade.
        tokio::spawn(driver.with_upgrades());
        // Every caller has filled the slot.
        let request = slot.take().unwrap_or_default();
        match timeout(timeouts.read, sender.send_request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.placed(self.dialer.told(Failure::from_hyper(&error)))),
            Err(_) => {
                let text = format!(
                    "the upstream did not answer within timeouts.read ({:?})",
                    timeouts.read
                );
                Err(Failure::new(
                    Problem::new(Kind::ResponseTimeout, text),
                    Retry::Idempotent,
                ))
            }
        }
    }
}

/// It spoke HTTP/1.1 until now.
#[cold]
fn speaks_http2_now() -> Problem {
    let text = "the upstream has begun to speak HTTP/2; send the request again";
    Problem::new(Kind::ConnectionTerminated, text)
}

/// Whether another handshake would end alike.
fn is_settled(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::AgentRefused
            | Kind::ProtocolError
            | Kind::ProxyAuthentication
            | Kind::ProxyRefused
            | Kind::TlsAlert
            | Kind::TlsCertificate
            | Kind::TlsProtocol
    )
}

fn not_taken(error: &hyper::Error) -> Problem {
    Problem::new(
        Kind::Internal,
        format!("the connection could not be used: {}", fault::chain(error)),
    )
}
