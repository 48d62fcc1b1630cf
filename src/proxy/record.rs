//! What is told of a request when it is over: its log line and its metrics.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use hyper::Request;
use tokio::time::Instant;
use tracing::field::{DisplayValue, display};
use tracing::{debug, info, warn};

use super::Caller;
use crate::live::recent::Figures;
use crate::live::{Live, Snapshot};
use crate::problem::{Problem, grpc};
use crate::request::answer;
use crate::traces::Tracer;
use crate::traces::context::{Context, SpanId, TraceId};
use crate::traces::request::{End, Parent, Trace};
use crate::upstream::body::AnswerFault;
use crate::upstream::fault::chain;

/// A request's account; closed when dropped, which is when its answer was written or given up.
pub(super) struct Record {
    caller: Arc<Caller>,
    live: Option<Arc<Live>>,
    method: Method,
    version: Version,
    /// Whether anybody wants to know more than how often there was what.
    told: bool,
    /// The target as the caller wrote it; `/` until it was asked for.
    uri: Uri,
    /// How much of its path is the connection's prefix.
    prefix_len: usize,
    /// Whether there is to be a log line.
    logs: bool,
    /// What becomes spans; none if nothing is traced.
    trace: Option<Trace>,
    /// Why it failed, in one word.
    error: Option<&'static str>,
    /// An allowed origin whose page may read the answer.
    origin: Option<HeaderValue>,
    /// How it went so far: broken off, until it is whole.
    figures: Figures,
    /// When the request was ready to be sent.
    ready: Instant,
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
            version: request.version(),
            told: false,
            uri: Uri::default(),
            prefix_len: 0,
            logs: false,
            trace: None,
            error: None,
            origin: None,
            figures: Figures::begin(begun),
            ready: begun,
            problem: None,
            is_grpc: is_grpc(request),
        })
    }

    /// Remembers what the snapshot wants to be told of the request.
    pub(super) fn wanted(&mut self, snapshot: &Snapshot) {
        self.logs = snapshot.access_log;
        // The console may show it.
        self.told = self.logs || snapshot.admin.is_some() || snapshot.tracer.is_some();
    }

    /// Begins its part of a trace, before anything is told of it.
    pub(super) fn traced(&mut self, tracer: &Arc<Tracer>, parent: Option<Parent>) {
        // There is none yet, and so nothing to be dropped.
        self.trace.get_or_insert_with(|| tracer.begin(parent));
    }

    /// Takes what was asked for, as the caller wrote it, once it is known where it goes.
    pub(super) fn asked(&mut self, uri: &mut Uri) {
        std::mem::swap(&mut self.uri, uri);
    }

    /// The target as the caller wrote it.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The part of the caller's path that routed it.
    pub(super) fn prefix(&self) -> &str {
        &self.uri.path()[..self.prefix_len]
    }

    /// Where attempts are noted; none if nothing is traced.
    pub(super) fn trace(&mut self) -> Option<&mut Trace> {
        self.trace.as_mut()
    }

    /// The span of the request; none if nothing is traced.
    pub(super) fn context(&self) -> Option<Context> {
        self.trace.as_ref().map(Trace::context)
    }

    /// Remembers an allowed origin.
    pub(super) fn allowed(&mut self, origin: Option<&HeaderValue>) {
        self.origin = origin.cloned();
    }

    /// The allowed origin whose page may read the answer.
    pub(super) fn origin(&self) -> Option<&HeaderValue> {
        self.origin.as_ref()
    }

    pub(super) fn routed(&mut self, live: &Arc<Live>, prefix_len: usize) {
        self.caller.patience(live.connection.timeouts.write);
        self.prefix_len = prefix_len;
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
        self.figures.upstream = Some(at.saturating_duration_since(self.ready));
    }

    /// Notes that it is sent again, as a connection failed.
    pub(super) fn sent_again(&mut self) {
        self.figures.retries += 1;
    }

    /// Notes that it is sent again with another credential.
    pub(super) fn replayed(&mut self) {
        self.figures.replayed = true;
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.figures.status = Some(status);
        if !self.told {
            // It is a part of all that was read with it, and answers may last.
            self.uri = Uri::default();
        }
    }

    /// Remembers an answer of our own, and says what it was about.
    pub(super) fn refused(&mut self, problem: &Problem) {
        self.figures.status = Some(problem.status());
        self.problem = Some(problem.detail().into());
        let (kind, detail) = (problem.kind().slug(), problem.detail());
        let connection = self.connection();
        let (trace_id, span_id) = self.ids();
        if problem.status().is_server_error() {
            warn!(
                connection,
                problem = kind,
                detail,
                trace_id,
                span_id,
                "Request failed"
            );
            self.error = Some(kind);
        } else {
            debug!(
                connection,
                problem = kind,
                detail,
                trace_id,
                span_id,
                "Request refused"
            );
        }
    }

    /// Notes that the upstream refused the credential, for which there may be another.
    pub(super) fn expired(&mut self) {
        let (trace_id, span_id) = self.ids();
        let connection = self.connection();
        info!(
            connection,
            trace_id, span_id, "Credential refused by the upstream"
        );
        self.attempt_over();
    }

    /// Notes that the answer to the last attempt is not the request's.
    pub(super) fn attempt_over(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.call_over();
        }
    }

    /// For log lines: the trace and the span, if anything is traced.
    pub(super) fn ids(&self) -> (Option<DisplayValue<TraceId>>, Option<DisplayValue<SpanId>>) {
        let context = self.context();
        let trace = context.map(|context| display(context.trace));
        (trace, context.map(|context| display(context.span)))
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
        self.figures.bytes += bytes as u64;
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
        self.figures.aborted = false;
    }

    pub(super) fn broke(&mut self, fault: &AnswerFault) {
        let (trace_id, span_id) = self.ids();
        warn!(
            connection = self.connection(),
            error = chain(fault),
            trace_id,
            span_id,
            "Answer broke off"
        );
        self.error = Some(BROKEN);
        if let Some(trace) = &mut self.trace {
            trace.failed(BROKEN);
        }
    }

    fn connection(&self) -> &str {
        self.live.as_ref().map_or("", |live| &live.connection.name)
    }

    fn log(&self, path: &str, status: StatusCode) {
        let (trace_id, span_id) = self.ids();
        info!(
            target: "keybearer::access",
            connection = self.connection(),
            method = self.method.as_str(),
            path,
            status = status.as_u16(),
            bytes = self.figures.bytes,
            duration_ms = milliseconds(self.figures.whole),
            upstream_ms = self.figures.upstream.map(milliseconds),
            aborted = self.figures.aborted.then_some(true),
            trace_id,
            span_id,
            "Request"
        );
    }

    /// Hands over what becomes spans, if anything is traced.
    fn end_trace(&mut self, now: Instant) {
        let Some(trace) = &mut self.trace else {
            return;
        };
        trace.end(self.uri.path(), || End {
            begun: self.figures.begun,
            ended: now,
            version: self.version,
            method: std::mem::take(&mut self.method),
            local: self.caller.local,
            connection: self.live.as_ref().map(|live| Arc::clone(&live.connection)),
            prefix_len: self.prefix_len,
            status: self.figures.status,
            error: self.error,
            is_whole: !self.figures.aborted,
        });
    }
}

/// Why an answer is not whole, as traces have it.
const BROKEN: &str = "answer-broke-off";

impl Drop for Record {
    fn drop(&mut self) {
        let now = Instant::now();
        self.caller.done(now);
        if self.figures.status.is_none() {
            self.caller.turned_away();
        }
        self.figures.whole = now.saturating_duration_since(self.figures.begun);
        // No status: the caller went away before there was one to answer with (nginx's 499).
        let status = (self.figures.status)
            .unwrap_or_else(|| StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT));
        let metrics = self
            .live
            .as_ref()
            .map_or(&self.caller.proxy.unrouted, |live| &live.metrics);
        let Figures {
            whole, upstream, ..
        } = self.figures;
        metrics.answered(&self.method, status, whole, upstream);
        if !self.told {
            return;
        }
        let path = self.uri.path();
        if self.logs {
            self.log(path, status);
        }
        if let Some(live) = &self.live
            && let Some(recent) = &live.recent
        {
            recent.note(&self.method, path, &self.figures, self.problem.take());
        }
        self.end_trace(now);
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
