//! Prometheus' text format, as far as the tests read it.

use std::collections::BTreeMap;

/// A scrape.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads a scrape; a line that is no sample fails the test.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines();
        let samples = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(samples.map(Sample::parse).collect())
    }

    /// Whether a family or sample of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }

    /// The value of the one sample that has these labels among its own.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).map(String::as_str) == Some(*value)
            };
            sample.name == name && labels.iter().all(has)
        };
        let found: Vec<_> = self.0.iter().filter(fits).collect();
        assert!(found.len() <= 1, "{name} {labels:?} is not one: {found:?}");
        found.first().map(|sample| sample.value)
    }

    /// The sum over all samples of this name.
    pub fn sum(&self, name: &str) -> f64 {
        let samples = self.0.iter().filter(|sample| sample.name == name);
        samples.map(|sample| sample.value).sum()
    }

    /// The label names of the samples of this name.
    pub fn labels(&self, name: &str) -> Vec<String> {
        let sample = self.0.iter().find(|sample| sample.name == name);
        sample.map_or_else(Vec::new, |sample| sample.labels.keys().cloned().collect())
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (key, value) = line.rsplit_once(' ').expect("a name and a value");
        let (name, labels) = match key.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("closing brace")),
            None => (key, ""),
        };
        let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
        let labels = pairs.map(|pair| {
            let (key, value) = pair.split_once("=\"").expect("label=\"value\"");
            (key.to_owned(), value.trim_end_matches('"').to_owned())
        });
        Self {
            name: name.to_owned(),
            labels: labels.collect(),
            value: value.parse().expect("a number"),
        }
    }
}
