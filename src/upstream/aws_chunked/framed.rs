//! Content on its way in AWS's framing: [`FramedContent`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::encode::{Encoder, Mismatch};
use super::trailer::Trailers;
use crate::upstream::content::{Content, ContentFault};
use crate::upstream::flow::{Flow, Stage};

/// Content that is framed as it arrives.
#[derive(Debug)]
pub struct FramedContent {
    source: Content,
    encoder: Encoder,
    /// What was read and not yet encoded.
    input: Bytes,
    /// How many bytes are left, where that is known.
    left: Option<u64>,
    ended: bool,
    flow: Arc<Flow>,
}

impl FramedContent {
    pub(in crate::upstream) fn new(source: Content, encoder: Encoder) -> Self {
        Self {
            source,
            left: encoder.layout().encoded_length(),
            encoder,
            input: Bytes::new(),
            ended: false,
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
            Poll::Ready(Some(_)) if !self.ended => Stage::Sending,
            Poll::Ready(_) => Stage::Ended,
        });
        let Some(data) = ready!(polled) else {
            return Poll::Ready(None);
        };
        let data = data?;
        self.flow.hand_on(&data);
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ContentFault>>> {
        while !self.ended {
            if let Some(chunk) = self.encoder.encode(&mut self.input)? {
                return Poll::Ready(Some(Ok(chunk)));
            }
            match ready!(Pin::new(&mut self.source).poll_frame(cx)) {
                Some(frame) => self.input = frame?.into_data().unwrap_or_default(),
                None => {
                    let last = self.last()?;
                    self.ended = true;
                    return Poll::Ready(Some(Ok(last)));
                }
            }
        }
        Poll::Ready(None)
    }

    fn last(&mut self) -> Result<Bytes, Mismatch> {
        let none = Trailers::default();
        self.encoder.finish(self.source.trailers().unwrap_or(&none))
    }

    pub(in crate::upstream) fn is_end(&self) -> bool {
        self.ended
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    pub(in crate::upstream) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }
}
