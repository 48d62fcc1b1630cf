//! A request's part of a trace: [`Trace`], which notes what the exporter makes spans of.

use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use tokio::time::Instant;

use super::Tracer;
use super::context::{Context, SpanId, TRACESTATE};
use crate::connection::Connection;

/// A request's part of a trace, from its beginning on.
pub struct Trace {
    tracer: Arc<Tracer>,
    /// The span of the request itself.
    context: Context,
    /// What becomes of it; none where the trace is not recorded.
    course: Option<Course>,
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
#[derive(Debug)]
pub(super) struct Course {
    /// The caller's span.
    pub(super) parent: Option<SpanId>,
    pub(super) version: Version,
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
#[derive(Debug)]
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
    /// Begins a request's part of the caller's trace, or of a new one. What the caller says of a trace
    /// and is no good is taken out of its fields.
    pub fn begin(self: &Arc<Self>, headers: &mut HeaderMap, version: Version) -> Trace {
        let caller = Context::received(headers);
        let context = match caller {
            Some(caller) => caller.child(),
            None => Context::root(|trace| self.sample.takes(trace)),
        };
        let course = context.is_sampled().then(|| Course {
            parent: caller.map(|caller| caller.span),
            rare: (caller.and_then(|_| state(headers))).map(|state| {
                Box::new(Rare {
                    state: Some(state),
                    more: Vec::new(),
                })
            }),
            ..Course::new(version)
        });
        Trace {
            tracer: Arc::clone(self),
            context,
            course,
        }
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
        let context = self.context.child();
        if let Some(course) = &mut self.course {
            let call = Call {
                span: context.span,
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
        context.traceparent()
    }

    /// Notes that the attempt brought an answer.
    pub fn answered(&mut self, status: StatusCode, version: Version) {
        if let Some(last) = self.last() {
            last.answer = Some((status, version));
        }
    }

    /// Notes that the attempt failed, or that its answer did.
    #[cold]
    pub fn failed(&mut self, why: &'static str) {
        if let Some(last) = self.last() {
            last.error = Some(why);
        }
        self.call_over();
    }

    /// Notes that the attempt is over before the request is.
    #[cold]
    pub fn call_over(&mut self) {
        if let Some(last) = self.last() {
            last.ended.get_or_insert_with(Instant::now);
        }
    }

    /// Hands over what was noted, with the path of the caller's target; `end` is asked for only if
    /// anything was.
    pub fn end(&mut self, path: &str, end: impl FnOnce() -> End) {
        let Some(course) = &mut self.course else {
            return;
        };
        let shared = &*self.tracer.shared;
        let path = &path[..path.floor_char_boundary(LONGEST_KEPT)];
        let added = shared.handover.request(path, |path_len| Noted {
            context: self.context,
            course: mem::replace(course, Course::new(Version::HTTP_11)),
            end: end(),
            path_len,
        });
        match added {
            Some(false) => {}
            // To wake the exporter is a system call: not for each request.
            Some(true) => shared.wake.notify_one(),
            None => shared.metrics.dropped(course.spans()),
        }
        self.course = None;
    }

    fn last(&mut self) -> Option<&mut Call> {
        self.course.as_mut()?.last()
    }
}

/// The IDs alone.
impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.context, f)
    }
}

impl Course {
    /// Of a request of this version that nothing is known of yet.
    pub(super) fn new(version: Version) -> Self {
        Self {
            parent: None,
            version,
            first: None,
            rare: None,
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
