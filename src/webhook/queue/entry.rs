//! What a delivery is to the queue: its name, what is known of it, and what becomes of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};
use zeroize::Zeroizing;

use super::tables::Columns;
use crate::webhook::room::Held;
use crate::webhook::verify::Mark;

/// A delivery's name: it sorts by arrival (UUID version 7, RFC 9562 section 5.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub(super) u128);

impl Id {
    /// One after another, whatever the clock does.
    pub(super) fn next(last: Self, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
        let id = Uuid::new_v7(time).as_u128();
        Self(id.max(last.0.saturating_add(1)))
    }

    /// The least of a millisecond.
    pub(super) fn first_at(milliseconds: u64) -> Self {
        Self(u128::from(milliseconds) << 80)
    }

    /// When it was given, within what clocks are worth.
    pub fn time(self) -> SystemTime {
        let milliseconds = u64::try_from(self.0 >> 80).unwrap_or(0);
        UNIX_EPOCH + Duration::from_millis(milliseconds)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).fmt(f)
    }
}

impl FromStr for Id {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(|uuid| Self(uuid.as_u128()))
    }
}

/// What has proved itself, and is to be kept.
pub struct Arrival {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// What it is known by, if it is to be taken once only.
    pub mark: Option<Mark>,
    /// All of it, to be delivered.
    pub content: Zeroizing<Vec<u8>>,
    /// How much the endpoint may have, in bytes.
    pub limit: u64,
    /// When it arrived.
    pub at: SystemTime,
    /// What its content has of the memory for that.
    pub held: Option<Held>,
}

/// Not what it says.
impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Why an arrival is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was taken before.
    #[error("it was taken before")]
    Replayed,
    /// The endpoint has as much as it may have.
    #[error("the endpoint's queue is full")]
    Full,
    /// The disk has no more than is left alone.
    #[error("the disk is nearly full")]
    DiskFull,
    /// It could not be written.
    #[error("it cannot be kept: {0}")]
    Unwritten(String),
}

/// Why the queue cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Its file cannot be opened.
    #[error("the queue of webhooks cannot be opened: {0}")]
    NotOpened(String),
    /// It cannot be read.
    #[error("the queue of webhooks cannot be read: {0}")]
    Unread(String),
    /// It cannot be written.
    #[error("the queue of webhooks cannot be written: {0}")]
    Unwritten(String),
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is to be delivered.
    #[default]
    Waiting,
    /// The target took it.
    Delivered,
    /// It was tried as often as it may be.
    Failed,
}

/// What is known of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// Where it stands.
    pub phase: Phase,
    /// What it takes on disk.
    pub bytes: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When that was last, or it arrived; in milliseconds since 1970.
    pub changed: u64,
    /// When it is tried next, likewise; 0: at once.
    pub due: u64,
    /// The last answer's status; 0: there was none.
    pub status: u16,
    /// What went wrong then.
    pub told: String,
}

impl Fact {
    pub(super) fn columns(&self) -> Columns<'_> {
        let phase = match self.phase {
            Phase::Waiting => 0,
            Phase::Delivered => 1,
            Phase::Failed => 2,
        };
        (
            phase,
            self.bytes,
            self.attempts,
            self.changed,
            self.due,
            self.status,
            &self.told,
        )
    }

    pub(super) fn of(columns: Columns<'_>) -> Self {
        let (phase, bytes, attempts, changed, due, status, told) = columns;
        Self {
            phase: match phase {
                0 => Phase::Waiting,
                1 => Phase::Delivered,
                _ => Phase::Failed,
            },
            bytes,
            attempts,
            changed,
            due,
            status,
            told: told.to_owned(),
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where the delivery stands since.
    pub phase: Phase,
    /// When it is tried next, in milliseconds since 1970.
    pub due: u64,
    /// The answer's status; 0: there was none.
    pub status: u16,
    /// What went wrong.
    pub told: String,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub at: SystemTime,
}

/// A delivery that is to be tried.
pub struct Ready {
    /// Its name.
    pub id: Id,
    /// How often it was tried.
    pub attempts: u32,
    /// What is sent; none if it can no longer be read.
    pub content: Option<Zeroizing<Vec<u8>>>,
}

/// Not what it says.
impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready")
            .field("id", &self.id)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// What there is to do for an endpoint.
#[derive(Debug, Default)]
pub struct Next {
    /// What is to be tried now.
    pub ready: Vec<Ready>,
    /// When there is something else, in milliseconds since 1970; none: when something arrives.
    pub wake: Option<u64>,
}
