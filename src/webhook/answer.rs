//! What a request to the listener is answered: kept, or turned away.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::delivery::Head;
use super::listener::Listener;
use super::queue::{Arrival, Id, Refusal};
use super::room::Held;
use super::verify::{Arrived, Unproved, glance, verify};
use super::{Entry, HOOKS, Table, challenge};
use crate::connection::webhook::Proof;
use crate::problem::{Kind, Problem};
use crate::request::pin::check_path;
use crate::upstream::fault::chain;

/// How long content may stall; and how long all of it may take.
const CONTENT_STALL: Duration = Duration::from_secs(10);
const CONTENT_DEADLINE: Duration = Duration::from_secs(60);

/// How long the sender of a webhook that found no room is to wait.
const RETRY: Duration = Duration::from_secs(30);

/// The longest path with its query, in bytes: the target's own comes before it.
const MAX_TARGET: usize = 16 << 10;

/// From so much content on, what is computed over it has a thread of its own, in bytes.
const LONG: usize = 1 << 20;

/// What a content has room for before any of it has arrived, in bytes.
const AT_FIRST: usize = 64 << 10;

/// What is answered.
pub(super) type Answer = Response<Full<Bytes>>;

/// What became of a request.
struct Outcome {
    /// As metrics have it.
    result: &'static str,
    /// What it is known by, if it is kept.
    id: Option<Id>,
    answer: Result<Answer, Problem>,
}

impl Outcome {
    fn answered(result: &'static str, answer: Answer) -> Self {
        Self {
            result,
            id: None,
            answer: Ok(answer),
        }
    }

    fn refused(result: &'static str, problem: Problem) -> Self {
        Self {
            result,
            id: None,
            answer: Err(problem),
        }
    }
}

impl Listener {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let began = Instant::now();
        let table = self.door.table();
        let path = request.uri().path();
        let found = path
            .strip_prefix(HOOKS)
            .map(|path| path.split_at(path.find('/').unwrap_or(path.len())))
            .and_then(|(id, _)| table.by_id(id, self.door.now()));
        let Some(entry) = found else {
            self.door.metrics.webhook_unknown();
            let detail = "no endpoint has this URL; `keybearer webhooks` lists those there are";
            return told(&Problem::new(Kind::NoRoute, detail));
        };
        let entry = Arc::clone(entry);
        let Outcome { result, id, answer } = self.take(&table, &entry, request).await;
        entry.metrics.received(result);
        if self.door.reader.take().access_log {
            let (status, detail) = match &answer {
                Ok(answer) => (answer.status(), None),
                Err(problem) => (problem.status(), Some(problem.detail())),
            };
            // Not its path, which is a secret.
            info!(
                endpoint = %entry.endpoint.name,
                id = id.map(tracing::field::display),
                status = status.as_u16(),
                result,
                duration_ms = began.elapsed().as_secs_f64() * 1000.0,
                detail,
                "Webhook"
            );
        }
        answer.unwrap_or_else(|problem| {
            let mut answer = told(&problem);
            if problem.kind() == Kind::WebhookUnverified {
                let scheme = match entry.endpoint.verify.proof {
                    Proof::Basic { .. } => "Basic realm=\"webhooks\", charset=\"UTF-8\"",
                    _ => "Webhook realm=\"webhooks\"",
                };
                let scheme = HeaderValue::from_static(scheme);
                answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            answer
        })
    }

    /// What becomes of a request to an endpoint.
    async fn take(&self, table: &Table, entry: &Entry, request: Request<Incoming>) -> Outcome {
        let (parts, content) = request.into_parts();
        let endpoint = &entry.endpoint;
        let path = parts.uri.path();
        let after = path.strip_prefix(HOOKS).unwrap_or_default();
        let rest = after.find('/').map_or("", |at| &after[at..]);
        let query = parts.uri.query();
        let allowed = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        if !allowed.contains(&parts.method) {
            let detail = "webhooks come by GET, POST, PUT, PATCH and DELETE";
            return Outcome::refused("malformed", Problem::new(Kind::MethodRefused, detail));
        }
        if !rest.is_empty()
            && let Err(problem) = check_path(rest)
        {
            return Outcome::refused("malformed", problem);
        }
        if let Some(answer) = challenge::unsigned(&parts, &content, endpoint.verify_token.as_ref())
        {
            return match answer {
                Ok(text) => Outcome::answered("challenge", plain(text)),
                Err(unproved) => Outcome::refused("unverified", unverified(&unproved)),
            };
        }
        let long = parts
            .uri
            .path_and_query()
            .map_or(0, |path| path.as_str().len());
        if long > MAX_TARGET {
            let detail = format!("path and query are longer than {MAX_TARGET} bytes");
            return Outcome::refused("malformed", Problem::new(Kind::HeadTooLarge, detail));
        }
        // What needs no content is known before any is read.
        if let Err(unproved) = glance(&endpoint.verify.proof, &parts.headers, query) {
            return Outcome::refused("unverified", unverified(&unproved).closing());
        }
        let head = Head::new(&parts.method, rest, query, &parts.headers);
        let (packed, at, held) = match self.content(&head, content, entry).await {
            Ok(read) => read,
            Err((result, problem)) => return Outcome::refused(result, problem),
        };
        let now = self.door.now();
        let arrived = Arrived {
            method: &parts.method,
            path: parts
                .uri
                .path_and_query()
                .map_or(path, |path| path.as_str()),
            origin: table.origin(),
            headers: &parts.headers,
            body: &packed[at..],
        };
        let verified = || verify(&endpoint.verify.proof, &arrived, now);
        let verified = match arrived.body.len() {
            0..LONG => verified(),
            _ => tokio::task::block_in_place(verified),
        };
        let mark = match verified {
            Ok(mark) => mark,
            Err(unproved) => return Outcome::refused("unverified", unverified(&unproved)),
        };
        if let Some(challenge) = challenge::signed(&packed[at..]) {
            return Outcome::answered("challenge", plain(challenge));
        }
        let arrival = Arrival {
            endpoint: Arc::clone(&endpoint.name),
            mark,
            content: packed,
            limit: endpoint.limits.queue,
            at: now,
            held: Some(held),
        };
        match self.door.queue.accept(arrival).await {
            Ok(id) => Outcome {
                id: Some(id),
                ..Outcome::answered("accepted", accepted(id))
            },
            Err(refusal) => refused(&refusal),
        }
    }

