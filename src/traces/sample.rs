//! Which of the traces that begin here are exported: [`Sample`].

use super::context::TraceId;

/// A share of all traces, told by their IDs as OpenTelemetry's `TraceIdRatioBased` does it, so that
/// whoever samples a part of the same traces by the same share takes the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample(u64);

/// The IDs' last eight bytes are compared but for their first bit.
const ALL: u64 = 1 << 63;

impl Sample {
    /// None of them.
    pub(super) const NONE: Self = Self(0);

    /// From 0, none, to 1, all.
    pub(super) fn of(ratio: f64) -> Self {
        match ratio {
            1.0.. => Self(ALL),
            // Below 2^63 by far enough.
            _ => Self((ratio.max(0.0) * ALL as f64) as u64),
        }
    }

    pub(super) fn takes(self, trace: TraceId) -> bool {
        trace.low() >> 1 < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_which_was_asked_for() {
        for (ratio, low, high) in [(0.0, 0, 0), (1.0, 10_000, 10_000), (0.25, 2_200, 2_800)] {
            let sample = Sample::of(ratio);
            let taken = (0..10_000).filter(|_| sample.takes(TraceId::random()));
            let taken = taken.count();
            assert!((low..=high).contains(&taken), "{ratio}: {taken}");
        }
    }
}
