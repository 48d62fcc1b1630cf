//! The HTTP/2 connections to one upstream: [`Trunks`], on which requests take places.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::fault::{Failure, Retry};
use super::trunk::Trunk;
use super::{Reached, Upstream, is_settled};
use crate::connection::{HttpVersion, Timeouts};
use crate::problem::{Kind, Problem};

/// After a connection could not be made beside others, no other one is tried for so long.
const BREATH: Duration = Duration::from_secs(1);

/// The HTTP/2 connections to an upstream: few, each with as many requests as the upstream takes, and
/// one more only where all are full. One is made at a time, and it is the first one that tells which
/// protocol is spoken.
#[derive(Debug)]
pub(super) struct Trunks {
    /// A [`Protocol`].
    protocol: AtomicU8,
    state: Mutex<State>,
    /// Somebody gave a place back, or a connection was made, or could not be made.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Arc<Trunk>>,
    is_dialing: bool,
    /// How many connections were tried.
    tried: u64,
    /// The last try that failed.
    failed: Option<(u64, Problem)>,
    /// When the next may be tried while others are open.
    rested: Option<Instant>,
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http1,
    Http2,
}

/// A request's place on a connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) trunk: Arc<Trunk>,
    trunks: Arc<Trunks>,
    idle: Duration,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.trunk.leave(Instant::now() + self.idle);
        self.trunks.changed.notify_one();
    }
}

/// What a request finds that looks for a place.
enum Found {
    Http1,
    Place(Place),
    /// None yet; and which try to make a connection may bring one.
    Wait(u64),
}

