//! What is told of spans: how many a collector took, and how many were lost.

use prometheus::{IntCounter, Registry};

use super::register;

/// The counters of spans.
#[derive(Clone, Debug)]
pub struct TraceMetrics {
    exported: IntCounter,
    dropped: IntCounter,
}

impl TraceMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let exported = IntCounter::new(
            "keybearer_trace_spans_exported_total",
            "Spans that the collector took",
        )?;
        let dropped = IntCounter::new(
            "keybearer_trace_spans_dropped_total",
            "Spans that were lost, as the collector did not take them",
        )?;
        Ok(Self {
            exported: register(registry, exported)?,
            dropped: register(registry, dropped)?,
        })
    }

    /// Counts spans that the collector took.
    pub fn exported(&self, spans: usize) {
        self.exported.inc_by(spans as u64);
    }

    /// Counts spans that are lost.
    pub fn dropped(&self, spans: usize) {
        self.dropped.inc_by(spans as u64);
    }

    /// How many were lost until now.
    pub fn all_dropped(&self) -> u64 {
        self.dropped.get()
    }
}
