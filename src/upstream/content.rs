//! What is sent upstream as a request's content: [`Content`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

/// A request's content on its way upstream.
#[derive(Debug)]
pub enum Content {
    /// The caller's, as it arrives.
    Caller(CallerContent),
    /// None.
    Empty,
    /// Held in memory; none once it was handed out.
    Held(Option<Bytes>),
}

impl Content {
    /// Content held in memory.
    pub fn held(bytes: Bytes) -> Self {
        Self::Held((!bytes.is_empty()).then_some(bytes))
    }

    /// The caller's content, streamed; more than `limit` bytes of it are an error.
    pub fn streamed(incoming: Incoming, limit: u64) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        let flow = Arc::new(Flow::default());
        flow.note(Stage::Sending);
        Self::Caller(CallerContent {
            incoming,
            limit,
            flow,
        })
    }

    /// A second one like it, where nothing has to be read from the caller again.
    pub fn again(&self) -> Option<Self> {
        match self {
            Self::Caller(_) => None,
            Self::Empty => Some(Self::Empty),
            Self::Held(bytes) => Some(Self::Held(bytes.clone())),
        }
    }

    /// What can be observed of it while it is sent; none if there is nothing to wait for.
    pub fn flow(&self) -> Option<Arc<Flow>> {
        match self {
            Self::Caller(content) => Some(Arc::clone(&content.flow)),
            Self::Empty | Self::Held(_) => None,
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = ContentFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        match self.get_mut() {
            Self::Caller(content) => content.poll_frame(cx),
            Self::Empty => Poll::Ready(None),
            Self::Held(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Caller(content) => content.incoming.is_end_stream(),
            Self::Empty => true,
            Self::Held(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Caller(content) => content.incoming.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
            Self::Held(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}

impl Content {
    /// Reads it whole into memory: at most `limit` bytes, each frame within `read`.
    ///
    /// # Errors
    /// Why it is not there whole.
    pub async fn collect(mut self, limit: u64, read: Duration) -> Result<Bytes, ContentFault> {
        let mut whole = BytesMut::new();
        loop {
            let frame = timeout(read, self.frame())
                .await
                .map_err(|_| ContentFault::Stalled(read))?;
            let Some(frame) = frame else {
                return Ok(whole.freeze());
            };
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if (whole.len() + data.len()) as u64 > limit {
                return Err(ContentFault::TooLargeToHold(limit));
            }
            whole.extend_from_slice(&data);
        }
    }
}

/// The caller's content, counted and limited.
#[derive(Debug)]
pub struct CallerContent {
    incoming: Incoming,
    limit: u64,
    flow: Arc<Flow>,
}

impl CallerContent {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        loop {
            let polled = Pin::new(&mut self.incoming).poll_frame(cx);
            self.flow.note(Stage::of(&polled, &self.incoming));
            let Some(frame) = ready!(polled) else {
                return Poll::Ready(None);
            };
            let frame = frame.map_err(ContentFault::Caller)?;
            // Trailers could carry what the head must not: they end here.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let sent = self
                .flow
                .sent
                .fetch_add(data.len() as u64, Ordering::Relaxed);
            if sent + data.len() as u64 > self.limit {
                return Poll::Ready(Some(Err(ContentFault::TooLarge(self.limit))));
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
}

/// What can be observed of content while it is sent.
#[derive(Debug, Default)]
pub struct Flow {
    stage: AtomicU8,
    sent: AtomicU64,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All of it was handed on: the upstream's turn to answer.
    Ended,
    /// The upstream's turn to take what there is.
    Sending,
    /// The caller's turn to send more.
    Waiting,
}

impl Stage {
    fn of<T>(polled: &Poll<Option<T>>, incoming: &Incoming) -> Self {
        match polled {
            Poll::Pending => Self::Waiting,
            Poll::Ready(Some(_)) if !incoming.is_end_stream() => Self::Sending,
            Poll::Ready(_) => Self::Ended,
        }
    }
}

impl Flow {
    fn note(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Whose turn it is, and how many bytes were handed on so far.
    pub fn observe(&self) -> (Stage, u64) {
        let stage = match self.stage.load(Ordering::Relaxed) {
            ended if ended == Stage::Ended as u8 => Stage::Ended,
            sending if sending == Stage::Sending as u8 => Stage::Sending,
            _ => Stage::Waiting,
        };
        (stage, self.sent.load(Ordering::Relaxed))
    }
}

/// Why content could not be sent whole.
#[derive(Debug, thiserror::Error)]
pub enum ContentFault {
    /// The caller went away, or broke its framing.
    #[error("the caller's content broke off")]
    Caller(#[source] hyper::Error),
    /// The caller sent nothing for this long.
    #[error("the caller's content stopped for {0:?}")]
    Stalled(Duration),
    /// It is longer than this many bytes, which are as many as are held in memory.
    #[error("the content is longer than {0} bytes")]
    TooLargeToHold(u64),
    /// It is longer than this many bytes.
    #[error("the content is longer than {0} bytes")]
    TooLarge(u64),
}
