//! Listeners that a service manager has bound beforehand: [`Inherited`].
//!
//! systemd passes them as descriptors (`LISTEN_FDS`, sd_listen_fds(3)): ports below 1024 need no right
//! then, and callers wait through a restart where they would be refused.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;

use super::serve::Bound;
use crate::config::Listen;

/// Listeners of the service manager's, each taken by the `listen` that has its address.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Socket>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, Box<Path>),
}

impl Inherited {
    /// What this process was given; nothing if it was started without a service manager.
    ///
    /// # Errors
    /// A descriptor is no listener of streams.
    pub fn from_environment() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        (0..passed.len())
            .map(|index| Socket::take(&mut passed, index))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The listener at this place, if there is one.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn take(&mut self, listen: &Listen) -> io::Result<Option<Bound>> {
        let Some(index) = self.0.iter().position(|socket| socket.is_at(listen)) else {
            return Ok(None);
        };
        Ok(Some(match self.0.swap_remove(index) {
            Socket::Tcp(listener, address) => {
                listener.set_nonblocking(true)?;
                Bound::Tcp(listener, address)
            }
            Socket::Unix(listener, path) => {
                listener.set_nonblocking(true)?;
                Bound::Unix(listener, path)
            }
        }))
    }

    /// The places of those that nobody took.
    pub fn left(&self) -> Vec<String> {
        let places = self.0.iter().map(|socket| match socket {
            Socket::Tcp(_, address) => address.to_string(),
            Socket::Unix(_, path) => format!("unix:{}", path.display()),
        });
        places.collect()
    }
}

impl Socket {
    fn take(passed: &mut ListenFd, index: usize) -> io::Result<Self> {
        let gone = || io::Error::other("a descriptor was passed that is none");
        if let Ok(listener) = passed.take_tcp_listener(index) {
            let listener = listener.ok_or_else(gone)?;
            let address = listener.local_addr()?;
            return Ok(Self::Tcp(listener, address));
        }
        let listener = passed.take_unix_listener(index)?.ok_or_else(gone)?;
        let address = listener.local_addr()?;
        let path = address
            .as_pathname()
            .ok_or_else(|| io::Error::other("a Unix socket was passed that has no path"))?;
        let path = path.into();
        Ok(Self::Unix(listener, path))
    }

    fn is_at(&self, listen: &Listen) -> bool {
        match (self, listen) {
            (Self::Tcp(_, at), Listen::Tcp { host, port }) if at.port() == *port => {
                (&**host, *port)
                    .to_socket_addrs()
                    .is_ok_and(|mut addresses| addresses.any(|address| address == *at))
            }
            (Self::Unix(_, at), Listen::Unix(path)) => **at == **path,
            _ => false,
        }
    }
}
