//! Who stands at the agents' door and has proved nothing yet, and what those are told that are not let
//! in: [`Door`], [`Refused`].

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::warn;

/// How long the answer to a wrong proof waits: so many guesses are made at a time, and no more.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);

/// Connections at a time that have not proved anything; others wait to be accepted.
const MAX_UNPROVED: usize = 256;

/// The same of one address, or of one network of IPv6: who keeps others waiting is not waited for.
const MAX_OF_ONE: usize = 64;

/// At most one line in so long tells of refusals: whoever reaches the port could fill the disk.
const TOLD: Duration = Duration::from_secs(1);

/// What those who have proved nothing share.
#[derive(Debug)]
pub(super) struct Door {
    room: Arc<Semaphore>,
    /// How many stand there, by address.
    visitors: Mutex<HashMap<IpAddr, usize>>,
    /// When the last refusal was told of, and how many were not since.
    told: Mutex<(Option<Instant>, u64)>,
}

/// A visitor's place, until it is let in or goes.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    address: IpAddr,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_UNPROVED)),
            visitors: Mutex::default(),
            told: Mutex::default(),
        }
    }
}

impl Door {
    /// Waits until there is room for one more.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    /// Gives a visitor that room; none if too many of its address stand there already.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        room: Option<OwnedSemaphorePermit>,
    ) -> Option<Place> {
        let address = origin(address);
        let mut visitors = self.visitors.lock();
        let count = visitors.entry(address).or_default();
        if *count == MAX_OF_ONE {
            return None;
        }
        *count += 1;
        drop(visitors);
        Some(Place {
            door: Arc::clone(self),
            address,
            _room: room,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut visitors = self.door.visitors.lock();
        if let Some(count) = visitors.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                visitors.remove(&self.address);
            }
        }
    }
}

/// Whom an address belongs to: of IPv6, a whole network is one host's.
fn origin(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Door {
    /// Tells of a refusal, but not of each.
    pub(super) fn refused(&self, peer: SocketAddr, refused: &Refused) {
        let mut last = self.told.lock();
        if last.0.is_some_and(|at| at.elapsed() < TOLD) {
            last.1 += 1;
            return;
        }
        let untold = std::mem::take(&mut last.1);
        last.0 = Some(Instant::now());
        drop(last);
        warn!(agent = refused.name, %peer, problem = %refused.why, untold, "Agent refused");
    }
}

/// Why an agent is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    NoHello,
    NoProof,
    OtherCertificate,
    UnknownName,
    WrongToken,
}

/// An agent that is not let in.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: Why,
    /// The name it says it has, which can be a name at least.
    pub(super) name: String,
    /// The same, if it is that of an agent there may be.
    pub(super) known: Option<Arc<str>>,
}

impl Refused {
    pub(super) fn unknown(why: Why, name: &str) -> Self {
        Self {
            why,
            name: name.to_owned(),
            known: None,
        }
    }
}

impl Why {
    /// Whoever has no certificate learns no names: an unknown one is refused as a wrong token is.
    pub(super) fn for_unknown(certified: Option<&[String]>) -> Self {
        match certified {
            Some(_) => Self::UnknownName,
            None => Self::WrongToken,
        }
    }

    pub(super) fn delay(self) -> Duration {
        match self {
            Self::NoHello => Duration::ZERO,
            Self::NoProof | Self::OtherCertificate | Self::UnknownName | Self::WrongToken => {
                REFUSAL_DELAY
            }
        }
    }

    pub(super) fn to_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{self}\n")));
        *response.status_mut() = match self {
            Self::NoHello => StatusCode::NOT_FOUND,
            Self::OtherCertificate | Self::UnknownName => StatusCode::FORBIDDEN,
            Self::NoProof | Self::WrongToken => StatusCode::UNAUTHORIZED,
        };
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        response
    }
}

/// For the person who runs the agent.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHello => "only agents of keybearer are answered here",
            Self::NoProof => "there is neither a token nor a certificate; give the agent the token that `[agents.tokens]` of the proxy has for its name",
            Self::OtherCertificate => "the certificate has not the agent's name, neither as a DNS name nor as its common name; give `--name` as the certificate has it",
            Self::UnknownName => "no agent of this name is expected; name it in `[agents.tokens]`, or in `network.agent` of a connection",
            Self::WrongToken => "the token is not the one that `[agents.tokens]` of the proxy has for this name; compare both, and `--name`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fills_the_door_keeps_nobody_else_waiting() {
        let door = Arc::new(Door::default());
        let enter = |address: &str| door.enter(address.parse().unwrap(), None);
        let of_one: Vec<_> = (0..MAX_OF_ONE)
            .map(|_| enter("192.0.2.1").unwrap())
            .collect();
        assert!(enter("192.0.2.1").is_none() && enter("::ffff:192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        let network: Vec<_> = (0..MAX_OF_ONE)
            .map(|host| enter(&format!("2001:db8::{host:x}")).unwrap())
            .collect();
        assert!(enter("2001:db8::ffff").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
        drop((of_one, network));
        assert!(enter("192.0.2.1").is_some());
        assert!(door.visitors.lock().is_empty());
    }
}
