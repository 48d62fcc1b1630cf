//! What carries bytes to an upstream below TLS: [`Wire`].

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

/// A byte stream that is no plain TCP connection: a stream of a tunnel, or one with TLS of its own.
pub trait Tunnel: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {
    /// Whether it is known to have ended, or to carry bytes that nobody asked for: it is not used for
    /// another request then.
    fn is_closed(&self) -> bool;

    /// What tells that it is for no more requests, though it may go on; none if nothing does.
    fn leaving(&self) -> Option<CancellationToken> {
        None
    }
}

/// A tunnel's byte stream, whatever makes it.
#[derive(Debug)]
pub struct Wire(pub Box<dyn Tunnel>);

impl Wire {
    /// Whether it has ended, as far as is known.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// What tells that it is for no more requests.
    pub(super) fn leaving(&self) -> Option<CancellationToken> {
        self.0.leaving()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
