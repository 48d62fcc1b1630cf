//! What is counted of a connection.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use prometheus::core::Metric;
use prometheus::{Histogram, IntCounter};

use super::{BUCKETS, Families, note_end};

/// One connection's children of the families; no lock once a child is there.
#[derive(Debug)]
pub struct ConnectionMetrics {
    families: Arc<Families>,
    name: Arc<str>,
    requests: [OnceLock<Box<StatusCounters>>; METHODS.len() + 1],
    durations: OnceLock<(Histogram, Histogram)>,
}

/// Methods that have a label of their own; all others share one, or callers could make labels.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::PATCH,
    Method::OPTIONS,
];

/// A counter per status code from 100 to 599.
type StatusCounters = [OnceLock<IntCounter>; 500];

impl ConnectionMetrics {
    pub(super) fn new(families: Arc<Families>, name: Arc<str>) -> Self {
        Self {
            families,
            name,
            requests: Default::default(),
            durations: OnceLock::new(),
        }
    }

    /// Counts an answered request.
    pub fn answered(
        &self,
        method: &Method,
        status: StatusCode,
        whole: Duration,
        upstream: Option<Duration>,
    ) {
        self.counter(method, status).inc();
        let (requests, upstreams) = self.durations.get_or_init(|| {
            let labels = &[&*self.name];
            let requests = self.families.request_duration.with_label_values(labels);
            (
                requests,
                self.families.upstream_duration.with_label_values(labels),
            )
        });
        requests.observe(whole.as_secs_f64());
        if let Some(upstream) = upstream {
            upstreams.observe(upstream.as_secs_f64());
        }
    }

    fn counter(&self, method: &Method, status: StatusCode) -> &IntCounter {
        let row = METHODS
            .iter()
            .position(|known| known == method)
            .unwrap_or(METHODS.len());
        let counters =
            self.requests[row].get_or_init(|| Box::new([const { OnceLock::new() }; 500]));
        let column = usize::from(status.as_u16().clamp(100, 599) - 100);
        counters[column].get_or_init(|| {
            let method = METHODS.get(row).map_or("OTHER", Method::as_str);
            self.families
                .requests
                .with_label_values(&[&*self.name, method, status.as_str()])
        })
    }

    /// How many requests were answered, and how many of them with a server error.
    pub fn totals(&self) -> (u64, u64) {
        let counted = self.requests.iter().filter_map(OnceLock::get);
        let counted = counted.flat_map(|counters| counters.iter().enumerate());
        let counted = counted.filter_map(|(column, counter)| Some((column, counter.get()?.get())));
        counted.fold((0, 0), |(all, errors), (column, count)| {
            let is_error = column >= 400;
            (all + count, errors + if is_error { count } else { 0 })
        })
    }

    /// What was counted until now.
    pub fn sample(&self) -> Sample {
        let (requests, errors) = self.totals();
        let mut durations = [0; BUCKETS.len() + 1];
        if let Some((whole, _)) = self.durations.get() {
            let metric = whole.metric();
            let whole = metric.get_histogram();
            let below = whole.get_bucket().iter().map(|b| b.cumulative_count());
            let all = std::iter::once(whole.get_sample_count());
            let mut before = 0;
            for (count, below) in durations.iter_mut().zip(below.chain(all)) {
                *count = below.saturating_sub(before);
                before = below;
            }
        }
        Sample {
            requests,
            errors,
            durations,
        }
    }

    /// Notes when its client certificate ends; none if it has none.
    pub fn certificate_expires(&self, at: Option<SystemTime>) {
        note_end(&self.families.certificate_expiry, &self.name, at);
    }

    /// Forgets the connection: for one that is no longer configured.
    pub fn forget(&self) {
        let labels = &[&*self.name];
        self.certificate_expires(None);
        // What was never counted on has nothing to remove.
        let _ = self.families.request_duration.remove_label_values(labels);
        let _ = self.families.upstream_duration.remove_label_values(labels);
        for (row, counters) in self.requests.iter().enumerate() {
            let method = METHODS.get(row).map_or("OTHER", Method::as_str);
            let counted = counters
                .get()
                .into_iter()
                .flat_map(|counters| counters.iter().enumerate());
            for (column, _) in counted.filter(|(_, counter)| counter.get().is_some()) {
                let status = (column + 100).to_string();
                let _ =
                    self.families
                        .requests
                        .remove_label_values(&[&*self.name, method, &*status]);
            }
        }
    }
}

/// What was counted of a connection at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests that were answered.
    pub requests: u64,
    /// Those of them with a server error.
    pub errors: u64,
    /// Those that took as long as each of [`BUCKETS`] at the most, and not the one before; at the end,
    /// longer.
    pub durations: [u64; BUCKETS.len() + 1],
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn a_connection_counts_by_method_and_status_and_can_be_forgotten() {
        let metrics = Metrics::new().unwrap();
        let jira = metrics.connection(&"jira".into());
        jira.answered(
            &Method::GET,
            StatusCode::OK,
            Duration::from_millis(3),
            Some(Duration::from_millis(2)),
        );
        jira.answered(
            &Method::from_bytes(b"BREW").unwrap(),
            StatusCode::IM_A_TEAPOT,
            Duration::ZERO,
            None,
        );
        let text = metrics.render().unwrap();
        for line in [
            r#"keybearer_requests_total{connection="jira",method="GET",status="200"} 1"#,
            r#"keybearer_requests_total{connection="jira",method="OTHER",status="418"} 1"#,
            r#"keybearer_request_duration_seconds_count{connection="jira"} 2"#,
            r#"keybearer_upstream_duration_seconds_count{connection="jira"} 1"#,
            "keybearer_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        jira.forget();
        assert!(!metrics.render().unwrap().contains("jira"));
    }
}
