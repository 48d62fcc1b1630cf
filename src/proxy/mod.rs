//! The straight line of a request: `handle` calls the steps in their order.

mod admit;
mod attempt;
mod body;
mod bundle;
mod caller;
mod expiry;
mod flood;
pub mod inherited;
pub mod inward;
mod multiplexed;
mod payload;
mod preface;
mod record;
mod refusal;
pub mod serve;
mod signed;
mod spare;
mod stream;
pub mod trial;
mod upgrade;

use std::convert::Infallible;
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Response, Version};
use http_body::Body;
use hyper::Request;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use self::admit::{Admitted, admit};
use self::body::{Answer, AnswerBody};
use self::caller::Caller;
use self::record::Record;
use self::signed::{Signature, Signing};
use self::spare::Spare;
use crate::auth::Prepared;
use crate::auth::inject::Merge;
use crate::auth::state::{State, Unavailable};
use crate::connection::Connection;
use crate::live::{Live, Reader};
use crate::metrics::{ConnectionMetrics, Metrics};
use crate::problem::{Kind, Problem};
use crate::request::{answer, cors};
use crate::upstream::content::Content;
use crate::upstream::fault::content_problem;

/// Forwards requests by what is published.
#[derive(Debug)]
pub struct Proxy {
    reader: Reader,
    /// Counts what belongs to no connection.
    unrouted: ConnectionMetrics,
    /// Callers' connections and upgraded streams, for the drain to wait for.
    running: TaskTracker,
}

impl Proxy {
    /// A proxy of what `reader` reads.
    pub fn new(reader: Reader, metrics: &Metrics) -> Arc<Self> {
        let unrouted = metrics.connection(&"".into());
        Arc::new(Self {
            reader,
            unrouted,
            running: TaskTracker::new(),
        })
    }

    /// What is published.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Callers' connections and upgraded streams that still run.
    pub fn running(&self) -> &TaskTracker {
        &self.running
    }
}

/// Answers one request: the upstream's answer, or a problem of our own.
///
/// What can be done at once is done at once: the future holds only what has to be waited with.
fn handle(
    caller: Arc<Caller>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> + Send {
    caller.begin();
    if request.version() == Version::HTTP_2 {
        multiplexed::adapt(&mut request);
    }
    let mut record = Record::begin(Arc::clone(&caller), &request);
    let upgrade = upgrade::asked_for(&mut request);
    let mut admitted = admit(&caller, request, upgrade, &mut record);
    async move {
        let answered = match &mut admitted {
            Ok(Ok(admitted)) => forward(&caller, admitted, &mut record).await,
            Ok(Err(preflight)) => Ok(std::mem::take(preflight).map(Answer::own)),
            Err(problem) => Err(problem.clone()),
        };
        Ok(match answered {
            Ok(response) => {
                record.answered(response.status());
                response.map(|content| AnswerBody::new(content, record))
            }
            Err(problem) => refuse(&problem, record),
        })
    }
}

#[cold]
fn refuse(problem: &Problem, mut record: Box<Record>) -> Response<AnswerBody> {
    record.refused(problem);
    let mut response = match record.is_grpc() {
        true => problem.to_grpc(),
        false => problem.to_response(),
    };
    if let Some(origin) = record.origin() {
        cors::allow(response.headers_mut(), origin);
    }
    response.map(|content| AnswerBody::new(Answer::own(content), record))
}

/// The steps of the interface's section 3 from the fifth on, in their order.
async fn forward(
    caller: &Caller,
    admitted: &mut Admitted,
    record: &mut Record,
) -> Result<Response<Answer>, Problem> {
    let live = Arc::clone(&admitted.live);
    let answered = async {
        let prepared = match live.authenticator.ready() {
            Some(prepared) => prepared,
            None => Box::pin(awaited(&live, record)).await?,
        };
        let sending = Sending {
            caller,
            live: &live,
        };
        if let Some((settings, signer)) = live.connection.auth.aws().zip(prepared.signer()) {
            let signing = Signing { sending, settings };
            return Box::pin(signing.exchange(&prepared, signer, admitted, record)).await;
        }
        if prepared.is_leased() {
            // On the heap, as most credentials never expire.
            return Box::pin(sending.unless_expired(&prepared, admitted, record)).await;
        }
        sending.exchange(&prepared, admitted, record).await
    };
    let answered = answered.await;
    let mut response = answered.map_err(|problem| problem.on(&live.connection.name))?;
    match response.body() {
        Answer::Nothing | Answer::Own(_) => {}
        Answer::Peeked(peeked) => record.received(peeked.rest.begun()),
        Answer::Upstream(body) => record.received(body.begun()),
    }
    tidy(&mut response, &live, record.prefix(), record.origin());
    Ok(response)
}

/// The credential, once it is there.
async fn awaited<'l>(live: &'l Live, record: &mut Record) -> Result<Prepared<'l>, Problem> {
    let waited = live.authenticator.wait_for(record.context()).await;
    record.waited();
    waited.map_err(|unavailable| no_credential(live, &unavailable))
}

