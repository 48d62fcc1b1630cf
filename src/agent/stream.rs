//! One stream of a tunnel as bytes, with HTTP/2's flow control from end to end: [`TunnelStream`] at the
//! proxy's end, its halves at the agent's.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::SEND_BUFFER;
use super::tunnel::Place;

/// The most that is copied for one write, in bytes.
const PIECE: usize = 64 << 10;

/// A stream of a tunnel. Dropped before both ends have ended, it is reset.
pub struct TunnelStream {
    /// In a lock, as somebody may look whether it has ended without reading it.
    incoming: Mutex<Incoming>,
    outgoing: Outgoing,
    place: Place,
}

/// What comes on a stream.
pub(super) struct Incoming {
    recv: RecvStream,
    /// What has arrived and was not taken; its window is given back as it is.
    arrived: Bytes,
    ended: Option<Result<(), Reason>>,
}

/// What goes out on a stream.
pub(super) struct Outgoing {
    send: SendStream<Bytes>,
    has_shut: bool,
}

impl TunnelStream {
    /// A stream whose head was exchanged, and that is counted at `place`.
    pub(super) fn new(recv: RecvStream, send: SendStream<Bytes>, place: Place) -> Self {
        Self {
            incoming: Mutex::new(Incoming::new(recv)),
            outgoing: Outgoing::new(send),
            place,
        }
    }

    /// Whether nothing more comes, or nobody takes anything, as far as has arrived here.
    pub fn is_closed(&self) -> bool {
        if self.place.is_leaving() {
            return true;
        }
        let mut incoming = self.incoming.lock();
        // Whoever reads next is woken by that.
        let _ = incoming.poll_arrive(&mut Context::from_waker(Waker::noop()));
        incoming.arrived.is_empty() && incoming.ended.is_some()
    }

    /// What tells when the agent takes no more streams.
    pub fn leaving(&self) -> CancellationToken {
        self.place.leaving()
    }
}

impl Incoming {
    pub(super) fn new(recv: RecvStream) -> Self {
        Self {
            recv,
            arrived: Bytes::new(),
            ended: None,
        }
    }

    /// Waits until something has arrived, or nothing will.
    fn poll_arrive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.arrived.is_empty() && self.ended.is_none() {
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) => self.arrived = data,
                Some(Err(error)) => {
                    self.ended = Some(Err(error.reason().unwrap_or(Reason::CANCEL)));
                }
                None => self.ended = Some(Ok(())),
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_arrive(cx));
        if let (true, Some(Err(reason))) = (this.arrived.is_empty(), this.ended) {
            return Poll::Ready(Err(reset(reason)));
        }
        let count = this.arrived.len().min(buf.remaining());
        buf.put_slice(&this.arrived[..count]);
        this.arrived.advance(count);
        // Only what was taken makes room for more, so nothing piles up here. It fails where more is
        // released than arrived, which this does not.
        let _ = this.recv.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl Outgoing {
    pub(super) fn new(send: SendStream<Bytes>) -> Self {
        Self {
            send,
            has_shut: false,
        }
    }

    /// Waits until the other end breaks the stream off.
    pub(super) async fn reset(&mut self) {
        // The connection's end is as good.
        let _ = poll_fn(|cx| self.send.poll_reset(cx)).await;
    }

    /// Waits until nothing is held here that was written, or it is of no use any more.
    pub(super) async fn drained(&mut self) {
        // There is never more room than where nothing is held.
        self.send.reserve_capacity(SEND_BUFFER);
        while self.send.capacity() < SEND_BUFFER {
            match poll_fn(|cx| self.send.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Ends it as broken.
    pub(super) fn break_off(&mut self) {
        self.send.send_reset(Reason::CONNECT_ERROR);
    }

    /// Waits for room for some of `wanted` bytes; none if what is written is of no use any more.
    fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<io::Result<Option<usize>>> {
        self.send.reserve_capacity(wanted);
        loop {
            let room = self.send.capacity().min(wanted);
            if room > 0 {
                return Poll::Ready(Ok(Some(room)));
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None if self.is_unwanted(cx) => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            }
        }
    }

    /// Sends, unless the other end has said all and wants no more (RFC 9113 section 8.1): who has not
    /// read its answer yet is not to be told that it broke off.
    fn send(&mut self, cx: &mut Context<'_>, data: Bytes, is_last: bool) -> io::Result<()> {
        match self.send.send_data(data, is_last) {
            Err(_) if self.is_unwanted(cx) => Ok(()),
            sent => sent.map_err(broken),
        }
    }

    fn is_unwanted(&mut self, cx: &mut Context<'_>) -> bool {
        matches!(self.send.poll_reset(cx), Poll::Ready(Ok(Reason::NO_ERROR)))
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(PIECE);
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        let Some(room) = ready!(this.poll_room(cx, wanted))? else {
            return Poll::Ready(Ok(wanted));
        };
        let mut data = BytesMut::with_capacity(room);
        for buf in bufs {
            let count = buf.len().min(room - data.len());
            data.extend_from_slice(&buf[..count]);
        }
        let count = data.len();
        Poll::Ready(this.send(cx, data.freeze(), false).map(|()| count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was taken is the tunnel's, which writes as soon as it can.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::replace(&mut this.has_shut, true) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(this.send(cx, Bytes::new(), true))
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(this.incoming.get_mut()).poll_read(cx, buf);
        this.place.received(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.outgoing).poll_write_vectored(cx, bufs))?;
        this.place.sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_shutdown(cx)
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, error)
}

fn reset(reason: Reason) -> io::Error {
    let text = format!("the other end of the tunnel broke it off ({reason})");
    io::Error::new(ErrorKind::ConnectionReset, text)
}

impl fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream").finish_non_exhaustive()
    }
}
