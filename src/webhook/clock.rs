//! Time as deliveries know it: [`Clock`].

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

/// How long the clock is not looked at.
const GLANCE: Duration = Duration::from_secs(30);
const LEAST: Duration = Duration::from_millis(1);

/// What tells the time, and waits for it.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time.
    fn now(&self) -> SystemTime;

    /// Waits until it is the end of `span`, or before its beginning, as after a clock was set back.
    fn until_outside(
        &self,
        span: Range<SystemTime>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // Looked at again and again, as the time may be set meanwhile.
            loop {
                let now = self.now();
                let left = span.end.duration_since(now).unwrap_or_default();
                if left.is_zero() || now < span.start {
                    return;
                }
                sleep(left.clamp(LEAST, GLANCE)).await;
            }
        })
    }
}

/// The system's clock.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Clock for System {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use parking_lot::Mutex;
    use tokio::time::Instant;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A clock that goes as time passes, and can be set.
    #[derive(Debug)]
    struct Settable {
        began: Instant,
        at_first: Mutex<SystemTime>,
    }

    impl Settable {
        fn new() -> Self {
            Self {
                began: Instant::now(),
                at_first: Mutex::new(UNIX_EPOCH + 1000 * DAY),
            }
        }

        fn set(&self, change: impl FnOnce(SystemTime) -> SystemTime) {
            let mut at_first = self.at_first.lock();
            *at_first = change(*at_first);
        }
    }

    impl Clock for Settable {
        fn now(&self) -> SystemTime {
            *self.at_first.lock() + self.began.elapsed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_is_waited_for_unless_it_was_long_ago() {
        let clock = Settable::new();
        let now = clock.now();
        clock.until_outside(now..now + HOUR).await;
        let elapsed = clock.began.elapsed();
        assert!(elapsed >= HOUR && elapsed < HOUR + GLANCE, "{elapsed:?}");
        clock.until_outside(now - DAY..now).await;
        assert_eq!(clock.began.elapsed(), elapsed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_meanwhile_holds_nobody() {
        let ways: [fn(SystemTime) -> SystemTime; 2] = [|now| now + DAY, |now| now - DAY];
        for way in ways {
            let clock = Settable::new();
            let now = clock.now();
            let waiting = clock.until_outside(now..now + HOUR);
            tokio::join!(waiting, async { clock.set(way) });
            assert!(clock.began.elapsed() <= GLANCE);
        }
    }
}
