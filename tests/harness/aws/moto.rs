//! AWS as moto plays it, with IAM enforced.
//!
//! It checks signatures over what `SignedHeaders` names, rights, session tokens and trust policies;
//! the content of requests to services other than S3 by its hash. It does not look at the date, at S3
//! content, or at unsigned fields, and takes an absent external ID for a right one.

use serde::Deserialize;
use tokio::sync::OnceCell;

use super::signer::Keys;
use crate::harness::eventually;
use crate::harness::process::Process;
use crate::harness::python;

/// A running moto, shared by all tests: what they make in it carries their own names.
#[derive(Debug, Deserialize)]
pub struct Moto {
    /// Its URL, without a path.
    pub url: String,
    /// The region that everything is in.
    pub region: String,
    /// Keys of a user who may use S3, SQS and DynamoDB, and may assume [`Moto::role`].
    pub app: Keys,
    /// Keys of a user who may do nothing.
    pub powerless: Keys,
    /// The ARN of a role with the same rights.
    pub role: String,
    /// What the role's trust policy demands as external ID.
    pub external_id: String,
}

impl Moto {
    /// The one that the tests share, started by whoever needs it first.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<(Process, Moto)> = OnceCell::const_new();
        let (_, moto) = SHARED.get_or_init(start).await;
        moto
    }
}

async fn start() -> (Process, Moto) {
    // Statics are not dropped: it ends with its standard input, which ends with this process.
    let mut process = Process::spawn_bound(&mut python::script("aws/moto_server.py"));
    let moto = eventually("moto", async || {
        if process.ended().is_some() {
            panic!("moto ended: {:?}", process.exit().await);
        }
        let stdout = process.stdout();
        let (line, _) = stdout.split_once('\n')?;
        Some(serde_json::from_str(line).unwrap())
    });
    let moto = moto.await;
    (process, moto)
}
