//! Signature Version 4 and 4A: [`signer::Signer`] signs a request.
//!
//! Below it: `canonical` is what is signed of a request, `field` which fields, `percent` how bytes are
//! written in it, `target` what is sent so that it is what was signed; `key` is derived from the secret
//! one, `chunk` signs content on its way, `clock` is the time that signatures bear.

mod canonical;
pub mod chunk;
pub mod clock;
mod digest;
mod field;
mod key;
pub mod payload;
mod percent;
mod region_set;
mod scratch;
pub mod signer;
mod stamp;
mod target;
#[cfg(test)]
mod tests;
