//! WebSocket (RFC 6455): a request that asks for it gets an upstream connection of its own, and
//! once both sides agreed, bytes pass both ways.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;
use tracing::debug;

use super::body::Answer;
use super::record::Record;
use super::{Proxy, attempt};
use crate::auth::Prepared;
use crate::live::Live;
use crate::problem::{Kind, Problem};
use crate::upstream::body::UpstreamBody;
use crate::upstream::content::Content;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// How much is read at once from an upgraded stream.
const BUFFER: usize = 16 << 10;

/// The caller's side of an upgrade to WebSocket, if the request asks for one.
///
/// Other protocols are not upgraded to, nor anything but a GET without content (RFC 6455 section
/// 4.1): the request goes on without its `Upgrade` field.
pub(super) fn asked_for(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let headers = request.headers();
    let wanted = headers
        .get(UPGRADE)?
        .as_bytes()
        .eq_ignore_ascii_case(WEBSOCKET.as_bytes());
    let nominated = headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|&b| b == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let handshake = headers.contains_key(SEC_WEBSOCKET_KEY)
        && headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version == "13");
    let plain = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream();
    (wanted && nominated && handshake && plain).then(|| hyper::upgrade::on(request))
}

/// Puts back the fields that ask for, or confirm, the upgrade.
pub(super) fn mark(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

/// Sends a request that asks for the upgrade; joins the streams once the upstream agreed.
pub(super) async fn send(
    proxy: &Arc<Proxy>,
    live: &Arc<Live>,
    prepared: &Prepared<'_>,
    mut head: Parts,
    caller: OnUpgrade,
    record: &mut Record,
) -> Result<Response<Answer>, Problem> {
    let Some(upstream) = &live.upstream else {
        return Err(Problem::new(
            Kind::UpgradeFailed,
            "the built-in echo does not speak WebSocket",
        ));
    };
    prepared.apply(&mut head.headers);
    let proof = head
        .headers
        .get(SEC_WEBSOCKET_KEY)
        .map(|key| accept(key.as_bytes()));
    // What follows the head is the new protocol's, however long the caller said nothing is.
    head.headers.remove(CONTENT_LENGTH);
    mark(&mut head.headers);
    let timeouts = &live.connection.timeouts;
    let mut request = Some(Request::from_parts(head, Content::Empty));
    let mut left = live.connection.retries;
    let mut now = record.ready();
    let response = loop {
        if let Some(trace) = record.trace() {
            let traceparent = trace.call(now);
            attempt::tell(&mut request, live, traceparent);
        }
        let failure = match upstream.send_upgrade(&mut request, timeouts).await {
            Ok(response) => break response,
            Err(failure) => failure,
        };
        if let Some(trace) = record.trace() {
            trace.failed(failure.problem.kind().slug());
        }
        if request.is_none() || left == 0 {
            return Err(failure.problem);
        }
        left -= 1;
        now = Instant::now();
    };
    if let Some(trace) = record.trace() {
        trace.answered(response.status(), response.version());
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(
            response.map(|content| Answer::Upstream(UpstreamBody::on_task(content, timeouts)))
        );
    }
    let proven = response
        .headers()
        .get(SEC_WEBSOCKET_ACCEPT)
        .map(HeaderValue::as_bytes);
    if proof.is_none() || proven != proof.as_deref().map(str::as_bytes) {
        let text = "the upstream switched protocols without the proof of a WebSocket handshake";
        return Err(Problem::new(Kind::UpgradeFailed, text));
    }
    join(proxy, live, caller, response)
}

/// What a server answers to a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2): only one that means to
/// speak WebSocket does, and so nothing else can be made to open a tunnel past the base path.
fn accept(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    BASE64_STANDARD.encode(hash.finish())
}

fn join(
    proxy: &Arc<Proxy>,
    live: &Arc<Live>,
    caller: OnUpgrade,
    mut response: Response<Incoming>,
) -> Result<Response<Answer>, Problem> {
    let agreed = response
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !agreed {
        let text = "the upstream switched to another protocol than WebSocket";
        return Err(Problem::new(Kind::UpgradeFailed, text));
    }
    let upstream = hyper::upgrade::on(&mut response);
    let connection = Arc::clone(&live.connection.name);
    let idle = live.connection.timeouts.read;
    proxy.running.spawn(async move {
        match tokio::try_join!(caller, upstream) {
            Ok((caller, upstream)) => relay(caller, upstream, idle).await,
            Err(error) => debug!(%connection, %error, "Upgrade not completed"),
        }
    });
    Ok(response.map(|_| Answer::Nothing))
}

/// Passes bytes both ways until both sides are done, or nothing moved for `idle`.
async fn relay(caller: Upgraded, upstream: Upgraded, idle: Duration) {
    let (caller_reads, caller_writes) = tokio::io::split(TokioIo::new(caller));
    let (upstream_reads, upstream_writes) = tokio::io::split(TokioIo::new(upstream));
    let moved = tokio::sync::Notify::new();
    let both = async {
        tokio::join!(
            pass(caller_reads, upstream_writes, &moved),
            pass(upstream_reads, caller_writes, &moved),
        )
    };
    let silence = async { while tokio::time::timeout(idle, moved.notified()).await.is_ok() {} };
    tokio::select! {
        _ = both => {}
        () = silence => {}
    }
}

async fn pass<T>(mut from: ReadHalf<T>, mut to: WriteHalf<T>, moved: &tokio::sync::Notify)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let mut buffer = vec![0; BUFFER];
    // A broken stream ends like one that is done: the other side is told by a shutdown.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        moved.notify_one();
        if to.write_all(&buffer[..count]).await.is_err() || to.flush().await.is_err() {
            break;
        }
        moved.notify_one();
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_standard() {
        assert_eq!(
            accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
