//! What content is made of that is sent once more: [`SpareContent`].

use bytes::Bytes;

use super::Content;
use super::kept::KeptContent;
use crate::upstream::replay::Spare;

/// What a second content can be made of.
pub enum SpareContent {
    /// Nothing.
    Empty,
    /// What is held in memory.
    Held(Bytes),
    /// What was kept, and the rest of it; and its limit.
    Kept(Spare, u64),
}

impl SpareContent {
    /// The content from its start; none if it turned out to be too long to be kept. Whoever sends
    /// it for the first time sends no more of it.
    pub fn restore(&self) -> Option<Content> {
        match self {
            Self::Empty => Some(Content::Empty),
            Self::Held(bytes) => Some(Content::held(bytes.clone())),
            Self::Kept(spare, limit) => {
                Some(Content::Kept(KeptContent::new(spare.restore()?, *limit)))
            }
        }
    }
}
