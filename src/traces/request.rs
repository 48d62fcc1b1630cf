//! A request's part of a trace: [`Trace`], which notes what the exporter makes spans of.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use tokio::time::Instant;

use super::Tracer;
use super::ahead::Ahead;
use super::context::{Context, SpanId, TRACESTATE};
use crate::connection::Connection;

/// A request's part of a trace, from its beginning on.
pub struct Trace {
    tracer: Arc<Tracer>,
    /// The span of the request itself.
    context: Context,
    /// The first call's span, with what its request says of it, where these were made ahead.
    next: Option<(SpanId, HeaderValue)>,
    /// What becomes of it; no calls where the trace is not recorded.
    course: Course,
}

/// The caller's span, with what came with it.
pub struct Parent {
    context: Context,
    /// `tracestate`, where the trace is recorded.
    state: Option<Box<[u8]>>,
}

/// What is noted of a request once it is over.
///
/// It outlives the request, and so must keep nothing of it that is part of something larger: a `Uri` would
/// keep the whole buffer that it was read into.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) context: Context,
    pub(super) course: Course,
    pub(super) end: End,
    /// How long the path of the caller's target is, in bytes, as far as it is kept, which is elsewhere.
    pub(super) path_len: usize,
}

/// What is noted of a request while it lasts, beside all else that is kept of it then.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The caller's span.
    pub(super) parent: Option<SpanId>,
    /// The first is here, as most requests take one.
    pub(super) first: Option<Call>,
    /// What most requests have nothing of: less is handed over for it.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    /// What came with the caller's span.
    state: Option<Box<[u8]>>,
    /// The calls that followed the first.
    more: Vec<Call>,
}

/// One attempt to get an answer from the upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) span: SpanId,
    pub(super) begun: Instant,
    /// None if it lasted as long as the request.
    pub(super) ended: Option<Instant>,
    /// What the head of an answer said; none if there was none.
    pub(super) answer: Option<(StatusCode, Version)>,
    /// What went wrong, in one word.
    pub(super) error: Option<&'static str>,
}

/// What is known of a request at its end.
#[derive(Debug)]
pub struct End {
    /// When its head had come.
    pub begun: Instant,
    /// When its answer was written, or given up.
    pub ended: Instant,
    /// The caller's version of HTTP.
    pub version: Version,
    /// The caller's method.
    pub method: Method,
    /// Where it arrived; none on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Where it was routed to.
    pub connection: Option<Arc<Connection>>,
    /// How much of the path is the connection's prefix.
    pub prefix_len: usize,
    /// What it was answered with; none if nobody waited.
    pub status: Option<StatusCode>,
    /// Why it was not answered well, in one word, where that is not the status alone.
    pub error: Option<&'static str>,
    /// Whether the whole answer was written.
    pub is_whole: bool,
}

impl Tracer {
    /// Begins a request's part of the caller's trace, or of a new one.
    pub fn begin(self: &Arc<Self>, parent: Option<Parent>) -> Trace {
        let (context, next, course) = match parent {
            Some(parent) => {
                let (context, course) = parent.followed();
                (context, None, course)
            }
            None => {
                let ahead = Ahead::take(self.sample);
                let next = (ahead.call, ahead.traceparent);
                (ahead.context, Some(next), Course::default())
            }
        };
        Trace {
            tracer: Arc::clone(self),
            context,
            next,
            course,
        }
    }
}

impl Parent {
    /// What the caller says, if it says it well; else none of its fields is to be passed on
    /// (W3C Trace Context section 4.3).
    pub fn received(headers: &HeaderMap) -> Option<Self> {
        let context = Context::received(headers)?;
        let is_sampled = context.is_sampled();
        Some(Self {
            context,
            state: is_sampled.then(|| state(headers)).flatten(),
        })
    }

    fn followed(self) -> (Context, Course) {
        let rare = self.state.map(|state| {
            Box::new(Rare {
                state: Some(state),
                more: Vec::new(),
            })
        });
        let course = Course {
            parent: Some(self.context.span),
            first: None,
            rare,
        };
        (self.context.child(), course)
    }
}