impl Trunks {
    /// None yet, to an upstream on which `http` may be spoken.
    pub(super) fn new(http: HttpVersion) -> Self {
        let protocol = match http {
            HttpVersion::Auto => Protocol::Unknown,
            HttpVersion::Http11 => Protocol::Http1,
            HttpVersion::Http2 => Protocol::Http2,
        };
        Self {
            protocol: AtomicU8::new(protocol as u8),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether HTTP/2 may be spoken, as far as is known.
    pub(super) fn may_serve(&self) -> bool {
        self.protocol.load(Ordering::Relaxed) != Protocol::Http1 as u8
    }

    /// A place for a request; none if the upstream speaks HTTP/1.1.
    ///
    /// # Errors
    /// No connection could be made, or all are full for as long as `timeouts.connect`.
    pub(super) async fn place(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        timeouts: &Timeouts,
    ) -> Result<Option<Place>, Failure> {
        if let Found::Place(place) = self.find(upstream, timeouts) {
            return Ok(Some(place));
        }
        let until = Instant::now() + timeouts.connect.saturating_mul(2);
        loop {
            let mut changed = pin!(self.changed.notified());
            // Whoever gives a place back from here on tells it.
            changed.as_mut().enable();
            let awaited = match self.find(upstream, timeouts) {
                Found::Http1 => return Ok(None),
                Found::Place(place) => return Ok(Some(place)),
                Found::Wait(awaited) => awaited,
            };
            if timeout_at(until, changed).await.is_err() {
                return Err(full(upstream));
            }
            if let Some(problem) = self.failure(awaited) {
                let retry = match is_settled(problem.kind()) {
                    true => Retry::Never,
                    false => Retry::Always,
                };
                return Err(Failure::new(problem, retry));
            }
        }
    }

    fn find(self: &Arc<Self>, upstream: &Arc<Upstream>, timeouts: &Timeouts) -> Found {
        let mut state = self.state.lock();
        if !self.may_serve() {
            return Found::Http1;
        }
        state.open.retain(|trunk| trunk.is_open());
        // The first that has a place: those that are not needed grow old and go.
        if let Some(trunk) = state.open.iter().find(|trunk| trunk.occupy()) {
            return Found::Place(Place {
                trunk: Arc::clone(trunk),
                trunks: Arc::clone(self),
                idle: timeouts.idle,
            });
        }
        let all_suspect = state.open.iter().all(|trunk| trunk.is_suspect());
        let rests = state.rested.is_some_and(|rested| Instant::now() < rested);
        if !state.is_dialing && (all_suspect || !rests) {
            state.is_dialing = true;
            // A task of its own: whoever asked for it may go away.
            let dialing = Dialing {
                trunks: Arc::clone(self),
                outcome: None,
            };
            tokio::spawn(dialing.run(Arc::clone(upstream), *timeouts));
        }
        Found::Wait(state.tried)
    }

    /// How this try or a later one failed, if that leaves nothing to wait for.
    fn failure(&self, awaited: u64) -> Option<Problem> {
        let state = self.state.lock();
        let (tried, problem) = state.failed.as_ref()?;
        let hopeless = state.open.iter().all(|trunk| trunk.is_suspect());
        (*tried >= awaited && hopeless).then(|| problem.clone())
    }

    /// Takes in a connection that somebody made.
    pub(super) fn adopt(&self, trunk: Trunk, idle: Duration) {
        trunk.keep(Instant::now() + idle);
        let mut state = self.state.lock();
        self.protocol
            .store(Protocol::Http2 as u8, Ordering::Relaxed);
        state.open.push(Arc::new(trunk));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Gives none of them more requests, from now on, that lead elsewhere than to these addresses.
    pub(super) fn keep(&self, addresses: &[IpAddr]) {
        let state = self.state.lock();
        let elsewhere = state.open.iter().filter(|trunk| !trunk.leads_to(addresses));
        elsewhere.for_each(|trunk| trunk.retire());
    }

    /// Looks after all of them, and lets go of those that are not needed or dead. Says whether there are
    /// any.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut gone = Vec::new();
        let mut state = self.state.lock();
        state.open.retain(|trunk| {
            let stays = trunk.look(now);
            if !stays {
                gone.push(Arc::clone(trunk));
            }
            stays
        });
        let is_used = !state.open.is_empty();
        drop(state);
        gone.into_iter().for_each(Trunk::end);
        is_used
    }
}

/// A connection that is being made; however that ends, it is told.
struct Dialing {
    trunks: Arc<Trunks>,
    outcome: Option<Result<Made, Problem>>,
}

/// A connection that was made: for whom, and for how long it is kept without a request.
type Made = (Reached, Arc<Upstream>, Duration);

impl Dialing {
    async fn run(mut self, upstream: Arc<Upstream>, timeouts: Timeouts) {
        let reached = upstream.reach(&timeouts).await;
        self.outcome = Some(reached.map(|reached| (reached, upstream, timeouts.idle)));
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        let mut state = self.trunks.state.lock();
        state.is_dialing = false;
        let tried = state.tried;
        state.tried += 1;
        let failed = match self.outcome.take() {
            Some(Ok((Reached::Http2(trunk), _, idle))) => {
                drop(state);
                return self.trunks.adopt(trunk, idle);
            }
            Some(Ok((Reached::Http1(link), upstream, idle))) => {
                let protocol = Protocol::Http1 as u8;
                self.trunks.protocol.store(protocol, Ordering::Relaxed);
                upstream.pool.put(link, idle);
                None
            }
            Some(Err(problem)) => Some(problem),
            None => Some(Problem::new(
                Kind::Internal,
                "the connection to the upstream was given up; send the request again",
            )),
        };
        if let Some(problem) = failed {
            state.failed = Some((tried, problem));
            state.rested = Some(Instant::now() + BREATH);
        }
        drop(state);
        self.trunks.changed.notify_waiters();
    }
}

#[cold]
fn full(upstream: &Upstream) -> Failure {
    let text = "all HTTP/2 connections to it carry as many requests as it takes at once, and none has ended for longer than timeouts.connect; send fewer at a time, or raise what it takes";
    let problem = upstream.dialer.hop().problem(Kind::ConnectTimeout, text);
    Failure::new(problem, Retry::Always)
}