/// A request on its way, for one credential or a second one.
#[derive(Clone, Copy)]
struct Sending<'a> {
    caller: &'a Caller,
    live: &'a Arc<Live>,
}

impl Sending<'_> {
    /// Steps 3, 5 and 6 for the target and the content, and 7.
    async fn exchange(
        self,
        prepared: &Prepared<'_>,
        admitted: &mut Admitted,
        record: &mut Record,
    ) -> Result<Response<Answer>, Problem> {
        let live = self.live;
        admitted.aim(prepared, record)?;
        // What is rare is on the heap: the state that every request has stays small.
        if let Some(merge) = prepared.merge() {
            Box::pin(merged(merge, &mut admitted.request, &live.connection)).await?;
            record.waited();
        }
        self.send(prepared, admitted, None, record).await
    }

    /// Step 7, once nothing is left to be done to the request; what is sent again is signed again.
    async fn send(
        self,
        prepared: &Prepared<'_>,
        admitted: &mut Admitted,
        signature: Option<Signature<'_>>,
        record: &mut Record,
    ) -> Result<Response<Answer>, Problem> {
        let live = self.live;
        if let Some(upgrade) = admitted.upgrade.take() {
            let head = admitted.request.take().unwrap_or_default().into_parts().0;
            let proxy = &self.caller.proxy;
            let sent = upgrade::send(proxy, live, prepared, head, upgrade, record);
            return Box::pin(sent).await;
        }
        let slot = &mut admitted.request;
        attempt::send(live, prepared, slot, signature, record).await
    }

    /// The answer; or that to a second request, if the first says that its credential has expired
    /// and there is another one.
    async fn unless_expired(
        self,
        prepared: &Prepared<'_>,
        admitted: &mut Admitted,
        record: &mut Record,
    ) -> Result<Response<Answer>, Problem> {
        // Upgrades are not repeated; the next request has the new credential.
        let spare = match &admitted.request {
            Some(request) if admitted.upgrade.is_none() => Spare::of(request),
            _ => None,
        };
        let response = self.exchange(prepared, admitted, record).await?;
        let signals = self.live.connection.refresh_on.as_deref();
        let (expired, response) = expiry::is_sign(response, signals).await;
        if !expired {
            prepared.prove();
            return Ok(response);
        }
        record.expired();
        let authenticator = &self.live.authenticator;
        let replaced = authenticator.replace_for(prepared, record.context());
        let Some(other) = replaced.await else {
            return Ok(response);
        };
        // Content that is no longer there cannot be sent again, either.
        let Some(request) = spare.and_then(Spare::restore) else {
            return Ok(response);
        };
        drop(response);
        record.waited();
        record.replayed();
        admitted.request = Some(request);
        let response = self.exchange(&other, admitted, record).await?;
        let (expired, response) = expiry::is_sign(response, signals).await;
        if expired {
            other.doubt();
        } else {
            other.prove();
        }
        Ok(response)
    }
}

/// There is nothing to send the request with.
fn no_credential(live: &Live, unavailable: &Unavailable) -> Problem {
    let kind = match unavailable.state {
        State::NotLinked | State::Reauthorize => Kind::NotLinked,
        _ => Kind::CredentialUnavailable,
    };
    let link = (kind == Kind::NotLinked)
        .then(|| live.link_page.clone())
        .flatten();
    Problem::new(kind, unavailable.detail.clone())
        .with_credential(unavailable.state.name(), link)
        .retry_after(unavailable.retry_after)
}

/// Step 6 for content: reads it whole, as the credential goes into it.
async fn merged(
    merge: &Merge,
    slot: &mut Option<Request<Content>>,
    connection: &Connection,
) -> Result<(), Problem> {
    let Some(request) = slot else {
        return Ok(());
    };
    let empty = request.body().is_end_stream();
    if empty
        && matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE
        )
    {
        return Ok(());
    }
    merge.accept(request.headers_mut(), empty)?;
    let whole = std::mem::take(request.body_mut())
        .collect(connection.limits.signed_body, connection.timeouts.read)
        .await;
    let whole = whole.map_err(|fault| content_problem(&fault))?;
    request.headers_mut().remove(CONTENT_LENGTH);
    *request.body_mut() = merge.apply(&whole).map(Content::held)?;
    Ok(())
}

/// Step 8.
fn tidy(response: &mut Response<Answer>, live: &Live, prefix: &str, origin: Option<&HeaderValue>) {
    let switching = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
    // The caller's own version is hyper's to write: the upstream's means nothing on this hop.
    *response.version_mut() = http::Version::HTTP_11;
    let headers = response.headers_mut();
    answer::strip(headers, live.connection.cookies);
    live.strip.answer(headers);
    if switching {
        upgrade::mark(headers);
    }
    answer::relocate(headers, &live.connection, prefix);
    if let Some(origin) = origin {
        cors::allow(headers, origin);
    }
}
