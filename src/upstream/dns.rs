//! Names to addresses: [`Resolver`].

use std::io;
use std::net::IpAddr;

use tokio::net::lookup_host;

/// Resolves host names.
#[derive(Debug, Default)]
pub struct Resolver {}

impl Resolver {
    /// The addresses of a name, in the order in which they are to be tried; never none of them.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = lookup_host((name, 0)).await?;
        let addresses: Vec<_> = found.map(|address| address.ip()).collect();
        if addresses.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        Ok(addresses)
    }
}
