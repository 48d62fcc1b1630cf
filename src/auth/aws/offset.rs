//! AWS's time: [`Offset`] of its clock from this machine's, and [`OffsetTime`], by which requests are
//! signed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;

/// How far another clock is ahead of this machine's, in milliseconds; negative if it is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offset(i64);

/// This machine's time, corrected by an offset that all clones share.
#[derive(Clone, Debug, Default)]
pub(super) struct OffsetTime(Arc<AtomicI64>);

impl Offset {
    /// How far a clock is ahead that says `theirs` when ours says `ours`.
    pub(super) fn between(ours: SystemTime, theirs: SystemTime) -> Self {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self(match theirs.duration_since(ours) {
            Ok(ahead) => millis(ahead),
            Err(behind) => -millis(behind.duration()),
        })
    }

    /// What the other clock says when ours says `ours`.
    pub(super) fn theirs(self, ours: SystemTime) -> SystemTime {
        shifted(ours, self.0)
    }

    /// What our clock says when the other says `theirs`.
    pub(super) fn ours(self, theirs: SystemTime) -> SystemTime {
        shifted(theirs, self.0.saturating_neg())
    }

    /// How far the clocks are apart.
    pub(super) fn distance(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }

    /// How far this offset is from another.
    pub(super) fn change(self, other: Self) -> Duration {
        Self(self.0.saturating_sub(other.0)).distance()
    }
}

/// What is wrong with this machine's clock.
impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::from_secs(self.distance().as_secs());
        let side = if self.0 < 0 { "ahead" } else { "behind" };
        write!(f, "{} {side}", humantime::format_duration(seconds))
    }
}

impl OffsetTime {
    /// The correction that is in force.
    pub(super) fn offset(&self) -> Offset {
        Offset(self.0.load(Ordering::Relaxed))
    }

    /// Corrects the time from now on.
    pub(super) fn correct(&self, offset: Offset) {
        self.0.store(offset.0, Ordering::Relaxed);
    }
}

impl TimeSource for OffsetTime {
    fn now(&self) -> SystemTime {
        self.offset().theirs(SystemTime::now())
    }
}

/// A time that no clock can show stays as it is.
fn shifted(time: SystemTime, millis: i64) -> SystemTime {
    let span = Duration::from_millis(millis.unsigned_abs());
    let shifted = if millis < 0 {
        time.checked_sub(span)
    } else {
        time.checked_add(span)
    };
    shifted.unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_lead_from_one_clock_to_the_other_and_back() {
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (theirs, shown) in [
            (ours + Duration::from_secs(600), "10m behind"),
            (ours - Duration::from_secs(75), "1m 15s ahead"),
        ] {
            let offset = Offset::between(ours, theirs);
            assert_eq!(offset.theirs(ours), theirs);
            assert_eq!(offset.ours(theirs), ours);
            assert_eq!(offset.to_string(), shown);
        }
    }

    #[test]
    fn clones_share_a_correction() {
        let time = OffsetTime::default();
        let clone = time.clone();
        let hour = Duration::from_secs(3600);
        let now = SystemTime::now();
        time.correct(Offset::between(now, now + hour));
        assert!(clone.now() >= now + hour);
        assert_eq!(clone.offset().distance(), hour);
    }
}
