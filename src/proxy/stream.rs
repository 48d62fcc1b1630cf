//! The byte stream to a caller: [`CallerStream`], which sees to it that hyper's own refusals are
//! problem details like all others.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Method, Response};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{MsgFlags, send};
use pingora_core::protocols::Stream;
use tracing::info;

use super::caller::Caller;
use crate::problem::{Kind, Problem};
use crate::upstream::stream::{SMALL, joined};

/// A caller's stream, under hyper.
///
/// What hyper cannot parse it refuses itself, with a bare status line. Such a head is the only
/// thing that hyper ever writes while no request is being answered and nothing is left to flush:
/// it is then replaced by a [`Problem`] of the same status.
pub(super) struct CallerStream {
    inner: TokioIo<Stream>,
    caller: Arc<Caller>,
    /// Whether everything written so far was flushed.
    flushed: bool,
    /// What stands in for hyper's own refusal.
    instead: Bytes,
    /// What was read already, to be read again.
    begun: Bytes,
}

impl CallerStream {
    pub(super) fn new(stream: Stream, caller: Arc<Caller>) -> Self {
        Self {
            inner: TokioIo::new(stream),
            caller,
            flushed: true,
            instead: Bytes::new(),
            begun: Bytes::new(),
        }
    }

    /// Puts back what was read, in front of what follows it.
    pub(super) fn put_back(&mut self, begun: Bytes) {
        self.begun = begun;
    }

    /// Takes hyper's own refusal, if it is one.
    fn take_refusal(&mut self, written: &[u8]) -> bool {
        if !self.flushed || self.caller.is_served() {
            return false;
        }
        let Some(kind) = refusal(written) else {
            return false;
        };
        let problem = Problem::new(kind, detail(kind)).closing();
        let metrics = &self.caller.proxy.unrouted;
        metrics.answered(&other(), problem.status(), Duration::ZERO, None);
        if self.caller.proxy.reader.take().access_log {
            let status = problem.status().as_u16();
            info!(target: "keybearer::access", status, problem = kind.slug(), "Request not read");
        }
        self.instead = written_out(&problem.to_response());
        true
    }

    /// Notes whether the caller takes what is written, and writes without asking whether it may if
    /// it is [pressed](Caller::press).
    fn noted<'a>(
        &self,
        written: Poll<io::Result<usize>>,
        buf: impl FnOnce() -> &'a [u8],
    ) -> Poll<io::Result<usize>> {
        let written = match written {
            Poll::Pending if self.caller.is_pressed() => self.send_anyway(buf()),
            written => written,
        };
        self.caller.takes(written.is_ready());
        written
    }

    /// Past the readiness that is known of the stream. Nothing between it and us holds bytes back,
    /// so none are overtaken.
    fn send_anyway(&self, buf: &[u8]) -> Poll<io::Result<usize>> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.inner.inner().id(), buf, flags) {
            Ok(count) if count > 0 => Poll::Ready(Ok(count)),
            // Nothing was taken, or the stream is broken: its owner gives it up in either case.
            _ => Poll::Pending,
        }
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.instead))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl Read for CallerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begun.is_empty() {
            let count = self.begun.len().min(buf.remaining());
            buf.put_slice(&self.begun.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() && !self.flushed {
            self.caller.sends();
        }
        read
    }
}

impl Write for CallerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.take_refusal(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.flushed = false;
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.noted(written, || buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs
            && self.take_refusal(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        self.flushed = false;
        let inner = Pin::new(&mut self.inner);
        let written = match bufs {
            [only] => inner.poll_write(cx, only),
            several => match joined(several, &mut [0; SMALL]) {
                Some(buf) => inner.poll_write(cx, buf),
                None => inner.poll_write_vectored(cx, several),
            },
        };
        self.noted(written, || {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            first.map_or(&[], |buf| buf)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.flushed = true;
        self.caller.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What hyper refuses with a head and nothing else.
fn refusal(written: &[u8]) -> Option<Kind> {
    let status = written.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    if !written.ends_with(b"\r\n\r\n") {
        return None;
    }
    match status {
        b"400" => Some(Kind::MalformedRequest),
        b"431" => Some(Kind::HeadTooLarge),
        _ => None,
    }
}

fn detail(kind: Kind) -> &'static str {
    match kind {
        Kind::HeadTooLarge => {
            "the request's head is larger than 64 KiB or has more than 100 fields"
        }
        _ => "the request cannot be read as HTTP/1.1, or only in more than one way",
    }
}

/// The label of a method that could not be read.
fn other() -> Method {
    Method::from_bytes(b"-").unwrap_or_default()
}

/// An answer as HTTP/1.1 text, for the one case in which hyper does not write it.
fn written_out(response: &Response<Bytes>) -> Bytes {
    let mut text = format!(
        "HTTP/1.1 {}\r\ncontent-length: {}\r\n",
        response.status(),
        response.body().len()
    )
    .into_bytes();
    for (name, value) in response.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(response.body());
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_heads_of_refusals_are_taken_for_hypers_own() {
        for (written, kind) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..],
                Some(Kind::MalformedRequest),
            ),
            (
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n",
                Some(Kind::HeadTooLarge),
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n", None),
            (b"HTTP/1.1 100 Continue\r\n\r\n", None),
            (b"HTTP/1.1 400 Bad Request\r\n\r\nbody", None),
            (b"", None),
        ] {
            assert_eq!(refusal(written), kind);
        }
    }

    #[test]
    fn a_refusal_is_written_as_a_whole_message() {
        let problem = Problem::new(Kind::HeadTooLarge, detail(Kind::HeadTooLarge)).closing();
        let text = String::from_utf8(written_out(&problem.to_response()).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(head.contains("connection: close"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }
}
