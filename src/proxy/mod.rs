//! The straight line of a request: `handle` calls the steps in their order.

mod attempt;
mod body;
mod caller;
mod expiry;
mod payload;
mod record;
mod refusal;
pub mod serve;
mod signed;
mod spare;
mod stream;
mod upgrade;

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use http_body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio_util::task::TaskTracker;

use self::body::{Answer, AnswerBody};
use self::caller::Caller;
use self::payload::Told;
use self::record::Record;
use self::signed::{Signature, Signing};
use self::spare::Spare;
use crate::auth::Prepared;
use crate::auth::inject::Merge;
use crate::auth::state::{State, Unavailable};
use crate::connection::Connection;
use crate::live::{Live, Reader, Snapshot};
use crate::metrics::{ConnectionMetrics, Metrics};
use crate::problem::{Kind, Problem};
use crate::request::{answer, cors, guard, pin, route};
use crate::upstream::content::{Content, ContentFault};
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

/// A request past steps 1 to 5: where it goes is settled, and nothing of the caller's credential is
/// left in its head.
struct Admitted {
    live: Arc<Live>,
    /// The target as the caller wrote it, and how much of its path is the prefix.
    uri: Uri,
    prefix_len: usize,
    /// What is sent; none once it was handed to the upstream.
    request: Option<Request<Content>>,
    upgrade: Option<OnUpgrade>,
    /// What the head said of the content, where it is signed.
    told: Option<Box<Told>>,
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
    let mut response = problem.to_response();
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
    tidy(&mut response, &live, admitted.prefix(), record.origin());
    Ok(response)
}

/// The credential, once it is there.
async fn awaited<'l>(live: &'l Live, record: &mut Record) -> Result<Prepared<'l>, Problem> {
    let waited = live.authenticator.wait().await;
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
        admitted.aim(prepared)?;
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
            return Box::pin(upgrade::send(proxy, live, prepared, head, upgrade)).await;
        }
        let slot = &mut admitted.request;
        attempt::send(live, prepared, slot, signature, record.ready()).await
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
        let name = &*self.live.connection.name;
        tracing::info!(connection = name, "Credential refused by the upstream");
        let Some(other) = self.live.authenticator.replace(prepared).await else {
            return Ok(response);
        };
        // Content that is no longer there cannot be sent again, either.
        let Some(request) = spare.and_then(Spare::restore) else {
            return Ok(response);
        };
        drop(response);
        record.waited();
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

/// Steps 1 to 5 against one snapshot: nothing is awaited. A preflight of an allowed origin ends
/// here, with its answer.
fn admit(
    caller: &Caller,
    request: Request<Incoming>,
    upgrade: Option<OnUpgrade>,
    record: &mut Record,
) -> Result<Result<Admitted, Response<Bytes>>, Problem> {
    let snapshot = caller.proxy.reader.take();
    let (mut head, incoming) = request.into_parts();
    record.wanted(snapshot.access_log, &head.uri);
    let (live, prefix_len) = match routed(&snapshot, caller.local, &head, record)? {
        Ok(routed) => routed,
        Err(preflight) => return Ok(Err(preflight)),
    };
    let on_this = |problem: Problem| problem.on(&live.connection.name);
    allowed(&live.connection, &head, prefix_len).map_err(on_this)?;
    let told = (live.connection.auth.aws())
        .map(|_| Told::take(&mut head.headers).map(Box::new))
        .transpose()
        .map_err(on_this)?;
    let content = bounded(&head, incoming, live, told.as_deref()).map_err(on_this)?;
    let uri = std::mem::take(&mut head.uri);
    live.strip.head(&mut head.headers);
    head.headers.insert(HOST, live.host.clone());
    Ok(Ok(Admitted {
        live: Arc::clone(live),
        uri,
        prefix_len,
        request: Some(Request::from_parts(head, content)),
        upgrade,
        told,
    }))
}

