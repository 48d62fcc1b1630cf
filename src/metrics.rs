//! The metric families; the children of each thing that is counted are in files of their own.

mod agents;
mod connection;
mod credential;
mod traces;
mod webhooks;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use self::agents::AgentFamilies;
pub use self::agents::AgentMetrics;
pub use self::connection::{ConnectionMetrics, Sample};
pub use self::credential::CredentialMetrics;
pub use self::traces::TraceMetrics;
use self::webhooks::WebhookFamilies;
pub use self::webhooks::WebhookMetrics;

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
        ConnectionMetrics::new(Arc::clone(&self.0), Arc::clone(name))
    }

    /// What is told of one connection's credential, if that has a lifetime.
    pub fn credential(&self, name: &Arc<str>) -> CredentialMetrics {
        CredentialMetrics::new(Arc::clone(&self.0), Arc::clone(name))
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
