//! The device authorization request (RFC 8628 section 3.1): how a person consents where there is no
//! browser. The token is then polled for at the [token endpoint](super::token_endpoint).

use std::time::{Duration, SystemTime};

use super::fetch::Endpoint;
use super::token_endpoint::answer::{self, Members};
use super::token_endpoint::fault::{Redactor, TokenFault};
use super::token_endpoint::form::Form;
use super::token_endpoint::{ClientProof, Proof};
use crate::connection::auth::Parameter;
use crate::secret::{Origin, Secret};

/// What a device asks for.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRequest<'a> {
    /// `client_id`.
    pub client_id: &'a str,
    /// How the client proves to be itself.
    pub proof: ClientProof<'a>,
    /// Wanted scopes.
    pub scopes: &'a [Box<str>],
    /// `audience`.
    pub audience: Option<&'a str>,
    /// `resource` (RFC 8707).
    pub resource: &'a [Box<str>],
    /// Further fields; one that has the name of a field of ours is sent instead of it.
    pub params: &'a [Parameter],
}

/// What a person needs to consent, and what the token is polled for with (RFC 8628 section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// What the token endpoint is asked with.
    pub device_code: Secret,
    /// What the person types.
    pub user_code: String,
    /// Where: an `https` or `http` URL.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// For how long both codes are good.
    pub lifetime: Duration,
    /// How long to wait between two polls.
    pub interval: Duration,
}

/// The wait between two polls that the standard has where the server tells none.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long codes are taken to be good where the server breaks the standard and does not tell.
const LIFETIME: Duration = Duration::from_secs(600);

/// The longest of either that is believed.
const MAX_SECONDS: f64 = 24.0 * 3600.0;

/// Asks for a device code and the code to show.
///
/// # Errors
/// Why there is none. Nothing of what was sent stands in it.
pub async fn authorize(
    endpoint: &Endpoint,
    request: &DeviceRequest<'_>,
    now: SystemTime,
) -> Result<DeviceAuthorization, TokenFault> {
    let proof = Proof::new(endpoint, request.client_id, request.proof, now)?;
    let mut form = Form::new(request.params);
    // Unlike a token request, this one names the client in any case (RFC 8628 section 3.1).
    form.add("client_id", request.client_id);
    proof.add_secrets_to(&mut form);
    form.add_scopes(request.scopes);
    if let Some(audience) = request.audience {
        form.add("audience", audience);
    }
    for resource in request.resource {
        form.add("resource", resource);
    }
    let answer = endpoint.post(form.encode(), proof.authorization).await?;
    let told = answer::members(&answer).and_then(|members| authorization(&members));
    told.map_err(|unread| {
        let mut redactor = Redactor::new(proof.secrets);
        redactor.add_params(request.params);
        unread.told(endpoint, &answer, &redactor)
    })
}

fn authorization(members: &Members) -> Result<DeviceAuthorization, answer::Unread> {
    let needed = |name: &str| members.text(name).ok_or_else(|| answer::missing(name));
    let seconds = |name: &str| {
        let seconds = members.get(name).and_then(answer::seconds);
        let positive = seconds.filter(|seconds| *seconds > 0.0);
        positive.map(|seconds| Duration::from_secs_f64(seconds.min(MAX_SECONDS)))
    };
    // Google has it so.
    let uri = members.text("verification_url").and_then(web);
    let uri = members
        .text("verification_uri")
        .and_then(web)
        .or(uri)
        .ok_or_else(|| answer::missing("verification_uri"))?;
    Ok(DeviceAuthorization {
        device_code: Secret::new(needed("device_code")?, Origin::Issued),
        // It is shown on a terminal.
        user_code: needed("user_code")?
            .chars()
            .filter(|c| !c.is_control())
            .collect(),
        verification_uri: uri,
        verification_uri_complete: members.text("verification_uri_complete").and_then(web),
        lifetime: seconds("expires_in").unwrap_or(LIFETIME),
        interval: seconds("interval").unwrap_or(INTERVAL),
    })
}

/// A URL that a browser can be sent to, as it can be shown: it is a link, and a line of a terminal.
fn web(uri: &str) -> Option<String> {
    let url = url::Url::parse(uri).ok()?;
    matches!(url.scheme(), "https" | "http").then(|| url.into())
}

#[cfg(test)]
mod tests;
