//! Content of which the beginning was read already: [`BegunContent`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::held::PIECE;
use super::{Content, ContentFault};
use crate::upstream::flow::{Flow, Stage};

/// Content that was too long to be held, from its beginning.
pub struct BegunContent {
    read: Bytes,
    rest: Content,
    flow: Arc<Flow>,
}

impl BegunContent {
    pub(super) fn new(read: Bytes, rest: Content) -> Self {
        let flow = Flow::begun();
        Self { read, rest, flow }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        let polled = match self.read.is_empty() {
            true => Pin::new(&mut self.rest).poll_frame(cx),
            false => {
                let piece = self.read.split_to(self.read.len().min(PIECE));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
        };
        self.flow.note(match &polled {
            Poll::Pending => Stage::Waiting,
            Poll::Ready(Some(_)) if !self.is_end() => Stage::Sending,
            Poll::Ready(_) => Stage::Ended,
        });
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.flow.hand_on(data);
        }
        polled
    }

    pub(super) fn is_end(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    pub(super) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }
}

impl fmt::Debug for BegunContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BegunContent")
            .field("read", &self.read.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn its_beginning_goes_in_pieces_before_the_rest() {
        let whole: Bytes = (0..=250).cycle().take(4 * PIECE + 7).collect();
        // A piece is read until there is more than may be held.
        let limit = 2 * PIECE as u64 + 1;
        let held = Content::held(whole.clone());
        let mut content = held.hold_if_short(limit, Duration::MAX).await.unwrap();
        let Content::Begun(begun) = &content else {
            panic!("{content:?}");
        };
        assert_eq!(begun.read.len(), 3 * PIECE);
        let flow = content.flow().unwrap();
        assert_eq!(flow.observe(), (Stage::Sending, 0));
        let mut sent = 0;
        for length in [PIECE, PIECE, PIECE, PIECE, 7] {
            assert!(!content.is_end_stream());
            let piece = content.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(
                piece == whole[sent..sent + length],
                "at {sent}: {}",
                piece.len()
            );
            sent += length;
            let stage = match sent == whole.len() {
                true => Stage::Ended,
                false => Stage::Sending,
            };
            assert_eq!(flow.observe(), (stage, sent as u64));
        }
        assert!(content.is_end_stream() && content.frame().await.is_none());
    }
}
