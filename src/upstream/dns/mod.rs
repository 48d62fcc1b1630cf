//! Names to addresses: [`Resolver`].
//!
//! Asked are `/etc/hosts` and the DNS servers of `/etc/resolv.conf`, as C libraries do, but without
//! a thread that waits: a lookup is a task of its own, which every caller of the name waits for, and
//! which goes on when they have gone. What else a system's C library may ask (NSS: mDNS, LDAP) is not.

mod known;
mod query;
mod system;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use self::known::{Known, Then};
pub use self::query::Unresolved;
use self::system::System;
use super::race::Lately;

/// For how long a name is remembered that nobody asks for.
const FORGET: Duration = Duration::from_secs(2 * 3600);

/// Resolves host names, and remembers which addresses were of no use.
#[derive(Debug, Default)]
pub struct Resolver {
    /// Asked instead of the system's; none: the system's.
    servers: Mutex<Arc<[SocketAddr]>>,
    /// None until the first lookup.
    system: Mutex<Option<Arc<System>>>,
    known: Mutex<HashMap<Box<str>, Known>>,
    pub(super) lately: Lately,
}

impl Resolver {
    /// Asks these DNS servers from now on; none: the system's.
    pub fn ask(&self, servers: &[SocketAddr]) {
        {
            let mut asked = self.servers.lock();
            if **asked == *servers {
                return;
            }
            *asked = servers.into();
        }
        *self.system.lock() = None;
        self.expire();
    }

    /// The DNS servers that are asked; none: the system's.
    pub fn servers(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.servers.lock())
    }

    /// The addresses of a name; never none of them.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn resolve(self: &Arc<Self>, name: &str) -> Result<Arc<[IpAddr]>, Unresolved> {
        if is_localhost(name) {
            let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(both.into());
        }
        loop {
            // Another one where others are asked meanwhile.
            let system = self.system().await;
            if let Some(addresses) = system.written(name) {
                return Ok(addresses);
            }
            let (begin, then) = self.look(name, Instant::now());
            if let Some(done) = begin {
                tokio::spawn(Arc::clone(self).lookup(system, name.into(), done));
            }
            match then {
                Then::Take(addresses) => return Ok(addresses),
                Then::Fail(why) => return Err(why),
                // A lookup that ended without a word is begun again.
                Then::Wait(mut done, None) => drop(done.changed().await),
                Then::Wait(mut done, Some((until, stale))) => {
                    if timeout_at(until, done.changed()).await.is_err() {
                        return Ok(stale);
                    }
                }
            }
        }
    }

    /// The addresses that connections to a name may go to, as far as is known; looks it up again,
    /// without waiting, when its time is over.
    pub(super) fn current(self: &Arc<Self>, name: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let system = self.system.lock().clone()?;
        if let Some(addresses) = system.written(name) {
            return Some(addresses.to_vec());
        }
        self.known.lock().get(name)?;
        let runtime = Handle::try_current().ok()?;
        if let (Some(done), _) = self.look(name, now) {
            runtime.spawn(Arc::clone(self).lookup(system, name.into(), done));
        }
        self.known.lock().get(name)?.current(now)
    }

    /// Reads the system's files again if they have changed, and forgets what nobody asks for. Not for
    /// a thread of the data plane, as it reads files.
    pub(super) fn sweep(&self, now: Instant) {
        self.lately.sweep(now);
        let mut known = self.known.lock();
        known.retain(|_, known| now < known.asked() + FORGET);
        drop(known);
        let Some(system) = self.system.lock().clone() else {
            return;
        };
        if !system.is_current() {
            let servers = self.servers();
            self.put(&Arc::new(System::read(servers)));
            self.expire();
        }
    }

    fn look(&self, name: &str, now: Instant) -> (Option<watch::Sender<()>>, Then) {
        let mut known = self.known.lock();
        match known.get_mut(name) {
            Some(known) => known.look(now),
            None => known
                .entry(name.into())
                .or_insert_with(|| Known::new(now))
                .look(now),
        }
    }

    /// Looks a name up; who waits is told by `done` being dropped.
    async fn lookup(self: Arc<Self>, system: Arc<System>, name: Box<str>, done: watch::Sender<()>) {
        let found = query::query(&system, &name).await;
        // What others say who are asked by now counts more.
        let is_same = |now: &Arc<System>| now.is_like(&system);
        let is_kept = self.system.lock().as_ref().is_none_or(is_same);
        if is_kept
            && self.asks(&system)
            && let Some(known) = self.known.lock().get_mut(&name)
        {
            known.learn(&name, found, Instant::now());
        }
        drop(done);
    }

    async fn system(&self) -> Arc<System> {
        if let Some(system) = &*self.system.lock() {
            return Arc::clone(system);
        }
        let servers = self.servers();
        let reading = Arc::clone(&servers);
        let system = match spawn_blocking(move || System::read(reading)).await {
            Ok(system) => Arc::new(system),
            // The runtime ends.
            Err(_) => Arc::new(System::unread(servers)),
        };
        self.put(&system);
        system
    }

    /// Keeps what was read, unless other servers are to be asked meanwhile.
    fn put(&self, system: &Arc<System>) {
        let mut kept = self.system.lock();
        if self.asks(system) {
            *kept = Some(Arc::clone(system));
        }
    }

    /// Whether it asks whom it is to ask.
    fn asks(&self, system: &System) -> bool {
        Arc::ptr_eq(&self.servers.lock(), &system.servers)
    }

    /// Has every name looked up again; what is known of it serves on if that fails.
    fn expire(&self) {
        let now = Instant::now();
        let mut known = self.known.lock();
        known.values_mut().for_each(|known| known.expire(now));
    }
}

/// `localhost` and all below it are loopback, whatever a DNS server says (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let top = name.rsplit('.').next().unwrap_or_default();
    top.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests;
