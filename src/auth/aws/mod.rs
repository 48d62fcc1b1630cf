//! AWS: requests that are signed (Signature Version 4), and the keys that sign them.
//!
//! [`signer::Signer`] signs. Below it: `canonical` is what is signed of a request, `field` which
//! fields, `percent` how bytes are written in it, `target` what is sent so that it is what was signed;
//! `key` is derived from the secret one, `chunk` signs content on its way.

pub mod external_id;
pub mod keys;
pub mod payload;
mod percent;
mod region_set;
mod scratch;
pub mod signer;
mod stamp;
mod target;
#[cfg(test)]
mod tests;
