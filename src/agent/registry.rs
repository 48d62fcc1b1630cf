//! Which agents are connected: [`Agents`], which opens streams on their tunnels.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use http::Uri;
use parking_lot::Mutex;
use tracing::info;

use super::refusal::Refusal;
use super::stream::TunnelStream;
use super::tunnel::{NotOpened, Proof, Tunnel};
use crate::connection::agents::Access;
use crate::metrics::{AgentMetrics, Metrics};

/// The agents of a proxy, by name: those there may be, and the tunnels of those there are.
#[derive(Debug, Default)]
pub struct Agents {
    /// Who is let in; none where there are to be no agents.
    access: ArcSwapOption<Access>,
    /// Held to look a tunnel up, never while anything is awaited.
    tunnels: Mutex<BTreeMap<Arc<str>, Vec<Arc<Tunnel>>>>,
    /// Where the next search begins, so that those with equally few streams take turns.
    turn: AtomicU64,
    metrics: Option<Metrics>,
}

/// Why no stream was opened.
#[derive(Debug)]
pub enum Closed {
    /// No agent of the name is connected.
    Absent,
    /// The agent does not connect.
    Refused(Refusal),
}

/// An agent, for whoever asks.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub name: Arc<str>,
    /// Each process of it that is connected.
    pub instances: Vec<Instance>,
}

/// A connected process of an agent.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Where it dialed from.
    pub peer: SocketAddr,
    /// Its version, as it says itself.
    pub version: Box<str>,
    /// Since when it is connected.
    pub since: SystemTime,
    /// Whether it takes no more streams and ends those it has.
    pub is_leaving: bool,
    /// Streams that are open now.
    pub streams: u64,
    /// Streams since then.
    pub streams_total: u64,
    /// Bytes to it.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
    /// Its last sign of life, and how long that took.
    pub heartbeat: Option<(SystemTime, Duration)>,
}

