//! The time of a signature, as it is written.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, Timelike};
use http::HeaderValue;

/// `20150830T123600Z`: ISO 8601's basic form, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([u8; 16]);

impl Stamp {
    /// Writes a time; none for one before 1970 or after 9999.
    pub(super) fn new(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let time = DateTime::from_timestamp(seconds.try_into().ok()?, 0)?;
        let year = u32::try_from(time.year())
            .ok()
            .filter(|&year| year < 10_000)?;
        let mut stamp = *b"00000000T000000Z";
        for (at, len, value) in [
            (0, 4, year),
            (4, 2, time.month()),
            (6, 2, time.day()),
            (9, 2, time.hour()),
            (11, 2, time.minute()),
            (13, 2, time.second()),
        ] {
            write_decimal(value, &mut stamp[at..at + len]);
        }
        Some(Self(stamp))
    }

    /// All of it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it stands in a field.
    pub(super) fn value(&self) -> HeaderValue {
        // Digits and two letters can.
        HeaderValue::from_bytes(&self.0).expect("digits and letters")
    }

    /// The day alone: `20150830`.
    pub(super) fn day(&self) -> [u8; 8] {
        let mut day = [0; 8];
        day.copy_from_slice(&self.0[..8]);
        day
    }
}

/// Fills the place with decimal digits, from its end.
fn write_decimal(mut value: u32, place: &mut [u8]) {
    for digit in place.iter_mut().rev() {
        // A remainder of ten is a digit.
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (253_402_300_799, "99991231T235959Z"),
        ] {
            let stamp = Stamp::new(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            assert_eq!(stamp.as_bytes(), text.as_bytes());
            assert_eq!(stamp.day(), text.as_bytes()[..8]);
        }
    }

    #[test]
    fn other_times_cannot_be_written() {
        for time in [
            UNIX_EPOCH - Duration::from_secs(1),
            UNIX_EPOCH + Duration::from_secs(253_402_300_800),
            UNIX_EPOCH + Duration::from_secs(1 << 60),
        ] {
            assert_eq!(Stamp::new(time), None);
        }
    }
}
