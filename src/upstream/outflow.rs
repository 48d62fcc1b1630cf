//! A request's content on its way into an HTTP/2 stream: [`Outflow`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use super::content::{Content, ContentFault};
use super::fault::find;
use super::flow::{Flow, Stage};

/// Content that is sent as fast as the upstream takes it, a piece at a time.
pub(super) struct Outflow {
    content: Content,
    stream: SendStream<Bytes>,
    /// What waits to be taken, and whether it is the last.
    held: Option<(Bytes, bool)>,
}

/// How sending ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The content could not be read whole; the stream was reset.
    Broken(ContentFault),
    /// The upstream wants no more, or the connection is gone: its answer tells why.
    Stopped,
    /// All of it was sent.
    Whole,
}

impl Outflow {
    pub(super) fn new(content: Content, stream: SendStream<Bytes>) -> Self {
        Self {
            content,
            stream,
            held: None,
        }
    }

    /// Whose turn it is, and how many bytes were handed on: what waits to be taken is the upstream's.
    pub(super) fn observe(&self, flow: &Flow) -> (Stage, u64) {
        match flow.observe() {
            (_, count) if self.held.is_some() => (Stage::Sending, count),
            observed => observed,
        }
    }

    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Ended::Stopped);
            }
            if let Some((data, is_last)) = self.held.take() {
                while self.stream.capacity() == 0 {
                    match self.stream.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(_))) => {}
                        Poll::Ready(_) => return Poll::Ready(Ended::Stopped),
                        Poll::Pending => {
                            self.held = Some((data, is_last));
                            return Poll::Pending;
                        }
                    }
                }
                if self.stream.send_data(data, is_last).is_err() {
                    return Poll::Ready(Ended::Stopped);
                }
                if is_last {
                    return Poll::Ready(Ended::Whole);
                }
            }
            match ready!(Pin::new(&mut self.content).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let is_last = self.content.is_end_stream();
                        if data.is_empty() && !is_last {
                            continue;
                        }
                        // Not more than a byte: what is reserved and not used stands in the way of
                        // the connection's other streams.
                        self.stream.reserve_capacity(usize::from(!data.is_empty()));
                        if data.is_empty() {
                            let sent = self.stream.send_data(data, true);
                            return Poll::Ready(ended(&sent));
                        }
                        self.held = Some((data, is_last));
                    }
                    Err(frame) => {
                        self.stream.reserve_capacity(0);
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let sent = self.stream.send_trailers(trailers);
                        return Poll::Ready(ended(&sent));
                    }
                },
                Some(Err(fault)) => {
                    self.stream.send_reset(reason(&fault));
                    return Poll::Ready(Ended::Broken(fault));
                }
                None => {
                    let sent = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(ended(&sent));
                }
            }
        }
    }
}

impl Future for Outflow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_sent(cx).map(drop)
    }
}

fn ended(sent: &Result<(), h2::Error>) -> Ended {
    match sent {
        Ok(()) => Ended::Whole,
        Err(_) => Ended::Stopped,
    }
}

/// What the upstream is told of content that broke off: the caller's own reason, if it gave one.
fn reason(fault: &ContentFault) -> Reason {
    match find::<h2::Error>(fault).and_then(h2::Error::reason) {
        None | Some(Reason::NO_ERROR) => Reason::CANCEL,
        Some(reason) => reason,
    }
}
