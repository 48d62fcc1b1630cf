//! The content of what callers are answered: [`AnswerBody`], which ends the request's record.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::expiry::Peeked;
use super::record::Record;
use crate::upstream::body::{AnswerFault, UpstreamBody};

/// An answer's content before it is counted.
pub(super) enum Answer {
    /// None: the stream was upgraded.
    Nothing,
    /// Our own; none once it was handed out.
    Own(Option<Bytes>),
    /// The upstream's, of which something was read already.
    Peeked(Box<Peeked>),
    /// The upstream's.
    Upstream(UpstreamBody),
}

impl Answer {
    /// Content of our own.
    pub(super) fn own(bytes: Bytes) -> Self {
        Self::Own((!bytes.is_empty()).then_some(bytes))
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Own(bytes) => bytes.is_none(),
            Self::Peeked(peeked) => peeked.is_end(),
            Self::Upstream(body) => body.is_end_stream(),
        }
    }
}

/// An answer's content on its way to the caller; its request is over when it is dropped.
pub(super) struct AnswerBody {
    content: Answer,
    record: Box<Record>,
}

impl AnswerBody {
    pub(super) fn new(content: Answer, mut record: Box<Record>) -> Self {
        if content.is_end() {
            record.whole();
        }
        Self { content, record }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        let this = self.get_mut();
        this.record.caller().asked();
        let mut polled = match &mut this.content {
            Answer::Nothing => Poll::Ready(None),
            Answer::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Answer::Peeked(peeked) => peeked.poll_frame(cx),
            Answer::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            this.record.tidy(trailers);
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.record.wrote(frame.data_ref().map_or(0, Bytes::len));
                // Nobody asks again once all that was announced has come.
                let is_all = this.is_end_stream() || this.size_hint().exact() == Some(0);
                if frame.is_trailers() || is_all {
                    this.record.whole();
                }
            }
            Poll::Ready(Some(Err(fault))) => this.record.broke(fault),
            Poll::Ready(None) => this.record.whole(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Answer::Nothing => SizeHint::with_exact(0),
            Answer::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Answer::Peeked(peeked) => peeked.size_hint(),
            Answer::Upstream(body) => body.size_hint(),
        }
    }
}
