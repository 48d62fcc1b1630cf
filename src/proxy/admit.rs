//! A request that may go on: [`Admitted`], and what it takes to be one.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::caller::Caller;
use super::payload::Told;
use super::record::Record;
use crate::auth::Prepared;
use crate::connection::Connection;
use crate::live::{Live, Snapshot};
use crate::problem::{Kind, Problem};
use crate::request::strip::Strip;
use crate::request::{cors, guard, pin, route};
use crate::traces::request::Parent;
use crate::upstream::content::{Content, ContentFault};
use crate::upstream::fault::content_problem;

/// A request past steps 1 to 5: where it goes is settled, and nothing of the caller's credential is
/// left in its head.
pub(super) struct Admitted {
    pub(super) live: Arc<Live>,
    /// What is sent; none once it was handed to the upstream.
    pub(super) request: Option<Request<Content>>,
    pub(super) upgrade: Option<OnUpgrade>,
    /// What the head said of the content, where it is signed.
    pub(super) told: Option<Box<Told>>,
}

/// Steps 1 to 5 against one snapshot: nothing is awaited. A preflight of an allowed origin ends
/// here, with its answer.
pub(super) fn admit(
    caller: &Caller,
    request: Request<Incoming>,
    upgrade: Option<OnUpgrade>,
    record: &mut Record,
) -> Result<Result<Admitted, Response<Bytes>>, Problem> {
    let snapshot = caller.proxy.reader.take();
    let (mut head, incoming) = request.into_parts();
    record.wanted(&snapshot);
    let vetted = vetted(caller, &snapshot, &mut head, incoming, record);
    // Whatever came of it, it is told by its path.
    record.asked(&mut head.uri);
    let tracer = snapshot.tracer.as_ref();
    if let Some(tracer) = tracer
        && !matches!(vetted, Ok(Ok(_)))
    {
        record.traced(tracer, Parent::received(&head.headers));
    }
    let Vetted {
        live,
        content,
        announced,
        told,
    } = match vetted? {
        Ok(vetted) => vetted,
        Err(preflight) => return Ok(Err(preflight)),
    };
    let mut parent = None;
    live.strip.head(&mut head.headers, |headers| {
        parent = tracer.and_then(|_| Parent::received(headers));
        parent.is_some() || tracer.is_none()
    });
    if let Some(tracer) = tracer {
        record.traced(tracer, parent);
    }
    if let Some(announced) = announced {
        head.headers.insert(TRAILER, announced);
    }
    head.headers.insert(HOST, live.host.clone());
    Ok(Ok(Admitted {
        live: Arc::clone(live),
        request: Some(Request::from_parts(head, content)),
        upgrade,
        told,
    }))
}

/// Where a request goes, and what of it may go there beside its head.
struct Vetted<'s> {
    live: &'s Arc<Live>,
    content: Content,
    /// The fields that may follow the content.
    announced: Option<HeaderValue>,
    told: Option<Box<Told>>,
}

/// Steps 1 to 5, as far as they may refuse the request.
fn vetted<'s>(
    caller: &Caller,
    snapshot: &'s Snapshot,
    head: &mut Parts,
    incoming: Incoming,
    record: &mut Record,
) -> Result<Result<Vetted<'s>, Response<Bytes>>, Problem> {
    let (live, prefix_len) = match routed(snapshot, caller.local, head, record)? {
        Ok(routed) => routed,
        Err(preflight) => return Ok(Err(preflight)),
    };
    let on_this = |problem: Problem| problem.on(&live.connection.name);
    allowed(&live.connection, head, prefix_len).map_err(on_this)?;
    let told = (live.connection.auth.aws())
        .map(|_| Told::take(&mut head.headers).map(Box::new))
        .transpose()
        .map_err(on_this)?;
    // Trailers follow content whose length was not told; none is signed.
    let may_trail = told.is_none() && incoming.size_hint().exact().is_none();
    let strip = may_trail.then(|| &live.strip);
    let announced = strip.and_then(|strip| strip.announced(&head.headers));
    let content = bounded(head, incoming, live, told.as_deref(), strip).map_err(on_this)?;
    Ok(Ok(Vetted {
        live,
        content,
        announced,
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
    record.routed(live, prefix_len);
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

/// So much content is kept for a second connection, where the first may refuse a request that it has
/// not looked at: a connection of HTTP/2 that ends says so while requests are on their way.
const KEPT_FOR_ANOTHER: u64 = 64 << 10;

/// The caller's content, refused at once where its announced length is over the limit.
///
/// It is kept while it is sent where an expired credential may ask for it once more. What follows it
/// passes as far as `strip` lets it, if there is one.
fn bounded(
    head: &Parts,
    incoming: Incoming,
    live: &Live,
    told: Option<&Told>,
    strip: Option<&Arc<Strip>>,
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
        let most = limits.signed_body;
        return Ok(Content::kept(incoming, limit, most, strip.cloned()));
    }
    let upstream = live.upstream.as_ref();
    if told.is_none() && upstream.is_some_and(|upstream| upstream.is_multiplexed()) {
        let most = limits.signed_body.min(KEPT_FOR_ANOTHER);
        return Ok(Content::kept(incoming, limit, most, strip.cloned()));
    }
    Ok(Content::streamed(incoming, limit, strip.cloned()))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Admitted {
    /// Steps 3, 5 and 6 for the request target.
    pub(super) fn aim(&mut self, prepared: &Prepared<'_>, record: &Record) -> Result<(), Problem> {
        thread_local! {
            /// Targets are cut from a block that many requests of a thread share.
            static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(4096));
        }
        let uri = record.uri();
        let rest = &uri.path()[record.prefix().len()..];
        let query = uri.query().map(|query| self.live.strip.query(query));
        // A query that lost its last parameter is none, but an empty one that was sent stays.
        let emptied =
            query.as_ref().is_some_and(|query| query.is_empty()) && uri.query() != Some("");
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
