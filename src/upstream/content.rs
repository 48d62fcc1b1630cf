//! What is sent upstream as a request's content: [`Content`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::aws_chunked::decode::Malformed;
use super::aws_chunked::encode::{Encoder, Mismatch};
use super::aws_chunked::framed::FramedContent;
use super::aws_chunked::framing::Framing;
use super::aws_chunked::trailer::Trailers;
use super::aws_chunked::unframed::UnframedContent;
use super::begun::BegunContent;
use super::flow::{Flow, Stage};
use super::replay::{ReplayContent, ReplayFault, Spare};
use super::trailed::TrailedContent;
use crate::request::strip::Strip;

/// Held content is handed out in pieces of this many bytes, so that it shows how far it was taken.
pub(super) const PIECE: usize = 64 << 10;

/// A request's content on its way upstream.
#[derive(Debug, Default)]
pub enum Content {
    /// What was read already, and the rest as it arrives.
    Begun(Box<BegunContent>),
    /// The caller's, as it arrives.
    Caller(CallerContent),
    /// None.
    #[default]
    Empty,
    /// Put into AWS's framing as it arrives.
    Framed(Box<FramedContent>),
    /// Held in memory.
    Held(HeldContent),
    /// The caller's, kept as it arrives.
    Kept(KeptContent),
    /// The caller's, as it arrives, with what follows it.
    Trailed(Box<TrailedContent>),
    /// The caller's, taken out of AWS's framing as it arrives.
    Unframed(Box<UnframedContent>),
}

impl Content {
    /// Content held in memory.
    pub fn held(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        Self::Held(HeldContent {
            left: bytes,
            flow: Flow::begun(),
        })
    }

