//! One stream of a tunnel as bytes: [`TunnelStream`], with HTTP/2's flow control from end to end.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tunnel::Place;

/// The most that is copied for one write, in bytes.
const PIECE: usize = 64 << 10;

/// A stream of a tunnel. Dropped before both ends have ended, it is reset.
pub struct TunnelStream {
    /// In a lock, as somebody may look whether it has ended without reading it.
    reading: Mutex<Reading>,
    send: SendStream<Bytes>,
    has_shut: bool,
    /// Of the proxy's end, which counts.
    place: Option<Place>,
}

struct Reading {
    recv: RecvStream,
    /// What has arrived and was not taken; its window is given back as it is.
    arrived: Bytes,
    ended: Option<Result<(), Reason>>,
}

impl TunnelStream {
    /// A stream whose head was exchanged.
    pub(super) fn new(recv: RecvStream, send: SendStream<Bytes>, place: Option<Place>) -> Self {
        let reading = Reading {
            recv,
            arrived: Bytes::new(),
            ended: None,
        };
        Self {
            reading: Mutex::new(reading),
            send,
            has_shut: false,
            place,
        }
    }

    /// Whether nothing more comes, or nobody takes anything, as far as has arrived here.
    pub fn is_closed(&self) -> bool {
        if self.place.as_ref().is_some_and(Place::is_leaving) {
            return true;
        }
        let mut reading = self.reading.lock();
        // Whoever reads next is woken by that.
        let _ = reading.poll_arrive(&mut Context::from_waker(Waker::noop()));
        reading.arrived.is_empty() && reading.ended.is_some()
    }

    /// Ends it as broken, for `reason`.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    fn write(&mut self, data: Bytes) -> io::Result<usize> {
        let count = data.len();
        self.send.send_data(data, false).map_err(broken)?;
        if let Some(place) = &self.place {
            place.sent(count);
        }
        Ok(count)
    }

    /// Waits for room for some of `wanted` bytes.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(wanted);
        loop {
            let room = self.send.capacity().min(wanted);
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            }
        }
    }
}

impl Reading {
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

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let reading = this.reading.get_mut();
        ready!(reading.poll_arrive(cx));
        if let (true, Some(Err(reason))) = (reading.arrived.is_empty(), reading.ended) {
            return Poll::Ready(Err(reset(reason)));
        }
        let count = reading.arrived.len().min(buf.remaining());
        buf.put_slice(&reading.arrived[..count]);
        reading.arrived.advance(count);
        // Only what was taken makes room for more, so nothing piles up here. It fails where more is
        // released than arrived, which this does not.
        let _ = reading.recv.flow_control().release_capacity(count);
        if let Some(place) = &this.place {
            place.received(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        let room = ready!(this.poll_room(cx, buf.len().min(PIECE)))?;
        Poll::Ready(this.write(Bytes::copy_from_slice(&buf[..room])))
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
        let room = ready!(this.poll_room(cx, wanted))?;
        let mut data = BytesMut::with_capacity(room);
        for buf in bufs {
            let count = buf.len().min(room - data.len());
            data.extend_from_slice(&buf[..count]);
        }
        Poll::Ready(this.write(data.freeze()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was taken is the tunnel's, which writes as soon as it can.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::replace(&mut this.has_shut, true) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(this.send.send_data(Bytes::new(), true).map_err(broken))
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
