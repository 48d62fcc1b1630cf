//! One HTTP/1.1 connection to an upstream: [`Link`].
//!
//! hyper splits a connection into a handle that sends and a future that drives. Here both live in
//! one value, and whoever waits for the answer drives the connection itself: no task per upstream
//! connection, back-pressure by not polling, cancellation by dropping. Only where an answer begins
//! before its request has ended, a task drives the rest ([`Upload`]).

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::content::Content;
use super::deadline::Deadline;
use super::fault::{Failure, Retry};
use super::flow::{Flow, Stage};
use super::stream::UpstreamStream;
use super::upload::Upload;
use crate::connection::Timeouts;
use crate::problem::{Kind, Problem};

/// Larger heads of answers are refused, in bytes.
const MAX_HEAD: usize = 256 << 10;

/// What is told to a link's stream, which hyper holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// The next read looks whether the upstream has closed the connection.
    pub(super) probe: Arc<AtomicBool>,
    /// The next write starts with a head; none where nobody recases it.
    pub(super) head_expected: Option<Arc<AtomicBool>>,
}

/// An HTTP/1.1 connection to an upstream, driven by whoever holds it.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<Content>,
    /// None once the connection ended: dropping it is what makes hyper give back a request that
    /// it holds.
    driver: Option<Driver>,
    deadline: Deadline,
    /// When it last made progress, as far as anybody looked.
    progress: Instant,
    signals: Signals,
    /// Whom it leads to, as far as is known.
    peer: Option<IpAddr>,
    /// For how long the upstream says to keep it without a request; none before its first answer.
    kept: Option<Duration>,
    /// The content that is being sent, and how far it was when somebody looked.
    flow: Option<Arc<Flow>>,
    observed: (Stage, u64),
    /// What drives the connection, if its answer began before its request had ended.
    upload: Option<Upload>,
}

impl Link {
    /// Speaks HTTP/1.1 on a stream.
    ///
    /// # Errors
    /// hyper does not take the stream.
    pub(super) async fn new(
        stream: UpstreamStream,
        signals: Signals,
        timeouts: &Timeouts,
    ) -> Result<Self, hyper::Error> {
        let peer = stream.peer();
        let builder = builder(signals.head_expected.is_some());
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            sender,
            driver: Some(driver),
            deadline: Deadline::new(timeouts.read),
            progress: Instant::now(),
            signals,
            peer,
            kept: None,
            flow: None,
            observed: (Stage::Ended, 0),
            upload: None,
        })
    }

    /// Sends the request in `slot` at `now` and waits for the head of its answer.
    ///
    /// # Errors
    /// Why there is no answer; the request is in its slot again where nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        slot: &mut Option<Request<Content>>,
        timeouts: &Timeouts,
        now: Instant,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(expected) = &self.signals.head_expected {
            expected.store(true, Ordering::Relaxed);
        }
        self.flow = slot.as_ref().and_then(|request| request.body().flow());
        let flow = self.flow.as_deref();
        let observe = || flow.map_or((Stage::Ended, 0), Flow::observe);
        self.observed = observe();
        let observed = &mut self.observed;
        self.progress = now;
        self.deadline.set(now + allowance(observed.0, timeouts));
        // Every caller has filled the slot.
        let mut answer = pin!(
            self.sender
                .try_send_request(slot.take().unwrap_or_default())
        );
        // Only driving makes the answer ready, so there is nothing to be woken for: hyper would wake
        // this very task, which would then be polled once more for nothing.
        let mut answered = |driver: &mut Option<Driver>, cx: &mut Context<'_>| {
            drive(driver, cx);
            answer
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        };
        let mut sent = false;
        poll_fn(|cx| {
            // Once all is sent, a wake-up mostly means the answer: hyper is to know no waker then,
            // or it would be woken by taking the content that came with the head.
            if std::mem::replace(&mut sent, true)
                && observed.0 == Stage::Ended
                && let Poll::Ready(told) =
                    answered(&mut self.driver, &mut Context::from_waker(Waker::noop()))
            {
                return Poll::Ready(told.map_err(|error| failed(error, slot)));
            }
            if let Poll::Ready(told) = answered(&mut self.driver, cx) {
                return Poll::Ready(told.map_err(|error| failed(error, slot)));
            }
            let seen = observe();
            if seen != *observed {
                *observed = seen;
                self.deadline
                    .set(Instant::now() + allowance(seen.0, timeouts));
            }
            self.deadline
                .poll_passed(cx)
                .map(|()| Err(stalled(seen.0, timeouts)))
        })
        .await
    }

    /// Gives the driving to a task if content of the request is left after the answer's head.
    pub(super) fn answered<B>(&mut self, response: &Response<B>, timeouts: &Timeouts) {
        if self.kept.is_none() {
            self.kept = Some(kept(response.headers()).unwrap_or(Duration::MAX));
        }
        if let Some(flow) = &self.flow
            && flow.observe().0 != Stage::Ended
            && let Some(driver) = self.driver.take()
        {
            let flow = Arc::clone(flow);
            self.upload = Some(Upload::begin(driver, flow, response, timeouts));
        }
    }

    /// Whether a task drives the connection: it is not reused then.
    pub(super) fn is_uploading(&self) -> bool {
        self.upload.is_some()
    }

    /// Lets the request's content reach its end after the answer has.
    pub(super) fn finish(self: Box<Self>) {
        if let Some(upload) = self.upload {
            upload.finish(());
        }
    }

    /// Drives the connection for whoever reads the answer.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }

    /// Notes progress: whoever waits gives it `read` from `now` on.
    pub(super) fn progressed(&mut self, now: Instant, read: Duration) {
        self.progress = now;
        self.deadline.set(now + read);
    }

    /// Whether it leads to one of these addresses, as far as is known.
    pub(super) fn leads_to(&self, addresses: &[IpAddr]) -> bool {
        self.peer.is_none_or(|peer| addresses.contains(&peer))
    }

    /// Whom it leads to, as far as is known.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Ready once there was no progress for `read`: neither of the answer, nor of content that is
    /// still being sent.
    pub(super) fn poll_stalled(&mut self, cx: &mut Context<'_>, read: Duration) -> Poll<()> {
        while self.deadline.poll_passed(cx).is_ready() {
            let seen = self
                .flow
                .as_deref()
                .map_or((Stage::Ended, 0), Flow::observe);
            if seen == self.observed {
                return Poll::Ready(());
            }
            self.observed = seen;
            self.progressed(Instant::now(), read);
        }
        Poll::Pending
    }

    /// Until when it may wait for another request, if it may wait for `idle`: not to the very end of
    /// the upstream's patience, as a request that meets its close on the way may be lost.
    pub(super) fn reusable_until(&self, idle: Duration) -> Instant {
        self.progress + idle.min(self.kept.unwrap_or(Duration::MAX))
    }

    /// For how long nothing has happened on it.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.progress)
    }

    /// Whether another request can be sent, asked of the system itself: for one that cannot be
    /// repeated if the upstream turns out to have gone.
    pub(super) fn is_surely_open(&mut self) -> bool {
        self.signals.probe.store(true, Ordering::Relaxed);
        self.is_reusable()
    }

    /// Whether another request can be sent: looks at what the upstream did meanwhile.
    pub(super) fn is_reusable(&mut self) -> bool {
        // Nobody waits for an idle link, so nobody is to be woken: neither by what the upstream
        // does, nor by hyper when the next request is handed to it.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }
}

