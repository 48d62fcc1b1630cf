//! The content of an upstream's answer: [`UpstreamBody`], which drives the link it comes on and
//! gives it back to the pool at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Upstream;
use super::deadline::Deadline;
use super::link::Link;
use crate::connection::Timeouts;

/// An answer's content, streamed from its link.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    source: Source,
    read: Duration,
}

#[derive(Debug)]
enum Source {
    /// Driven from here, and reused afterwards.
    Link(Box<Link>, Arc<Upstream>, Duration),
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
        cx: &mut Context<'_>,
    ) -> Self {
        let source = Source::Link(link, upstream, timeouts.idle);
        let mut body = Self {
            incoming,
            source,
            read: timeouts.read,
        };
        if body.incoming.is_end_stream() {
            body.release(cx);
        } else if let Source::Link(link, ..) = &mut body.source {
            link.deadline().set(timeouts.read);
        }
        body
    }

    /// Content of a connection that somebody else drives.
    pub fn on_task(incoming: Incoming, timeouts: &Timeouts) -> Self {
        let source = Source::Task(Deadline::new(timeouts.read));
        Self {
            incoming,
            source,
            read: timeouts.read,
        }
    }

    fn deadline(&mut self) -> Option<&mut Deadline> {
        match &mut self.source {
            Source::Link(link, ..) => Some(link.deadline()),
            Source::Task(deadline) => Some(deadline),
            Source::Done => None,
        }
    }

    /// Gives the link back, as soon as nothing is left to read: hyper's server does not ask again
    /// once it has as many bytes as were announced.
    fn release(&mut self, cx: &mut Context<'_>) {
        if let Source::Link(mut link, upstream, idle) =
            std::mem::replace(&mut self.source, Source::Done)
            && link.is_reusable(cx)
        {
            upstream.pool.put(link, idle);
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
        if let Source::Link(link, ..) = &mut this.source {
            link.drive(cx);
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if this.incoming.is_end_stream() {
                    this.release(cx);
                } else {
                    let read = this.read;
                    this.deadline()
                        .into_iter()
                        .for_each(|deadline| deadline.set(read));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.source = Source::Done;
                Poll::Ready(Some(Err(AnswerFault::Broken(error))))
            }
            Poll::Ready(None) => {
                this.release(cx);
                Poll::Ready(None)
            }
            Poll::Pending => match this.deadline().map(|deadline| deadline.poll_passed(cx)) {
                Some(Poll::Ready(())) => {
                    this.source = Source::Done;
                    Poll::Ready(Some(Err(AnswerFault::Stalled)))
                }
                _ => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Why an answer ended before its end: the caller's connection is then closed, as nothing else
/// can tell it so.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// The upstream closed the connection, or broke its framing.
    #[error("the upstream's answer broke off")]
    Broken(#[source] hyper::Error),
    /// The upstream sent nothing for as long as `timeouts.read` allows.
    #[error("the upstream stopped sending its answer")]
    Stalled,
}
