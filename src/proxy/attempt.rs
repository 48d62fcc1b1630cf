//! An attempt: apply the credential, send, and again where the interface's `retries` allows.

use http::header::TRANSFER_ENCODING;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::Body;
use hyper::Request;
use tokio::time::Instant;

use super::body::Answer;
use super::spare::Spare;
use crate::auth::Prepared;
use crate::connection::Connection;
use crate::live::Live;
use crate::problem::{Kind, Problem};
use crate::upstream::Attempt;
use crate::upstream::content::Content;
use crate::upstream::echo;
use crate::upstream::fault::Retry;

/// Sends a request, and sends it again as often as `retries` says: when nothing of it reached the
/// upstream, and, for methods that may be repeated (RFC 9110 section 9.2.2), when the connection
/// broke or was too slow and the content can be sent a second time.
pub(super) async fn send(
    live: &Live,
    prepared: Prepared<'_>,
    mut head: Parts,
    mut content: Content,
    now: Instant,
) -> Result<Response<Answer>, Problem> {
    let Some(upstream) = &live.upstream else {
        let request = applied(head, prepared, content);
        let Connection {
            limits, timeouts, ..
        } = &*live.connection;
        return Ok(Box::pin(echo::answer(request, limits, timeouts))
            .await?
            .map(Answer::own));
    };
    let timeouts = &live.connection.timeouts;
    let mut left = live.connection.retries;
    let mut attempt = Attempt {
        now,
        fresh: false,
        repeatable: false,
    };
    loop {
        let spare = if left > 0 {
            Spare::of(&head, &content)
        } else {
            None
        };
        attempt.repeatable = spare.is_some();
        let request = applied(head, prepared, content);
        let failure = match upstream.send(request, timeouts, attempt).await {
            Ok(response) => return expected(response.map(Answer::Upstream)),
            Err(failure) => failure,
        };
        let again = match (failure.retry, failure.unsent) {
            (Retry::Always, Some(request)) => Some(request.into_parts()),
            (Retry::Always | Retry::Idempotent, None) => spare.map(Spare::restore),
            _ => None,
        };
        let Some(again) = again.filter(|_| left > 0) else {
            return Err(failure.problem);
        };
        tracing::debug!(connection = %live.connection.name, problem = %failure.problem, "Trying again");
        (head, content) = again;
        left -= 1;
        attempt.fresh = true;
        attempt.now = Instant::now();
    }
}

/// The request as it is sent: the credential last of all.
fn applied(mut head: Parts, prepared: Prepared<'_>, content: Content) -> Request<Content> {
    prepared.apply(&mut head.headers);
    head.version = Version::HTTP_11;
    // hyper takes content of unknown length for none where the method is one that seldom has any.
    if content.size_hint().exact().is_none() {
        head.headers
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Request::from_parts(head, content)
}

/// Refuses a switch of protocols that nobody asked for.
fn expected(response: Response<Answer>) -> Result<Response<Answer>, Problem> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let text = "the upstream switched protocols without being asked to";
        return Err(Problem::new(Kind::UpgradeFailed, text));
    }
    Ok(response)
}
