//! The metric families, and one connection's children, resolved before they are counted on.

mod agents;
mod traces;
mod webhooks;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use prometheus::core::{Collector, Metric};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use self::agents::AgentFamilies;
pub use self::agents::AgentMetrics;
pub use self::traces::TraceMetrics;
use self::webhooks::WebhookFamilies;
pub use self::webhooks::WebhookMetrics;

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

/// Upper bounds of the duration histograms, in seconds.
pub const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Every family that `/metrics` shows.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    upstream_duration: HistogramVec,
    token_refreshes: IntCounterVec,
    token_expiry: IntGaugeVec,
    credential_state: IntGaugeVec,
    certificate_expiry: IntGaugeVec,
    reloads: IntCounterVec,
    last_reload_success: IntGauge,
    generation: IntGauge,
    agents: Arc<AgentFamilies>,
    traces: TraceMetrics,
    webhooks: Arc<WebhookFamilies>,
}

impl Metrics {
    /// Makes and registers the families.
    ///
    /// # Errors
    /// A family is named or labelled against Prometheus' rules, which a test excludes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let families = Families {
            requests: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("keybearer_requests_total", "Requests answered"),
                    &["connection", "method", "status"],
                )?,
            )?,
            request_duration: register(
                &registry,
                HistogramVec::new(
                    histogram(
                        "keybearer_request_duration_seconds",
                        "From a request's head to the end of its answer",
                    ),
                    &["connection"],
                )?,
            )?,
            upstream_duration: register(
                &registry,
                HistogramVec::new(
                    histogram(
                        "keybearer_upstream_duration_seconds",
                        "From sending a request upstream to the head of the answer",
                    ),
                    &["connection"],
                )?,
            )?,
            token_refreshes: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "keybearer_token_refreshes_total",
                        "Attempts to renew a credential that has a lifetime",
                    ),
                    &["connection", "result"],
                )?,
            )?,
            token_expiry: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "keybearer_token_expiry_timestamp_seconds",
                        "When the credential in use ends, in Unix time",
                    ),
                    &["connection"],
                )?,
            )?,
            credential_state: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "keybearer_credential_state",
                        "1 for the state that a credential with a lifetime is in",
                    ),
                    &["connection", "state"],
                )?,
            )?,
            certificate_expiry: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "keybearer_client_certificate_expiry_timestamp_seconds",
                        "When the client certificate or one of its chain ends, in Unix time",
                    ),
                    &["connection"],
                )?,
            )?,
            reloads: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("keybearer_config_reloads_total", "Configuration reloads"),
                    &["result"],
                )?,
            )?,
            last_reload_success: register(
                &registry,
                IntGauge::new(
                    "keybearer_config_last_reload_success",
                    "Whether the last load of the configuration succeeded",
                )?,
            )?,
            generation: register(
                &registry,
                IntGauge::new(
                    "keybearer_config_generation",
                    "How many configurations were published",
                )?,
            )?,
            agents: Arc::new(AgentFamilies::new(&registry)?),
            traces: TraceMetrics::new(&registry)?,
            webhooks: Arc::new(WebhookFamilies::new(&registry)?),
            registry,
        };
        let build = IntGaugeVec::new(
            Opts::new("keybearer_build_info", "This build"),
            &["version"],
        )?;
        register(&families.registry, build)?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        for result in ["success", "failure"] {
            families.reloads.with_label_values(&[result]);
        }
        Ok(Self(Arc::new(families)))
    }

    /// The children of one connection; made when they are first counted on.
    pub fn connection(&self, name: &Arc<str>) -> ConnectionMetrics {
        ConnectionMetrics {
            families: Arc::clone(&self.0),
            name: Arc::clone(name),
            requests: Default::default(),
            durations: OnceLock::new(),
        }
    }

    /// What is told of one connection's credential, if that has a lifetime.
    pub fn credential(&self, name: &Arc<str>) -> CredentialMetrics {
        CredentialMetrics {
            families: Arc::clone(&self.0),
            name: Arc::clone(name),
        }
    }

    /// What becomes of spans.
    pub fn traces(&self) -> TraceMetrics {
        self.0.traces.clone()
    }

    /// The children of one agent; made by asking for them, so that an absent agent is shown, too.
    pub fn agent(&self, name: &str) -> AgentMetrics {
        self.0.agents.agent(name)
    }

    /// Counts an agent that was not let in; without a name if that is none there may be.
    pub fn agent_refused(&self, name: Option<&str>) {
        self.0.agents.refused(name);
    }

    /// The children of one endpoint for webhooks.
    pub fn webhooks(&self, name: &str) -> WebhookMetrics {
        self.0.webhooks.endpoint(name)
    }

    /// Counts a webhook whose ID is unknown.
    pub fn webhook_unknown(&self) {
        self.0.webhooks.unknown();
    }

    /// Counts a reload, and the generation it published.
    pub fn reloaded(&self, generation: Option<u64>) {
        let result = if generation.is_some() {
            "success"
        } else {
            "failure"
        };
        self.0.reloads.with_label_values(&[result]).inc();
        self.loaded(generation);
    }

    /// Notes what is in force, without counting a reload.
    pub fn loaded(&self, generation: Option<u64>) {
        self.0.last_reload_success.set(generation.is_some().into());
        if let Some(generation) = generation {
            self.0
                .generation
                .set(generation.try_into().unwrap_or(i64::MAX));
        }
    }

    /// Everything in the Prometheus text format.
    ///
    /// # Errors
    /// A family without a name or metrics, which the registry does not take.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.registry.gather())
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    family: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn histogram(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(BUCKETS.to_vec())
}

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

