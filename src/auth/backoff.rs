//! When to try again: [`Backoff`].

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Nobody is kept waiting longer than this by a `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Steps that double, from a second to a minute, each somewhat longer by chance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next step; at least as long as was asked for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let step = step(self.failures, LONGEST, asked);
        self.failures = self.failures.saturating_add(1);
        step
    }
}

/// How long to wait after so many failures before this one: a second at first, twice as long each time,
/// `longest` at most, and somewhat longer by chance; at least as long as was asked for.
pub(crate) fn step(failures: u32, longest: Duration, asked: Option<Duration>) -> Duration {
    let step = FIRST.saturating_mul(1 << failures.min(20)).min(longest);
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    (step + spread(step / 5)).max(asked)
}

/// A duration from nothing to `most`, by chance.
pub(super) fn spread(most: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness there is no jitter, which does less harm than not going on.
    let _ = SystemRandom::new().fill(&mut bytes);
    most.mul_f64(f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let step = backoff.next(None).as_secs_f64();
            let expected = f64::from(expected);
            assert!(
                (expected..=expected * 1.2).contains(&step),
                "{step} for {expected}"
            );
        }
    }

    #[test]
    fn what_the_other_side_asks_for_is_kept_within_reason() {
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(Backoff::default().next(asked(300)).as_secs(), 300);
        assert_eq!(Backoff::default().next(asked(1 << 40)), LONGEST_ASKED);
        assert!(Backoff::default().next(asked(0)) >= FIRST);
    }
}
