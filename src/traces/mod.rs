//! Traces as OpenTelemetry has them: [`Traces`], switched on by `[traces]`, and the spans that a
//! collector gets of requests and of renewals of credentials.
//!
//! A request only notes plain data, with times and IDs ([`request`]), and hands it over when it is
//! over; what a span looks like is known to the [`export`]er alone, a task of the control plane. What
//! the queue between them does not take is dropped and counted: nothing here makes a request wait.

mod attribute;
pub mod context;
pub mod export;
mod random;
pub mod renewal;
pub mod request;
mod sample;
mod spans;
mod wire;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use self::export::Exporter;
use self::renewal::Renewed;
use self::request::Noted;
use self::sample::Sample;
use crate::config;
use crate::metrics::{Metrics, TraceMetrics};
use crate::upstream::Upstreams;

/// How many ended requests and renewals wait for the exporter. It looks at them as soon as half of them
/// are there.
const QUEUE: usize = 4096;

/// The way to the exporter, across configurations; by default there is none, and nothing is traced.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Shared>>);

/// What those who note and the one who exports have in common.
#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<Ended>,
    /// That there is something to do before the next look.
    wake: Notify,
    /// What is in force.
    current: ArcSwapOption<Tracer>,
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

/// What is over, and becomes spans.
#[derive(Debug)]
enum Ended {
    Renewal(Box<Renewed>),
    Request(Box<Noted>),
}

impl Traces {
    /// The way to an exporter, and that exporter, which is to be run.
    pub fn new(metrics: &Metrics, upstreams: &Arc<Upstreams>) -> (Self, Exporter) {
        let (queue, queued) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            queue,
            wake: Notify::new(),
            current: ArcSwapOption::empty(),
            metrics: metrics.traces(),
            ending: CancellationToken::new(),
        });
        let exporter = Exporter::new(Arc::clone(&shared), queued, Arc::clone(upstreams));
        (Self(Some(shared)), exporter)
    }

    /// What begins traces by these settings; the one there is, if they are the same.
    pub fn tracer(&self, settings: Option<&Arc<config::Traces>>) -> Option<Arc<Tracer>> {
        let (shared, settings) = (self.0.as_ref()?, settings?);
        let current = shared.current.load_full();
        let same = current.filter(|tracer| tracer.settings == *settings);
        Some(same.unwrap_or_else(|| {
            Arc::new(Tracer {
                settings: Arc::clone(settings),
                sample: Sample::of(settings.sample),
                shared: Arc::clone(shared),
            })
        }))
    }

    /// Puts a tracer in force for all that is not a request, or none.
    pub fn publish(&self, tracer: Option<Arc<Tracer>>) {
        if let Some(shared) = &self.0 {
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
    /// Hands over what has become so many spans. Never waits.
    fn hand_over(&self, ended: Ended, spans: usize) {
        let Shared {
            queue,
            wake,
            metrics,
            ..
        } = &*self.shared;
        if queue.try_send(ended).is_err() {
            metrics.dropped(spans);
        }
        // The exporter sleeps without a waker in the queue, which would cost each request a system call.
        if queue.capacity() < QUEUE / 2 {
            wake.notify_one();
        }
    }
}
