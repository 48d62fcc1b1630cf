//! One exchange on a connection that others share: HTTP/2 (RFC 9113).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use h2::Reason;
use http_body::Body;
use hyper::{Request, Response};
use tokio::time::Instant;

use super::Upstream;
use super::arriving::Arriving;
use super::body::UpstreamBody;
use super::content::Content;
use super::deadline::Deadline;
use super::fault::{Failure, Retry, chain, content_problem};
use super::flow::{Flow, Stage};
use super::link::{allowance, stalled};
use super::message;
use super::outflow::{Ended, Outflow};
use super::trunks::{Place, Trunks};
use super::upload::Upload;
use crate::connection::Timeouts;
use crate::connection::url::Scheme;
use crate::problem::{Kind, Problem};

/// How often a request is sent on that the upstream has not looked at: connections that end on all
/// sides are no reason to give up at once, and for ever is none to go on.
const MOST_REFUSALS: u32 = 8;

/// An exchange without an answer; with the request, if the upstream has not looked at it and it can be
/// sent again.
struct Unanswered {
    failure: Failure,
    request: Option<Request<Content>>,
}

impl Upstream {
    /// Sends the request in `slot` on an HTTP/2 connection, and again on another where the upstream did
    /// not look at it (RFC 9113 section 8.7), whatever its method; none if it speaks HTTP/1.1.
    pub(super) async fn send_multiplexed(
        self: &Arc<Self>,
        trunks: &Arc<Trunks>,
        slot: &mut Option<Request<Content>>,
        timeouts: &Timeouts,
    ) -> Option<Result<Response<UpstreamBody>, Failure>> {
        let mut refusals = 0;
        loop {
            let place = match trunks.place(self, timeouts).await {
                Ok(place) => place?,
                Err(failure) => return Some(Err(failure)),
            };
            // Every caller has filled the slot.
            let request = slot.take().unwrap_or_default();
            let unanswered = match self.exchange(place, request, timeouts).await {
                Ok(response) => return Some(Ok(response)),
                Err(unanswered) => unanswered,
            };
            *slot = unanswered.request;
            refusals += 1;
            if slot.is_none() {
                return Some(Err(unanswered.failure));
            }
            if refusals == MOST_REFUSALS {
                let retry = Retry::Never;
                return Some(Err(Failure {
                    retry,
                    ..unanswered.failure
                }));
            }
        }
    }

    async fn exchange(
        &self,
        place: Place,
        request: Request<Content>,
        timeouts: &Timeouts,
    ) -> Result<Response<UpstreamBody>, Box<Unanswered>> {
        let (parts, content) = request.into_parts();
        let (spare, kept) = (content.spare(), parts.clone());
        let flow = content.flow();
        let is_empty = content.is_end_stream();
        let scheme = match self.dialer.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        };
        let head = message::head(parts, scheme, content.size_hint().exact())
            .map_err(|problem| given_up(Failure::new(problem, Retry::Never)))?;
        let (mut answer, stream) = match place.trunk.sender().send_request(head, is_empty) {
            Ok(begun) => begun,
            Err(error) => {
                // It said that it takes no more, or has no numbers left for streams.
                place.trunk.retire();
                return Err(Box::new(Unanswered {
                    failure: failure(&error),
                    request: Some(Request::from_parts(kept, content)),
                }));
            }
        };
        let mut outflow = (!is_empty).then(|| Outflow::new(content, stream));
        let mut observed = observe(flow.as_deref(), outflow.as_ref());
        let mut deadline = Deadline::new(allowance(observed.0, timeouts));
        let answered = poll_fn(|cx| {
            if let Some(sending) = &mut outflow
                && let Poll::Ready(ended) = sending.poll_sent(cx)
            {
                outflow = None;
                if let Ended::Broken(fault) = ended {
                    let failure = Failure::new(content_problem(&fault), Retry::Never);
                    return Poll::Ready(Err(Silence::Failed(failure)));
                }
            }
            if let Poll::Ready(answered) = std::pin::Pin::new(&mut answer).poll(cx) {
                return Poll::Ready(answered.map_err(Silence::Broken));
            }
            let seen = observe(flow.as_deref(), outflow.as_ref());
            if seen != observed {
                observed = seen;
                deadline.set(Instant::now() + allowance(seen.0, timeouts));
            }
            deadline
                .poll_passed(cx)
                .map(|()| Err(Silence::Stalled(seen.0)))
        });
        match answered.await {
            Ok(response) => {
                let left = outflow.zip(flow.clone());
                let upload =
                    left.map(|(outflow, flow)| Upload::begin(outflow, flow, &response, timeouts));
                let (head, stream) = response.into_parts();
                let mut arriving = Arriving::new(stream, place, flow, upload, timeouts);
                arriving.announced(&head.headers);
                let body = UpstreamBody::on_stream(arriving, timeouts);
                Ok(Response::from_parts(head, body))
            }
            Err(Silence::Failed(failure)) => Err(given_up(failure)),
            Err(Silence::Stalled(stage)) => {
                if stage != Stage::Waiting {
                    place.trunk.suspect();
                }
                Err(given_up(stalled(stage, timeouts)))
            }
            Err(Silence::Broken(error)) => {
                if error.is_go_away() || error.is_io() {
                    place.trunk.retire();
                }
                let unseen = is_unseen(&error);
                let content = unseen.then_some(spare).flatten();
                let content = content.and_then(|spare| spare.restore());
                Err(Box::new(Unanswered {
                    failure: Failure {
                        alert: place.trunk.alert(),
                        ..failure(&error)
                    },
                    request: content.map(|content| Request::from_parts(kept, content)),
                }))
            }
        }
    }
}

