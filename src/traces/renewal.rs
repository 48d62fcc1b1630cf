//! Renewals of credentials in traces: which requests wait for one, and what was asked for it.
//!
//! A renewal belongs to no request, but it is shown where somebody looks for it: in the trace of the
//! first request that waited for it. Nothing of a trace is told to those who are asked, so it need not
//! be known before the end which trace that is; a renewal that nobody waited for has one of its own.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Traces;
use super::context::Context;

/// The requests that wait for a renewal, by their spans.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Vec<Context>>);

/// So many are remembered.
const MOST: usize = 64;

/// A renewal that is over.
#[derive(Debug)]
pub(super) struct Renewed {
    /// Its own span.
    pub(super) context: Context,
    /// The request that waited for it first.
    pub(super) parent: Option<Context>,
    /// Those that did, too.
    pub(super) others: Vec<Context>,
    pub(super) connection: Arc<str>,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    /// Why it failed, in one word.
    pub(super) error: Option<&'static str>,
    pub(super) asked: Vec<Asked>,
}

/// One request to whoever gives credentials.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: &'static str,
    /// What was asked, without userinfo and query.
    pub url: Box<str>,
    /// The host's name or address.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// When it began.
    pub begun: Instant,
    /// When its answer was read, or given up.
    pub ended: Instant,
    /// The answer's status code; none if there was no answer.
    pub status: Option<u16>,
    /// Why it failed, in one word, where that is not the status alone.
    pub error: Option<&'static str>,
}

// === impl Renewed ===

impl Renewed {
    /// How many spans it becomes.
    pub(super) fn spans(&self) -> usize {
        1 + self.asked.len()
    }
}

// === impl Waiting ===

impl Waiting {
    /// Notes that a request waits.
    pub fn join(&self, request: Option<Context>) {
        if let Some(request) = request.filter(|request| request.is_sampled()) {
            let mut waiting = self.0.lock();
            if waiting.len() < MOST {
                waiting.push(request);
            }
        }
    }

    /// Notes that it does no longer.
    pub fn leave(&self, request: Option<Context>) {
        if let Some(request) = request {
            self.0.lock().retain(|other| *other != request);
        }
    }

    /// Those that wait now, the first one first; none do afterwards.
    fn take(&self) -> Vec<Context> {
        std::mem::take(&mut self.0.lock())
    }
}

tokio::task_local! {
    /// What was asked for the renewal that this task makes.
    static ASKED: RefCell<Vec<Asked>>;
}

/// Runs a renewal, and hands over what there is to tell of it; `error` names what is wrong with its
/// outcome.
pub async fn traced<T>(
    traces: &Traces,
    connection: &str,
    waiting: &Waiting,
    renewal: impl Future<Output = T>,
    error: impl FnOnce(&T) -> Option<&'static str>,
) -> T {
    if traces.current().is_none() {
        // Who waited while there was one.
        waiting.take();
        return renewal.await;
    }
    let begun = Instant::now();
    let asking = ASKED.scope(RefCell::default(), async {
        let outcome = renewal.await;
        (outcome, ASKED.with(RefCell::take))
    });
    let (outcome, asked) = asking.await;
    let waiting = waiting.take();
    // It may have been switched off meanwhile.
    let Some(tracer) = traces.current() else {
        return outcome;
    };
    let parent = waiting.first().copied();
    let context = match parent {
        Some(parent) => parent.child(),
        None => Context::root(|trace| tracer.sample.takes(trace)),
    };
    if context.is_sampled() {
        let renewed = Renewed {
            context,
            parent,
            others: waiting.into_iter().skip(1).collect(),
            connection: connection.into(),
            begun,
            ended: Instant::now(),
            error: error(&outcome),
            asked,
        };
        let spans = renewed.spans();
        if !tracer.shared.handover.renewal(renewed) {
            tracer.shared.metrics.dropped(spans);
        }
    }
    outcome
}

/// Asks, as one request of the renewal that this task makes, if it makes one that is traced: whatever
/// else `asking` asks is a part of that. `tell` says what there is to tell of it.
pub async fn asked<T>(
    asking: impl Future<Output = T>,
    tell: impl FnOnce(&T, Instant, Instant) -> Asked,
) -> T {
    if ASKED.try_with(|_| ()).is_err() {
        return asking.await;
    }
    let begun = Instant::now();
    let outcome = ASKED.scope(RefCell::default(), asking).await;
    let asked = tell(&outcome, begun, Instant::now());
    ASKED.with(|all| all.borrow_mut().push(asked));
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_still_waits_is_the_one_it_is_shown_to() {
        let waiting = Waiting::default();
        let sampled = || Context::root(|_| true);
        let (gone, first, second) = (sampled(), sampled(), sampled());
        let unsampled = Context::root(|_| false);
        for request in [None, Some(unsampled), Some(gone), Some(first), Some(second)] {
            waiting.join(request);
        }
        waiting.leave(Some(gone));
        assert_eq!(waiting.take(), [first, second]);
        assert_eq!(waiting.take(), []);
    }

    #[test]
    fn not_more_are_remembered_than_are_linked() {
        let waiting = Waiting::default();
        (0..2 * MOST).for_each(|_| waiting.join(Some(Context::root(|_| true))));
        assert_eq!(waiting.take().len(), MOST);
    }
}
