//! Whether the other end of a tunnel is there: HTTP/2's PING (RFC 9113 section 6.7).

use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, sleep, timeout};

use super::HEARTBEAT;

/// Looks after the other end until it does not answer; tells `seen` how long each answer took.
///
/// A process that was stopped keeps its TCP connections open, and a network that drops packets tells
/// nobody: only an answer shows that there is somebody.
pub(super) async fn watch(ping: Option<PingPong>, seen: impl Fn(Duration)) -> Silence {
    // There is one per connection, and nobody else takes it.
    let Some(mut ping) = ping else {
        return std::future::pending().await;
    };
    loop {
        let asked = Instant::now();
        match timeout(HEARTBEAT, ping.ping(Ping::opaque())).await {
            Ok(Ok(_)) => seen(asked.elapsed()),
            // The connection tells why it ended.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return Silence,
        }
        sleep(HEARTBEAT).await;
    }
}

/// The other end does not answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the other end has not answered for {HEARTBEAT:?}")]
pub(super) struct Silence;
