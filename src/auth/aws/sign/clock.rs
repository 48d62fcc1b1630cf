//! The time that signatures bear: [`Clock`].

use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far a signature's time may be off without being the reason for a refusal: more than the
/// second of a `Date` field and the way of an answer, and less than any server's tolerance.
const TOLERANCE: Duration = Duration::from_secs(10);

/// What a server may say that the time is: by a clock that is followed anywhere, nothing could be
/// signed any more, and so nobody would ever correct it.
pub(in crate::auth::aws) static PLAUSIBLE: LazyLock<Range<SystemTime>> = LazyLock::new(|| {
    // The years 2015 and 2200.
    UNIX_EPOCH + Duration::from_secs(1_420_070_400)..UNIX_EPOCH + Duration::from_secs(7_258_118_400)
});

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
    /// `Date`, `local` the system's time when the answer came, `signed` what the clock that the refused
    /// signature was made by showed then.
    ///
    /// True if a signature of now has another time than the refused one, so that the request may be
    /// signed and sent again. That is asked of `signed` and not of the offset: of two requests that are
    /// refused at once, the second finds the clock corrected.
    pub fn correct(&self, server: SystemTime, local: SystemTime, signed: SystemTime) -> bool {
        if !PLAUSIBLE.contains(&server) {
            return false;
        }
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

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn it_follows_the_server_in_both_directions() {
        let local = UNIX_EPOCH + 500_000 * HOUR;
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
        let local = UNIX_EPOCH + 500_000 * HOUR;
        assert!(!clock.correct(local + TOLERANCE, local, local));
        assert!(!clock.correct(local - TOLERANCE, local, local));
        assert_eq!(clock.offset(), 0);
    }

    #[test]
    fn the_second_of_two_refused_at_once_may_be_sent_again_too() {
        let clock = Clock::default();
        let local = UNIX_EPOCH + 500_000 * HOUR;
        assert!(clock.correct(local + HOUR, local, local));
        assert!(clock.correct(local + HOUR, local, local));
        assert_eq!(clock.offset(), 3_600_000);
        assert!(
            !clock.correct(local + HOUR, local, clock.at(local)),
            "one that was signed by the corrected clock was refused for another reason"
        );
    }

    #[test]
    fn times_out_of_all_bounds_are_not_followed() {
        let clock = Clock::default();
        let local = UNIX_EPOCH + 500_000 * HOUR;
        let end = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        for server in [end, UNIX_EPOCH] {
            assert!(!clock.correct(server, local, local));
            assert_eq!(clock.offset(), 0);
        }
        assert!(clock.correct(local, UNIX_EPOCH, UNIX_EPOCH), "ours may be");
        assert_eq!(clock.at(UNIX_EPOCH), local);
    }
}
