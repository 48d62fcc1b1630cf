//! How a connection's hosts are reached: [`Road`].

/// The way to every host that a connection needs: its base URL's, and those of its credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Road {
    /// Straight.
    #[default]
    Direct,
}