/// One connection's part of what is told of credentials with a lifetime.
#[derive(Clone, Debug)]
pub struct CredentialMetrics {
    families: Arc<Families>,
    name: Arc<str>,
}

impl CredentialMetrics {
    /// The connection's name.
    pub fn connection(&self) -> &str {
        &self.name
    }

    /// Counts an attempt to renew it.
    pub fn renewed(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.families
            .token_refreshes
            .with_label_values(&[&*self.name, result])
            .inc();
    }

    /// Notes when the value in use ends; none if nobody knows.
    pub fn expires(&self, at: Option<SystemTime>) {
        note_end(&self.families.token_expiry, &self.name, at);
    }

    /// Notes which of `all` states it is in.
    pub fn state(&self, current: &str, all: impl Iterator<Item = &'static str>) {
        for state in all {
            self.families
                .credential_state
                .with_label_values(&[&*self.name, state])
                .set((state == current).into());
        }
    }

    /// Forgets a credential that is no longer there, with its states.
    pub fn forget(&self, all: impl Iterator<Item = &'static str>) {
        self.expires(None);
        for result in ["success", "failure"] {
            let labels = [&*self.name, result];
            let _ = self.families.token_refreshes.remove_label_values(&labels);
        }
        for state in all {
            let labels = [&*self.name, state];
            let _ = self.families.credential_state.remove_label_values(&labels);
        }
    }
}

/// Notes when something of a connection ends.
fn note_end(family: &IntGaugeVec, connection: &str, at: Option<SystemTime>) {
    let seconds = at
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_secs()).ok());
    match seconds {
        Some(seconds) => family.with_label_values(&[connection]).set(seconds),
        // There may be none, which is as good.
        None => drop(family.remove_label_values(&[connection])),
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_failed_reload_is_seen_and_keeps_the_generation() {
        let metrics = Metrics::new().unwrap();
        metrics.loaded(Some(1));
        metrics.reloaded(Some(2));
        metrics.reloaded(None);
        let text = metrics.render().unwrap();
        for line in [
            "keybearer_config_last_reload_success 0",
            "keybearer_config_generation 2",
            r#"keybearer_config_reloads_total{result="success"} 1"#,
            r#"keybearer_config_reloads_total{result="failure"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
