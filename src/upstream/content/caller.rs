//! A caller's content as it arrives: [`CallerContent`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::ContentFault;
use crate::upstream::flow::{Flow, Stage};

/// The caller's content, counted and limited.
#[derive(Debug)]
pub struct CallerContent {
    incoming: Incoming,
    limit: u64,
    flow: Arc<Flow>,
}

impl CallerContent {
    pub(super) fn new(incoming: Incoming, limit: u64) -> Self {
        let flow = Flow::begun();
        Self {
            incoming,
            limit,
            flow,
        }
    }

    pub(super) fn poll_frame(
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
            // None were announced that could be passed on: they end here.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if self.flow.hand_on(&data) > self.limit {
                return Poll::Ready(Some(Err(ContentFault::TooLarge(self.limit))));
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    /// Its limit, which it has no more.
    pub(super) fn take_limit(&mut self) -> u64 {
        std::mem::replace(&mut self.limit, u64::MAX)
    }

    pub(super) fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    pub(super) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }
}
