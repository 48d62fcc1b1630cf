//! Servers that check signatures, a signer to prove that they do, and a second opinion on what
//! keybearer signed.

mod moto;
mod s3_server;
mod signature;
mod signer;
mod sts;

pub use self::moto::Moto;
pub use self::s3_server::S3Server;
pub use self::signature::{Verdict, Verifier};
pub use self::signer::{Keys, Payload, Signer, sha256};
pub use self::sts::Sts;
