//! The way of spans to a collector: [`Exporter`], a task that takes what requests and renewals have
//! noted, and sends it in batches by OTLP over HTTP.

mod collector;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use self::collector::{Collector, Exported};
use super::Shared;
use super::context::TraceId;
use super::handover::{Batch, Ended};
use super::spans::{self, Writer};
use crate::config;
use crate::upstream::Upstreams;

/// What there is, is sent so often.
const EVERY: Duration = Duration::from_secs(1);

/// So many spans are sent at once, as soon as they are there.
const BATCH: usize = 512;

/// A message is not longer for spans that are, in bytes, but for the last of them.
const LONGEST: usize = 1 << 20;

/// So much room is left in a message for what stands before the spans, in bytes.
const HEAD: usize = 1024;

/// So many are held while the collector does not take them.
const HELD: usize = 8192;

/// A failure is told so often at most.
const QUIET: Duration = Duration::from_secs(60);

/// What is told where spans are lost, and not by the collector.
const TOO_MANY: &str = "there are more spans than the collector takes in time; lower `traces.sample`, or give the collector more room";

/// Sends what is noted.
pub struct Exporter {
    shared: Arc<Shared>,
    upstreams: Arc<Upstreams>,
    /// `service.instance.id`: which of several instances this is, anew with each start.
    instance: String,
    held: Held,
    /// What is exchanged for what there is.
    spare: Batch,
    collector: Option<Arc<Collector>>,
    /// Why the last batch was not taken.
    problem: Option<String>,
    /// How many lost spans were told of.
    told: u64,
    quiet_until: Option<Instant>,
}

/// Spans that wait to be sent, as many as may.
#[derive(Default)]
struct Held {
    messages: VecDeque<Message>,
    spans: usize,
    /// How long the message was that was taken last, in bytes: the next ones may be, too.
    usual: usize,
}

/// The spans of one.
struct Message {
    /// As they stand in it, behind `HEAD` bytes.
    written: Vec<u8>,
    spans: usize,
}

/// A message on its way.
struct Sending {
    task: JoinHandle<Exported>,
    spans: usize,
}

impl Held {
    fn add(&mut self, ended: Ended<'_>, writer: &mut Writer) -> Result<(), usize> {
        if self.spans >= HELD {
            return Err(ended.spans());
        }
        let is_full = |last: &Message| last.spans >= BATCH || last.written.len() >= LONGEST;
        if self.messages.back().is_none_or(is_full) {
            self.messages.push_back(Message::new(self.usual));
        }
        if let Some(last) = self.messages.back_mut() {
            let written = writer.write(ended, &mut last.written);
            last.spans += written;
            self.spans += written;
        }
        Ok(())
    }

    fn take(&mut self) -> Option<Message> {
        let first = self.messages.pop_front()?;
        self.spans -= first.spans;
        self.usual = first.written.len();
        Some(first)
    }
}

impl Message {
    /// With room for a little more than so many bytes, as messages are not all of one length.
    fn new(usual: usize) -> Self {
        let mut written = Vec::with_capacity(usual.max(HEAD) / 8 * 9);
        written.resize(HEAD, 0);
        Self { written, spans: 0 }
    }

    /// The whole of it, as it is sent. No span is moved for what stands before them, unless that is
    /// longer than `HEAD`, as it is with very many attributes.
    fn finish(mut self, settings: &config::Traces, instance: &str) -> Bytes {
        let head = spans::head(settings, instance, self.written.len() - HEAD);
        let start = HEAD.saturating_sub(head.len());
        self.written.splice(start..HEAD, head);
        Bytes::from(self.written).slice(start..)
    }
}

impl Exporter {
    pub(super) fn new(shared: Arc<Shared>, upstreams: Arc<Upstreams>) -> Self {
        Self {
            shared,
            upstreams,
            instance: TraceId::random().to_string(),
            held: Held::default(),
            spare: Batch::default(),
            collector: None,
            problem: None,
            told: 0,
            quiet_until: None,
        }
    }

