//! What the callers of one stretch count together.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    answers: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    first_failure: OnceLock<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) answers: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, error: &anyhow::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.first_failure.get_or_init(|| format!("{error:#}"));
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            answers: self.answers.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(crate) fn first_failure(&self) -> Option<String> {
        self.first_failure.get().cloned()
    }

    /// The first failure as the end of a sentence, empty if there was none.
    pub(crate) fn reason(&self) -> String {
        self.first_failure
            .get()
            .map_or_else(String::new, |failure| format!(": {failure}"))
    }
}

impl Counts {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            answers: self.answers - before.answers,
            bytes: self.bytes - before.bytes,
        }
    }
}
