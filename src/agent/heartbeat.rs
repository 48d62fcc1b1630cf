//! Whether the other end of a tunnel is there: HTTP/2's PING (RFC 9113 section 6.7).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::AsyncRead;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::io::InspectReader;

use super::HEARTBEAT;

/// How often something was read from the other end.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicU64>);

impl Heard {
    /// A stream that counts here when it is read.
    pub(super) fn on<T: AsyncRead>(
        &self,
        stream: T,
    ) -> InspectReader<T, impl FnMut(&[u8]) + use<T>> {
        let count = Arc::clone(&self.0);
        InspectReader::new(stream, move |_: &[u8]| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks after the other end until it does not answer; tells `seen` how long each answer took.
///
/// A process that was stopped keeps its TCP connections open, and a network that drops packets tells
/// nobody: only an answer shows that there is somebody; or whatever else was `heard` meanwhile, as an
/// answer may wait behind much that a slow network has to carry.
pub(super) async fn watch(
    ping: Option<PingPong>,
    heard: &Heard,
    seen: impl Fn(Duration),
) -> Silence {
    // There is one per connection, and nobody else takes it.
    let Some(mut ping) = ping else {
        return std::future::pending().await;
    };
    loop {
        let asked = Instant::now();
        let mut answer = pin!(ping.ping(Ping::opaque()));
        loop {
            let before = heard.count();
            match timeout(HEARTBEAT, &mut answer).await {
                Ok(Ok(_)) => break seen(asked.elapsed()),
                // The connection tells why it ended.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) if heard.count() != before => {}
                Err(_) => return Silence,
            }
        }
        sleep(HEARTBEAT).await;
    }
}

/// The other end does not answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("nothing was heard of the other end for {HEARTBEAT:?}")]
pub(super) struct Silence;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_waits_behind_what_is_carried_is_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        // Empty SETTINGS, and not a word more.
        theirs
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        let (_sender, mut connection) = h2::client::Builder::new()
            .handshake::<_, Bytes>(ours)
            .await
            .unwrap();
        let ping = connection.ping_pong();
        tokio::spawn(connection);
        tokio::spawn(async move { while theirs.read(&mut [0; 1024]).await.unwrap() > 0 {} });
        let heard = Heard::default();
        let mut carried = heard.on(tokio::io::repeat(0));
        let began = Instant::now();
        let busy = HEARTBEAT * 6;
        let carrying = async {
            while began.elapsed() < busy {
                sleep(HEARTBEAT / 3).await;
                carried.read_u8().await.unwrap();
            }
        };
        let watching = watch(ping, &heard, |took| panic!("answered after {took:?}"));
        tokio::join!(carrying, watching);
        let ended = began.elapsed();
        assert!((busy..busy + HEARTBEAT * 3).contains(&ended), "{ended:?}");
    }
}
