//! The letter case of field names on their way out: [`Recase`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Gives field names in request heads the letter case of the configuration.
///
/// hyper keeps the case of names that it parsed itself, and writes all others in lower case; there
/// is no way to tell it the case of a name that is added. A name keeps its length, so the head is
/// changed where it stands, on its way out.
#[derive(Debug)]
pub struct Recase {
    names: Arc<[Box<str>]>,
    expected: Arc<AtomicBool>,
    head: Vec<u8>,
    written: usize,
}

impl Recase {
    /// Recases `names` in each head that is announced by setting `expected`.
    pub fn new(names: Arc<[Box<str>]>, expected: Arc<AtomicBool>) -> Self {
        Self {
            names,
            expected,
            head: Vec::new(),
            written: 0,
        }
    }

    /// Takes the head from the front of what is written, if one is due.
    pub(super) fn begin(&mut self, buf: &[u8]) {
        if !self.expected.swap(false, Ordering::Relaxed) {
            return;
        }
        let end = buf
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map_or(0, |at| at + 4);
        self.head = recased(&buf[..end], &self.names);
        self.written = 0;
    }

    /// What is still to be written of the head, if that is anything.
    pub(super) fn unwritten(&self) -> Option<&[u8]> {
        (!self.head.is_empty()).then(|| &self.head[self.written..])
    }

    /// Notes that so much of it was written.
    pub(super) fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.head.len() {
            self.head.clear();
            self.written = 0;
        }
    }
}

fn recased(head: &[u8], names: &[Box<str>]) -> Vec<u8> {
    let mut head = head.to_vec();
    for line in head.split_mut(|&b| b == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            continue;
        };
        let written = &mut line[..colon];
        if let Some(name) = names
            .iter()
            .find(|name| name.as_bytes().eq_ignore_ascii_case(written))
        {
            written.copy_from_slice(name.as_bytes());
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_case_and_nothing_else_changes() {
        let names = ["X-API-KEY".into(), "Host".into()];
        let head =
            b"GET /x-api-key: HTTP/1.1\r\nhost: x-api-key: b\r\nx-api-key: K\r\nX-Other: 1\r\n\r\n";
        let want =
            b"GET /x-api-key: HTTP/1.1\r\nHost: x-api-key: b\r\nX-API-KEY: K\r\nX-Other: 1\r\n\r\n";
        assert_eq!(recased(head, &names), want);
    }
}