impl Agents {
    /// None connected, and nobody let in before [`Self::publish`].
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics: Some(metrics),
            ..Self::default()
        }
    }

    /// Puts in force who is let in; ends tunnels of those who no longer are.
    pub fn publish(&self, access: Option<Arc<Access>>) {
        let before = self.access.swap(access.clone());
        let names = |access: &Option<Arc<Access>>| {
            let names = access.as_ref().map(|access| access.names.clone());
            names.unwrap_or_default()
        };
        let now = names(&access);
        for tunnel in self.tunnels.lock().values().flatten() {
            if !access
                .as_deref()
                .zip(before.as_deref())
                .is_some_and(|(access, before)| is_let_in(access, before, tunnel))
            {
                info!(agent = %tunnel.name, peer = %tunnel.peer, "Agent no longer let in");
                tunnel.leave();
                tunnel.end.cancel();
            }
        }
        let Some(metrics) = &self.metrics else {
            return;
        };
        for gone in names(&before).difference(&now) {
            metrics.agent(gone).forget();
        }
        // One that is absent is told, too.
        for name in &now {
            metrics.agent(name);
        }
    }

    /// Who is let in now.
    pub(super) fn access(&self) -> Option<Arc<Access>> {
        self.access.load_full()
    }

    pub(super) fn metrics(&self, name: &str) -> Option<AgentMetrics> {
        self.metrics.as_ref().map(|metrics| metrics.agent(name))
    }

    /// Counts an agent that was not let in; none if its name is none there may be.
    pub(super) fn refused(&self, name: Option<&str>) {
        if let Some(metrics) = &self.metrics {
            metrics.agent_refused(name);
        }
    }

    /// Takes in a tunnel that was `judged` by this, until what is given back is dropped.
    pub(super) fn admit(self: &Arc<Self>, tunnel: Arc<Tunnel>, judged: &Access) -> Admitted {
        let mut tunnels = self.tunnels.lock();
        let name = Arc::clone(&tunnel.name);
        tunnels.entry(name).or_default().push(Arc::clone(&tunnel));
        drop(tunnels);
        // What a reload has changed between the hello and this is seen now.
        let access = self.access();
        if !access.is_some_and(|access| is_let_in(&access, judged, &tunnel)) {
            tunnel.end.cancel();
        }
        let metrics = self.metrics(&tunnel.name);
        if let Some(metrics) = &metrics {
            metrics.connected();
        }
        Admitted {
            agents: Arc::clone(self),
            tunnel,
            metrics,
        }
    }

    /// Has the agent `name` connect to `authority`, within `limit`.
    ///
    /// # Errors
    /// There is no connection; nothing was sent to whatever is there.
    pub async fn open(
        &self,
        name: &str,
        authority: &Uri,
        limit: Duration,
    ) -> Result<TunnelStream, Closed> {
        let mut tried = BTreeSet::new();
        while let Some(tunnel) = self.least_busy(name, &tried) {
            match tunnel.open(authority, limit).await {
                Ok(stream) => return Ok(stream),
                Err(NotOpened::Refused(refusal)) => return Err(Closed::Refused(refusal)),
                Err(NotOpened::Gone) => tried.insert(Arc::as_ptr(&tunnel) as usize),
            };
        }
        Err(Closed::Absent)
    }

    /// The tunnel with the fewest open streams among those that were not tried.
    fn least_busy(&self, name: &str, tried: &BTreeSet<usize>) -> Option<Arc<Tunnel>> {
        let tunnels = self.tunnels.lock();
        let all = tunnels.get(name)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize % all.len().max(1);
        let (first, last) = all.split_at(turn);
        let usable = last.iter().chain(first).filter(|tunnel| {
            tunnel.is_staying() && !tried.contains(&(Arc::as_ptr(tunnel) as usize))
        });
        usable
            .min_by_key(|tunnel| tunnel.traffic.open.load(Ordering::Relaxed))
            .cloned()
    }

    /// How many processes of an agent take streams.
    pub fn connected(&self, name: &str) -> usize {
        let tunnels = self.tunnels.lock();
        let all = tunnels.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|tunnel| tunnel.is_staying()).count()
    }

    /// Every agent there is or may be, by name.
    pub fn standing(&self) -> Vec<Standing> {
        let tunnels = self.tunnels.lock();
        let mut names: BTreeSet<_> = tunnels.keys().cloned().collect();
        if let Some(access) = self.access() {
            names.extend(access.names.iter().cloned());
        }
        let instances = |name: &Arc<str>| tunnels.get(name).into_iter().flatten();
        names
            .into_iter()
            .map(|name| Standing {
                instances: instances(&name).map(|tunnel| instance(tunnel)).collect(),
                name,
            })
            .collect()
    }
}

/// Whether the agent at a tunnel's end, which was let in by `before`, would be let in by `access`, too.
fn is_let_in(access: &Access, before: &Access, tunnel: &Tunnel) -> bool {
    if !access.names.contains(&tunnel.name) {
        return false;
    }
    match &tunnel.proof {
        Proof::Token(token) => access
            .tokens
            .get(&tunnel.name)
            .is_some_and(|known| known.expose() == token.expose()),
        Proof::Certificate => {
            access.authorities.is_some() && before.authorities == access.authorities
        }
    }
}

fn instance(tunnel: &Tunnel) -> Instance {
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let traffic = &tunnel.traffic;
    Instance {
        peer: tunnel.peer,
        version: tunnel.version.clone(),
        since: tunnel.since,
        is_leaving: !tunnel.is_staying(),
        streams: count(&traffic.open),
        streams_total: count(&traffic.opened),
        sent: count(&traffic.sent),
        received: count(&traffic.received),
        heartbeat: *traffic.heartbeat.lock(),
    }
}

/// A tunnel that is looked up by its name.
#[derive(Debug)]
pub(super) struct Admitted {
    agents: Arc<Agents>,
    pub(super) tunnel: Arc<Tunnel>,
    metrics: Option<AgentMetrics>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.tunnel.leave();
        let mut tunnels = self.agents.tunnels.lock();
        if let Some(all) = tunnels.get_mut(&self.tunnel.name) {
            all.retain(|tunnel| !Arc::ptr_eq(tunnel, &self.tunnel));
            if all.is_empty() {
                tunnels.remove(&self.tunnel.name);
            }
        }
        drop(tunnels);
        if let Some(metrics) = &self.metrics {
            metrics.gone();
        }
    }
}
