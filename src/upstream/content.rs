//! What is sent upstream as a request's content: [`Content`].

mod begun;
mod caller;
mod held;
mod kept;
mod read;
mod spare;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use self::begun::BegunContent;
use self::caller::CallerContent;
pub(super) use self::caller::passed;
use self::held::HeldContent;
use self::kept::KeptContent;
pub use self::spare::SpareContent;
use super::aws_chunked::decode::Malformed;
use super::aws_chunked::encode::{Encoder, Mismatch};
use super::aws_chunked::framed::FramedContent;
use super::aws_chunked::framing::Framing;
use super::aws_chunked::trailer::Trailers;
use super::aws_chunked::unframed::UnframedContent;
use super::flow::Flow;
use super::replay::ReplayContent;
use crate::request::strip::Strip;

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
    /// The caller's, taken out of AWS's framing as it arrives.
    Unframed(Box<UnframedContent>),
}

impl Content {
    /// Content held in memory.
    pub fn held(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        Self::Held(HeldContent::new(bytes))
    }

    /// The caller's content, streamed, with the trailers that `strip` lets pass, if there is one; more
    /// than `limit` bytes of it are an error.
    pub fn streamed(incoming: Incoming, limit: u64, strip: Option<Arc<Strip>>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Caller(CallerContent::new(incoming, limit, strip))
    }

    /// The caller's content, streamed, and kept up to `most` bytes to be sent again; with the trailers
    /// that `strip` lets pass, if there is one.
    pub fn kept(incoming: Incoming, limit: u64, most: u64, strip: Option<Arc<Strip>>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        let replay = ReplayContent::new(incoming, most, strip);
        Self::Kept(KeptContent::new(replay, limit))
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
            | Self::Kept(_) => None,
        }
    }

    /// Its limit, which it has no more.
    fn take_limit(&mut self) -> u64 {
        match self {
            Self::Caller(content) => content.take_limit(),
            Self::Kept(content) => content.take_limit(),
            Self::Begun(_) | Self::Empty | Self::Framed(_) | Self::Held(_) | Self::Unframed(_) => {
                u64::MAX
            }
        }
    }

    /// What a second one like it can be made of; none if it would have to be read again.
    pub fn spare(&self) -> Option<SpareContent> {
        match self {
            // A framing cannot be taken up again where it was left.
            Self::Begun(_) | Self::Caller(_) | Self::Framed(_) | Self::Unframed(_) => None,
            Self::Empty => Some(SpareContent::Empty),
            Self::Held(content) => Some(SpareContent::Held(content.left().clone())),
            Self::Kept(content) => content.spare(),
        }
    }

    /// What can be observed of it while it is sent; none if there is nothing to wait for.
    pub fn flow(&self) -> Option<Arc<Flow>> {
        match self {
            Self::Begun(content) => Some(Arc::clone(content.flow())),
            Self::Caller(content) => Some(Arc::clone(content.flow())),
            Self::Empty => None,
            Self::Framed(content) => Some(Arc::clone(content.flow())),
            Self::Held(content) => Some(Arc::clone(content.flow())),
            Self::Kept(content) => Some(Arc::clone(content.flow())),
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
            Self::Unframed(content) => content.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Begun(content) => content.is_end(),
            Self::Caller(content) => content.is_end(),
            Self::Empty => true,
            Self::Framed(content) => content.is_end(),
            Self::Held(content) => content.left().is_empty(),
            Self::Kept(content) => content.is_end(),
            Self::Unframed(content) => content.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // Of content whose length is known the beginning is not read.
            Self::Begun(_) => SizeHint::default(),
            Self::Caller(content) => content.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
            Self::Framed(content) => content.size_hint(),
            Self::Held(content) => SizeHint::with_exact(content.left().len() as u64),
            Self::Kept(content) => content.size_hint(),
            Self::Unframed(content) => content.size_hint(),
        }
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
