//! A stream of which the beginning was read already: [`Rewound`].

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::upstream::stream::is_socket_closed;
use crate::upstream::wire::Tunnel;

/// A stream behind what came with the head of the proxy's answer.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    stream: S,
    ahead: Bytes,
}

impl<S> Rewound<S> {
    pub(super) fn new(stream: S, ahead: Bytes) -> Self {
        Self { stream, ahead }
    }
}

/// What a proxy is spoken to on.
pub(super) trait Near: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {
    /// Whether the proxy has closed it.
    fn is_over(&self) -> bool;
}

impl Near for TcpStream {
    fn is_over(&self) -> bool {
        is_socket_closed(self, false)
    }
}

impl Near for Box<TlsStream<TcpStream>> {
    fn is_over(&self) -> bool {
        is_socket_closed(self.get_ref().0, false)
    }
}

impl<S: Near> Tunnel for Rewound<S> {
    fn is_closed(&self) -> bool {
        self.stream.is_over()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let count = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..count]);
        this.ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_comes_first_in_pieces_of_any_length() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b" and then").await.unwrap();
        drop(far);
        let mut rewound = Rewound::new(near, Bytes::from_static(b"first"));
        let mut two = [0; 2];
        rewound.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"fi");
        let mut rest = String::new();
        rewound.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "rst and then");
    }
}
