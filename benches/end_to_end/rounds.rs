//! One scenario: every contestant once a round, in an order that rotates, so that what the machine
//! does besides falls on all of them.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::arguments::Arguments;
use crate::contestant::{Contestant, Kind};
use crate::cores::Cores;
use crate::cpu::Cpu;
use crate::scenario::Scenario;
use crate::spread::Spread;
use crate::{closed_loop, fixed_rate};

/// What one stretch showed.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Of one request; absent where nothing lies between load and upstream.
    pub(crate) cpu: Option<Cpu>,
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) latency: Option<Latency>,
}

/// In microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// The samples of a scenario by contestant; the same index is the same round.
pub(crate) struct Results(Vec<(Kind, Vec<Sample>)>);

pub(crate) async fn run(
    contestants: &[Contestant],
    scenario: Scenario,
    arguments: &Arguments,
    cores: Cores,
) -> Result<Results> {
    let mut contestants: Vec<_> = contestants
        .iter()
        .filter(|contestant| contestant.kind.runs(scenario))
        .collect();
    let mut results = Results(
        contestants
            .iter()
            .map(|contestant| (contestant.kind, Vec::new()))
            .collect(),
    );
    for round in 0..arguments.rounds {
        for contestant in &contestants {
            let stretch = arguments.stretch;
            let sample = match scenario.rate() {
                Some(rate) => fixed_rate::stretch(contestant, scenario, rate, stretch, cores).await,
                None => closed_loop::stretch(contestant, scenario, stretch, cores).await,
            };
            let name = contestant.kind.name();
            let sample = sample.with_context(|| format!("{name}, {}", scenario.name()))?;
            if let Some(failure) = &sample.first_failure {
                println!(
                    "FAILED: {name}, {}, round {round}: {} requests, the first: {failure}",
                    scenario.name(),
                    sample.failures
                );
            }
            results.add(contestant.kind, sample);
        }
        contestants.rotate_left(1);
    }
    Ok(results)
}

impl Results {
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.0.iter().map(|(kind, _)| *kind)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.0
            .iter()
            .flat_map(|(_, samples)| samples)
            .map(|sample| sample.failures)
            .sum()
    }

    /// A figure of one contestant over the rounds.
    pub(crate) fn spread(
        &self,
        kind: Kind,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.samples(kind).iter().filter_map(figure))
    }

    /// The same figure of two contestants, `combine`d within each round.
    pub(crate) fn pairwise(
        &self,
        one: Kind,
        other: Kind,
        figure: impl Fn(&Sample) -> Option<f64>,
        combine: impl Fn(f64, f64) -> Option<f64>,
    ) -> Option<Spread> {
        let pairs = self.samples(one).iter().zip(self.samples(other));
        Spread::of(pairs.filter_map(|(one, other)| combine(figure(one)?, figure(other)?)))
    }

    pub(crate) fn samples(&self, wanted: Kind) -> &[Sample] {
        self.0
            .iter()
            .find(|(kind, _)| *kind == wanted)
            .map_or(&[], |(_, samples)| samples)
    }

    fn add(&mut self, wanted: Kind, sample: Sample) {
        for (kind, samples) in &mut self.0 {
            if *kind == wanted {
                samples.push(sample);
                return;
            }
        }
    }
}

impl Latency {
    pub(crate) fn of(latencies: &mut [Duration]) -> Option<Self> {
        latencies.sort_unstable();
        let percentile = |percent: usize| {
            let at = (latencies.len() * percent).div_ceil(100).max(1) - 1;
            latencies.get(at).map(|latency| latency.as_secs_f64() * 1e6)
        };
        Some(Self {
            p50: percentile(50)?,
            p99: percentile(99)?,
        })
    }
}
