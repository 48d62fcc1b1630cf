//! Memory for what is signed and then forgotten, kept per thread.

use std::cell::RefCell;

use zeroize::Zeroize;

/// What is kept of a buffer that one large request made grow.
const KEPT: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// Buffers that are empty at the start.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The text that is made.
    pub(super) text: Vec<u8>,
    /// Parts of it, in the order in which they were found.
    pub(super) parts: Vec<u8>,
    /// Where these parts are.
    pub(super) index: Vec<Part>,
}

/// A name and a value in [`Scratch::parts`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Where the name begins.
    pub(super) start: usize,
    /// Where it ends, and the value begins.
    pub(super) middle: usize,
    /// Where the value ends.
    pub(super) end: usize,
}

impl Scratch {
    pub(super) const fn new() -> Self {
        Self {
            text: Vec::new(),
            parts: Vec::new(),
            index: Vec::new(),
        }
    }

    /// Empties the parts.
    pub(super) fn clear_parts(&mut self) {
        wipe(&mut self.parts);
        self.index.clear();
    }
}

/// Lends this thread's buffers, and empties them again.
///
/// They are overwritten then: a session token was in them.
pub(super) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        let done = work(scratch);
        wipe(&mut scratch.text);
        scratch.clear_parts();
        done
    })
}

fn wipe(buffer: &mut Vec<u8>) {
    buffer.as_mut_slice().zeroize();
    buffer.clear();
    buffer.shrink_to(KEPT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_and_large_buffers_are_given_back() {
        with(|scratch| scratch.text.resize(2 * KEPT, b'x'));
        with(|scratch| {
            assert!(scratch.text.is_empty());
            assert!(scratch.text.capacity() <= KEPT);
        });
    }
}
