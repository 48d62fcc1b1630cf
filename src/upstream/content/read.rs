//! Content read into memory: whole, or as far as it is short.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::begun::BegunContent;
use super::{Content, ContentFault};
use crate::upstream::aws_chunked::trailer::Trailers;

impl Content {
    /// Reads it whole into memory: at most `limit` bytes, each frame within `read`.
    ///
    /// # Errors
    /// Why it is not there whole.
    pub async fn collect(mut self, limit: u64, read: Duration) -> Result<Bytes, ContentFault> {
        self.read_whole(limit, read).await
    }

    /// Reads it whole like `collect`, with what followed it in AWS's framing.
    ///
    /// # Errors
    /// Why it is not there whole.
    pub async fn collect_trailed(
        mut self,
        limit: u64,
        read: Duration,
    ) -> Result<(Bytes, Trailers), ContentFault> {
        let whole = self.read_whole(limit, read).await?;
        Ok((whole, self.trailers().cloned().unwrap_or_default()))
    }

    /// All of it, if it is held.
    pub fn whole(&self) -> Option<Bytes> {
        match self {
            Self::Empty => Some(Bytes::new()),
            Self::Held(content) => Some(content.left().clone()),
            _ => None,
        }
    }

    /// Reads it whole like `collect`, so that it is held; more than `limit` bytes are not refused, but
    /// go on as they arrive.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn hold_if_short(mut self, limit: u64, read: Duration) -> Result<Self, ContentFault> {
        let mut begun = BytesMut::new();
        let whole = self.read_up_to(limit, read, &mut begun).await?;
        let begun = begun.freeze();
        Ok(match whole {
            true => Self::held(begun),
            false => Self::Begun(Box::new(BegunContent::new(begun, self))),
        })
    }

    async fn read_whole(&mut self, limit: u64, read: Duration) -> Result<Bytes, ContentFault> {
        let mut whole = BytesMut::new();
        match self.read_up_to(limit, read, &mut whole).await? {
            true => Ok(whole.freeze()),
            false => Err(ContentFault::TooLargeToHold(limit)),
        }
    }

    /// Whether all of it was read before there were more than `limit` bytes.
    async fn read_up_to(
        &mut self,
        limit: u64,
        read: Duration,
        into: &mut BytesMut,
    ) -> Result<bool, ContentFault> {
        while let Some(frame) = timeout(read, self.frame())
            .await
            .map_err(|_| ContentFault::Stalled(read))?
        {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            into.extend_from_slice(&data);
            if into.len() as u64 > limit {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
