//! When something was: [`Clock`].

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Times of the monotonic clock as times of the day, by one reading of both.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    now: Instant,
    nanoseconds: u64,
}

impl Clock {
    pub(super) fn read() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            now: Instant::now(),
            // Until the year 2554.
            nanoseconds: since.unwrap_or_default().as_nanos() as u64,
        }
    }

    /// A time of the day, in nanoseconds since 1970.
    ///
    /// Also of what came after the reading: requests end while others are written.
    pub(super) fn nanoseconds(self, at: Instant) -> u64 {
        match at.checked_duration_since(self.now) {
            Some(ahead) => self.nanoseconds + ahead.as_nanos() as u64,
            None => {
                let ago = self.now.duration_since(at).as_nanos() as u64;
                self.nanoseconds.saturating_sub(ago)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_told_on_both_sides_of_the_reading() {
        let clock = Clock::read();
        for (at, want) in [
            (clock.now, clock.nanoseconds),
            (
                clock.now + Duration::from_micros(3),
                clock.nanoseconds + 3_000,
            ),
            (
                clock.now - Duration::from_micros(3),
                clock.nanoseconds - 3_000,
            ),
        ] {
            assert_eq!(clock.nanoseconds(at), want);
        }
    }
}
