//! What is counted of agents.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::register;

/// The families of agents.
#[derive(Debug)]
pub(super) struct AgentFamilies {
    connected: IntGaugeVec,
    streams: IntGaugeVec,
    bytes: IntCounterVec,
    connections: IntCounterVec,
}

impl AgentFamilies {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            connected: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "keybearer_agent_connected",
                        "Processes of an agent that are connected",
                    ),
                    &["agent"],
                )?,
            )?,
            streams: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "keybearer_agent_streams",
                        "Connections that are open through an agent",
                    ),
                    &["agent"],
                )?,
            )?,
            bytes: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "keybearer_agent_bytes_total",
                        "Bytes sent to upstreams and received from them through an agent",
                    ),
                    &["agent", "direction"],
                )?,
            )?,
            connections: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "keybearer_agent_connections_total",
                        "Agents that connected, accepted or refused; a name that is unknown is empty",
                    ),
                    &["agent", "result"],
                )?,
            )?,
        })
    }

    pub(super) fn refused(&self, name: Option<&str>) {
        let labels = &[name.unwrap_or_default(), "refused"];
        self.connections.with_label_values(labels).inc();
    }

    pub(super) fn agent(self: &Arc<Self>, name: &str) -> AgentMetrics {
        AgentMetrics {
            connected: self.connected.with_label_values(&[name]),
            streams: self.streams.with_label_values(&[name]),
            sent: self.bytes.with_label_values(&[name, "sent"]),
            received: self.bytes.with_label_values(&[name, "received"]),
            accepted: self.connections.with_label_values(&[name, "accepted"]),
            families: Arc::clone(self),
            name: name.into(),
        }
    }
}

/// One agent's children of the families.
#[derive(Clone, Debug)]
pub struct AgentMetrics {
    connected: IntGauge,
    /// Streams that are open.
    pub streams: IntGauge,
    /// Bytes to upstreams.
    pub sent: IntCounter,
    /// Bytes from them.
    pub received: IntCounter,
    accepted: IntCounter,
    families: Arc<AgentFamilies>,
    name: Box<str>,
}

impl AgentMetrics {
    /// Counts a process that has connected.
    pub fn connected(&self) {
        self.accepted.inc();
        self.connected.inc();
    }

    /// Counts one that is gone.
    pub fn gone(&self) {
        self.connected.dec();
    }

    /// Forgets the agent: for one that is no longer configured.
    pub fn forget(&self) {
        let families = &self.families;
        // What was never counted on has nothing to remove.
        let _ = families.connected.remove_label_values(&[&*self.name]);
        let _ = families.streams.remove_label_values(&[&*self.name]);
        for direction in ["sent", "received"] {
            let labels = [&*self.name, direction];
            let _ = families.bytes.remove_label_values(&labels);
        }
        for result in ["accepted", "refused"] {
            let labels = [&*self.name, result];
            let _ = families.connections.remove_label_values(&labels);
        }
    }
}
