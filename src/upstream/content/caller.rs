//! A caller's content as it arrives: [`CallerContent`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::ContentFault;
use crate::request::strip::Strip;
use crate::upstream::flow::{Flow, Stage};

/// The caller's content, counted and limited, with what follows it but for what may not be there.
#[derive(Debug)]
pub struct CallerContent {
    incoming: Incoming,
    limit: u64,
    /// What lets trailers pass; none if they end here.
    strip: Option<Arc<Strip>>,
    flow: Arc<Flow>,
}

impl CallerContent {
    pub(super) fn new(incoming: Incoming, limit: u64, strip: Option<Arc<Strip>>) -> Self {
        let flow = Flow::begun();
        Self {
            incoming,
            limit,
            strip,
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
            match frame.into_data() {
                Ok(data) if self.flow.hand_on(&data) > self.limit => {
                    return Poll::Ready(Some(Err(ContentFault::TooLarge(self.limit))));
                }
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(frame) => {
                    let strip = self.strip.as_deref();
                    if let Some(trailers) = strip.and_then(|strip| passed(frame, strip)) {
                        self.flow.note(Stage::Ended);
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
            }
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

/// What of trailers is passed on, if it is anything.
pub(in crate::upstream) fn passed(frame: Frame<Bytes>, strip: &Strip) -> Option<HeaderMap> {
    let mut trailers = frame.into_trailers().ok()?;
    strip.trailers(&mut trailers);
    (!trailers.is_empty()).then_some(trailers)
}