    /// The caller's content, streamed; more than `limit` bytes of it are an error.
    pub fn streamed(incoming: Incoming, limit: u64) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Caller(CallerContent {
            incoming,
            limit,
            flow: Flow::begun(),
        })
    }

    /// The caller's content, streamed, with the trailers that `strip` lets pass.
    pub fn trailed(incoming: Incoming, limit: u64, strip: Arc<Strip>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Trailed(Box::new(TrailedContent::new(incoming, limit, strip)))
    }

    /// The caller's content, streamed, and kept up to `most` bytes to be sent again; with the trailers
    /// that `strip` lets pass, if there is one.
    pub fn kept(incoming: Incoming, limit: u64, most: u64, strip: Option<Arc<Strip>>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Kept(KeptContent {
            replay: ReplayContent::new(incoming, most, strip),
            limit,
            flow: Flow::begun(),
        })
    }

    /// What is in AWS's framing of `content`. Its limit holds for that, and not for the framing.
    ///
    /// Content that is announced as empty has to be collected: it would be sent without being read.
    #[must_use]
    pub fn unframed(mut content: Self, framing: &Framing) -> Self {
        let limit = content.take_limit();
        Self::Unframed(Box::new(UnframedContent::new(content, framing, limit)))
    }

    /// `content` in AWS's framing, with the trailers that follow it, if there are any.
    #[must_use]
    pub fn framed(content: Self, encoder: Encoder) -> Self {
        Self::Framed(Box::new(FramedContent::new(content, encoder)))
    }

    /// What followed it in AWS's framing, verified, once all of it was read.
    pub fn trailers(&self) -> Option<&Trailers> {
        match self {
            Self::Unframed(content) => content.trailers(),
            Self::Begun(_)
            | Self::Caller(_)
            | Self::Empty
            | Self::Framed(_)
            | Self::Held(_)
            | Self::Kept(_)
            | Self::Trailed(_) => None,
        }
    }

    /// Its limit, which it has no more.
    fn take_limit(&mut self) -> u64 {
        match self {
            Self::Caller(content) => std::mem::replace(&mut content.limit, u64::MAX),
            Self::Kept(content) => std::mem::replace(&mut content.limit, u64::MAX),
            // What is in a framing has no trailers of its own.
            Self::Begun(_)
            | Self::Empty
            | Self::Framed(_)
            | Self::Held(_)
            | Self::Trailed(_)
            | Self::Unframed(_) => u64::MAX,
        }
    }

    /// What a second one like it can be made of; none if it would have to be read again.
    pub fn spare(&self) -> Option<SpareContent> {
        match self {
            // A framing cannot be taken up again where it was left.
            Self::Begun(_)
            | Self::Caller(_)
            | Self::Framed(_)
            | Self::Trailed(_)
            | Self::Unframed(_) => None,
            Self::Empty => Some(SpareContent::Empty),
            Self::Held(content) => Some(SpareContent::Held(content.left.clone())),
            Self::Kept(content) => Some(SpareContent::Kept(content.replay.spare()?, content.limit)),
        }
    }

    /// What can be observed of it while it is sent; none if there is nothing to wait for.
    pub fn flow(&self) -> Option<Arc<Flow>> {
        match self {
            Self::Begun(content) => Some(Arc::clone(content.flow())),
            Self::Caller(content) => Some(Arc::clone(&content.flow)),
            Self::Empty => None,
            Self::Framed(content) => Some(Arc::clone(content.flow())),
            Self::Held(content) => Some(Arc::clone(&content.flow)),
            Self::Kept(content) => Some(Arc::clone(&content.flow)),
            Self::Trailed(content) => Some(Arc::clone(content.flow())),
            Self::Unframed(content) => Some(Arc::clone(content.flow())),
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
            Self::Begun(content) => content.poll_frame(cx),
            Self::Caller(content) => content.poll_frame(cx),
            Self::Empty => Poll::Ready(None),
            Self::Framed(content) => content.poll_frame(cx),
            Self::Held(content) => Poll::Ready(content.next().map(|data| Ok(Frame::data(data)))),
            Self::Kept(content) => content.poll_frame(cx),
            Self::Trailed(content) => content.poll_frame(cx),
            Self::Unframed(content) => content.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Begun(content) => content.is_end(),
            Self::Caller(content) => content.incoming.is_end_stream(),
            Self::Empty => true,
            Self::Framed(content) => content.is_end(),
            Self::Held(content) => content.left.is_empty(),
            Self::Kept(content) => content.replay.is_end(),
            Self::Trailed(content) => content.is_end(),
            Self::Unframed(content) => content.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // Of content whose length is known the beginning is not read.
            Self::Begun(_) => SizeHint::default(),
            Self::Caller(content) => content.incoming.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
            Self::Framed(content) => content.size_hint(),
            Self::Held(content) => SizeHint::with_exact(content.left.len() as u64),
            Self::Kept(content) => content
                .replay
                .left()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Trailed(content) => content.size_hint(),
            Self::Unframed(content) => content.size_hint(),
        }
    }
}

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
            Self::Held(content) => Some(content.left.clone()),
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
}

/// The caller's content, counted, limited, and kept to be sent again.
#[derive(Debug)]
pub struct KeptContent {
    replay: ReplayContent,
    limit: u64,
    flow: Arc<Flow>,
}

impl KeptContent {
    fn poll_frame(
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
}

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
            Self::Kept(spare, limit) => Some(Content::Kept(KeptContent {
                replay: spare.restore()?,
                limit: *limit,
                flow: Flow::begun(),
            })),
        }
    }
}

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
    fn next(&mut self) -> Option<Bytes> {
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

/// Why content could not be sent whole.
#[derive(Debug, thiserror::Error)]
pub enum ContentFault {
    /// The caller went away, or broke its framing.
    #[error("the caller's content broke off")]
    Caller(#[source] hyper::Error),
    /// The caller broke AWS's framing, or sent something other than the checksums say.
    #[error("the caller's content is broken")]
    Malformed(#[from] Malformed),
    /// It is not what was said of it before it was framed.
    #[error("the content is not what it was announced to be")]
    Mismatch(#[from] Mismatch),
    /// Another attempt sends it now.
    #[error("the content is sent by another attempt")]
    Superseded,
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

#[cfg(test)]
mod tests {
    use super::*;

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
