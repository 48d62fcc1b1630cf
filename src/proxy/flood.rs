//! What a connection of HTTP/2 carries, by its frames: [`Frames`] finds them, and [`Meter`] sees those
//! that keep us busy and carry nothing.

use std::time::Duration;

use tokio::time::Instant;

/// What a client sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame's head (RFC 9113 section 4.1).
const HEAD: usize = 9;

/// One byte in so many has to be content or a request's head; the rest is framing and control.
const SHARE: u64 = 8;

/// So many bytes are borne beyond that, and so many more with each second, of which pings live.
const BORNE: u64 = 64 << 10;
const BORNE_PER_SECOND: u64 = 1 << 10;

/// A frame's type (RFC 9113 section 6).
pub(super) const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Finds the frames in what passes in one direction, in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What of the current frame's head has passed.
    head: [u8; HEAD],
    filled: usize,
    /// How much of the preface or of the current frame is left.
    left: usize,
}

impl Frames {
    /// Whether what passes next belongs to a frame of this type.
    pub(super) fn is_within(&self, kind: u8) -> bool {
        self.left > 0 && self.head[3] == kind
    }

    /// Tells type and length of each frame that begins in these bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut begin: impl FnMut(u8, u32)) {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.left);
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD - self.filled);
            let (head, rest) = bytes.split_at(taken);
            self.head[self.filled..self.filled + taken].copy_from_slice(head);
            self.filled += taken;
            bytes = rest;
            if self.filled == HEAD {
                self.filled = 0;
                let [high, middle, low, kind, ..] = self.head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.left = length as usize;
                begin(kind, length);
            }
        }
    }
}

/// Counts what a caller sends by what it is: SETTINGS, PING, PRIORITY, RST_STREAM, WINDOW_UPDATE and
/// empty DATA frames cost us work and the caller next to nothing (CVE-2019-9511 to 9518).
#[derive(Debug)]
pub(super) struct Meter {
    opened: Instant,
    frames: Frames,
    total: u64,
    useful: u64,
}

impl Meter {
    /// One for a connection whose preface is still to come.
    pub(super) fn new(opened: Instant) -> Self {
        let frames = Frames {
            left: PREFACE.len(),
            ..Frames::default()
        };
        Self {
            opened,
            frames,
            total: 0,
            useful: 0,
        }
    }

    /// Counts what was read; says whether the caller has told that it took something.
    pub(super) fn read(&mut self, bytes: &[u8]) -> bool {
        let mut takes = false;
        self.total += bytes.len() as u64;
        self.frames.pass(bytes, |kind, length| {
            takes |= kind == WINDOW_UPDATE;
            if matches!(kind, DATA | HEADERS | CONTINUATION) {
                self.useful += u64::from(length);
            }
        });
        takes
    }

    /// Whether it is too much of what carries nothing, where the caller was given so many bytes.
    pub(super) fn is_flooded(&self, given: u64) -> bool {
        let since = self.opened.elapsed().max(Duration::ZERO).as_secs();
        let borne = BORNE.saturating_add(since.saturating_mul(BORNE_PER_SECOND));
        self.total / SHARE > self.useful.saturating_add(given).saturating_add(borne)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD + usize::from(length), b'x');
        frame
    }

    /// What a meter says of the preface and so many of these frames, read in pieces of `piece` bytes.
    fn flooded(kind: u8, length: u8, count: usize, piece: usize) -> bool {
        let mut meter = Meter::new(Instant::now());
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(kind, length).repeat(count));
        for piece in bytes.chunks(piece) {
            meter.read(piece);
        }
        meter.is_flooded(0)
    }

    #[test]
    fn control_frames_are_borne_for_a_while_and_content_for_ever() {
        for piece in [1, 7, 4096] {
            for (kind, length, what) in [(6, 8, "PING"), (8, 4, "WINDOW_UPDATE"), (0, 0, "empty")] {
                assert!(!flooded(kind, length, 10_000, piece), "{what} in {piece}");
                assert!(flooded(kind, length, 100_000, piece), "{what} in {piece}");
            }
            assert!(!flooded(0, 5, 100_000, piece), "messages in {piece}");
            assert!(!flooded(1, 20, 100_000, piece), "requests in {piece}");
        }
    }
}
