//! The content of an answer on an HTTP/2 stream: [`Arriving`].

use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, timeout};

use super::body::AnswerFault;
use super::deadline::Deadline;
use super::flow::{Flow, Stage};
use super::trunks::Place;
use super::upload::Upload;
use crate::connection::Timeouts;

/// How long a stream's end may come behind its content.
const LINGER: Duration = Duration::from_secs(1);

/// An answer's content, taken from its stream no faster than its reader asks: more than the stream's
/// window is then not sent.
#[derive(Debug)]
pub(super) struct Arriving {
    stream: RecvStream,
    place: Place,
    deadline: Deadline,
    /// The request's content, if there is any, and how far it was when somebody looked.
    flow: Option<Arc<Flow>>,
    observed: (Stage, u64),
    /// What sends the rest of it.
    upload: Option<Upload>,
    /// How much is left, where that is known.
    left: Option<u64>,
    /// Whether only trailers can follow.
    is_trailing: bool,
}

impl Arriving {
    pub(super) fn new(
        stream: RecvStream,
        place: Place,
        flow: Option<Arc<Flow>>,
        upload: Option<Upload>,
        timeouts: &Timeouts,
    ) -> Self {
        Self {
            stream,
            place,
            deadline: Deadline::new(timeouts.read),
            flow,
            observed: (Stage::Ended, 0),
            upload,
            left: None,
            is_trailing: false,
        }
    }

    /// The next piece, or how it ends; what was taken is room for more.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        if !self.is_trailing {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It fails for more than was taken only.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    let count = data.len() as u64;
                    self.left = self.left.map(|left| left.saturating_sub(count));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(AnswerFault::Reset(error)))),
                None => self.is_trailing = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(AnswerFault::Reset);
        Poll::Ready(trailers.map(|some| some.map(Frame::trailers)).transpose())
    }

    /// Notes progress: whoever waits gives it `read` from now on.
    pub(super) fn progressed(&mut self, now: Instant, read: Duration) {
        self.deadline.set(now + read);
    }

    /// Ready once there was no progress for `read`: neither of the answer, nor of content that is still
    /// being sent.
    pub(super) fn poll_stalled(&mut self, cx: &mut Context<'_>, read: Duration) -> Poll<()> {
        while self.deadline.poll_passed(cx).is_ready() {
            let flow = self.flow.as_deref();
            let seen = flow.map_or((Stage::Ended, 0), Flow::observe);
            if seen == self.observed {
                self.place.trunk.suspect();
                return Poll::Ready(());
            }
            self.observed = seen;
            self.progressed(Instant::now(), read);
        }
        Poll::Pending
    }

    /// Lets the request's content reach its end after the answer's content has; and the answer's stream
    /// its own, which may come by a frame of its own behind all content: a reset in its place is what
    /// upstreams take many of for an attack (CVE-2023-44487, "Rapid Reset").
    ///
    /// Until then its place is not another's, nor its connection without use.
    pub(super) fn finish(self) {
        let Self {
            mut stream,
            place,
            upload,
            ..
        } = self;
        let last = stream.poll_data(&mut Context::from_waker(Waker::noop()));
        if matches!(last, Poll::Ready(None | Some(Err(_)))) {
            if let Some(upload) = upload {
                upload.finish(place);
            }
            return;
        }
        tokio::spawn(async move {
            let _ = timeout(LINGER, async {
                while let Some(Ok(_)) = stream.data().await {}
            })
            .await;
            if let Some(upload) = upload {
                upload.finish(place);
            }
        });
    }

    /// Whether all content has come that was announced, though perhaps not the stream's end.
    pub(super) fn is_whole(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Takes the content's length from the head that announced it.
    pub(super) fn announced(&mut self, headers: &HeaderMap) {
        let length = headers.get(CONTENT_LENGTH);
        self.left = length.and_then(|length| length.to_str().ok()?.parse().ok());
    }
}
