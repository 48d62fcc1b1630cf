//! A caller's content that trailers may follow: [`TrailedContent`].

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
pub struct TrailedContent {
    incoming: Incoming,
    limit: u64,
    strip: Arc<Strip>,
    flow: Arc<Flow>,
}

impl TrailedContent {
    pub(super) fn new(incoming: Incoming, limit: u64, strip: Arc<Strip>) -> Self {
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
                    if let Some(trailers) = passed(frame, &self.strip) {
                        self.flow.note(Stage::Ended);
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
            }
        }
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
