//! Which core the proxies run on, and which one carries load and upstream.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) proxy: usize,
    pub(crate) load: usize,
}

/// Pins this thread, and so the runtime on it, and makes room for a thousand connections.
pub(crate) fn claim() -> Result<Cores> {
    let allowed = sched_getaffinity(None).context("sched_getaffinity")?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let Some(proxy) = allowed.next() else {
        bail!("no core to run on")
    };
    let cores = Cores {
        proxy,
        load: allowed.next().unwrap_or(proxy),
    };
    let mut own = CpuSet::new();
    own.set(cores.load);
    sched_setaffinity(None, &own).context("sched_setaffinity")?;

    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .context("setrlimit")?;
    Ok(cores)
}

impl Cores {
    pub(crate) fn shared(&self) -> bool {
        self.proxy == self.load
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shared() {
            write!(
                f,
                "One core ({}) for proxy, load and upstream: ratios still compare, latencies do not.",
                self.proxy
            )
        } else {
            write!(
                f,
                "Proxies on core {}, load and upstream on core {}.",
                self.proxy, self.load
            )
        }
    }
}

/// Keeps the load's core from going idle for as long as it lives. Waking an idle core costs the
/// proxy that sends to it, and a faster proxy would pay it more seldom: an effect of the rig, not
/// of the proxy.
pub(crate) struct Awake(Option<tokio::task::JoinHandle<()>>);

impl Awake {
    pub(crate) fn keep(cores: Cores) -> Self {
        // On one core the spinning would be taken from the proxy.
        Self((!cores.shared()).then(|| {
            tokio::spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            })
        }))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
