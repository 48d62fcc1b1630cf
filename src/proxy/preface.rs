//! Which protocol a caller speaks, told by the first bytes: [`read`].

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use hyper::rt::{Read, ReadBuf};
use pingora_core::server::ShutdownWatch;

use super::caller::Caller;
use super::flood::PREFACE;
use super::serve::{Idle, stop};
use super::stream::CallerStream;
use crate::upstream::deadline::Deadline;

/// How much is read at once: the head of nearly every request.
const READS: usize = 4096;

/// What a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    /// By prior knowledge (RFC 9113 section 3.3).
    Http2,
}

/// Reads as far as is needed to tell, and puts it back; none if the connection ends before that.
pub(super) async fn read(
    io: &mut CallerStream,
    caller: &Caller,
    shutdown: &ShutdownWatch,
) -> Option<Spoken> {
    let mut told = pin!(stop(shutdown.clone()));
    let mut idle = Idle::new(Deadline::new(Duration::ZERO));
    let mut begun = BytesMut::new();
    let spoken = poll_fn(|cx| {
        loop {
            if let Poll::Ready(count) = poll_more(io, cx, &mut begun) {
                match count {
                    Ok(1..) => {}
                    // The end, or as good as it; what has no end is not answered.
                    Ok(0) | Err(_) => {
                        return Poll::Ready((!begun.is_empty()).then_some(Spoken::Http1));
                    }
                }
                if begun.starts_with(PREFACE) {
                    return Poll::Ready(Some(Spoken::Http2));
                }
                if !PREFACE.starts_with(&begun) {
                    return Poll::Ready(Some(Spoken::Http1));
                }
                continue;
            }
            if told.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            ready!(idle.poll_over(cx, caller));
            return Poll::Ready(None);
        }
    });
    let spoken = spoken.await;
    io.put_back(begun.freeze());
    spoken
}

fn poll_more(
    io: &mut CallerStream,
    cx: &mut std::task::Context<'_>,
    begun: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    // On the stack: a connection that says nothing costs no memory for what it might say.
    let mut bytes = [0; READS];
    let mut buf = ReadBuf::new(&mut bytes);
    ready!(Pin::new(io).poll_read(cx, buf.unfilled()))?;
    begun.extend_from_slice(buf.filled());
    Poll::Ready(Ok(buf.filled().len()))
}
