//! The time that signatures bear: [`Clock`].

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// How far a signature's time may be off without being the reason for a refusal: more than the
/// second of a `Date` field and the way of an answer, and less than any server's tolerance.
const TOLERANCE: Duration = Duration::from_secs(10);

/// The system's clock with what it is known to be off from an upstream's.
#[derive(Debug, Default)]
pub struct Clock {
    /// Milliseconds to be added to the system's time.
    offset: AtomicI64,
}

impl Clock {
    /// The time by which to sign.
    pub fn now(&self) -> SystemTime {
        self.at(SystemTime::now())
    }

    /// How far the upstream's clock is ahead of the system's, in milliseconds.
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Follows the upstream's clock, after it has refused a signature for its time: `server` is its
    /// `Date`, `local` the system's time when the answer came, `signed` the time that the refused
    /// signature bears.
    ///
    /// True if a signature of now has another time than the refused one, so that the request may be
    /// signed and sent again. That is asked of `signed` and not of the offset: of two requests that are
    /// refused at once, the second finds the clock corrected.
    pub fn correct(&self, server: SystemTime, local: SystemTime, signed: SystemTime) -> bool {
        let offset = milliseconds(local, server);
        if offset.abs_diff(self.offset()) > TOLERANCE.as_millis() as u64 {
            self.offset.store(offset, Ordering::Relaxed);
        }
        milliseconds(signed, server).unsigned_abs() > TOLERANCE.as_millis() as u64
    }

    fn at(&self, local: SystemTime) -> SystemTime {
        let offset = self.offset();
        let by = Duration::from_millis(offset.unsigned_abs());
        let time = match offset {
            0.. => local.checked_add(by),
            _ => local.checked_sub(by),
        };
        time.unwrap_or(local)
    }
}

/// From one time to another, negative if it was before.
fn milliseconds(from: SystemTime, to: SystemTime) -> i64 {
    let whole = |by: Duration| i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(by) => whole(by),
        Err(before) => -whole(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn it_follows_the_server_in_both_directions() {
        let local = UNIX_EPOCH + 1000 * HOUR;
        for (server, offset) in [(local + HOUR, 3_600_000), (local - HOUR, -3_600_000)] {
            let clock = Clock::default();
            assert_eq!(clock.at(local), local);
            assert!(clock.correct(server, local, local));
            assert_eq!(clock.offset(), offset);
            assert_eq!(clock.at(local), server);
            assert!(clock.correct(local, local, server), "and back");
            assert_eq!(clock.offset(), 0);
        }
    }

    #[test]
    fn little_is_no_reason() {
        let clock = Clock::default();
        let local = UNIX_EPOCH + HOUR;
        assert!(!clock.correct(local + TOLERANCE, local, local));
        assert!(!clock.correct(local - TOLERANCE, local, local));
        assert_eq!(clock.offset(), 0);
    }

    #[test]
    fn the_second_of_two_refused_at_once_may_be_sent_again_too() {
        let clock = Clock::default();
        let local = UNIX_EPOCH + HOUR;
        assert!(clock.correct(local + HOUR, local, local));
        assert!(clock.correct(local + HOUR, local, local));
        assert_eq!(clock.offset(), 3_600_000);
        assert!(
            !clock.correct(local + HOUR, local, clock.at(local)),
            "one that was signed by the corrected clock was refused for another reason"
        );
    }

    #[test]
    fn times_out_of_all_bounds_do_no_harm() {
        let clock = Clock::default();
        let end = UNIX_EPOCH + Duration::from_secs(i64::MAX.unsigned_abs());
        assert!(clock.correct(end, UNIX_EPOCH, UNIX_EPOCH));
        assert_eq!(clock.at(end), end, "what cannot be added is left out");
        assert!(clock.correct(UNIX_EPOCH, end, end));
        assert!(clock.now() <= SystemTime::now());
    }
}