    /// Reads content behind its head, as it will be kept; and what it holds of the memory for it.
    async fn content(
        &self,
        head: &Head,
        mut content: Incoming,
        entry: &Entry,
    ) -> Result<(Zeroizing<Vec<u8>>, usize, Held), (&'static str, Problem)> {
        let limit = entry.endpoint.limits.request_body;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let too_large = || {
            let detail = format!(
                "the content is longer than {limit} bytes; raise `limits.request_body` of the endpoint, or have less sent"
            );
            (
                "too_large",
                Problem::new(Kind::ContentTooLarge, detail).closing(),
            )
        };
        let expected = content.size_hint();
        let lower = usize::try_from(expected.lower()).unwrap_or(usize::MAX);
        if lower > limit {
            return Err(too_large());
        }
        let until = Instant::now() + CONTENT_DEADLINE;
        let stalled = || {
            let detail = "the content did not arrive in time; send it in one go";
            (
                "malformed",
                Problem::new(Kind::CallerTimeout, detail).closing(),
            )
        };
        // Not more than what has arrived: to announce much is cheap.
        let mut held = self
            .room
            .enter(&entry.part, entry.endpoint.limits.request_body);
        let mut packed = head.packed(lower.min(AT_FIRST));
        let at = packed.len();
        loop {
            let next = timeout_at(until.min(Instant::now() + CONTENT_STALL), content.frame());
            let Some(frame) = next.await.map_err(|_| stalled())? else {
                break;
            };
            let frame = frame.map_err(|error| {
                let detail = format!("the content broke off: {}", chain(&error));
                (
                    "malformed",
                    Problem::new(Kind::ContentMalformed, detail).closing(),
                )
            })?;
            // Trailers say nothing that was signed.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = packed.len() - at + data.len();
            if length > limit {
                return Err(too_large());
            }
            if !held.reach(length) {
                let detail = "too much content arrives at a time; send it later";
                let problem = Problem::new(Kind::WebhookQueueFull, detail).closing();
                return Err(("full", problem.retry_after(Some(RETRY))));
            }
            grow(&mut packed, data.len());
            packed.extend_from_slice(&data);
        }
        Ok((packed, at, held))
    }
}

/// Makes room in a buffer that leaves no copies of its content behind where it grows.
fn grow(buffer: &mut Zeroizing<Vec<u8>>, by: usize) {
    if buffer.capacity() - buffer.len() >= by {
        return;
    }
    let mut larger = Zeroizing::new(Vec::with_capacity(
        (buffer.len() + by).max(2 * buffer.len()),
    ));
    larger.extend_from_slice(buffer);
    *buffer = larger;
}

fn unverified(unproved: &Unproved) -> Problem {
    Problem::new(Kind::WebhookUnverified, unproved.to_string())
}

fn refused(refusal: &Refusal) -> Outcome {
    let detail = refusal.to_string();
    match refusal {
        Refusal::Replayed => {
            let problem = Problem::new(Kind::WebhookUnverified, detail);
            Outcome::refused("unverified", problem)
        }
        Refusal::Full | Refusal::DiskFull => {
            let problem = Problem::new(Kind::WebhookQueueFull, detail);
            Outcome::refused("full", problem.retry_after(Some(RETRY)))
        }
        Refusal::Unwritten(why) => {
            // The path of a file is nothing for whoever sends webhooks.
            warn!(why, "Webhook not kept");
            let detail = "it cannot be kept now; the log of keybearer says why";
            let problem = Problem::new(Kind::WebhookNotKept, detail);
            Outcome::refused("failed", problem.retry_after(Some(RETRY)))
        }
    }
}

fn told(problem: &Problem) -> Answer {
    let mut answer = problem.to_response().map(Full::new);
    if problem.kind() == Kind::MethodRefused {
        let allowed = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

fn plain(text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    let headers = answer.headers_mut();
    // Whoever asks chooses the text: no browser is to take it for a page.
    for (name, value) in [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn accepted(id: Id) -> Answer {
    let mut answer = Response::new(Full::from(format!("{{\"id\":\"{id}\"}}\n")));
    *answer.status_mut() = StatusCode::ACCEPTED;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
