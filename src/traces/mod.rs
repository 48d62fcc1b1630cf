//! Traces as OpenTelemetry has them: [`Traces`], switched on by `[traces]`, and the spans that a
//! collector gets of requests and of renewals of credentials.
//!
//! A request only notes plain data, with times and IDs ([`request`]), and hands it over when it is
//! over; what a span looks like is known to the [`export`]er alone, a task of the control plane. What
//! finds no room between them is dropped and counted: nothing here makes a request wait.

mod ahead;
mod attribute;
pub mod context;
pub mod export;
mod handover;
mod random;
pub mod renewal;
pub mod request;
mod sample;
mod spans;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::export::Exporter;
use self::handover::Handover;
use self::sample::Sample;
use crate::config;
use crate::metrics::{Metrics, TraceMetrics};
use crate::upstream::Upstreams;

/// The way to the exporter, across configurations; by default there is none, and nothing is traced.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Shared>>);

/// What those who note and the one who exports have in common.
#[derive(Debug)]
struct Shared {
    handover: Handover,
    /// That there is something to do before the next look.
    wake: Notify,
    /// What is in force.
    current: ArcSwapOption<Tracer>,
    /// The settings of what is in force, or was last.
    settings: ArcSwapOption<config::Traces>,
    /// How many tracers there are: those that are no longer in force, too, while requests have them.
    tracers: AtomicUsize,
    metrics: TraceMetrics,
    ending: CancellationToken,
}

/// What begins traces, as one configuration wants them.
#[derive(Debug)]
pub struct Tracer {
    settings: Arc<config::Traces>,
    sample: Sample,
    shared: Arc<Shared>,
}

impl Traces {
    /// The way to an exporter, and that exporter, which is to be run.
    ///
    /// So many threads serve requests; 0 stands for one on each processor.
    pub fn new(metrics: &Metrics, upstreams: &Arc<Upstreams>, threads: usize) -> (Self, Exporter) {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let shared = Arc::new(Shared {
            handover: Handover::new(threads),
            wake: Notify::new(),
            current: ArcSwapOption::empty(),
            settings: ArcSwapOption::empty(),
            tracers: AtomicUsize::new(0),
            metrics: metrics.traces(),
            ending: CancellationToken::new(),
        });
        let exporter = Exporter::new(Arc::clone(&shared), Arc::clone(upstreams));
        (Self(Some(shared)), exporter)
    }

    /// What begins traces by these settings; the one there is, if they are the same.
    pub fn tracer(&self, settings: Option<&Arc<config::Traces>>) -> Option<Arc<Tracer>> {
        let (shared, settings) = (self.0.as_ref()?, settings?);
        let current = shared.current.load_full();
        let same = current.filter(|tracer| tracer.settings == *settings);
        Some(same.unwrap_or_else(|| Arc::new(Tracer::new(settings, shared))))
    }

    /// Puts a tracer in force for all that is not a request, or none.
    pub fn publish(&self, tracer: Option<Arc<Tracer>>) {
        if let Some(shared) = &self.0 {
            if let Some(tracer) = &tracer {
                shared.settings.store(Some(Arc::clone(&tracer.settings)));
            }
            shared.current.store(tracer);
            shared.wake.notify_one();
        }
    }

    /// What is in force.
    fn current(&self) -> Option<Arc<Tracer>> {
        self.0.as_ref()?.current.load_full()
    }

    /// Has the exporter send what it has, and end.
    pub fn end(&self) {
        if let Some(shared) = &self.0 {
            shared.ending.cancel();
        }
    }
}

impl Tracer {
    fn new(settings: &Arc<config::Traces>, shared: &Arc<Shared>) -> Self {
        shared.tracers.fetch_add(1, Ordering::Relaxed);
        Self {
            settings: Arc::clone(settings),
            sample: Sample::of(settings.sample),
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for Tracer {
    /// Tells the exporter, which waits for what is handed over last.
    fn drop(&mut self) {
        self.shared.tracers.fetch_sub(1, Ordering::Release);
        self.shared.wake.notify_one();
    }
}
