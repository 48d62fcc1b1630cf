//! `/agents`: the on-prem agents, and which are connected.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::super::Console;
use super::super::guard::Visitor;
use super::parts::scrolled;
use super::words::{bytes, countdown, duration};
use super::{Depth, Region, Shell, banner};
use crate::agent::registry::Instance;

/// What is told of each process of an agent.
const COLUMNS: [&str; 7] = [
    "From",
    "Version",
    "Connected",
    "Heartbeat",
    "Streams",
    "Sent",
    "Received",
];

/// The page.
pub(in super::super) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let content = html! {
        h1 { "Agents" }
        p { "An agent runs in a private network, dials out to here, and leads connections with " code { "network.agent" } " to their upstreams there." }
        div #agents { (agents(&console)) }
    };
    let shell = Shell::live(
        &console,
        &visitor,
        Depth::Top,
        "Agents",
        Some("view=agents"),
    );
    shell.page(StatusCode::OK, &content)
}

/// What can change on it.
pub(in super::super) fn regions(console: &Console) -> Vec<Region> {
    vec![
        Region::new("banner", banner(console)),
        Region::new("agents", agents(console)),
    ]
}

fn agents(console: &Console) -> Markup {
    let now = SystemTime::now();
    let standing = console.agents.standing();
    html! {
        @if standing.is_empty() {
            p.empty { "No agent is configured: " code { "[agents]" } " says where they connect, and which there are." }
        }
        @for agent in &standing {
            section {
                h2 { (agent.name) " "
                    @match agent.instances.iter().filter(|it| !it.is_leaving).count() {
                        0 => span.state.bad { "Not connected" },
                        1 => span.state.good { "Connected" },
                        some => span.state.good { (some) " connected" },
                    }
                }
                @if !agent.instances.is_empty() {
                    @let label = format!("Processes of {}", agent.name);
                    (scrolled(&label, &COLUMNS, None, &processes(&agent.instances, now)))
                }
            }
        }
    }
}

fn processes(instances: &[Instance], now: SystemTime) -> Markup {
    html! {
        @for it in instances {
            tr {
                th scope="row" { (it.peer) @if it.is_leaving { " " span.state.doubt { "Draining" } } }
                td { (it.version) }
                td { (countdown(it.since, now)) }
                td {
                    @match it.heartbeat {
                        Some((at, took)) => { (countdown(at, now)) ", " (duration(took.as_secs_f64())) }
                        None => { "-" }
                    }
                }
                td { (it.streams) " of " (it.streams_total) }
                td { (bytes(it.sent)) }
                td { (bytes(it.received)) }
            }
        }
    }
}
