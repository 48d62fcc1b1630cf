//! What the timed scenarios showed: a table each, and how it stands to the project's bounds.

use std::fmt::Write as _;

use crate::contestant::Kind;
use crate::rounds::{Results, Sample};
use crate::scenario::{self, Scenario};
use crate::spread::Spread;
use crate::table::{Table, cell};

/// The most that keybearer should need, as a ratio to another contestant.
pub(crate) struct Bound {
    what: &'static str,
    pub(crate) of: Kind,
    pub(crate) against: Kind,
    most: f64,
}

const GET1K: [Bound; 4] = [
    bound("get1k CPU", Kind::Nginx, 1.30),
    bound("get1k CPU", Kind::Haproxy, 1.10),
    signed("get1k CPU", 1.35),
    multiplexed("get1k CPU", 1.30),
];
const SERVED: [Bound; 2] = [
    told("get1k CPU of serving threads", Kind::Keybearer),
    told("get1k CPU of serving threads", Kind::KeybearerTraces),
];
pub(crate) const SERVED_INSTRUCTIONS: [Bound; 2] = [
    told(
        "get1k user instructions of the serving thread",
        Kind::Keybearer,
    ),
    told(
        "get1k user instructions of the serving thread",
        Kind::KeybearerTraces,
    ),
];
const POST64K: [Bound; 4] = [
    bound("post64k CPU", Kind::Nginx, 1.25),
    bound("post64k CPU", Kind::NginxTuned, 1.25),
    signed("post64k CPU", 1.60),
    multiplexed("post64k CPU", 1.30),
];
const SDK64K: [Bound; 1] = [signed("sdk64k CPU", 1.60)];
const DL10M: [Bound; 2] = [
    bound("dl10m CPU", Kind::Nginx, 1.05),
    bound("dl10m CPU", Kind::NginxTuned, 1.05),
];
const TLS1K: [Bound; 1] = [bound("tls1k CPU", Kind::Nginx, 1.15)];
const ADDED_P50: Bound = bound("rate3000 added p50", Kind::Nginx, 1.15);
const ADDED_P99: Bound = bound("rate3000 added p99", Kind::Nginx, 1.15);
pub(crate) const INSTRUCTIONS: Bound = bound("get1k user instructions", Kind::Nginx, 1.45);

const fn bound(what: &'static str, against: Kind, most: f64) -> Bound {
    Bound {
        what,
        of: Kind::Keybearer,
        against,
        most,
    }
}

/// Of a signed request, as a ratio to one that is not.
const fn signed(what: &'static str, most: f64) -> Bound {
    Bound {
        what,
        of: Kind::KeybearerAws,
        against: Kind::Keybearer,
        most,
    }
}

/// Of a request to an upstream that speaks HTTP/2, as a ratio to one that speaks HTTP/1.1.
const fn multiplexed(what: &'static str, most: f64) -> Bound {
    Bound {
        what,
        of: Kind::KeybearerH2,
        against: Kind::Keybearer,
        most,
    }
}

/// Of a request that the console and traces are told of, as a ratio to one that nobody is.
const fn told(what: &'static str, of: Kind) -> Bound {
    Bound {
        what,
        of,
        against: Kind::KeybearerBare,
        most: 1.03,
    }
}

impl Bound {
    /// A line that says the ratio, the bound, and whether it holds. Times never fail a run.
    pub(crate) fn verdict(&self, ratio: f64) -> String {
        format!(
            "- {}: {} / {} {ratio:.2}, bound {:.2}: {}",
            self.what,
            self.of.name(),
            self.against.name(),
            self.most,
            if ratio <= self.most { "ok" } else { "**over**" }
        )
    }
}

pub(crate) fn scenario(scenario: Scenario, results: &Results) -> String {
    let (table, mut verdicts) = match scenario.rate() {
        Some(_) => (latency(results), latency_verdicts(results)),
        None => (cpu(results), cpu_verdicts(scenario, results)),
    };
    if scenario == Scenario::Get1k {
        verdicts.extend(served_verdicts(results));
    }
    if scenario == Scenario::Post64k {
        verdicts.extend(beside_the_hash(results));
    }
    let mut text = format!(
        "## {}: {}\n\n{table}",
        scenario.name(),
        scenario.description()
    );
    if !verdicts.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{}\n", verdicts.join("\n"));
    }
    text
}

fn cpu(results: &Results) -> String {
    let references: Vec<Kind> = results
        .kinds()
        .filter(|kind| {
            matches!(
                kind,
                Kind::Nginx | Kind::NginxTuned | Kind::Haproxy | Kind::Keybearer
            )
        })
        .collect();
    let ratios: Vec<String> = references
        .iter()
        .map(|kind| format!("/ {}", kind.name()))
        .collect();
    let mut header = vec!["CPU per request"];
    header.extend(ratios.iter().map(String::as_str));
    header.extend(["user + system, µs", "requests/s", "failed"]);
    let mut table = Table::new(header);
    for kind in results.kinds() {
        let mut row = vec![kind.name().to_owned()];
        row.extend(
            references
                .iter()
                .map(|&reference| cell(ratio(results, kind, reference), 2)),
        );
        row.extend([
            microseconds(results, kind),
            cell(
                results.spread(kind, |sample| Some(sample.rate)).map(median),
                0,
            ),
            failures(results, kind),
        ]);
        table.row(row);
    }
    table.to_string()
}

