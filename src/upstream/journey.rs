//! What it took to reach an upstream, for whoever asks: [`Journey`].

use std::time::Duration;

use tokio::time::Instant;

use super::peer::Peer;

/// The legs of one attempt to reach an upstream, in their order, the one that failed left out.
///
/// Most requests do not ask, and record nothing.
#[derive(Debug, Default)]
pub struct Journey {
    legs: Option<Vec<Leg>>,
    peer: Option<Peer>,
}

/// One leg of a journey.
#[derive(Clone, Debug)]
pub struct Leg {
    /// What was done.
    pub phase: Phase,
    /// How long it took.
    pub took: Duration,
    /// What came of it, for a person.
    pub outcome: String,
}

/// What is done on the way to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A connection that an on-prem agent makes.
    Agent,
    /// TCP to the upstream, or to the first hop on the way.
    Connect,
    /// A proxy's leave to go on.
    Proxy,
    /// A name to addresses.
    Resolve,
    /// TLS: with the upstream, end to end, or with a proxy before it.
    Tls,
}

impl Phase {
    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Connect => "connect",
            Self::Proxy => "proxy",
            Self::Resolve => "resolve",
            Self::Tls => "tls",
        }
    }
}

impl Journey {
    /// One whose legs are recorded.
    #[must_use]
    pub fn recorded() -> Self {
        Self {
            legs: Some(Vec::new()),
            peer: None,
        }
    }

    /// What was done so far.
    pub fn legs(&self) -> &[Leg] {
        self.legs.as_deref().unwrap_or_default()
    }

    /// Who answered the last TLS handshake; none before there was one.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Records a TLS handshake that began at `began` and ends now.
    pub(super) fn met(&mut self, began: Instant, peer: impl FnOnce() -> Peer) {
        if self.legs.is_some() {
            let peer = self.peer.insert(peer()).to_string();
            self.record(Phase::Tls, began, || peer);
        }
    }

    /// Records a leg that began at `began` and ends now.
    pub(super) fn record(
        &mut self,
        phase: Phase,
        began: Instant,
        outcome: impl FnOnce() -> String,
    ) {
        if let Some(legs) = &mut self.legs {
            legs.push(Leg {
                phase,
                took: began.elapsed(),
                outcome: outcome(),
            });
        }
    }
}