pub(super) type Driver = http1::Connection<TokioIo<UpstreamStream>, Content>;

/// Polls the connection unless it has ended. How it ended is told where somebody waits: by the
/// answer, or by its content.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if driver
        .as_mut()
        .is_some_and(|driver| Pin::new(driver).poll(cx).is_ready())
    {
        *driver = None;
    }
}

/// Tells a request that hyper gives back unsent, into its slot, from one that failed on its way.
#[cold]
fn failed(
    mut error: TrySendError<Request<Content>>,
    slot: &mut Option<Request<Content>>,
) -> Failure {
    *slot = error.take_message();
    let failure = Failure::from_hyper(error.error());
    if slot.is_some() {
        return Failure {
            retry: Retry::Always,
            ..failure
        };
    }
    failure
}

/// What `Keep-Alive: timeout=…` of an answer leaves of the upstream's patience, a second or half of
/// it taken off.
fn kept(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let seconds = text.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then(|| value.parse::<u32>().ok())?
    })?;
    let patience = Duration::from_secs(seconds.into());
    Some(
        patience
            .saturating_sub(Duration::from_secs(1))
            .max(patience / 2),
    )
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How long the side whose turn it is may take.
pub(super) fn allowance(stage: Stage, timeouts: &Timeouts) -> Duration {
    match stage {
        Stage::Sending => timeouts.write,
        Stage::Ended | Stage::Waiting => timeouts.read,
    }
}

/// hyper's client, as every link is built.
pub(super) fn builder(preserve_header_case: bool) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(MAX_HEAD)
        .preserve_header_case(preserve_header_case);
    builder
}

/// The side whose turn it was has done nothing for too long.
pub(super) fn stalled(stage: Stage, timeouts: &Timeouts) -> Failure {
    let (kind, text, retry) = match stage {
        Stage::Ended => (
            Kind::ResponseTimeout,
            format!(
                "the upstream did not answer within timeouts.read ({:?})",
                timeouts.read
            ),
            Retry::Idempotent,
        ),
        Stage::Sending => (
            Kind::WriteTimeout,
            format!(
                "the upstream took no content for timeouts.write ({:?})",
                timeouts.write
            ),
            Retry::Idempotent,
        ),
        Stage::Waiting => (
            Kind::CallerTimeout,
            format!(
                "the request's content stopped for timeouts.read ({:?})",
                timeouts.read
            ),
            Retry::Never,
        ),
    };
    let problem = Problem::new(kind, text);
    let problem = if kind == Kind::CallerTimeout {
        problem.closing()
    } else {
        problem
    };
    Failure::new(problem, retry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstreams_patience_is_not_used_to_its_end() {
        for (value, want) in [
            ("timeout=5", Some(4_000)),
            ("timeout=5, max=100", Some(4_000)),
            ("max=3,Timeout=\"60\"", Some(59_000)),
            ("timeout=1", Some(500)),
            ("timeout=0", Some(0)),
            ("timeout=soon", None),
            ("timeout=-1", None),
            ("max=100", None),
        ] {
            let headers = HeaderMap::from_iter([(KEEP_ALIVE, value.parse().unwrap())]);
            assert_eq!(kept(&headers), want.map(Duration::from_millis), "{value}");
        }
        assert_eq!(kept(&HeaderMap::new()), None);
    }
}
