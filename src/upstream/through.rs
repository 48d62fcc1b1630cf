//! Through an on-prem agent to an upstream: [`agent`].

use http::Uri;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::hop::{Hop, Patience};
use super::journey::{Journey, Phase};
use super::wire::{Tunnel, Wire};
use crate::agent::refusal::{Reason, Refusal};
use crate::agent::registry::{Agents, Closed};
use crate::agent::stream::TunnelStream;
use crate::problem::{Kind, Problem};

impl Tunnel for TunnelStream {
    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }

    fn leaving(&self) -> Option<CancellationToken> {
        Some(Self::leaving(self))
    }
}

/// Has the agent `name` connect to `hop`, whose name it resolves itself.
///
/// # Errors
/// What failed, for the caller to read; nothing was sent to the upstream.
pub(super) async fn agent(
    agents: &Agents,
    name: &str,
    hop: Hop<'_>,
    patience: Patience,
    journey: &mut Journey,
) -> Result<Wire, Problem> {
    let began = Instant::now();
    let place = place(hop);
    let authority = place.parse::<Uri>().map_err(|error| {
        hop.problem(
            Kind::Internal,
            &format!("no agent can be asked for it ({error})"),
        )
    })?;
    let opening = agents.open(name, &authority, patience.limit);
    match timeout_at(patience.until, opening).await {
        Ok(Ok(stream)) => {
            journey.record(Phase::Agent, began, || {
                format!("agent `{name}` connected to {place}")
            });
            Ok(Wire(Box::new(stream)))
        }
        Ok(Err(Closed::Absent)) => Err(absent(name, hop)),
        Ok(Err(Closed::Refused(refusal))) => Err(refused(name, hop, &refusal)),
        Err(_) => {
            let text = format!(
                "agent `{name}` made no connection within {patience}; check the network between the agent and it, and that the agent runs"
            );
            Err(hop.problem(Kind::ConnectTimeout, &text))
        }
    }
}

/// As a CONNECT asks for it (RFC 9110 section 9.3.6).
fn place(hop: Hop<'_>) -> String {
    match hop.host.contains(':') {
        true => format!("[{}]:{}", hop.host, hop.port),
        false => format!("{}:{}", hop.host, hop.port),
    }
}

fn absent(name: &str, hop: Hop<'_>) -> Problem {
    let text = format!(
        "agent `{name}`, which leads there, is not connected; start `keybearer agent --name {name}` in its network, or read its log"
    );
    hop.problem(Kind::AgentAbsent, &text)
}

fn refused(name: &str, hop: Hop<'_>, refusal: &Refusal) -> Problem {
    let Refusal { reason, detail } = refusal;
    let (kind, what) = match reason {
        Reason::NotListed => (
            Kind::AgentRefused,
            "does not open it, as its `--allow` does not list it",
        ),
        Reason::AddressProhibited => (Kind::AgentRefused, "does not open it"),
        Reason::ConnectionRefused => (Kind::ConnectionRefused, "cannot connect"),
        Reason::NotResolved => (Kind::NameNotResolved, "cannot connect"),
        Reason::TimedOut => (Kind::ConnectTimeout, "cannot connect"),
        Reason::Unreachable => (Kind::Unreachable, "cannot connect"),
    };
    hop.problem(kind, &format!("agent `{name}` {what}: {detail}"))
}
