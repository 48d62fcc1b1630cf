//! Where webhooks arrive: connections, requests, and what each is answered.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::challenge;
use super::delivery::Head;
use super::queue::{Arrival, Refusal};
use super::verify::{Arrived, Unproved, verify};
use super::{Door, HOOKS, Table};
use crate::connection::webhook::Proof;
use crate::problem::{Kind, Problem};
use crate::proxy::serve::Bound;
use crate::request::pin::check_path;
use crate::upstream::fault::chain;

/// For a TLS handshake, and for each request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long content may stall; and how long all of it may take.
const CONTENT_STALL: Duration = Duration::from_secs(10);
const CONTENT_DEADLINE: Duration = Duration::from_secs(60);

/// Connections at a time; others wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;

/// How long to wait after an accept that failed, as it does while descriptors are out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long the sender of a webhook that found no room is to wait.
const RETRY: Duration = Duration::from_secs(30);

/// Content that is held at a time is counted in pieces of so many bytes.
const PIECE: usize = 1024;

/// So much of it is held at a time: who sends more waits. The longest that there may be fits.
const MAX_HELD: usize = (256 << 20) / PIECE;

/// What arrives, and what it needs.
pub(super) struct Listener {
    pub(super) door: Arc<Door>,
    held: Semaphore,
}

/// What is answered.
type Answer = Response<Full<Bytes>>;

