//! What an authorization server says about itself (RFC 8414, OpenID Connect Discovery 1.0):
//! [`Metadata`], found below its issuer.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use url::{Host, Url};

use super::fetch::{Endpoint, Role};
use super::token_endpoint::TokenFault;
use crate::connection::Connection;
use crate::upstream::Upstreams;

/// The endpoints of an authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The issuer as the server writes it: what RFC 9207's `iss` must equal.
    pub issuer: Box<str>,
    /// RFC 6749 section 3.2.
    pub token_endpoint: Url,
    /// RFC 6749 section 3.1.
    pub authorization_endpoint: Option<Url>,
    /// RFC 8628 section 3.1.
    pub device_authorization_endpoint: Option<Url>,
    /// Where a client goes that shows a certificate.
    mtls: Aliases,
    /// Whether an authorization answer without `iss` is to be refused (RFC 9207 section 2.4).
    pub iss_promised: bool,
}

/// Endpoints for clients that show a certificate, where others are not asked for one (RFC 8705
/// section 5); as they are written, for they are of use to such clients alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Aliases {
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
}

impl Metadata {
    /// The token endpoint for a client that shows a certificate.
    ///
    /// # Errors
    /// It is no place to send secrets to.
    pub fn token_for_certificates(&self) -> Result<Url, String> {
        match &self.mtls.token_endpoint {
            Some(text) => trusted("mtls_endpoint_aliases.token_endpoint", text),
            None => Ok(self.token_endpoint.clone()),
        }
    }

    /// The device authorization endpoint for such a client, if there is one.
    pub fn device_for_certificates(&self) -> Option<Result<Url, String>> {
        const ALIAS: &str = "mtls_endpoint_aliases.device_authorization_endpoint";
        match &self.mtls.device_authorization_endpoint {
            Some(text) => Some(trusted(ALIAS, text)),
            None => self.device_authorization_endpoint.clone().map(Ok),
        }
    }
}

/// The members that are looked at (RFC 8414 section 2).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    token_endpoint: Option<String>,
    authorization_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    #[serde(default)]
    mtls_endpoint_aliases: Option<Aliases>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// Asks an authorization server, first as RFC 8414 has it, then as OpenID Connect does; each
/// question takes `limit` at most.
///
/// # Errors
/// Nothing that it answers can be used, or it cannot be asked.
pub async fn discover(
    upstreams: &Upstreams,
    connection: &Connection,
    issuer: &Url,
    limit: Duration,
) -> Result<Metadata, TokenFault> {
    let mut faults = Vec::new();
    for url in locations(issuer) {
        match ask(upstreams, connection, issuer, &url, limit).await {
            Ok(metadata) => return Ok(metadata),
            Err(fault) => faults.push(fault),
        }
    }
    Err(told(&faults))
}

/// A fault that may pass counts for both: where one place was not reached, it could be the right one.
fn told(faults: &[TokenFault]) -> TokenFault {
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let detail = texts.join("; and ");
    match faults.iter().find(|fault| fault.is_transient()) {
        Some(fault) => TokenFault::Unavailable {
            detail,
            retry_after: fault.retry_after(),
        },
        None => TokenFault::unusable(detail),
    }
}

/// RFC 8414 section 3.1 puts the well-known part before the issuer's path, OpenID Connect after it.
fn locations(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ]
    .map(|path| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    })
}

async fn ask(
    upstreams: &Upstreams,
    connection: &Connection,
    issuer: &Url,
    url: &Url,
    limit: Duration,
) -> Result<Metadata, TokenFault> {
    let endpoint = Endpoint::new(upstreams, connection, Role::Metadata, url, limit)?;
    let answer = endpoint.get().await?;
    let status = answer.status;
    if status.is_server_error() || status.as_u16() == 429 {
        return Err(TokenFault::Unavailable {
            detail: format!("{endpoint}: it answered {}", status.as_u16()),
            retry_after: answer.retry_after,
        });
    }
    let unusable = |why: String| TokenFault::unusable(format!("{endpoint}: {why}"));
    let document = status
        .is_success()
        .then(|| serde_json::from_slice::<Document>(&answer.content).ok());
    let Some(document) = document.flatten() else {
        let kind = answer.media_type.as_deref().unwrap_or("no media type");
        let status = status.as_u16();
        return Err(unusable(format!(
            "it answered {status} with {kind}, which is no metadata; check `authorization_server`, or write the URLs into the configuration"
        )));
    };
    document.checked(issuer).map_err(unusable)
}

impl Document {
    /// The endpoints, if the document is the issuer's own (RFC 8414 section 3.3): another one's could
    /// send secrets to somebody else.
    fn checked(self, issuer: &Url) -> Result<Metadata, String> {
        if !is_same(&self.issuer, issuer) {
            return Err(format!(
                "its `issuer` is not `{issuer}`; write `authorization_server` exactly as the provider does"
            ));
        }
        let token_endpoint = self
            .token_endpoint
            .ok_or("it names no `token_endpoint`; write `token_url` into the configuration")?;
        let optional = |name, text: Option<String>| text.map(|text| trusted(name, &text));
        Ok(Metadata {
            issuer: self.issuer.into(),
            token_endpoint: trusted("token_endpoint", &token_endpoint)?,
            authorization_endpoint: optional("authorization_endpoint", self.authorization_endpoint)
                .transpose()?,
            device_authorization_endpoint: optional(
                "device_authorization_endpoint",
                self.device_authorization_endpoint,
            )
            .transpose()?,
            mtls: self.mtls_endpoint_aliases.unwrap_or_default(),
            iss_promised: self.authorization_response_iss_parameter_supported,
        })
    }
}

/// Character by character; only the `/` that a URL without a path is given by its parser does not
/// count, as nobody wrote it.
fn is_same(written: &str, issuer: &Url) -> bool {
    let parsed = issuer.as_str();
    written == parsed || issuer.path() == "/" && parsed.strip_suffix('/') == Some(written)
}

/// A URL that secrets may be sent to: TLS, or this very machine.
fn trusted(name: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("its `{name}` is not a URL: {error}"))?;
    let plain = url.username().is_empty() && url.password().is_none();
    match url.scheme() {
        "https" if plain => Ok(url),
        "http" if plain && is_loopback(&url) => Ok(url),
        _ => Err(format!(
            "its `{name}` is not an `https://` URL without userinfo; only on a loopback address may it be `http://`"
        )),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
