//! `CONNECT` (RFC 9110 section 9.3.6): an HTTP proxy is asked to lead through.

use std::pin::pin;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::{not_let_in, too_slow};
use crate::connection::proxy::Proxy;
use crate::problem::{Kind, Problem};
use crate::upstream::dial::Dialer;
use crate::upstream::fault::chain;
use crate::upstream::hop::{Hop, Patience};
use crate::upstream::journey::{Journey, Phase};

/// What a proxy answered.
enum Answer<S> {
    /// It leads through; what it sent behind its answer is there already.
    Through(S, Bytes),
    /// It does not.
    Refused(StatusCode, HeaderMap),
}

impl Dialer {
    /// Asks on a connection to the proxy; gives it back as one with the upstream.
    pub(super) async fn ask<S>(
        &self,
        proxy: &Proxy,
        stream: S,
        patience: Patience,
        journey: &mut Journey,
    ) -> Result<(S, Bytes), Problem>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let began = Instant::now();
        let hop = Hop::of(proxy);
        let to = self.hop().authority();
        let request = request(proxy, &to).map_err(|_| {
            let text = format!("it cannot be asked for `{to}`; check base_url");
            hop.problem(Kind::Internal, &text)
        })?;
        match timeout_at(patience.until, exchange(stream, request)).await {
            Ok(Ok(Answer::Through(stream, ahead))) => {
                journey.record(Phase::Proxy, began, || format!("{hop} leads to {to}"));
                Ok((stream, ahead))
            }
            Ok(Ok(Answer::Refused(status, headers))) => {
                Err(refused(hop, proxy, &to, status, &headers))
            }
            Ok(Err(error)) => Err(broken(hop, &to, &error)),
            Err(_) => Err(too_slow(hop, &to, patience)),
        }
    }
}

fn request(proxy: &Proxy, to: &str) -> http::Result<Request<Empty<Bytes>>> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(to)
        .header(HOST, to);
    if let Some(value) = proxy.authorization() {
        request = request.header(PROXY_AUTHORIZATION, value);
    }
    request.body(Empty::new())
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> hyper::Result<Answer<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, driver) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await?;
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            let (head, _) = response.into_parts();
            return Ok(Answer::Refused(head.status, head.headers));
        }
        let upgraded = hyper::upgrade::on(response).await?;
        // It is what was handed to the handshake above.
        match upgraded.downcast::<TokioIo<S>>() {
            Ok(parts) => Ok(Answer::Through(parts.io.into_inner(), parts.read_buf)),
            Err(_) => unreachable!("the stream of another connection"),
        }
    });
    let mut driver = pin!(driver.with_upgrades());
    tokio::select! {
        biased;
        answered = &mut answer => answered,
        // Whether it ended well or not is what the answer then tells.
        _ = &mut driver => answer.await,
    }
}

fn refused(
    hop: Hop<'_>,
    proxy: &Proxy,
    to: &str,
    status: StatusCode,
    headers: &HeaderMap,
) -> Problem {
    match status {
        // tinyproxy says 401.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED => {
            unauthenticated(hop, proxy, status, headers)
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => hop.problem(
            Kind::Unreachable,
            &format!(
                "it cannot reach {to} ({status}); check base_url, and the proxy's own DNS and network"
            ),
        ),
        StatusCode::GATEWAY_TIMEOUT => hop.problem(
            Kind::ConnectTimeout,
            &format!("it did not reach {to} in its time ({status}); check the network between them"),
        ),
        _ => hop.problem(
            Kind::ProxyRefused,
            &format!(
                "it refused to lead to {to} ({status}); allow CONNECT to that host and port in its rules, or add the host to network.no_proxy if it can be reached without it"
            ),
        ),
    }
}

/// A 407 (RFC 9110 section 15.5.8): which credentials were wrong, or what kind is wanted.
pub(super) fn unauthenticated(
    hop: Hop<'_>,
    proxy: &Proxy,
    status: StatusCode,
    headers: &HeaderMap,
) -> Problem {
    let wanted = headers.get_all(PROXY_AUTHENTICATE).iter();
    let wanted: Vec<_> = wanted.filter_map(|value| value.to_str().ok()).collect();
    let schemes: Vec<_> = wanted.iter().filter_map(|text| scheme(text)).collect();
    if schemes.is_empty()
        || schemes
            .iter()
            .any(|scheme| scheme.eq_ignore_ascii_case("basic"))
    {
        return not_let_in(hop, proxy, status.as_str());
    }
    let text = format!(
        "it asks for authentication by {} (407), and keybearer has Basic only; let it accept that, or put a proxy in front of it that authenticates",
        schemes.join(" or ")
    );
    hop.problem(Kind::ProxyAuthentication, &text)
}

/// The authentication scheme that a challenge starts with, if it can be shown.
fn scheme(challenge: &str) -> Option<&str> {
    let scheme = challenge.split_ascii_whitespace().next()?;
    let fits = scheme.len() <= 20
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits.then_some(scheme)
}

fn broken(hop: Hop<'_>, to: &str, error: &hyper::Error) -> Problem {
    if error.is_parse() {
        let text = format!(
            "it does not answer in HTTP ({}); check scheme and port in {}",
            chain(error),
            hop.key
        );
        return hop.problem(Kind::ProtocolError, &text);
    }
    let text = format!(
        "it closed the connection instead of leading to {to} ({}); check that it is an HTTP proxy, and its log",
        chain(error)
    );
    hop.problem(Kind::ConnectionTerminated, &text)
}