/// What the console and traces cost where requests are served: beside that, they have threads of their own.
fn served_verdicts(results: &Results) -> Vec<String> {
    let serving = |sample: &Sample| sample.cpu.map(|cpu| cpu.serving).filter(|&it| it > 0.0);
    SERVED
        .iter()
        .filter_map(|bound| {
            let ratio = |one, other| Some(one / other);
            let ratio = results.pairwise(bound.of, bound.against, serving, ratio)?;
            Some(bound.verdict(ratio.median))
        })
        .collect()
}

fn cpu_verdicts(scenario: Scenario, results: &Results) -> Vec<String> {
    let bounds: &[Bound] = match scenario {
        Scenario::Get1k => &GET1K,
        Scenario::Post64k => &POST64K,
        Scenario::Sdk64k => &SDK64K,
        Scenario::Dl10m => &DL10M,
        Scenario::Tls1k => &TLS1K,
        Scenario::Rate3000 => &[],
    };
    bounds
        .iter()
        .filter_map(|bound| {
            let ratio = ratio(results, bound.of, bound.against)?;
            Some(bound.verdict(ratio.median))
        })
        .collect()
}

/// What signing costs beside hashing the content, which takes a fifth of the time on processors with
/// instructions for it.
fn beside_the_hash(results: &Results) -> Option<String> {
    let hash = scenario::hashing().as_secs_f64() * 1e6;
    let without = |one: f64, other: f64| Some((one - hash) / other);
    let (signed, unsigned) = (Kind::KeybearerAws, Kind::Keybearer);
    let ratio = results.pairwise(signed, unsigned, total, without)?;
    Some(format!(
        "- of that, SHA-256 itself takes {hash:.0} µs here; without it: {:.2}",
        ratio.median
    ))
}

fn latency(results: &Results) -> String {
    let mut table = Table::new([
        "latency, µs",
        "p50",
        "p99",
        "added p50",
        "added p99",
        "added p50 / nginx",
        "added p99 / nginx",
        "CPU / nginx",
        "user + system, µs",
        "failed",
    ]);
    for kind in results.kinds() {
        let added = |figure| {
            (kind != Kind::Direct)
                .then(|| Spread::of(added(results, kind, figure).into_iter().flatten()))
                .flatten()
        };
        table.row([
            kind.name().to_owned(),
            cell(results.spread(kind, p50).map(median), 0),
            cell(results.spread(kind, p99).map(median), 0),
            cell(added(p50), 0),
            cell(added(p99), 0),
            cell(added_ratio(results, kind, p50), 2),
            cell(added_ratio(results, kind, p99), 2),
            cell(ratio(results, kind, Kind::Nginx), 2),
            microseconds(results, kind),
            failures(results, kind),
        ]);
    }
    table.to_string()
}

fn latency_verdicts(results: &Results) -> Vec<String> {
    type Percentile = fn(&Sample) -> Option<f64>;
    let bounds: [(Bound, Percentile); 2] = [(ADDED_P50, p50), (ADDED_P99, p99)];
    bounds
        .into_iter()
        .filter_map(|(bound, figure)| {
            let ratio = added_ratio(results, Kind::Keybearer, figure)?;
            Some(bound.verdict(ratio.median))
        })
        .collect()
}

fn ratio(results: &Results, kind: Kind, to: Kind) -> Option<Spread> {
    results.pairwise(kind, to, total, |one, other| Some(one / other))
}

/// What a contestant adds to the latency without one, round by round.
fn added(results: &Results, kind: Kind, figure: fn(&Sample) -> Option<f64>) -> Vec<Option<f64>> {
    let pairs = std::iter::zip(results.samples(kind), results.samples(Kind::Direct));
    pairs
        .map(|(own, direct)| Some(figure(own)? - figure(direct)?))
        .collect()
}

/// Of added latencies, in the rounds where nginx added any.
fn added_ratio(
    results: &Results,
    kind: Kind,
    figure: fn(&Sample) -> Option<f64>,
) -> Option<Spread> {
    if kind == Kind::Direct {
        return None;
    }
    let own = added(results, kind, figure);
    let nginx = added(results, Kind::Nginx, figure);
    Spread::of(
        std::iter::zip(own, nginx)
            .filter_map(|(own, nginx)| Some(own? / nginx.filter(|&nginx| nginx > 0.0)?)),
    )
}

fn total(sample: &Sample) -> Option<f64> {
    sample.cpu.map(|cpu| cpu.total())
}

fn p50(sample: &Sample) -> Option<f64> {
    sample.latency.map(|latency| latency.p50)
}

fn p99(sample: &Sample) -> Option<f64> {
    sample.latency.map(|latency| latency.p99)
}

fn median(spread: Spread) -> f64 {
    spread.median
}

fn microseconds(results: &Results, kind: Kind) -> String {
    let user = results.spread(kind, |sample| Some(sample.cpu?.user));
    let system = results.spread(kind, |sample| Some(sample.cpu?.system));
    match (user, system) {
        (Some(user), Some(system)) => format!("{:.1} + {:.1}", user.median, system.median),
        _ => "–".to_owned(),
    }
}

fn failures(results: &Results, kind: Kind) -> String {
    let failed: u64 = results
        .samples(kind)
        .iter()
        .map(|sample| sample.failures)
        .sum();
    failed.to_string()
}
