//! Memory for content on its way to the disk: [`Room`], and what of it is [`Held`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes are held at a time, over all endpoints. The longest content that there may be fits.
const MOST: u64 = 256 << 20;

/// Up to here content is not counted: there are only so many connections, and what is short never
/// waits for what is long.
const FREE: u64 = 64 << 10;

/// The memory that endpoints share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<AtomicU64>);

/// An endpoint's part of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part(Arc<AtomicU64>);

/// What one content has of both, until this is dropped.
#[derive(Debug)]
pub struct Held {
    room: Room,
    part: Part,
    /// How much the endpoint may have.
    share: u64,
    bytes: u64,
}

impl Room {
    /// Nothing yet, of an endpoint whose content is `longest` at the most.
    pub(crate) fn enter(&self, part: &Part, longest: u64) -> Held {
        Held {
            room: self.clone(),
            part: part.clone(),
            share: longest.max(MOST / 4),
            bytes: 0,
        }
    }
}

impl Held {
    /// Takes as much as `length` bytes of content need; false if there is not as much. Never waits:
    /// whoever waited would hold what others wait for.
    pub(crate) fn reach(&mut self, length: usize) -> bool {
        let wanted = (length as u64).saturating_sub(FREE);
        let more = wanted.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        if !take(&self.part.0, more, self.share) {
            return false;
        }
        if !take(&self.room.0, more, MOST) {
            self.part.0.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.part.0.fetch_sub(self.bytes, Ordering::Relaxed);
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn take(from: &AtomicU64, more: u64, most: u64) -> bool {
    let taken = from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
        let held = held + more;
        (held <= most).then_some(held)
    });
    taken.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_endpoint_has_all_and_what_is_short_always_fits() {
        const MIB: usize = 1 << 20;
        let (room, one, other) = (Room::default(), Part::default(), Part::default());
        let mut of_one: Vec<_> = (0..4).map(|_| room.enter(&one, 25 << 20)).collect();
        let fits: Vec<_> = of_one.iter_mut().map(|held| held.reach(25 * MIB)).collect();
        assert_eq!(fits, [true, true, false, false], "a quarter is one's");
        assert!(of_one[2].reach(64 << 10), "what is short");
        assert!(of_one[0].reach(10 * MIB), "what is there already");
        let mut whole = room.enter(&other, MOST);
        assert!(!whole.reach(256 * MIB));
        assert!(whole.reach(200 * MIB));
        drop(of_one);
        assert!(whole.reach(256 * MIB));
        assert!(!room.enter(&one, 25 << 20).reach(MIB));
        drop(whole);
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
        assert!(room.enter(&one, 25 << 20).reach(MIB));
    }
}
