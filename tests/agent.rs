//! The on-prem agent (section 6): connections through it, what it opens, how it comes and goes.

mod arguments;
mod credentials;
mod load;
mod losses;
mod networks;
mod passing;
mod trust;

use crate::harness::connection;

/// A connection `erp` that goes through the agent `dc`.
pub fn erp(base_url: &str, rest: &str) -> String {
    let rest = format!("network = {{ agent = \"dc\" }}\n{rest}");
    connection("erp", base_url, &rest)
}