    /// Exports until it is told to end; then sends what there is.
    pub async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sending: Option<Sending> = None;
        loop {
            // First whether it is off: then nothing comes any more.
            let is_idle = shared.tracers.load(Ordering::Acquire) == 0
                && self.held.spans == 0
                && sending.is_none()
                && shared.handover.is_empty();
            let is_due = tokio::select! {
                () = shared.ending.cancelled() => break,
                exported = sent(&mut sending) => {
                    sending = None;
                    self.note(exported);
                    false
                }
                _ = ticks.tick(), if !is_idle => true,
                () = shared.wake.notified() => false,
            };
            self.collect();
            if is_due {
                self.report();
            }
            if sending.is_none() && (is_due || self.held.spans >= BATCH) {
                sending = self.send();
            }
        }
        if sending.is_some() {
            let exported = sent(&mut sending).await;
            self.note(exported);
        }
        self.collect();
        // Also those that there is no way to send are looked at, one by one.
        let mut left = usize::MAX;
        while self.held.spans < left {
            left = self.held.spans;
            let mut last = self.send();
            if last.is_some() {
                let exported = sent(&mut last).await;
                self.note(exported);
            }
        }
        // Tracing may have been switched on so late that there is nobody yet to send them to.
        self.shared.metrics.dropped(self.held.spans);
        self.quiet_until = None;
        self.report();
    }

    /// Writes out what has been noted since the last time.
    fn collect(&mut self) {
        let Self {
            shared,
            held,
            spare,
            ..
        } = self;
        let mut writer = Writer::new();
        shared.handover.take(spare, |batch| {
            for ended in batch.ended() {
                if let Err(lost) = held.add(ended, &mut writer) {
                    shared.metrics.dropped(lost);
                }
            }
        });
    }

    /// Begins to send a batch, if there is one and a collector for it.
    fn send(&mut self) -> Option<Sending> {
        if self.held.spans == 0 {
            return None;
        }
        let collector = match self.collector() {
            Ok(collector) => collector?,
            Err(why) => {
                let lost = self.held.take()?;
                self.problem = Some(why);
                self.shared.metrics.dropped(lost.spans);
                return None;
            }
        };
        let message = self.held.take()?;
        let spans = message.spans;
        let message = message.finish(&collector.settings, &self.instance);
        let export = async move { collector.export(message, spans).await };
        let task = tokio::spawn(export);
        Some(Sending { task, spans })
    }

    /// The collector that is set now; the last one there was, if tracing was switched off.
    fn collector(&mut self) -> Result<Option<Arc<Collector>>, String> {
        if let Some(settings) = &*self.shared.settings.load() {
            let known = self.collector.take();
            let same = known.filter(|known| known.settings == *settings);
            self.collector = Some(match same {
                Some(same) => same,
                None => Arc::new(Collector::new(settings, &self.upstreams)?),
            });
        }
        Ok(self.collector.clone())
    }

    fn note(&mut self, exported: Exported) {
        let Exported { taken, lost, why } = exported;
        self.shared.metrics.exported(taken);
        self.shared.metrics.dropped(lost);
        if why.is_none() && self.problem.is_some() {
            info!("Traces exported again");
        }
        self.problem = why;
    }

    /// Says what was lost, and why, but not too often.
    fn report(&mut self) {
        let now = Instant::now();
        let all = self.shared.metrics.all_dropped();
        let dropped = all - self.told;
        if dropped == 0 || self.quiet_until.is_some_and(|until| now < until) {
            return;
        }
        let problem = self.problem.as_deref().unwrap_or(TOO_MANY);
        warn!(problem, dropped, "Traces not exported");
        self.told = all;
        self.quiet_until = Some(now + QUIET);
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// What came of the batch that is being sent; never, if none is.
async fn sent(sending: &mut Option<Sending>) -> Exported {
    let Some(Sending { task, spans }) = sending else {
        return std::future::pending().await;
    };
    task.await.unwrap_or_else(|broken| Exported {
        taken: 0,
        lost: *spans,
        why: Some(format!("the export broke off: {broken}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Tls;
    use crate::connection::url::BaseUrl;
    use crate::metrics::Metrics;
    use crate::traces::Traces;
    use crate::traces::context::Context;
    use crate::traces::renewal::Renewed;
    use crate::traces::wire::{Value, fields};

    fn renewed() -> Renewed {
        let now = Instant::now();
        Renewed {
            context: Context::root(|_| true),
            parent: None,
            others: Vec::new(),
            connection: "api".into(),
            begun: now,
            ended: now,
            error: None,
            asked: Vec::new(),
        }
    }

    /// No collector can be had for these.
    fn nowhere() -> config::Traces {
        config::Traces {
            endpoint: BaseUrl::parse("builtin:echo").unwrap(),
            headers: Vec::new(),
            sample: 1.0,
            service_name: "keybearer".into(),
            attributes: Vec::new(),
            tls: Tls::default(),
        }
    }

    #[tokio::test]
    async fn at_the_end_all_is_counted_that_no_collector_can_be_had_for() {
        let metrics = Metrics::new().unwrap();
        let (traces, exporter) = Traces::new(&metrics, &Arc::default(), 1);
        let tracer = traces.tracer(Some(&Arc::new(nowhere())));
        traces.publish(tracer);
        for _ in 0..3 * BATCH {
            assert!(exporter.shared.handover.renewal(renewed()));
        }
        traces.end();
        exporter.run().await;
        assert_eq!(metrics.traces().all_dropped(), 3 * BATCH as u64);
    }

    /// The first tracer is in force for requests a moment before its settings are for the exporter: what
    /// is handed over here stands in for one of them.
    #[tokio::test]
    async fn at_the_end_all_is_counted_that_nobody_is_known_for() {
        let metrics = Metrics::new().unwrap();
        let (traces, exporter) = Traces::new(&metrics, &Arc::default(), 1);
        assert!(exporter.shared.handover.renewal(renewed()));
        traces.end();
        exporter.run().await;
        assert_eq!(metrics.traces().all_dropped(), 1);
    }

    #[test]
    fn a_message_is_whole_however_much_stands_before_its_spans() {
        let mut held = Held::default();
        for attributes in [0, 3, 100, 3] {
            let mut settings = nowhere();
            let attribute = |n: i32| (format!("attribute.{n}").into(), "value".into());
            settings.attributes = (0..attributes).map(attribute).collect();
            let mut writer = Writer::new();
            for _ in 0..3 {
                held.add(Ended::Renewal(&renewed()), &mut writer).unwrap();
            }
            let message = held.take().unwrap().finish(&settings, "instance");
            let of = |message: &[u8]| -> Vec<_> {
                let fields = fields(message).map(|(field, value)| match value {
                    Value::Bytes(bytes) => (field, bytes.to_vec()),
                    Value::Number(number) => panic!("{field}: {number}"),
                });
                fields.collect()
            };
            let names = |fields: &[(u64, Vec<u8>)]| -> Vec<_> {
                fields.iter().map(|(field, _)| *field).collect()
            };
            let whole = of(&message);
            assert_eq!(names(&whole), [1], "resource_spans");
            let inner = of(&whole[0].1);
            assert_eq!(
                names(&inner),
                [1, 3, 2],
                "resource, schema_url, scope_spans"
            );
            assert_eq!(of(&inner[0].1).len(), 3 + attributes as usize);
            assert_eq!(names(&of(&inner[2].1)), [1, 2, 2, 2], "scope, spans");
        }
    }

    #[test]
    fn what_is_held_is_bounded_and_goes_in_batches() {
        let renewed = renewed();
        let renewed = Ended::Renewal(&renewed);
        let (mut held, mut writer) = (Held::default(), Writer::new());
        for _ in 0..HELD {
            assert_eq!(held.add(renewed, &mut writer), Ok(()));
        }
        assert_eq!(held.add(renewed, &mut writer), Err(1), "one is lost");
        for left in (0..HELD / BATCH).rev() {
            assert_eq!(held.take().map(|message| message.spans), Some(BATCH));
            assert_eq!(held.spans, left * BATCH);
        }
        assert!(held.take().is_none());
    }
}
