//! `/api/agents`: which on-prem agents are connected.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Console;
use super::connections::rfc3339;
use crate::agent::registry::{Agents, Instance, Standing};
use crate::connection::network::Road;

/// An agent, as the API tells it.
#[derive(Serialize)]
struct Shown {
    name: String,
    /// How many of its processes take connections.
    connected: usize,
    instances: Vec<ShownInstance>,
}

#[derive(Serialize)]
struct ShownInstance {
    peer: String,
    version: Box<str>,
    since: String,
    state: &'static str,
    streams: u64,
    streams_total: u64,
    bytes_sent: u64,
    bytes_received: u64,
    /// Absent until the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_heartbeat: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
}

impl From<Standing> for Shown {
    fn from(standing: Standing) -> Self {
        let staying = |instance: &&Instance| !instance.is_leaving;
        Self {
            connected: standing.instances.iter().filter(staying).count(),
            name: standing.name.to_string(),
            instances: standing.instances.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Instance> for ShownInstance {
    fn from(instance: Instance) -> Self {
        let heartbeat = instance.heartbeat;
        Self {
            peer: instance.peer.to_string(),
            version: instance.version,
            since: rfc3339(instance.since),
            state: match instance.is_leaving {
                true => "draining",
                false => "connected",
            },
            streams: instance.streams,
            streams_total: instance.streams_total,
            bytes_sent: instance.sent,
            bytes_received: instance.received,
            last_heartbeat: heartbeat.map(|(at, _): (SystemTime, _)| rfc3339(at)),
            round_trip_ms: heartbeat.map(|(_, took)| took.as_secs_f64() * 1000.0),
        }
    }
}

/// All agents that there are or may be, by name.
pub(super) async fn list(State(console): State<Arc<Console>>) -> Response {
    let standing = console.agents.standing();
    let shown: Vec<Shown> = standing.into_iter().map(Into::into).collect();
    Json(serde_json::json!({ "agents": shown })).into_response()
}

/// The agent that a connection goes through.
#[derive(Serialize)]
pub(super) struct Leads {
    name: String,
    connected: usize,
}

impl Leads {
    /// None for a road without an agent.
    pub(super) fn of(road: &Road, agents: &Agents) -> Option<Self> {
        let name = road.agent()?;
        Some(Self {
            name: name.to_string(),
            connected: agents.connected(name),
        })
    }
}
