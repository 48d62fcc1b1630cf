//! How far content was taken while it is sent: [`Flow`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;

/// What can be observed of content while it is sent.
#[derive(Debug, Default)]
pub struct Flow {
    stage: AtomicU8,
    sent: AtomicU64,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All of it was handed on: the upstream's turn to answer.
    Ended,
    /// The upstream's turn to take what there is.
    Sending,
    /// The caller's turn to send more.
    Waiting,
}

impl Stage {
    pub(super) fn of<T>(polled: &Poll<Option<T>>, incoming: &Incoming) -> Self {
        match polled {
            Poll::Pending => Self::Waiting,
            Poll::Ready(Some(_)) if !incoming.is_end_stream() => Self::Sending,
            Poll::Ready(_) => Self::Ended,
        }
    }
}

impl Flow {
    /// That of content of which nothing was sent yet.
    pub(super) fn begun() -> Arc<Self> {
        let flow = Self::default();
        flow.note(Stage::Sending);
        Arc::new(flow)
    }

    /// Counts what is handed on, and gives the sum.
    pub(super) fn hand_on(&self, data: &Bytes) -> u64 {
        let count = data.len() as u64;
        self.sent.fetch_add(count, Ordering::Relaxed) + count
    }

    pub(super) fn note(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Whose turn it is, and how many bytes were handed on so far.
    pub fn observe(&self) -> (Stage, u64) {
        let stage = match self.stage.load(Ordering::Relaxed) {
            ended if ended == Stage::Ended as u8 => Stage::Ended,
            sending if sending == Stage::Sending as u8 => Stage::Sending,
            _ => Stage::Waiting,
        };
        (stage, self.sent.load(Ordering::Relaxed))
    }
}
