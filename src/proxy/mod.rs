//! The straight line of a request: `handle` calls the steps in their order.

mod attempt;
mod body;
mod caller;
mod record;
pub mod serve;
mod spare;
mod stream;
mod upgrade;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Response, Uri};
use http_body::Body;
use hyper::Request;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use self::body::{Answer, AnswerBody};
use self::caller::Caller;
use self::record::Record;
use crate::auth::Prepared;
use crate::auth::inject::Merge;
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

/// A request past steps 1 to 4: where it goes is settled.
struct Admitted {
    live: Arc<Live>,
    /// The target as the caller wrote it, and how much of its path is the prefix.
    uri: Uri,
    prefix_len: usize,
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
async fn handle(caller: Arc<Caller>, request: Request<Incoming>) -> Response<AnswerBody> {
    caller.begin();
    let mut record = Record::begin(Arc::clone(&caller), &request);
    match forward(&caller, request, &mut record).await {
        Ok(response) => {
            record.answered(response.status());
            response.map(|content| AnswerBody::new(content, record))
        }
        Err(problem) => {
            record.refused(&problem);
            let mut response = problem.to_response();
            if let Some(origin) = record.origin() {
                cors::allow(response.headers_mut(), origin);
            }
            response.map(|content| AnswerBody::new(Answer::own(content), record))
        }
    }
}

/// The steps of the interface's section 3, in their order.
async fn forward(
    caller: &Arc<Caller>,
    mut request: Request<Incoming>,
    record: &mut Record,
) -> Result<Response<Answer>, Problem> {
    let upgrade = upgrade::asked_for(&mut request);
    let (mut head, incoming) = request.into_parts();
    let admitted = match admit(&caller.proxy.reader.take(), caller.local, &mut head, record)? {
        Ok(admitted) => admitted,
        Err(preflight) => return Ok(preflight.map(Answer::own)),
    };
    let live = Arc::clone(&admitted.live);
    let on_this = |problem: Problem| problem.on(&live.connection.name);

    let content = bounded(&head, incoming, &live.connection).map_err(on_this)?;
    let prepared = live.authenticator.prepare();
    live.strip.head(&mut head.headers);
    head.uri = target(&admitted, &live, prepared).map_err(on_this)?;
    head.headers.insert(HOST, live.host.clone());
    let content = match prepared.merge() {
        Some(merge) => {
            let merging = merged(merge, &mut head, content, &live.connection);
            let merged = Box::pin(merging).await.map_err(on_this)?;
            record.waited();
            merged
        }
        None => content,
    };

    let mut response = match upgrade {
        // What is rare is on the heap: the state that every request has stays small.
        Some(upgrade) => {
            Box::pin(upgrade::send(&caller.proxy, &live, prepared, head, upgrade)).await
        }
        None => attempt::send(&live, prepared, head, content, record.ready()).await,
    }
    .map_err(on_this)?;
    if let Answer::Upstream(body) = response.body() {
        record.received(body.begun());
    }

    let prefix = &admitted.uri.path()[..admitted.prefix_len];
    tidy(&mut response, &live, prefix, record.origin());
    Ok(response)
}

/// Steps 1 to 4 against one snapshot: nothing is awaited, nothing is changed but the log record.
/// A preflight of an allowed origin ends here, with its answer.
fn admit(
    snapshot: &Snapshot,
    local: Option<SocketAddr>,
    head: &mut Parts,
    record: &mut Record,
) -> Result<Result<Admitted, Response<Bytes>>, Problem> {
    record.wanted(snapshot.access_log, &head.uri);
    let host = guard::message(head)?;
    let routed = snapshot.routes.by_host(host);
    if routed.is_none() {
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
    } = routed
        .or_else(|| snapshot.routes.by_path(head.uri.path()))
        .ok_or_else(no_route)?;
    record.routed(live);
    allowed(&live.connection, head, prefix_len)
        .map_err(|problem| problem.on(&live.connection.name))?;
    let uri = std::mem::take(&mut head.uri);
    Ok(Ok(Admitted {
        live: Arc::clone(live),
        uri,
        prefix_len,
    }))
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
fn bounded(head: &Parts, incoming: Incoming, connection: &Connection) -> Result<Content, Problem> {
    let limit = connection.limits.request_body;
    let length = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if length
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|length| length > limit)
    {
        return Err(content_problem(&ContentFault::TooLarge(limit)));
    }
    Ok(Content::streamed(incoming, limit))
}

/// Steps 3, 5 and 6 for the request target.
fn target(admitted: &Admitted, live: &Live, prepared: Prepared<'_>) -> Result<Uri, Problem> {
    thread_local! {
        /// Targets are cut from a block that many requests of a thread share.
        static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(4096));
    }
    let rest = &admitted.uri.path()[admitted.prefix_len..];
    let query = admitted.uri.query().map(|query| live.strip.query(query));
    // A query that lost its last parameter is none, but an empty one that was sent stays.
    let emptied =
        query.as_ref().is_some_and(|query| query.is_empty()) && admitted.uri.query() != Some("");
    let query = query.as_deref().filter(|_| !emptied);
    SCRATCH.with_borrow_mut(|scratch| {
        pin::join(
            &live.connection.base_url,
            rest,
            query,
            prepared.query(),
            scratch,
        )
    })
}

/// Step 6 for content: reads it whole, as the credential goes into it.
async fn merged(
    merge: &Merge,
    head: &mut Parts,
    content: Content,
    connection: &Connection,
) -> Result<Content, Problem> {
    let empty = content.is_end_stream();
    if empty
        && matches!(
            head.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE
        )
    {
        return Ok(content);
    }
    merge.accept(&mut head.headers, empty)?;
    let whole = content
        .collect(connection.limits.signed_body, connection.timeouts.read)
        .await;
    let whole = whole.map_err(|fault| content_problem(&fault))?;
    head.headers.remove(CONTENT_LENGTH);
    merge.apply(&whole).map(Content::held)
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
