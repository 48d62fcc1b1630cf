//! What is known of a name: [`Known`], and what is done about it when its time is over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::query::{Found, Unresolved};

/// An answer is used for so long at least, and at most, whatever its own time.
const FLOOR: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(5 * 60);

/// For how long an answer whose time is over serves on if there is no other (RFC 8767).
const STALE: Duration = Duration::from_secs(3600);

/// For how long a lookup is waited for where there is an answer whose time is over.
const PATIENCE: Duration = Duration::from_millis(500);

/// After a failure nobody asks again for so long; doubled with each that follows, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// For how long it is believed that a name has no address.
const NOTHING: Duration = Duration::from_secs(2);

/// For how long an address counts that answers no longer have: many servers tell a few of their
/// addresses at a time, and others the next.
const LINGER: Duration = Duration::from_secs(10);

/// A name: its addresses, why there are none, and who is finding out.
#[derive(Debug)]
pub(super) struct Known {
    answer: Option<Answer>,
    trouble: Option<Trouble>,
    lookup: Option<Lookup>,
    /// When somebody wanted to know.
    asked: Instant,
}

#[derive(Debug)]
struct Answer {
    addresses: Arc<[IpAddr]>,
    until: Instant,
    /// Those of answers before, and until when each counts.
    former: Vec<(IpAddr, Instant)>,
}

#[derive(Debug)]
struct Trouble {
    why: Unresolved,
    /// When it is asked for again.
    next: Instant,
    pause: Duration,
}

#[derive(Debug)]
struct Lookup {
    done: watch::Receiver<()>,
    begun: Instant,
}

/// What whoever wants addresses does.
#[derive(Debug)]
pub(super) enum Then {
    /// There are none.
    Fail(Unresolved),
    /// Takes these.
    Take(Arc<[IpAddr]>),
    /// Waits for a lookup, and looks again; if it takes longer than that, takes these.
    Wait(watch::Receiver<()>, Option<(Instant, Arc<[IpAddr]>)>),
}

impl Known {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            answer: None,
            trouble: None,
            lookup: None,
            asked: now,
        }
    }

    /// When somebody last wanted to know.
    pub(super) fn asked(&self) -> Instant {
        self.asked
    }

    /// What there is at `now`; with something to drop when it is done if a lookup is to begin.
    pub(super) fn look(&mut self, now: Instant) -> (Option<watch::Sender<()>>, Then) {
        self.asked = now;
        let stale = match &self.answer {
            Some(answer) if now < answer.until => {
                return (None, Then::Take(Arc::clone(&answer.addresses)));
            }
            Some(answer) if now < answer.until + STALE => Some(Arc::clone(&answer.addresses)),
            _ => None,
        };
        let begun = self.begin_if_due(now);
        let running = self.lookup.as_ref().filter(|lookup| lookup.runs());
        let then = match (stale, running, &self.trouble) {
            // Nobody waits for what has failed before.
            (Some(stale), _, Some(_)) | (Some(stale), None, None) => Then::Take(stale),
            (Some(stale), Some(lookup), None) => {
                Then::Wait(lookup.done.clone(), Some((lookup.begun + PATIENCE, stale)))
            }
            (None, Some(lookup), _) => Then::Wait(lookup.done.clone(), None),
            (None, None, Some(trouble)) => Then::Fail(trouble.why.clone()),
            // One is begun where there is neither an answer nor trouble.
            (None, None, None) => Then::Fail(Unresolved::Nothing("nobody was asked")),
        };
        (begun, then)
    }

    fn begin_if_due(&mut self, now: Instant) -> Option<watch::Sender<()>> {
        let runs = self.lookup.as_ref().is_some_and(Lookup::runs);
        let pauses = self
            .trouble
            .as_ref()
            .is_some_and(|trouble| now < trouble.next);
        if runs || pauses {
            return None;
        }
        let (sender, done) = watch::channel(());
        self.lookup = Some(Lookup { done, begun: now });
        Some(sender)
    }

    /// What came of a lookup of it, which has `name`.
    pub(super) fn learn(&mut self, name: &str, found: Result<Found, Unresolved>, now: Instant) {
        self.lookup = None;
        match found {
            Ok(found) => {
                if self.trouble.take().is_some() && self.answer.is_some() {
                    info!(name, "Name resolved again");
                }
                self.answer = Some(Answer::new(found, self.answer.take(), now));
            }
            Err(why @ Unresolved::Nothing(_)) => {
                // Who knows it says that the addresses are no longer good.
                self.answer = None;
                self.trouble = Some(Trouble {
                    why,
                    next: now + NOTHING,
                    pause: FIRST_PAUSE,
                });
            }
            Err(why) => {
                let before = self.trouble.take();
                let pause = match (&before, &self.answer) {
                    (Some(before), Some(_)) => (before.pause * 2).min(LAST_PAUSE),
                    _ => FIRST_PAUSE,
                };
                if before.is_none() && self.answer.is_some() {
                    warn!(name, %why, "Name not resolved; its last addresses serve on");
                }
                let next = now + pause;
                self.trouble = Some(Trouble { why, next, pause });
            }
        }
    }

    /// Ends the time of what is known.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(answer) = &mut self.answer {
            answer.until = answer.until.min(now);
        }
        self.trouble = None;
        // What is under way was asked of others; it is not waited for.
        self.lookup = None;
    }

    /// The addresses of the last answer, and those of answers just before.
    pub(super) fn current(&self, now: Instant) -> Option<Vec<IpAddr>> {
        let answer = self.answer.as_ref()?;
        let former = answer.former.iter().filter(|(_, until)| now < *until);
        let former = former.map(|(address, _)| *address);
        Some(answer.addresses.iter().copied().chain(former).collect())
    }
}

impl Answer {
    fn new(found: Found, before: Option<Self>, now: Instant) -> Self {
        let mut former = Vec::new();
        if let Some(before) = before {
            former = before.former;
            former.extend(
                before
                    .addresses
                    .iter()
                    .map(|&address| (address, now + LINGER)),
            );
            former.retain(|(address, until)| now < *until && !found.addresses.contains(address));
        }
        Self {
            addresses: found.addresses.into(),
            until: now + found.ttl.clamp(FLOOR, CAP),
            former,
        }
    }
}

impl Lookup {
    /// Whether somebody is still at it.
    fn runs(&self) -> bool {
        self.done.has_changed().is_ok()
    }
}
