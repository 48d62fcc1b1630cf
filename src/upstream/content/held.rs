//! Content held in memory: [`HeldContent`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::upstream::flow::{Flow, Stage};

/// Held content is handed out in pieces of this many bytes, so that it shows how far it was taken.
pub(super) const PIECE: usize = 64 << 10;

/// Content held in memory, counted.
pub struct HeldContent {
    left: Bytes,
    flow: Arc<Flow>,
}

impl fmt::Debug for HeldContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A credential may have been merged into it.
        f.debug_struct("HeldContent")
            .field("left", &self.left.len())
            .finish_non_exhaustive()
    }
}

impl HeldContent {
    pub(super) fn new(left: Bytes) -> Self {
        let flow = Flow::begun();
        Self { left, flow }
    }

    /// What was not handed out yet.
    pub(super) fn left(&self) -> &Bytes {
        &self.left
    }

    pub(super) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    pub(super) fn next(&mut self) -> Option<Bytes> {
        if self.left.is_empty() {
            return None;
        }
        let piece = self.left.split_to(self.left.len().min(PIECE));
        self.flow.hand_on(&piece);
        if self.left.is_empty() {
            self.flow.note(Stage::Ended);
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body::Body;
    use http_body_util::BodyExt;

    use super::*;
    use crate::upstream::content::Content;

    #[tokio::test]
    async fn held_content_shows_how_far_it_was_taken() {
        let whole: Bytes = (0..=250).cycle().take(2 * PIECE + 1).collect();
        let mut content = Content::held(whole.clone());
        let flow = content.flow().unwrap();
        let second = content.spare().unwrap().restore().unwrap();
        assert_eq!(flow.observe(), (Stage::Sending, 0));
        let mut sent = 0;
        for (length, stage) in [
            (PIECE, Stage::Sending),
            (PIECE, Stage::Sending),
            (1, Stage::Ended),
        ] {
            let piece = content.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(piece, whole[sent..sent + length]);
            sent += length;
            assert_eq!(flow.observe(), (stage, sent as u64));
        }
        assert!(content.is_end_stream() && content.frame().await.is_none());
        // A second one begins anew.
        assert_eq!(second.flow().unwrap().observe(), (Stage::Sending, 0));
        let held = second.collect(u64::MAX, Duration::MAX).await.unwrap();
        assert_eq!(held, whole);
    }

    #[test]
    fn nothing_is_not_watched() {
        assert!(Content::held(Bytes::new()).flow().is_none());
    }
}
