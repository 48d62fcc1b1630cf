//! Traces that are begun before there is a request for them: [`Ahead`].

use std::cell::RefCell;

use http::HeaderValue;

use super::context::{Context, SpanId};
use super::sample::Sample;

/// So many are made at a time.
const MANY: usize = 16;

/// A request's span that begins a trace, and the span of its first call.
///
/// What a request runs is several times what the processor's first cache holds, so that all of it is
/// brought there for each: many at a time are made by the code that is brought there once. A request
/// that makes no call has its own made in vain.
pub(super) struct Ahead {
    pub(super) context: Context,
    pub(super) call: SpanId,
    /// What the call's request says of it.
    pub(super) traceparent: HeaderValue,
}

/// What one thread has made, of this share.
struct Made(Sample, Vec<Ahead>);

impl Ahead {
    /// One that was made before, by this thread; of a trace that is recorded if it is in this share.
    pub(super) fn take(share: Sample) -> Self {
        thread_local! {
            static MADE: RefCell<Made> = const { RefCell::new(Made(Sample::NONE, Vec::new())) };
        }
        MADE.with_borrow_mut(|Made(of, made)| {
            if *of != share {
                *of = share;
                made.clear();
            }
            loop {
                match made.pop() {
                    Some(ahead) => return ahead,
                    None => Self::make(made, share),
                }
            }
        })
    }

    /// Apart from what each request runs.
    #[inline(never)]
    fn make(made: &mut Vec<Self>, share: Sample) {
        made.extend((0..MANY).map(|_| {
            let context = Context::root(|trace| share.takes(trace));
            let call = context.child();
            Self {
                context,
                call: call.span,
                traceparent: call.traceparent(),
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_is_one_trace_and_what_it_says_is_so() {
        let mut seen = HashSet::new();
        for n in 0..3 * MANY {
            let Ahead {
                context,
                call,
                traceparent,
            } = Ahead::take(Sample::of(1.0));
            assert_eq!(traceparent, context.with(call).traceparent());
            assert!(context.is_sampled() && context.span != call);
            let ids = [
                context.trace.to_string(),
                context.span.to_string(),
                call.to_string(),
            ];
            seen.extend(ids);
            assert_eq!(seen.len(), 3 * (n + 1));
        }
    }

    #[test]
    fn what_was_made_for_another_share_is_not_taken() {
        for share in [1.0, 0.0, 0.5, 1.0] {
            let taken = (0..MANY + MANY / 2).map(|_| Ahead::take(Sample::of(share)));
            let taken: Vec<_> = taken.map(|ahead| ahead.context.is_sampled()).collect();
            match share {
                0.5 => assert!(taken.contains(&true) && taken.contains(&false), "{taken:?}"),
                _ => assert!(taken.iter().all(|is| *is == (share == 1.0)), "{taken:?}"),
            }
        }
    }
}
