//! The last hour of each connection, minute by minute: [`Histories`], from which the pages plot.
//!
//! Nothing is noted while requests run: the counters are looked at now and then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use crate::live::Reader;
use crate::metrics::{BUCKETS, Sample};

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How many looks are one minute's.
const PER_MINUTE: u32 = 12;

/// How many minutes are remembered.
pub(super) const MINUTES: usize = 60;

/// What was seen of all connections that had requests.
#[derive(Debug, Default)]
pub struct Histories(Mutex<HashMap<Arc<str>, History>>);

/// What was seen of one connection.
#[derive(Debug, Default)]
struct History {
    seen: Sample,
    /// Requests since the look before the last.
    latest: u64,
    looks: u32,
    current: Sample,
    /// The oldest first.
    minutes: VecDeque<Sample>,
}

/// One connection's last hour, ready to be drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hour {
    /// Requests per second, of the last few seconds.
    pub(super) rate: f64,
    /// Requests of each minute, the oldest first; the last one is not over.
    pub(super) requests: Vec<u64>,
    /// Server errors likewise.
    pub(super) errors: Vec<u64>,
    /// Median and 99th percentile of each minute, in seconds; none where there were no requests.
    pub(super) quantiles: Vec<Option<(f64, f64)>>,
    /// The same of the whole hour.
    pub(super) whole: Option<(f64, f64)>,
}

impl Histories {
    /// Looks at the counters until the process ends.
    pub(super) async fn follow(self: Arc<Self>, reader: Reader) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look(&reader);
        }
    }

    fn look(&self, reader: &Reader) {
        let snapshot = reader.take();
        let mut histories = self.0.lock();
        histories.retain(|name, _| snapshot.live(name).is_some());
        for live in snapshot.lives() {
            let sample = live.metrics.sample();
            let name = &live.connection.name;
            // Nothing is kept of those that nobody uses.
            if sample.requests > 0 || histories.contains_key(name) {
                histories.entry(Arc::clone(name)).or_default().add(sample);
            }
        }
    }

    /// One connection's hour; empty if it had no requests.
    pub(super) fn hour(&self, name: &str) -> Hour {
        self.0
            .lock()
            .get(name)
            .map_or_else(Hour::default, History::hour)
    }
}

impl History {
    fn add(&mut self, sample: Sample) {
        // Counters that begin anew have counted all of it since.
        let seen = match sample.requests >= self.seen.requests {
            true => self.seen,
            false => Sample::default(),
        };
        let more = sample.since(&seen);
        self.seen = sample;
        self.latest = more.requests;
        self.current.add(&more);
        self.looks += 1;
        if self.looks == PER_MINUTE {
            self.looks = 0;
            if self.minutes.len() + 1 >= MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(std::mem::take(&mut self.current));
        }
    }

    fn hour(&self) -> Hour {
        let minutes = || self.minutes.iter().chain(std::iter::once(&self.current));
        let mut whole = Sample::default();
        minutes().for_each(|minute| whole.add(minute));
        Hour {
            rate: self.latest as f64 / LOOK.as_secs_f64(),
            requests: minutes().map(|minute| minute.requests).collect(),
            errors: minutes().map(|minute| minute.errors).collect(),
            quantiles: minutes().map(Sample::quantiles).collect(),
            whole: whole.quantiles(),
        }
    }
}

impl Hour {
    /// How many requests there were.
    pub(super) fn total(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Which part of them failed, in percent.
    pub(super) fn error_rate(&self) -> Option<f64> {
        let total = self.total();
        let errors: u64 = self.errors.iter().sum();
        (total > 0).then(|| errors as f64 * 100.0 / total as f64)
    }
}

impl Sample {
    fn since(&self, before: &Self) -> Self {
        let mut durations = self.durations;
        for (count, before) in durations.iter_mut().zip(before.durations) {
            *count = count.saturating_sub(before);
        }
        Self {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            durations,
        }
    }

    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.errors += more.errors;
        for (count, more) in self.durations.iter_mut().zip(more.durations) {
            *count += more;
        }
    }

    fn quantiles(&self) -> Option<(f64, f64)> {
        Some((self.quantile(0.5)?, self.quantile(0.99)?))
    }

    /// As Prometheus' `histogram_quantile` has it: evenly spread inside of a bucket, and the last bound
    /// for what is longer.
    fn quantile(&self, part: f64) -> Option<f64> {
        let all: u64 = self.durations.iter().sum();
        if all == 0 {
            return None;
        }
        let rank = all as f64 * part;
        let mut below = 0.0;
        let mut start = 0.0;
        for (count, end) in self.durations.iter().zip(BUCKETS) {
            let count = *count as f64;
            if below + count >= rank && count > 0.0 {
                return Some(start + (end - start) * (rank - below) / count);
            }
            below += count;
            start = end;
        }
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: u64, errors: u64, bucket: usize) -> Sample {
        let mut durations = [0; BUCKETS.len() + 1];
        durations[bucket] = requests;
        Sample {
            requests,
            errors,
            durations,
        }
    }

    #[test]
    fn minutes_are_what_was_counted_in_them() {
        let mut history = History::default();
        for look in 1..=u64::from(PER_MINUTE) {
            history.add(sample(look * 10, look, 2));
        }
        history.add(sample(130, 12, 2));
        let hour = history.hour();
        assert_eq!(hour.requests, [120, 10]);
        assert_eq!(hour.errors, [12, 0]);
        assert_eq!((hour.rate, hour.total()), (2.0, 130));
        assert_eq!(hour.error_rate(), Some(12.0 * 100.0 / 130.0));
    }

    #[test]
    fn an_hour_has_sixty_minutes() {
        let mut history = History::default();
        for look in 1..=u64::from(PER_MINUTE) * 100 {
            history.add(sample(look, 0, 0));
        }
        assert_eq!(history.hour().requests.len(), MINUTES);
    }

    #[test]
    fn counters_that_begin_anew_are_counted_from_nothing() {
        let mut history = History::default();
        history.add(sample(100, 0, 0));
        history.add(sample(3, 1, 0));
        assert_eq!(history.hour().requests, [103]);
    }

    #[test]
    fn quantiles_lie_inside_of_their_bucket() {
        // From 2.5 to 5 milliseconds.
        let (median, p99) = sample(100, 0, 2).quantiles().unwrap();
        assert!((median - 0.003_75).abs() < 1e-9 && (p99 - 0.004_975).abs() < 1e-9);
        // Longer than the longest bound.
        assert_eq!(sample(1, 0, BUCKETS.len()).quantiles(), Some((30.0, 30.0)));
        assert_eq!(Sample::default().quantiles(), None);
    }
}
