//! `network`: how a connection's hosts are reached.

use crate::config::section::Section;
use crate::connection::network::Road;

/// A `network` table, what it leaves open taken from `defaults`.
pub(super) fn road(section: Option<&Section<'_>>, defaults: &Road) -> Road {
    let Some(_section) = section else {
        return defaults.clone();
    };
    Road::Direct
}
