//! AWS: requests that are signed (`sign`), and the keys that sign them.
//!
//! `renewal` gets keys for the engine from a `source`: the configuration, the AWS SDK's default `chain`,
//! or a role that STS lets us `assume`. `http` is the way there, `offset` the other side's time, `fault`
//! and `refusal` what its refusals mean; `watched` ends what the chain starts and does not end.

mod assume;
mod chain;
pub mod external_id;
mod fault;
mod http;
pub mod keys;
mod offset;
mod refusal;
pub(super) mod renewal;
pub mod sign;
pub(super) mod source;
#[cfg(test)]
pub(crate) mod testing;
mod watched;
