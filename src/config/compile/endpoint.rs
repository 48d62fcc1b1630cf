//! URLs of an authorization server.

use url::{Host, Url};

use super::host::is_loopback;

/// Why a text is no URL of an authorization server. None tells the text, which may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidEndpoint {
    #[error(
        "`http://` would show client secret and tokens to the network; use `https://` (only a loopback host does without)"
    )]
    Cleartext,
    #[error("a URL of an authorization server has no fragment (`#…`)")]
    Fragment,
    #[error("this URL has no query (`?…`)")]
    Query,
    #[error("a URL of an authorization server is absolute and starts with `https://`")]
    Syntax,
    #[error("a URL of an authorization server carries no user name or password")]
    Userinfo,
}

/// Parses the URL of an endpoint, which may have a query of its own (RFC 6749 section 3).
pub(super) fn endpoint(text: &str) -> Result<Url, InvalidEndpoint> {
    let url = Url::parse(text).map_err(|_| InvalidEndpoint::Syntax)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidEndpoint::Syntax);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidEndpoint::Userinfo);
    }
    if url.fragment().is_some() {
        return Err(InvalidEndpoint::Fragment);
    }
    if url.scheme() == "http" && !is_local(&url) {
        return Err(InvalidEndpoint::Cleartext);
    }
    Ok(url)
}

/// Parses a URL that others are made of, as an issuer (RFC 8414 section 2): it has no query.
pub(super) fn issuer(text: &str) -> Result<Url, InvalidEndpoint> {
    let url = endpoint(text)?;
    match url.query() {
        Some(_) => Err(InvalidEndpoint::Query),
        None => Ok(url),
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_loopback(name.trim_end_matches('.')),
        Some(Host::Ipv4(address)) => is_loopback(&address.to_string()),
        Some(Host::Ipv6(address)) => is_loopback(&address.to_string()),
        None => false,
    }
}
