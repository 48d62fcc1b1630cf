//! `keybearer run`: the wiring, the only place that knows everything.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::listeners::{Listeners, Sockets};
use super::{Found, Global, UNUSABLE, complain, load, logging};
use crate::agent;
use crate::agent::registry::Agents;
use crate::auth::courier::{self, Courier};
use crate::auth::credentials::Credentials;
use crate::config::source::Process;
use crate::console::{self, Console, Readiness, Sessions};
use crate::live::reload::{self, Reloader};
use crate::live::{self, Publisher, Reader, expiry};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::proxy::serve::{self, Bound};
use crate::traces::Traces;
use crate::traces::export::Exporter;
use crate::upstream::Upstreams;
use crate::webhook::queue::Queue;
use crate::webhook::{Webhooks, clock};

/// How long the end waits for a token that was asked for. A consent is lost whose code was spent for an
/// answer which is not stored; that of a refresh is taken by the next start.
const SETTLE: Duration = Duration::from_secs(5);

/// How long the first process of a container waits: what it leaves behind ends with it.
const SETTLE_AS_FIRST: Duration = courier::LIFETIME;

/// How long the end waits for the collector to take the last spans.
const FLUSH: Duration = Duration::from_secs(3);

/// How often idle upstream connections are looked at.
const SWEEP: Duration = Duration::from_secs(5);

pub(super) fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let found = match load(global)? {
        Ok(found) => found,
        Err(diagnostics) => {
            complain(&diagnostics.to_string());
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    set_limits();
    // The data plane has its threads to itself: nothing of the control plane delays a request.
    let control = runtime(1).thread_name("keybearer-control").build()?;
    let parts = Parts::build(found, global, control.handle())?;
    let data = DataPlane::start(parts.threads)?;
    // Webhooks have their own threads, too: neither requests nor the console wait for them.
    let hooks = match parts.webhooks {
        Some(_) => Some(runtime(2).thread_name("keybearer-webhooks").build()?),
        None => None,
    };
    let handle = hooks.as_ref().map(Runtime::handle);
    let code = control.block_on(parts.serve(data.handle(), handle))?;
    data.stop();
    if let Some(hooks) = hooks {
        hooks.shutdown_background();
    }
    control.shutdown_background();
    Ok(code)
}

/// Raises the limit of open files to what the system grants, as every caller needs one or two; and
/// asks for no core file, as it would hold the secrets.
pub(super) fn set_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    // Neither is worth a refusal to start: the first is a convenience, the second a precaution.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            ..files
        },
    );
    let core = getrlimit(Resource::Core);
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            ..core
        },
    );
}

/// A runtime of so many threads that share their work; 0: one per core.
fn runtime(threads: usize) -> Builder {
    let mut builder = Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all();
    builder
}

/// The runtime that requests run on.
enum DataPlane {
    /// One thread: nothing is shared, so nothing is paid for sharing it.
    Single(Handle, oneshot::Sender<()>),
    /// Threads that take work from each other.
    Shared(Runtime),
}

