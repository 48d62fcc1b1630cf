//! A caller's content that can be sent twice: [`ReplayContent`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::content::passed;
use crate::request::strip::Strip;

/// How much of what is kept is handed out at once, in bytes.
const PIECE: usize = 64 << 10;

/// Shorter pieces are copied to be kept, in bytes: each would hold the whole buffer that it was read into,
/// of 8 KiB at least.
const SHORT: usize = 8 << 10;

/// A caller's content that is kept while it is streamed, up to a limit, so that it can be sent from
/// its start once more: to the end, even where the first sending broke off before it.
pub struct ReplayContent {
    tape: Arc<Mutex<Tape>>,
    /// Which of the readers this is: only the last one reads.
    reader: u32,
    /// Whether it has handed on what follows the content.
    has_trailed: bool,
    /// How many bytes were read.
    position: usize,
    /// How many bytes are left, where the caller said how many there are.
    left: Option<u64>,
}

/// What was read from the caller so far.
struct Tape {
    incoming: Incoming,
    kept: Kept,
    /// How many bytes are kept at the most.
    most: u64,
    /// How many bytes the caller announced.
    announced: Option<u64>,
    reader: u32,
    /// Who waits for more.
    waker: Option<Waker>,
    /// How many may still want to send it again.
    spares: u32,
    /// Whether all that was read is kept.
    whole: bool,
    ended: bool,
    /// What lets trailers pass; none if they are not wanted.
    strip: Option<Arc<Strip>>,
    trailers: Option<HeaderMap>,
}

/// Why there is no more content.
#[derive(Debug)]
pub enum ReplayFault {
    /// The caller went away, or broke its framing.
    Caller(hyper::Error),
    /// Another attempt sends it now.
    Superseded,
}

impl ReplayContent {
    /// Keeps `most` bytes; longer content passes and can then not be sent again.
    ///
    /// What follows it passes as far as `strip` lets it, if there is one.
    pub(super) fn new(incoming: Incoming, most: u64, strip: Option<Arc<Strip>>) -> Self {
        let announced = incoming.size_hint().exact();
        let tape = Tape {
            incoming,
            kept: Kept::default(),
            most,
            announced,
            reader: 0,
            waker: None,
            spares: 0,
            // What is known to be too long is not kept at all.
            whole: announced.is_none_or(|length| length <= most),
            ended: false,
            strip,
            trailers: None,
        };
        Self {
            tape: Arc::new(Mutex::new(tape)),
            reader: 0,
            has_trailed: false,
            position: 0,
            left: announced,
        }
    }

    /// What can become a second reader later; none if there is no use in keeping it.
    pub(super) fn spare(&self) -> Option<Spare> {
        let mut tape = self.tape.lock();
        if !tape.whole {
            return None;
        }
        tape.spares += 1;
        Some(Spare(Arc::clone(&self.tape)))
    }

    /// The next piece.
    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ReplayFault>>> {
        let mut tape = self.tape.lock();
        if tape.reader != self.reader {
            return Poll::Ready(Some(Err(ReplayFault::Superseded)));
        }
        let data = match tape.kept.at(self.position) {
            Some(data) => data,
            None => match ready!(tape.poll_incoming(cx)) {
                Some(Ok(data)) => data,
                end => return Poll::Ready(end),
            },
        };
        self.position += data.len();
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Poll::Ready(Some(Ok(data)))
    }

    /// What follows the content, once.
    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        if std::mem::replace(&mut self.has_trailed, true) {
            return None;
        }
        self.tape.lock().trailers.clone()
    }

    /// How many bytes are left, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }

    /// Whether nothing is left.
    pub(super) fn is_end(&self) -> bool {
        let tape = self.tape.lock();
        let is_read = tape.ended && self.position >= tape.kept.length();
        self.left == Some(0) || is_read && (self.has_trailed || tape.trailers.is_none())
    }
}

impl fmt::Debug for ReplayContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayContent")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Content that may be sent again: as long as there is one, it is kept.
pub struct Spare(Arc<Mutex<Tape>>);

impl Spare {
    /// The content from its start, if all of it was kept. Whoever read before reads no more.
    pub(super) fn restore(&self) -> Option<ReplayContent> {
        let mut tape = self.0.lock();
        if !tape.whole {
            return None;
        }
        tape.reader += 1;
        // It is to see that it is over.
        if let Some(waker) = tape.waker.take() {
            waker.wake();
        }
        Some(ReplayContent {
            tape: Arc::clone(&self.0),
            reader: tape.reader,
            has_trailed: false,
            position: 0,
            left: tape.announced,
        })
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.0.lock().spares -= 1;
    }
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spare")
    }
}

/// Content in the pieces in which it came, as far as they are long.
#[derive(Default)]
struct Kept {
    /// Pieces, and where each begins.
    pieces: Vec<(usize, Bytes)>,
    /// Where what follows them begins, and that.
    begin: usize,
    rest: BytesMut,
}

impl Kept {
    fn length(&self) -> usize {
        self.begin + self.rest.len()
    }

    fn push(&mut self, data: &Bytes) {
        if data.len() < SHORT {
            return self.rest.extend_from_slice(data);
        }
        if !self.rest.is_empty() {
            let rest = self.rest.split().freeze();
            self.append(rest);
        }
        self.append(data.clone());
    }

    fn append(&mut self, piece: Bytes) {
        let begin = self.begin;
        self.begin += piece.len();
        self.pieces.push((begin, piece));
    }

    /// What stands at a position, or some of it; none behind all.
    fn at(&self, position: usize) -> Option<Bytes> {
        if position >= self.begin {
            let rest = self.rest.get(position - self.begin..)?;
            let some = &rest[..rest.len().min(PIECE)];
            return (!some.is_empty()).then(|| Bytes::copy_from_slice(some));
        }
        let behind = self.pieces.partition_point(|(begin, _)| *begin <= position);
        let (begin, piece) = self.pieces.get(behind.checked_sub(1)?)?;
        let offset = position - begin;
        Some(piece.slice(offset..piece.len().min(offset + PIECE)))
    }
}

impl Tape {
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReplayFault>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.forget();
                    return Poll::Ready(Some(Err(ReplayFault::Caller(error))));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    self.keep(&data);
                    return Poll::Ready(Some(Ok(data)));
                }
                Err(frame) => {
                    let strip = self.strip.as_deref();
                    self.trailers = strip.and_then(|strip| passed(frame, strip));
                }
            }
        }
    }

    fn keep(&mut self, data: &Bytes) {
        if !self.whole {
            return;
        }
        let length = (self.kept.length() + data.len()) as u64;
        if self.spares == 0 || length > self.most {
            return self.forget();
        }
        self.kept.push(data);
    }

    fn forget(&mut self) {
        self.whole = false;
        self.kept = Kept::default();
    }
}

#[cfg(test)]
mod tests;
