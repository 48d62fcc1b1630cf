//! Requests as an HTTP proxy takes them for `http` upstreams: [`Absolute`].

use std::net::Ipv6Addr;

use http::header::PROXY_AUTHORIZATION;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};

use super::connect::unauthenticated;
use crate::connection::proxy::Proxy;
use crate::problem::Problem;
use crate::upstream::dial::Dialer;
use crate::upstream::hop::Hop;

/// The absolute form of requests (RFC 9112 section 3.2.2), and what the proxy is shown with each.
#[derive(Debug)]
pub(in crate::upstream) struct Absolute {
    authority: Authority,
    authorization: Option<HeaderValue>,
}

impl Absolute {
    /// The form for the upstream of a dialer; none if requests are not read on its road.
    pub(in crate::upstream) fn of(dialer: &Dialer) -> Option<Self> {
        let proxy = dialer.proxy()?;
        if dialer.tls.is_some() || !proxy.protocol.is_http() {
            return None;
        }
        let host: &str = &dialer.host;
        let authority = match (host.parse::<Ipv6Addr>(), dialer.port) {
            (Ok(address), port) => format!("[{address}]:{port}"),
            (Err(_), 80) => host.to_owned(),
            (Err(_), port) => format!("{host}:{port}"),
        };
        Some(Self {
            // The host of a URL can be that of another.
            authority: authority.parse().ok()?,
            authorization: proxy.authorization(),
        })
    }

    /// Puts a request into this form, if it is not in it.
    pub(in crate::upstream) fn apply<B>(&self, request: &mut Request<B>) {
        if request.uri().authority().is_some() {
            return;
        }
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts
            .path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
        // A path in origin form can stand behind any authority.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        if let Some(value) = &self.authorization {
            request
                .headers_mut()
                .insert(PROXY_AUTHORIZATION, value.clone());
        }
    }
}

/// A 407, which in this form is the proxy's own: it is about credentials that callers do not have.
pub(in crate::upstream) fn refusal<B>(proxy: &Proxy, response: &Response<B>) -> Option<Problem> {
    const REFUSED: StatusCode = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
    let headers = response.headers();
    (response.status() == REFUSED).then(|| unauthenticated(Hop::of(proxy), proxy, REFUSED, headers))
}