/// What became of a request, as metrics have it, and the answer.
type Outcome = (&'static str, Result<Answer, Problem>);

impl Listener {
    pub(super) fn new(door: Arc<Door>) -> Arc<Self> {
        Arc::new(Self {
            door,
            held: Semaphore::new(MAX_HELD),
        })
    }

    /// Accepts until `stop` turns true; connections end by themselves then, after the answer that is
    /// being made (`running`).
    ///
    /// # Errors
    /// The listener cannot be used.
    pub(super) async fn serve(
        self: Arc<Self>,
        bound: Bound,
        running: TaskTracker,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let ended = stop.clone();
        let accepting = async {
            match bound {
                Bound::Tcp(listener, _) => {
                    let listener = TcpListener::from_std(listener)?;
                    loop {
                        // It is never closed.
                        let place = Arc::clone(&room).acquire_owned().await;
                        let accepted = listener.accept().await;
                        let Some((stream, _)) = tell(accepted).await else {
                            continue;
                        };
                        // Answers are short, and each is waited for.
                        let _ = stream.set_nodelay(true);
                        let speaking = Arc::clone(&self).speak(stream, ended.clone());
                        running.spawn(async move {
                            speaking.await;
                            drop(place);
                        });
                    }
                }
                Bound::Unix(listener, _) => {
                    let listener = UnixListener::from_std(listener)?;
                    loop {
                        let place = Arc::clone(&room).acquire_owned().await;
                        let accepted = listener.accept().await;
                        let Some((stream, _)) = tell(accepted).await else {
                            continue;
                        };
                        let speaking = Arc::clone(&self).speak(stream, ended.clone());
                        running.spawn(async move {
                            speaking.await;
                            drop(place);
                        });
                    }
                }
            }
        };
        tokio::select! {
            served = accepting => served,
            () = super::told(&mut stop) => Ok(()),
        }
    }

    async fn speak<S>(self: Arc<Self>, stream: S, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(tls) = self.door.tls() else {
            return self.speak_http(stream, stop).await;
        };
        match timeout(HEAD_DEADLINE, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => self.speak_http(stream, stop).await,
            Ok(Err(error)) => debug!(%error, "TLS handshake of a webhook's sender failed"),
            Err(_) => debug!("TLS handshake of a webhook's sender took too long"),
        }
    }

    async fn speak_http<S>(self: Arc<Self>, stream: S, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request| {
            let listener = Arc::clone(&self);
            async move { Ok::<_, Infallible>(listener.answer(request).await) }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = super::told(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(
                error = chain(&error),
                "Connection of a webhook's sender ended"
            );
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
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
        let (result, answered) = self.take(&table, &entry, request).await;
        entry.metrics.received(result);
        let name = &*entry.endpoint.name;
        if self.door.reader.take().access_log {
            let status = match &answered {
                Ok(answer) => answer.status(),
                Err(problem) => problem.status(),
            };
            let duration_ms = began.elapsed().as_secs_f64() * 1000.0;
            // Not its path, which is a secret.
            match &answered {
                Ok(_) => {
                    info!(
                        endpoint = name,
                        status = status.as_u16(),
                        result,
                        duration_ms,
                        "Webhook"
                    );
                }
                Err(problem) => {
                    let detail = problem.detail();
                    info!(
                        endpoint = name,
                        status = status.as_u16(),
                        result,
                        duration_ms,
                        detail,
                        "Webhook"
                    );
                }
            }
        }
        answered.unwrap_or_else(|problem| {
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
    async fn take(
        &self,
        table: &Table,
        entry: &super::Entry,
        request: Request<Incoming>,
    ) -> Outcome {
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
            return ("malformed", Err(Problem::new(Kind::MethodRefused, detail)));
        }
        if !rest.is_empty()
            && let Err(problem) = check_path(rest)
        {
            return ("malformed", Err(problem));
        }
        if let Some(answer) = challenge::unsigned(&parts, &content, endpoint.verify_token.as_ref())
        {
            return match answer {
                Ok(text) => ("challenge", Ok(plain(text))),
                Err(unproved) => ("unverified", Err(unverified(&unproved))),
            };
        }
        let head = Head::new(&parts.method, rest, query, &parts.headers);
        let (packed, at, _held) = match self
            .content(&head, content, endpoint.limits.request_body)
            .await
        {
            Ok(read) => read,
            Err((result, problem)) => return (result, Err(problem)),
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
        let mark = match verify(&endpoint.verify.proof, &arrived, now) {
            Ok(mark) => mark,
            Err(unproved) => return ("unverified", Err(unverified(&unproved))),
        };
        if let Some(challenge) = challenge::signed(&packed[at..]) {
            return ("challenge", Ok(plain(challenge)));
        }
        let arrival = Arrival {
            endpoint: Arc::clone(&endpoint.name),
            mark,
            content: packed,
            limit: endpoint.limits.queue,
            at: now,
        };
        match self.door.queue.accept(arrival).await {
            Ok(id) => ("accepted", Ok(accepted(&id.to_string()))),
            Err(refusal) => refused(&refusal),
        }
    }

    /// Reads content behind its head, as it will be kept; and what it holds of the memory for it.
    async fn content(
        &self,
        head: &Head,
        mut content: Incoming,
        limit: u64,
    ) -> Result<(Zeroizing<Vec<u8>>, usize, SemaphorePermit<'_>), (&'static str, Problem)> {
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
        let mut held = self.hold(lower, until).await.ok_or_else(stalled)?;
        let mut packed = head.packed(lower);
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
            if length > held.num_permits() * PIECE {
                let more = self.hold(length - held.num_permits() * PIECE, until);
                held.merge(more.await.ok_or_else(stalled)?);
            }
            grow(&mut packed, data.len());
            packed.extend_from_slice(&data);
        }
        Ok((packed, at, held))
    }

    async fn hold(&self, bytes: usize, until: Instant) -> Option<SemaphorePermit<'_>> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).ok()?;
        let held = timeout_at(until, self.held.acquire_many(pieces)).await;
        held.ok()?.ok()
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
            ("unverified", Err(problem))
        }
        Refusal::Full | Refusal::DiskFull => {
            let problem = Problem::new(Kind::WebhookQueueFull, detail);
            ("full", Err(problem.retry_after(Some(RETRY))))
        }
        Refusal::Unwritten(why) => {
            // The path of a file is nothing for whoever sends webhooks.
            warn!(why, "Webhook not kept");
            let detail = "it cannot be kept now; the log of keybearer says why";
            let problem = Problem::new(Kind::WebhookNotKept, detail);
            ("failed", Err(problem.retry_after(Some(RETRY))))
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
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (http::header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn accepted(id: &str) -> Answer {
    let mut answer = Response::new(Full::from(format!("{{\"id\":\"{id}\"}}\n")));
    *answer.status_mut() = StatusCode::ACCEPTED;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// What was accepted; what was not is told, and not tried again at once.
async fn tell<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            warn!(%error, "Connection of a webhook's sender not accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
