//! An attempt: apply the credential, send, and again where the interface's `retries` allows.

use http::header::TRANSFER_ENCODING;
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::Body;
use hyper::Request;
use tokio::time::Instant;

use super::body::Answer;
use super::record::Record;
use super::signed::Signature;
use super::spare::{Spare, is_idempotent};
use crate::auth::Prepared;
use crate::connection::Connection;
use crate::live::Live;
use crate::problem::{Kind, Problem};
use crate::request::fields;
use crate::traces::context::TRACEPARENT;
use crate::upstream::Attempt;
use crate::upstream::content::Content;
use crate::upstream::echo;
use crate::upstream::fault::Retry;

/// Sends a request, and sends it again as often as `retries` says: when nothing of it reached the
/// upstream, and, for methods that may be repeated (RFC 9110 section 9.2.2), when the connection
/// broke or was too slow and the content can be sent a second time.
///
/// A signed one is signed anew then, by `signature`; `record` counts, and says when it begins.
pub(super) async fn send(
    live: &Live,
    prepared: &Prepared<'_>,
    slot: &mut Option<Request<Content>>,
    signature: Option<Signature<'_>>,
    record: &mut Record,
) -> Result<Response<Answer>, Problem> {
    if let Some(request) = slot {
        apply(request, prepared);
    }
    let Connection {
        limits, timeouts, ..
    } = &*live.connection;
    let Some(upstream) = &live.upstream else {
        let request = slot.take().unwrap_or_default();
        return Ok(Box::pin(echo::answer(request, limits, timeouts))
            .await?
            .map(Answer::own));
    };
    let mut left = live.connection.retries;
    let mut attempt = Attempt {
        now: record.ready(),
        fresh: false,
        repeatable: false,
    };
    loop {
        let spare = match slot {
            Some(request) if left > 0 && is_idempotent(request.method()) => Spare::of(request),
            _ => None,
        };
        attempt.repeatable = spare.is_some();
        if let Some(trace) = record.trace() {
            let traceparent = trace.call(attempt.now);
            tell(slot, live, traceparent);
        }
        let failure = match upstream.send(slot, timeouts, attempt).await {
            Ok(response) => {
                if let Some(trace) = record.trace() {
                    trace.answered(response.status(), response.version());
                }
                return expected(response.map(Answer::Upstream));
            }
            Err(failure) => failure,
        };
        if let Some(trace) = record.trace() {
            trace.failed(failure.problem.kind().slug());
        }
        if left == 0 || failure.retry == Retry::Never {
            return Err(failure.problem);
        }
        if slot.is_none() {
            let Some(again) = spare.and_then(Spare::restore) else {
                return Err(failure.problem);
            };
            let again = slot.insert(again);
            if signature.is_some_and(|signature| signature.write(again).is_err()) {
                return Err(failure.problem);
            }
            apply(again, prepared);
        }
        let (trace_id, span_id) = record.ids();
        tracing::debug!(connection = %live.connection.name, problem = %failure.problem, trace_id, span_id, "Trying again");
        left -= 1;
        record.sent_again();
        attempt.fresh = true;
        attempt.now = Instant::now();
    }
}

/// Makes of a request what is sent: the credential goes in last of all.
fn apply(request: &mut Request<Content>, prepared: &Prepared<'_>) {
    prepared.apply(request.headers_mut());
    *request.version_mut() = Version::HTTP_11;
    // hyper takes content of unknown length for none where the method is one that seldom has any.
    if request.body().size_hint().exact().is_none() {
        request
            .headers_mut()
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Tells the upstream which span a request is sent for, unless the connection does not let it be told.
pub(super) fn tell(slot: &mut Option<Request<Content>>, live: &Live, traceparent: HeaderValue) {
    if let Some(request) = slot
        && live.tells_trace
    {
        fields::set(request.headers_mut(), &TRACEPARENT, traceparent);
    }
}

/// Refuses a switch of protocols that nobody asked for.
fn expected(response: Response<Answer>) -> Result<Response<Answer>, Problem> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let text = "the upstream switched protocols without being asked to";
        return Err(Problem::new(Kind::UpgradeFailed, text));
    }
    Ok(response)
}
