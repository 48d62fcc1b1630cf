//! Connecting to one of several addresses (RFC 8305): [`race`], and [`Lately`], which knows the losers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How long an address may take before the next is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// For how long an address comes last that was of no use.
const DISTRUST: Duration = Duration::from_secs(30);

/// Why none of the addresses was connected to.
#[derive(Debug)]
pub(super) enum Lost {
    Failed(SocketAddr, io::Error),
    TimedOut(SocketAddr),
}

/// Addresses that failed lately, or were overtaken.
#[derive(Debug, Default)]
pub(super) struct Lately(Mutex<HashMap<SocketAddr, Instant>>);

impl Lately {
    /// The addresses in the order in which they are tried: families in turn (RFC 8305 section 4), and
    /// those last that were of no use.
    pub(super) fn order(&self, addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
        let mut ordered: Vec<_> = interleaved(addresses)
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect();
        if ordered.len() > 1 {
            let lost = self.0.lock();
            let now = Instant::now();
            ordered.sort_by_key(|address| lost.get(address).is_some_and(|until| now < *until));
        }
        ordered
    }

    fn lost(&self, address: SocketAddr) {
        self.0.lock().insert(address, Instant::now() + DISTRUST);
    }

    fn won(&self, address: SocketAddr) {
        self.0.lock().remove(&address);
    }

    /// Forgives what was long ago.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.lock().retain(|_, until| now < *until);
    }
}

/// Connects to the first address that answers; each has [`STAGGER`] before the next is tried as well.
pub(super) async fn race(
    addresses: &[SocketAddr],
    until: Instant,
    lately: &Lately,
) -> Result<(TcpStream, SocketAddr), Lost> {
    if let [only] = *addresses {
        return match timeout_at(until, TcpStream::connect(only)).await {
            Ok(Ok(stream)) => Ok((stream, only)),
            Ok(Err(error)) => Err(Lost::Failed(only, error)),
            Err(_) => Err(Lost::TimedOut(only)),
        };
    }
    // Dropping it ends those that are still trying.
    let mut attempts = JoinSet::new();
    let mut running = Vec::new();
    let mut rest = addresses.iter().copied();
    let mut last = None;
    loop {
        if let Some(address) = rest.next() {
            running.push(address);
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let is_all = rest.len() == 0;
        let next = if is_all {
            until
        } else {
            until.min(Instant::now() + STAGGER)
        };
        match timeout_at(next, attempts.join_next()).await {
            Ok(Some(Ok((address, Ok(stream))))) => {
                running.retain(|other| *other != address);
                running.into_iter().for_each(|other| lately.lost(other));
                lately.won(address);
                return Ok((stream, address));
            }
            Ok(Some(Ok((address, Err(error))))) => {
                running.retain(|other| *other != address);
                lately.lost(address);
                last = Some(Lost::Failed(address, error));
            }
            // The runtime ends.
            Ok(Some(Err(_))) => {}
            Ok(None) if is_all => break,
            Ok(None) => {}
            Err(_) if next == until => {
                running.iter().for_each(|other| lately.lost(*other));
                last = running.first().copied().map(Lost::TimedOut).or(last);
                break;
            }
            Err(_) => {}
        }
    }
    // There is one address at least, and it has failed.
    let nobody = || Lost::TimedOut(SocketAddr::from(([0, 0, 0, 0], 0)));
    Err(last.unwrap_or_else(nobody))
}

/// The families in turn, beginning with that of the first address.
fn interleaved(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let leads = |address: &&IpAddr| address.is_ipv6() == addresses[0].is_ipv6();
    let mut first = addresses.iter().filter(leads);
    let mut second = addresses.iter().filter(|address| !leads(address));
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(first.next().into_iter().chain(second.next()));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let addresses = ["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"].map(ip);
        let wanted = ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"].map(ip);
        assert_eq!(interleaved(&addresses), wanted);
        assert_eq!(interleaved(&addresses[3..]), addresses[3..]);
        assert!(interleaved(&[]).is_empty());
    }

    #[tokio::test]
    async fn a_dead_address_costs_its_head_start_and_comes_last_afterwards() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // Full, so that it takes no connection and refuses none.
        let full = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        rustix::net::bind(&full, &any).unwrap();
        rustix::net::listen(&full, 0).unwrap();
        let full: std::net::TcpListener = full.into();
        let dead = full.local_addr().unwrap();
        let _first = TcpStream::connect(dead).await.unwrap();
        let lately = Lately::default();
        let until = Instant::now() + Duration::from_secs(20);
        let began = Instant::now();
        let (_, address) = race(&[dead, alive], until, &lately).await.unwrap();
        assert_eq!(address, alive);
        assert!(began.elapsed() >= STAGGER && began.elapsed() < Duration::from_secs(10));
        assert!(lately.0.lock().contains_key(&dead));
        let soon = Instant::now() + Duration::from_millis(300);
        let lost = race(&[dead, dead], soon, &lately).await.unwrap_err();
        assert!(matches!(lost, Lost::TimedOut(address) if address == dead));
    }

    #[tokio::test]
    async fn one_that_refuses_lets_the_next_begin_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = closed.local_addr().unwrap();
        drop(closed);
        let lately = Lately::default();
        let until = Instant::now() + Duration::from_secs(20);
        let (_, address) = race(&[refusing, alive], until, &lately).await.unwrap();
        assert_eq!(address, alive);
        let lost = race(&[refusing, refusing], until, &lately)
            .await
            .unwrap_err();
        assert!(matches!(lost, Lost::Failed(address, _) if address == refusing));
        // Ports tell the two apart here, so each is asked for by itself.
        lately.lost(SocketAddr::new(ip("127.0.0.2"), 1));
        let order = lately.order(&["127.0.0.2", "127.0.0.3"].map(ip), 1);
        assert_eq!(order[0].ip(), ip("127.0.0.3"));
        lately.won(order[1]);
        assert_eq!(
            lately.order(&["127.0.0.2", "127.0.0.3"].map(ip), 1)[0],
            order[1]
        );
    }
}
