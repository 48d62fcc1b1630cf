//! What is told of a request when it is over: its log line and its metrics.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use hyper::Request;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Caller;
use crate::live::Live;
use crate::live::recent::Entry;
use crate::problem::{Problem, grpc};
use crate::request::answer;
use crate::upstream::body::AnswerFault;
use crate::upstream::fault::chain;

/// A request's account; closed when dropped, which is when its answer was written or given up.
#[derive(Debug)]
pub(super) struct Record {
    caller: Arc<Caller>,
    live: Option<Arc<Live>>,
    method: Method,
    /// The target; none if nobody wants it.
    path: Option<Uri>,
    /// Whether there is to be a log line.
    logs: bool,
    /// An allowed origin whose page may read the answer.
    origin: Option<HeaderValue>,
    begun: Instant,
    /// When the request was ready to be sent.
    ready: Instant,
    upstream: Option<Duration>,
    status: Option<StatusCode>,
    bytes: u64,
    whole: bool,
    retries: u32,
    replayed: bool,
    /// What was wrong, where the answer is our own.
    problem: Option<Box<str>>,
    /// Whether the caller speaks gRPC, and cannot read problem details.
    is_grpc: bool,
}

impl Record {
    /// Begins one; on the heap, as it goes from hand to hand.
    pub(super) fn begin<B>(caller: Arc<Caller>, request: &Request<B>) -> Box<Self> {
        let begun = Instant::now();
        Box::new(Self {
            caller,
            live: None,
            method: request.method().clone(),
            path: None,
            logs: false,
            origin: None,
            begun,
            ready: begun,
            upstream: None,
            status: None,
            bytes: 0,
            whole: false,
            retries: 0,
            replayed: false,
            problem: None,
            is_grpc: is_grpc(request),
        })
    }

    /// Remembers the target if a line is wanted, or the console may show it.
    pub(super) fn wanted(&mut self, access_log: bool, console: bool, target: &Uri) {
        self.logs = access_log;
        self.path = (access_log || console).then(|| target.clone());
    }

    /// Remembers an allowed origin.
    pub(super) fn allowed(&mut self, origin: Option<&HeaderValue>) {
        self.origin = origin.cloned();
    }

    /// The allowed origin whose page may read the answer.
    pub(super) fn origin(&self) -> Option<&HeaderValue> {
        self.origin.as_ref()
    }

    pub(super) fn routed(&mut self, live: &Arc<Live>) {
        self.caller.patience(live.connection.timeouts.write);
        self.live = Some(Arc::clone(live));
    }

    /// Notes that the request had to be waited for before it could be sent.
    pub(super) fn waited(&mut self) {
        self.ready = Instant::now();
    }

    /// When the request was ready to be sent.
    pub(super) fn ready(&self) -> Instant {
        self.ready
    }

    /// Notes when the head of the upstream's answer arrived.
    pub(super) fn received(&mut self, at: Instant) {
        self.upstream = Some(at.saturating_duration_since(self.ready));
    }

    /// Notes that it is sent again, as a connection failed.
    pub(super) fn sent_again(&mut self) {
        self.retries += 1;
    }

    /// Notes that it is sent again with another credential.
    pub(super) fn replayed(&mut self) {
        self.replayed = true;
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Remembers an answer of our own, and says what it was about.
    pub(super) fn refused(&mut self, problem: &Problem) {
        self.status = Some(problem.status());
        self.problem = Some(problem.detail().into());
        let connection = self.connection();
        let (kind, detail) = (problem.kind().slug(), problem.detail());
        if problem.status().is_server_error() {
            warn!(connection, problem = kind, detail, "Request failed");
        } else {
            debug!(connection, problem = kind, detail, "Request refused");
        }
    }

    /// Whether the caller speaks gRPC.
    pub(super) fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// Where the request came from.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.caller.handed(bytes);
    }

    /// Step 8 for what follows an answer's content.
    pub(super) fn tidy(&self, trailers: &mut HeaderMap) {
        answer::strip_trailers(trailers);
        if let Some(live) = &self.live {
            live.strip.answer(trailers);
        }
    }

    /// Nothing more is to be written.
    pub(super) fn whole(&mut self) {
        self.whole = true;
    }

    pub(super) fn broke(&self, fault: &AnswerFault) {
        warn!(
            connection = self.connection(),
            error = chain(fault),
            "Answer broke off"
        );
    }

    fn connection(&self) -> &str {
        self.live.as_ref().map_or("", |live| &live.connection.name)
    }

    fn log(&self, path: &Uri, status: StatusCode, duration: Duration) {
        info!(
            target: "keybearer::access",
            connection = self.connection(),
            method = self.method.as_str(),
            path = path.path(),
            status = status.as_u16(),
            bytes = self.bytes,
            duration_ms = milliseconds(duration),
            upstream_ms = self.upstream.map(milliseconds),
            aborted = (!self.whole).then_some(true),
            "Request"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let now = Instant::now();
        self.caller.done(now);
        if self.status.is_none() {
            self.caller.turned_away();
        }
        let duration = now.saturating_duration_since(self.begun);
        // No status: the caller went away before there was one to answer with (nginx's 499).
        let status = self
            .status
            .unwrap_or_else(|| StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT));
        let metrics = self
            .live
            .as_ref()
            .map_or(&self.caller.proxy.unrouted, |live| &live.metrics);
        metrics.answered(&self.method, status, duration, self.upstream);
        let Some(path) = self.path.take() else {
            return;
        };
        if self.logs {
            self.log(&path, status, duration);
        }
        if let Some(live) = &self.live
            && let Some(recent) = &live.recent
        {
            let entry = Entry {
                begun: self.begun,
                method: std::mem::take(&mut self.method),
                path: String::new(),
                status: self.status,
                whole: duration,
                upstream: self.upstream,
                bytes: self.bytes,
                retries: self.retries,
                replayed: self.replayed,
                aborted: !self.whole,
                problem: self.problem.take(),
            };
            recent.note(entry, path.path());
        }
    }
}

/// Whether a request is one of gRPC, which is spoken on HTTP/2 alone.
fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
        && (request.headers().get(CONTENT_TYPE))
            .is_some_and(|media| grpc::is_media(media.as_bytes()))
}

/// Milliseconds with three decimals, as log lines have them.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