/// A connection, and how much of the path routed there; or a preflight's answer.
type Routed<'s> = Result<(&'s Arc<Live>, usize), Response<Bytes>>;

/// Steps 1 and 2, and what of step 3 is about the caller's path.
fn routed<'s>(
    snapshot: &'s Snapshot,
    local: Option<SocketAddr>,
    head: &Parts,
    record: &mut Record,
) -> Result<Routed<'s>, Problem> {
    let host = guard::message(head)?;
    let by_host = snapshot.routes.by_host(host);
    if by_host.is_none() {
        snapshot.guard.host(host, local)?;
    }
    let origin = snapshot.guard.origin(&head.headers)?;
    record.allowed(origin);
    pin::check_path(head.uri.path())?;
    if let Some(preflight) = origin.and_then(|origin| cors::preflight(head, origin)) {
        return Ok(Err(preflight));
    }
    let route::Found {
        target: live,
        prefix_len,
    } = by_host
        .or_else(|| snapshot.routes.by_path(head.uri.path()))
        .ok_or_else(no_route)?;
    record.routed(live);
    Ok(Ok((live, prefix_len)))
}

fn no_route() -> Problem {
    Problem::new(
        Kind::NoRoute,
        "no connection has a prefix of this path; `keybearer check` lists those there are",
    )
}

/// Step 4: least privilege.
fn allowed(connection: &Connection, head: &Parts, prefix_len: usize) -> Result<(), Problem> {
    let allow = &connection.allow;
    if !allow.permits_method(&head.method) || !allow.permits_overrides(&head.headers) {
        let detail = format!("{} is not in this connection's allow.methods", head.method);
        return Err(Problem::new(Kind::NotAllowed, detail));
    }
    if !allow.permits_path(&head.uri.path()[prefix_len..]) {
        return Err(Problem::new(
            Kind::NotAllowed,
            "the path is not in this connection's allow.paths",
        ));
    }
    Ok(())
}

/// The caller's content, refused at once where its announced length is over the limit.
///
/// It is kept while it is sent where an expired credential may ask for it once more.
fn bounded(
    head: &Parts,
    incoming: Incoming,
    live: &Live,
    told: Option<&Told>,
) -> Result<Content, Problem> {
    let limits = live.connection.limits;
    let limit = limits.request_body;
    let length = match told.and_then(Told::framing) {
        Some(framing) => framing.decoded_length(),
        None => length(&head.headers),
    };
    if length.is_some_and(|length| length > limit) {
        return Err(content_problem(&ContentFault::TooLarge(limit)));
    }
    let is_kept = match told {
        // What is hashed is held anyhow.
        Some(told) => told.may_stream() && length.is_some_and(|it| it <= limits.signed_body),
        None => live.authenticator.credential().is_some(),
    };
    if is_kept {
        return Ok(Content::kept(incoming, limit, limits.signed_body));
    }
    Ok(Content::streamed(incoming, limit))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Admitted {
    /// The part of the caller's path that routed it here.
    fn prefix(&self) -> &str {
        &self.uri.path()[..self.prefix_len]
    }

    /// Steps 3, 5 and 6 for the request target.
    fn aim(&mut self, prepared: &Prepared<'_>) -> Result<(), Problem> {
        thread_local! {
            /// Targets are cut from a block that many requests of a thread share.
            static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(4096));
        }
        let rest = &self.uri.path()[self.prefix_len..];
        let query = self.uri.query().map(|query| self.live.strip.query(query));
        // A query that lost its last parameter is none, but an empty one that was sent stays.
        let emptied =
            query.as_ref().is_some_and(|query| query.is_empty()) && self.uri.query() != Some("");
        let query = query.as_deref().filter(|_| !emptied);
        let base = &self.live.connection.base_url;
        let target = SCRATCH
            .with_borrow_mut(|scratch| pin::join(base, rest, query, prepared.query(), scratch))?;
        if let Some(request) = &mut self.request {
            *request.uri_mut() = target;
        }
        Ok(())
    }
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
