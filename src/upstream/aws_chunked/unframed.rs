//! A caller's framed content on its way as what is in the frames: [`UnframedContent`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::decode::Decoder;
use super::framing::Framing;
use super::trailer::Trailers;
use crate::upstream::content::{Content, ContentFault};
use crate::upstream::flow::{Flow, Stage};

/// Content that is taken out of its framing as it arrives.
///
/// What completes the announced length is held back until the end has turned out to be right: who
/// sends content of known length looks no further, and the request would be complete.
pub struct UnframedContent {
    source: Content,
    decoder: Decoder,
    /// What was read and not yet decoded.
    input: Bytes,
    /// What completes the announced length.
    held: Option<Bytes>,
    /// How many decoded bytes there may be.
    limit: u64,
    /// How many were handed on.
    sent: u64,
    announced: Option<u64>,
    /// What followed, once all has arrived.
    trailers: Option<Trailers>,
    flow: Arc<Flow>,
}

impl UnframedContent {
    /// What is in the frames of `source`: at most `limit` bytes.
    pub(in crate::upstream) fn new(source: Content, framing: &Framing, limit: u64) -> Self {
        Self {
            source,
            decoder: Decoder::new(framing),
            input: Bytes::new(),
            held: None,
            limit,
            sent: 0,
            announced: framing.decoded_length(),
            trailers: None,
            flow: Flow::begun(),
        }
    }

    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        let polled = self.poll_data(cx);
        self.flow.note(match &polled {
            Poll::Pending => Stage::Waiting,
            Poll::Ready(Some(_)) if !self.is_end() => Stage::Sending,
            Poll::Ready(_) => Stage::Ended,
        });
        let Some(data) = ready!(polled) else {
            return Poll::Ready(None);
        };
        let data = data?;
        self.sent = self.flow.hand_on(&data);
        if self.sent > self.limit {
            return Poll::Ready(Some(Err(ContentFault::TooLarge(self.limit))));
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ContentFault>>> {
        while self.trailers.is_none() {
            if let Some(data) = self.decoder.decode(&mut self.input)? {
                if !self.decoder.is_full() {
                    return Poll::Ready(Some(Ok(data)));
                }
                self.held = Some(data);
                continue;
            }
            match ready!(Pin::new(&mut self.source).poll_frame(cx)) {
                Some(frame) => self.input = frame?.into_data().unwrap_or_default(),
                None => self.trailers = Some(self.decoder.finish()?),
            }
        }
        Poll::Ready(self.held.take().map(Ok))
    }

    pub(in crate::upstream) fn is_end(&self) -> bool {
        self.trailers.is_some() && self.held.is_none()
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, |announced| {
            SizeHint::with_exact(announced.saturating_sub(self.sent))
        })
    }

    pub(in crate::upstream) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// What followed it, once all of it was read.
    pub(in crate::upstream) fn trailers(&self) -> Option<&Trailers> {
        self.trailers.as_ref()
    }
}

impl fmt::Debug for UnframedContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnframedContent")
            .field("source", &self.source)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