/// Why there is no answer.
enum Silence {
    Broken(h2::Error),
    Failed(Failure),
    Stalled(Stage),
}

fn observe(flow: Option<&Flow>, outflow: Option<&Outflow>) -> (Stage, u64) {
    match (flow, outflow) {
        (Some(flow), Some(outflow)) => outflow.observe(flow),
        (Some(flow), None) => (Stage::Ended, flow.observe().1),
        (None, _) => (Stage::Ended, 0),
    }
}

#[cold]
fn given_up(failure: Failure) -> Box<Unanswered> {
    Box::new(Unanswered {
        failure,
        request: None,
    })
}

/// Whether the upstream has not looked at the request, and so has done nothing (RFC 9113 section 8.7).
fn is_unseen(error: &h2::Error) -> bool {
    // Of an upstream's GOAWAY only the streams hear so that it does not take any more.
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Tells what happened to a stream or its connection.
#[cold]
fn failure(error: &h2::Error) -> Failure {
    if is_unseen(error) {
        let text = format!(
            "the upstream did not take the request ({}); send it again, or fewer at a time",
            chain(error)
        );
        let problem = Problem::new(Kind::ConnectionTerminated, text);
        return Failure::new(told(problem, error), Retry::Always);
    }
    if error.is_reset() && error.is_remote() {
        let text = match error.reason() {
            Some(Reason::HTTP_1_1_REQUIRED) => {
                "the upstream wants HTTP/1.1 for this request; set `http` to `1.1`".to_owned()
            }
            _ => format!(
                "the upstream reset the request's stream before it answered ({})",
                chain(error)
            ),
        };
        let problem = Problem::new(Kind::StreamReset, text);
        return Failure::new(told(problem, error), Retry::Idempotent);
    }
    if error.is_reset() || error.is_go_away() {
        let text = format!(
            "the upstream's answer is not what HTTP/2 asks ({})",
            chain(error)
        );
        return Failure::new(Problem::new(Kind::ProtocolError, text), Retry::Never);
    }
    let text = format!(
        "the upstream broke the connection before it answered ({})",
        chain(error)
    );
    Failure::new(
        Problem::new(Kind::ConnectionTerminated, text),
        Retry::Idempotent,
    )
}

/// The problem with the upstream's own code, for callers that can read it.
fn told(problem: Problem, error: &h2::Error) -> Problem {
    match error.reason() {
        Some(reason) => problem.with_reset(reason.into()),
        None => problem,
    }
}