/// As much of a path is told, in bytes: there may be many that wait, and collectors refuse messages that
/// are too large.
pub(super) const LONGEST_PATH: usize = 2048;

/// As much of a path is kept: it is told once with a connection's prefix and once without.
const LONGEST_KEPT: usize = 2 * LONGEST_PATH;

/// So much of `tracestate` is told, in bytes: as much as the standard wants to be passed on.
const LONGEST_STATE: usize = 512;

/// `tracestate`, put together where it came in pieces; none where it is no text, which would spoil the
/// message with the spans of others in it, or too long.
fn state(headers: &HeaderMap) -> Option<Box<[u8]>> {
    let values = headers.get_all(TRACESTATE).iter();
    let pieces: Vec<_> = values
        .map(HeaderValue::to_str)
        .collect::<Result<_, _>>()
        .ok()?;
    let state = pieces.join(",");
    (!pieces.is_empty() && state.len() <= LONGEST_STATE).then(|| state.into_bytes().into())
}

impl Trace {
    /// The span of the request itself.
    pub fn context(&self) -> Context {
        self.context
    }

    /// Begins an attempt; gives what its request says of the trace. One before it is over.
    pub fn call(&mut self, now: Instant) -> HeaderValue {
        let (span, traceparent) = self.next.take().unwrap_or_else(|| {
            let child = self.context.child();
            (child.span, child.traceparent())
        });
        if self.context.is_sampled() {
            let course = &mut self.course;
            let call = Call {
                span,
                begun: now,
                ended: None,
                answer: None,
                error: None,
            };
            match course.last() {
                None => course.first = Some(call),
                Some(last) => {
                    last.ended.get_or_insert(now);
                    let rare = course.rare.get_or_insert_default();
                    rare.more.push(call);
                }
            }
        }
        traceparent
    }

    /// Notes that the attempt brought an answer.
    pub fn answered(&mut self, status: StatusCode, version: Version) {
        if let Some(last) = self.course.last() {
            last.answer = Some((status, version));
        }
    }

    /// Notes that the attempt failed, or that its answer did.
    #[cold]
    pub fn failed(&mut self, why: &'static str) {
        if let Some(last) = self.course.last() {
            last.error = Some(why);
        }
        self.call_over();
    }

    /// Notes that the attempt is over before the request is.
    #[cold]
    pub fn call_over(&mut self) {
        if let Some(last) = self.course.last() {
            last.ended.get_or_insert_with(Instant::now);
        }
    }

    /// Hands over what was noted, with the path of the caller's target; `end` is asked for only if
    /// anything was. To be called once, as a second time would hand over the same spans.
    pub fn end(&mut self, path: &str, end: impl FnOnce() -> End) {
        if !self.context.is_sampled() {
            return;
        }
        let shared = &*self.tracer.shared;
        let path = &path[..path.floor_char_boundary(LONGEST_KEPT)];
        let added = shared.handover.request(path, |path_len| Noted {
            context: self.context,
            course: self.course.take(),
            end: end(),
            path_len,
        });
        match added {
            Some(false) => {}
            // To wake the exporter is a system call: not for each request.
            Some(true) => shared.wake.notify_one(),
            None => shared.metrics.dropped(self.course.spans()),
        }
    }
}

/// The IDs alone.
impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.context, f)
    }
}

impl Course {
    /// What there is, of which the rest is of no use any more: field by field, which can be written to
    /// its place at once.
    fn take(&mut self) -> Self {
        Self {
            parent: self.parent,
            first: self.first,
            rare: self.rare.take(),
        }
    }

    /// How many spans it becomes.
    pub(super) fn spans(&self) -> usize {
        1 + self.calls().count()
    }

    /// All attempts, in their order.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        let more = self.rare.as_ref().map(|rare| &rare.more);
        self.first.iter().chain(more.into_iter().flatten())
    }

    /// `tracestate` of the caller.
    pub(super) fn state(&self) -> Option<&[u8]> {
        self.rare.as_ref()?.state.as_deref()
    }

    fn last(&mut self) -> Option<&mut Call> {
        let more = self.rare.as_mut().and_then(|rare| rare.more.last_mut());
        more.or(self.first.as_mut())
    }
}
