//! For how long an upstream keeps idle connections, learnt from those that it closed: [`Patience`].

use std::time::Duration;

use tokio::time::Instant;

/// What was seen of closes goes on to count for one to two of these.
const WINDOW: Duration = Duration::from_secs(60);

/// A close that is found so soon came behind an answer.
const BEHIND: Duration = Duration::from_millis(5);

/// The shortest rests after which an upstream was found to have closed a connection without a word.
///
/// A request that cannot be repeated and meets such a close is lost to its caller. Whoever closes after
/// five seconds does so again, and whoever closes behind an answer, too: the shortest rest of the last
/// minute or two tells which connections are safe from it.
#[derive(Debug)]
pub(super) struct Patience {
    begin: Instant,
    /// The shortest rest of this window, and of the one before; the longest of all where there was none.
    this: Duration,
    last: Duration,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begin: now,
            this: Duration::MAX,
            last: Duration::MAX,
        }
    }

    /// Notes that a connection was found closed that had rested for so long.
    #[cold]
    pub(super) fn ended(&mut self, rest: Duration, now: Instant) {
        self.turn(now);
        self.this = self.this.min(rest);
    }

    /// For how long a connection may have rested that a request is trusted to which cannot be repeated:
    /// half of what was too long, as closes are found late; none where the close comes behind an answer,
    /// as it may be on its way then however short the rest was.
    pub(super) fn trusted(&mut self, now: Instant) -> Duration {
        self.turn(now);
        match self.this.min(self.last) {
            Duration::MAX => Duration::MAX,
            rest if rest < BEHIND => Duration::ZERO,
            rest => rest / 2,
        }
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.begin);
        if passed < WINDOW {
            return;
        }
        self.last = match passed < 2 * WINDOW {
            true => self.this,
            false => Duration::MAX,
        };
        self.this = Duration::MAX;
        self.begin = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_shortest_rest_of_the_last_two_windows_counts() {
        let begin = Instant::now();
        let mut patience = Patience::new(begin);
        assert_eq!(patience.trusted(begin), Duration::MAX);
        patience.ended(seconds(20), begin + seconds(1));
        patience.ended(seconds(4), begin + seconds(2));
        patience.ended(seconds(30), begin + seconds(3));
        assert_eq!(patience.trusted(begin + seconds(3)), seconds(2));
        // The next window begins: what was seen in the one before still counts, and then no more.
        patience.ended(seconds(10), begin + seconds(61));
        assert_eq!(patience.trusted(begin + seconds(120)), seconds(2));
        assert_eq!(patience.trusted(begin + seconds(121)), seconds(5));
        assert_eq!(patience.trusted(begin + seconds(181)), Duration::MAX);
        patience.ended(Duration::from_millis(4), begin + seconds(181));
        assert_eq!(patience.trusted(begin + seconds(181)), Duration::ZERO);
    }

    #[test]
    fn what_was_seen_long_ago_counts_no_more() {
        let begin = Instant::now();
        let mut patience = Patience::new(begin);
        patience.ended(seconds(0), begin);
        assert_eq!(patience.trusted(begin + seconds(59)), seconds(0));
        assert_eq!(patience.trusted(begin + seconds(120)), Duration::MAX);
    }
}