impl DataPlane {
    fn start(threads: usize) -> io::Result<Self> {
        const NAME: &str = "keybearer-data";
        if threads != 1 {
            return runtime(threads).thread_name(NAME).build().map(Self::Shared);
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || {
                // An error is a sender that is gone, which ends it, too.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        Ok(Self::Single(handle, stop))
    }

    fn handle(&self) -> &Handle {
        match self {
            Self::Single(handle, _) => handle,
            Self::Shared(runtime) => runtime.handle(),
        }
    }

    /// Ends it, with whatever still runs on it.
    fn stop(self) {
        match self {
            // Its thread ends with the process if it is too busy to be told.
            Self::Single(_, stop) => drop(stop),
            Self::Shared(runtime) => runtime.shutdown_background(),
        }
    }
}

/// Everything that was built and bound, before anything runs.
struct Parts {
    threads: usize,
    listeners: Vec<Bound>,
    console: Option<Bound>,
    agents: Option<Bound>,
    webhooks: Option<(Arc<Webhooks>, Bound)>,
    sockets: Sockets,
    reader: Reader,
    upstreams: Arc<Upstreams>,
    credentials: Arc<Credentials>,
    metrics: Metrics,
    traces: Traces,
    exporter: Exporter,
    proxy: Arc<Proxy>,
    reloader: Arc<Reloader>,
}

impl Parts {
    fn build(found: Found, global: &Global, control: &Handle) -> anyhow::Result<Self> {
        let Found {
            location,
            sources,
            config,
        } = found;
        let set_level = logging::start(&config.log, global)?;
        info!(version = env!("CARGO_PKG_VERSION"), config = %location, "Starting");
        let metrics = Metrics::new()?;
        let agents = Arc::new(Agents::new(metrics.clone()));
        let upstreams = Arc::new(Upstreams::behind(agents));
        let (traces, exporter) = Traces::new(&metrics, &upstreams, config.server.threads);
        let credentials = Credentials::new(
            control.clone(),
            Arc::clone(&upstreams),
            metrics.clone(),
            config.store.clone(),
            Courier::default(),
        );
        let credentials = Arc::new(credentials.traced(traces.clone()));
        let publisher = Publisher::new(
            &config,
            live::Parts {
                upstreams: Arc::clone(&upstreams),
                credentials: Arc::clone(&credentials),
                metrics: metrics.clone(),
                traces: traces.clone(),
            },
        )?;
        let Listeners {
            proxy: listeners,
            console,
            agents,
            webhooks,
            sockets,
        } = Listeners::bind(&config)?;
        // Not before all is bound: a start that fails asks nobody for anything.
        publisher.begin();
        let reader = publisher.reader();
        let proxy = Proxy::new(reader.clone(), &metrics);
        let webhooks = match webhooks {
            Some(bound) => {
                let parts = (&reader, &metrics, &upstreams, &proxy);
                Some((webhooks_at(&bound, &credentials, parts)?, bound))
            }
            None => None,
        };
        let outside = Box::new(Process);
        let reloader = Reloader::new(
            location,
            outside,
            sources,
            &config,
            publisher,
            metrics.clone(),
            set_level,
        );
        Ok(Self {
            threads: config.server.threads,
            listeners,
            console,
            agents,
            webhooks,
            sockets,
            reader,
            upstreams,
            credentials,
            metrics,
            traces,
            exporter,
            proxy,
            reloader: Arc::new(reloader),
        })
    }

    /// Serves until a signal ends it.
    async fn serve(self, data: &Handle, hooks: Option<&Handle>) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new().context("signals cannot be listened for")?;
        let ready = Readiness::default();
        let (stop, stopped) = watch::channel(false);
        let addresses: Vec<_> = self.listeners.iter().map(Bound::address).collect();
        data.spawn(serve::serve(
            Arc::clone(&self.proxy),
            self.listeners,
            stopped,
        ));
        addresses
            .iter()
            .for_each(|address| info!(listener = "proxy", address, "Listening"));
        if let Some(listener) = self.console {
            info!(
                listener = "console",
                address = listener.address(),
                "Listening"
            );
            let console = Console {
                agents: Arc::clone(self.upstreams.agents()),
                webhooks: (self.webhooks.as_ref()).map(|(webhooks, _)| Arc::clone(webhooks)),
                metrics: self.metrics.clone(),
                reloader: Arc::clone(&self.reloader),
                reader: self.reader.clone(),
                consents: Arc::clone(self.credentials.consents()),
                credentials: Arc::clone(&self.credentials),
                proxy: Arc::clone(&self.proxy),
                ready: ready.clone(),
                listeners: addresses.clone(),
                sessions: Arc::new(
                    Sessions::new()
                        .ok()
                        .context("the system gives no random numbers")?,
                ),
                histories: Arc::default(),
            };
            tokio::spawn(async move {
                if let Err(error) = console::serve(console, listener).await {
                    error!(%error, "Console ended");
                }
            });
        }
        if let Some(Bound::Tcp(listener, address)) = self.agents {
            info!(listener = "agents", %address, "Listening");
            let agents = Arc::clone(self.upstreams.agents());
            tokio::spawn(async move {
                if let Err(error) = agent::server::serve(agents, listener).await {
                    error!(%error, "Agents are not listened for");
                }
            });
        }
        let webhooks = self.webhooks.map(|(webhooks, bound)| {
            let address = bound.address();
            info!(listener = "webhooks", address, "Listening");
            let serving = Arc::clone(&webhooks).serve(bound);
            let ended = async move {
                if let Err(error) = serving.await {
                    error!(%error, "Webhooks are not listened for");
                }
            };
            hooks.map(|hooks| hooks.spawn(ended));
            webhooks
        });
        tokio::spawn(async move {
            if let Err(error) = reload::watch(self.reloader).await {
                error!(%error, "Configuration is not watched");
            }
        });
        tokio::spawn(expiry::watch(self.reader.clone()));
        tokio::spawn(sweep(self.upstreams));
        let exporting = tokio::spawn(self.exporter.run());
        ready.set(true);

        let signal = signals.next().await;
        ready.set(false);
        let grace = self.reader.take().shutdown_grace;
        // Nobody is to find a socket that is no longer accepted on.
        drop(self.sockets);
        info!(signal, running = self.proxy.running().len(), "Draining");
        // Nobody listens any more only if the listeners ended by themselves.
        let _ = stop.send(true);
        let running = self.proxy.running();
        let ended = async {
            // First, as some deliveries are callers of the proxy.
            if let Some(webhooks) = webhooks {
                webhooks.stop().await;
            }
            running.close();
            running.wait().await;
        };
        let code = tokio::select! {
            drained = tokio::time::timeout(grace, ended) => {
                if drained.is_err() {
                    warn!(running = running.len(), "Cutting off what still runs");
                }
                ExitCode::SUCCESS
            }
            signal = signals.next() => {
                warn!(signal, running = running.len(), "Cutting off what still runs, at once");
                ExitCode::FAILURE
            }
        };
        settle(&self.credentials, &mut signals).await;
        self.traces.end();
        if tokio::time::timeout(FLUSH, exporting).await.is_err() {
            warn!("The last traces are lost, as the collector does not take them in time");
        }
        info!("Stopped");
        Ok(code)
    }
}

/// Webhooks that arrive at an address; not yet listened for.
fn webhooks_at(
    bound: &Bound,
    credentials: &Credentials,
    parts: (&Reader, &Metrics, &Arc<Upstreams>, &Arc<Proxy>),
) -> anyhow::Result<Arc<Webhooks>> {
    const NEEDED: &str = "webhooks are kept until they are delivered";
    let store = credentials.store().context(NEEDED)?;
    let vault = store.vault().context(NEEDED)?;
    let queue = Queue::open(vault)?;
    let clock = Arc::new(clock::System);
    Ok(Webhooks::new(queue, store, bound, parts, clock))
}

/// Lets tokens that were asked for arrive, unless somebody is in a hurry.
async fn settle(credentials: &Credentials, signals: &mut Signals) {
    let exchanges = credentials.exchanges();
    if !exchanges.is_empty() {
        info!(running = exchanges.len(), "Waiting for tokens");
    }
    exchanges.close();
    let is_first = std::process::id() == 1;
    let most = if is_first { SETTLE_AS_FIRST } else { SETTLE };
    let settled = tokio::select! {
        settled = tokio::time::timeout(most, exchanges.wait()) => settled.is_ok(),
        _ = signals.next() => false,
    };
    let running = exchanges.len();
    match (settled, is_first) {
        (true, _) => {}
        (false, false) => warn!(
            running,
            "A token endpoint has not answered: a refresh goes on by itself, a consent has to be given again"
        ),
        (false, true) => warn!(
            running,
            "A token endpoint has not answered: what it still gives is lost, and the connection may have to be linked again"
        ),
    }
}

async fn sweep(upstreams: Arc<Upstreams>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        upstreams.sweep(Instant::now());
    }
}

/// The signals that end the process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
