//! A caller's content that is kept as it arrives: [`KeptContent`].

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{ContentFault, SpareContent};
use crate::upstream::flow::{Flow, Stage};
use crate::upstream::replay::{ReplayContent, ReplayFault};

/// The caller's content, counted, limited, and kept to be sent again.
#[derive(Debug)]
pub struct KeptContent {
    replay: ReplayContent,
    limit: u64,
    flow: Arc<Flow>,
}

impl KeptContent {
    pub(super) fn new(replay: ReplayContent, limit: u64) -> Self {
        let flow = Flow::begun();
        Self {
            replay,
            limit,
            flow,
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        let polled = self.replay.poll_data(cx);
        self.flow.note(match &polled {
            Poll::Pending => Stage::Waiting,
            Poll::Ready(Some(_)) if !self.replay.is_end() => Stage::Sending,
            Poll::Ready(_) => Stage::Ended,
        });
        let Some(data) = ready!(polled) else {
            let trailers = self.replay.take_trailers();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let data = data.map_err(|fault| match fault {
            ReplayFault::Caller(error) => ContentFault::Caller(error),
            ReplayFault::Superseded => ContentFault::Superseded,
        })?;
        if self.flow.hand_on(&data) > self.limit {
            return Poll::Ready(Some(Err(ContentFault::TooLarge(self.limit))));
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    /// What a second one like it can be made of; none if there is no use in keeping it.
    pub(super) fn spare(&self) -> Option<SpareContent> {
        Some(SpareContent::Kept(self.replay.spare()?, self.limit))
    }

    /// Its limit, which it has no more.
    pub(super) fn take_limit(&mut self) -> u64 {
        std::mem::replace(&mut self.limit, u64::MAX)
    }

    pub(super) fn is_end(&self) -> bool {
        self.replay.is_end()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.replay
            .left()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    pub(super) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }
}
