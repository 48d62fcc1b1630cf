//! AWS: requests signed with the connection's keys, as servers that check signatures see them.

mod again;
mod boto3;
mod clients;
mod framing;
mod payloads;
mod refusals;
mod requests;
mod roles;
mod servers;
mod sessions;
mod suite;

use crate::harness::aws::Keys;
use crate::harness::{Recorded, shown, wait_for_state};

/// The region of everything here that has to have one.
pub const REGION: &str = "eu-west-1";

/// A connection that signs for a service with these keys.
pub fn signing(name: &str, base_url: &str, service: &str, keys: &Keys, rest: &str) -> String {
    let Keys { id, secret, token } = keys;
    let token = token.as_ref();
    let token = token.map_or_else(String::new, |token| {
        format!("session_token = \"{token}\"\n")
    });
    format!(
        "[connections.{name}]\nbase_url = \"{base_url}\"\n[connections.{name}.auth]\ntype = \"aws_access_key\"\nservice = \"{service}\"\nregion = \"{REGION}\"\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n{token}{rest}\n"
    )
}

/// Keys as they stand in a configuration.
pub fn ours() -> Keys {
    Keys::new("AKIAOURS", "ours/of+the=connection")
}

/// The role that is assumed where none is real.
const ROLE: &str = "arn:aws:iam::123456789012:role/app";

/// A connection that signs for S3 with a session that this STS is asked for, with these further keys.
pub fn assuming(name: &str, base_url: &str, sts: &str, rest: &str) -> String {
    let Keys { id, secret, .. } = ours();
    format!(
        "[connections.{name}]\nbase_url = \"{base_url}\"\n[connections.{name}.auth]\ntype = \"aws_iam_role\"\nservice = \"s3\"\nregion = \"{REGION}\"\nrole_arn = \"{ROLE}\"\nsts_endpoint = \"{sts}\"\n{rest}\nsource = {{ access_key_id = \"{id}\", secret_access_key = \"{secret}\" }}\n"
    )
}

/// Who signed a request.
fn access_key_id(request: &Recorded) -> String {
    let authorization = request.header("authorization").unwrap_or_default();
    let (_, rest) = authorization.split_once("Credential=").unwrap_or_default();
    rest.split('/').next().unwrap_or_default().to_owned()
}
