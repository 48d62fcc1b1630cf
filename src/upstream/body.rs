//! The content of an upstream's answer: [`UpstreamBody`], which drives the link it comes on and
//! gives it back to the pool at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::Upstream;
use super::arriving::Arriving;
use super::deadline::Deadline;
use super::link::Link;
use crate::connection::Timeouts;

/// An answer's content, streamed from its link.
#[derive(Debug)]
pub struct UpstreamBody {
    /// None on HTTP/2.
    incoming: Option<Incoming>,
    source: Source,
    read: Duration,
    begun: Instant,
    reuse: Reuse,
}

/// Whether a link may carry another request after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// It may not: hyper would take the upstream for one that knows no chunked content, or the request
    /// went alone.
    Never,
    /// It may, if both sides keep it open.
    Possible,
}

#[derive(Debug)]
enum Source {
    /// Driven from here, and reused afterwards.
    Link(Box<Link>, Arc<Upstream>, Duration),
    /// Driven by a task, as content of the request is left; dropped afterwards.
    Uploading(Box<Link>),
    /// A stream of a connection that others share.
    Stream(Box<Arriving>),
    /// Driven by a task of its own.
    Task(Deadline),
    /// At its end, or broken.
    Done,
}

impl UpstreamBody {
    /// Content that comes on a link.
    pub(super) fn on_link(
        incoming: Incoming,
        link: Box<Link>,
        upstream: Arc<Upstream>,
        timeouts: &Timeouts,
        now: Instant,
        reuse: Reuse,
    ) -> Self {
        let source = if link.is_uploading() {
            Source::Uploading(link)
        } else {
            Source::Link(link, upstream, timeouts.idle)
        };
        let mut body = Self {
            incoming: Some(incoming),
            source,
            read: timeouts.read,
            begun: now,
            reuse,
        };
        if body.is_end_stream() {
            body.release();
        } else if let Source::Link(link, ..) | Source::Uploading(link) = &mut body.source {
            link.progressed(now, timeouts.read);
        }
        body
    }

    /// Content of a connection that somebody else drives.
    pub fn on_task(incoming: Incoming, timeouts: &Timeouts) -> Self {
        let source = Source::Task(Deadline::new(timeouts.read));
        Self {
            incoming: Some(incoming),
            source,
            read: timeouts.read,
            begun: Instant::now(),
            reuse: Reuse::Never,
        }
    }

    /// Content that comes on a stream of HTTP/2.
    pub(super) fn on_stream(arriving: Arriving, timeouts: &Timeouts) -> Self {
        let mut body = Self {
            incoming: None,
            source: Source::Stream(Box::new(arriving)),
            read: timeouts.read,
            begun: Instant::now(),
            reuse: Reuse::Never,
        };
        if body.is_end_stream() {
            body.release();
        }
        body
    }

    /// When its head had arrived.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    fn progressed(&mut self) {
        let now = Instant::now();
        match &mut self.source {
            Source::Link(link, ..) | Source::Uploading(link) => link.progressed(now, self.read),
            Source::Stream(arriving) => arriving.progressed(now, self.read),
            Source::Task(deadline) => deadline.set(now + self.read),
            Source::Done => {}
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.source {
            Source::Link(link, ..) | Source::Uploading(link) => link.poll_stalled(cx, self.read),
            Source::Stream(arriving) => arriving.poll_stalled(cx, self.read),
            Source::Task(deadline) => deadline.poll_passed(cx),
            Source::Done => Poll::Pending,
        }
    }

    /// What has arrived; only when that is nothing, the connection is looked at.
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        let Some(incoming) = &mut self.incoming else {
            return match &mut self.source {
                Source::Stream(arriving) => arriving.poll_frame(cx),
                _ => Poll::Ready(None),
            };
        };
        let polled = Self::poll_link(incoming, &mut self.source, cx);
        polled.map_err(AnswerFault::Broken)
    }

    fn poll_link(
        incoming: &mut Incoming,
        source: &mut Source,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut incoming = Pin::new(incoming);
        let Source::Link(link, ..) = source else {
            return incoming.poll_frame(cx);
        };
        // As nobody but us drives the link, nothing arrives that has to wake us; and while hyper
        // knows no waker, taking what arrived wakes nobody, either.
        let mut unwoken = Context::from_waker(Waker::noop());
        if let arrived @ Poll::Ready(_) = incoming.as_mut().poll_frame(&mut unwoken) {
            return arrived;
        }
        link.drive(&mut unwoken);
        if let arrived @ Poll::Ready(_) = incoming.as_mut().poll_frame(&mut unwoken) {
            return arrived;
        }
        // There is nothing: from here on, the socket wakes us.
        link.drive(cx);
        incoming.poll_frame(&mut unwoken)
    }

    /// Gives the link back, or lets it end its upload, as soon as nothing is left to read: hyper's
    /// server does not ask again once it has as many bytes as were announced.
    fn release(&mut self) {
        match std::mem::replace(&mut self.source, Source::Done) {
            Source::Link(mut link, upstream, idle) => {
                if self.reuse == Reuse::Possible && link.is_reusable() {
                    upstream.pool.put(link, idle);
                }
            }
            Source::Uploading(link) => link.finish(),
            Source::Stream(arriving) => arriving.finish(),
            Source::Task(_) | Source::Done => {}
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        // Who knows how much is announced does not ask for the end. While the process ends, there is
        // nothing left to wait on.
        let is_whole = matches!(&self.source, Source::Stream(arriving) if arriving.is_whole());
        if is_whole && Handle::try_current().is_ok() {
            self.release();
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        let this = self.get_mut();
        match this.poll_incoming(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                // Nothing follows trailers, and nobody asks.
                if frame.is_trailers() || this.is_end_stream() {
                    this.release();
                } else {
                    this.progressed();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(fault))) => {
                this.source = Source::Done;
                Poll::Ready(Some(Err(fault)))
            }
            Poll::Ready(None) => {
                this.release();
                Poll::Ready(None)
            }
            Poll::Pending => this.poll_stalled(cx).map(|()| {
                this.source = Source::Done;
                Some(Err(AnswerFault::Stalled))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match (&self.incoming, &self.source) {
            (Some(incoming), _) => incoming.is_end_stream(),
            (None, Source::Stream(arriving)) => arriving.is_end(),
            (None, _) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.incoming, &self.source) {
            (Some(incoming), _) => incoming.size_hint(),
            (None, Source::Stream(arriving)) => arriving.size_hint(),
            (None, _) => SizeHint::with_exact(0),
        }
    }
}

/// Why an answer ended before its end: the caller's connection is then closed, as nothing else
/// can tell it so.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// The upstream closed the connection, or broke its framing.
    #[error("the upstream's answer broke off")]
    Broken(#[source] hyper::Error),
    /// The upstream reset the stream, or closed the connection that it was on.
    #[error("the upstream's answer broke off")]
    Reset(#[source] h2::Error),
    /// The upstream sent nothing for as long as `timeouts.read` allows.
    #[error("the upstream stopped sending its answer")]
    Stalled,
}
