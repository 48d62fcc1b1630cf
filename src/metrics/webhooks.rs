//! What is counted of webhooks.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::register;

/// What can become of a request to an endpoint.
const RECEIVED: [&str; 7] = [
    "accepted",
    "challenge",
    "failed",
    "full",
    "malformed",
    "too_large",
    "unverified",
];

/// What can become of an attempt to deliver.
const DELIVERED: [&str; 3] = ["delivered", "failed", "retried"];

/// The families of webhooks.
#[derive(Debug)]
pub(super) struct WebhookFamilies {
    received: IntCounterVec,
    deliveries: IntCounterVec,
    depth: IntGaugeVec,
    oldest: GaugeVec,
}

impl WebhookFamilies {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            received: counter(
                "keybearer_webhooks_received_total",
                "Requests to an endpoint for webhooks, by what became of them; an ID that is unknown has no endpoint",
                &["endpoint", "result"],
            )?,
            deliveries: counter(
                "keybearer_webhook_deliveries_total",
                "Attempts to deliver a webhook, by what became of them",
                &["endpoint", "result"],
            )?,
            depth: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "keybearer_webhook_queue_depth",
                        "Deliveries that wait for their target",
                    ),
                    &["endpoint"],
                )?,
            )?,
            oldest: register(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "keybearer_webhook_queue_oldest_seconds",
                        "Age of the delivery that waits longest; 0 while none does",
                    ),
                    &["endpoint"],
                )?,
            )?,
        })
    }

    pub(super) fn unknown(&self) {
        self.received.with_label_values(&["", "unknown"]).inc();
    }

    pub(super) fn endpoint(self: &Arc<Self>, name: &str) -> WebhookMetrics {
        // All of them, so that a rate of the first one is not lost.
        for result in RECEIVED {
            self.received.with_label_values(&[name, result]);
        }
        for result in DELIVERED {
            self.deliveries.with_label_values(&[name, result]);
        }
        WebhookMetrics {
            depth: self.depth.with_label_values(&[name]),
            oldest: self.oldest.with_label_values(&[name]),
            families: Arc::clone(self),
            name: name.into(),
        }
    }
}

/// One endpoint's children of the families.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    depth: IntGauge,
    oldest: Gauge,
    families: Arc<WebhookFamilies>,
    name: Box<str>,
}

impl WebhookMetrics {
    /// Counts a request, by what became of it: a word of the documentation.
    pub fn received(&self, result: &str) {
        let labels = [&*self.name, result];
        self.families.received.with_label_values(&labels).inc();
    }

    /// Counts an attempt, likewise.
    pub fn attempted(&self, result: &str) {
        let labels = [&*self.name, result];
        self.families.deliveries.with_label_values(&labels).inc();
    }

    /// Tells how many deliveries wait, and how long the oldest has.
    pub fn waits(&self, depth: u64, oldest: Duration) {
        self.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.oldest.set(oldest.as_secs_f64());
    }

    /// Forgets the endpoint: for one that is no longer configured.
    pub fn forget(&self) {
        let families = &self.families;
        // What was never counted on has nothing to remove.
        let _ = families.depth.remove_label_values(&[&*self.name]);
        let _ = families.oldest.remove_label_values(&[&*self.name]);
        for result in RECEIVED {
            let _ = (families.received).remove_label_values(&[&*self.name, result]);
        }
        for result in DELIVERED {
            let _ = (families.deliveries).remove_label_values(&[&*self.name, result]);
        }
    }
}
