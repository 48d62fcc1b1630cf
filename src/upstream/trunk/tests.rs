use h2::server;
use tokio::io::{DuplexStream, duplex};

use super::super::stream::Transport;
use super::super::wire::{Tunnel, Wire};
use super::*;

impl Tunnel for DuplexStream {
    fn is_closed(&self) -> bool {
        false
    }
}

/// A connection to a server that takes requests and answers none, as long as the task runs.
async fn pair() -> (Trunk, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = duplex(1 << 16);
    let serving = tokio::spawn(async move {
        let mut connection = server::handshake(theirs).await.unwrap();
        let mut requests = Vec::new();
        while let Some(Ok(request)) = connection.accept().await {
            requests.push(request);
        }
    });
    let transport = Transport::Tunnel(Wire(Box::new(ours)));
    let stream = UpstreamStream::new(transport, Arc::default(), None);
    let until = Instant::now() + Duration::from_secs(5);
    (Trunk::open(stream, until).await.unwrap(), serving)
}

/// A server that takes bytes and says nothing any more.
async fn silenced() -> (Trunk, DuplexStream) {
    let (ours, mut theirs) = duplex(1 << 16);
    let saying = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        // Empty SETTINGS.
        theirs
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        theirs
    });
    let transport = Transport::Tunnel(Wire(Box::new(ours)));
    let stream = UpstreamStream::new(transport, Arc::default(), None);
    let until = Instant::now() + Duration::from_secs(5);
    let trunk = Trunk::open(stream, until).await.unwrap();
    (trunk, saying.await.unwrap())
}

/// Lets all that can run do so.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_silent_for_too_long_is_dead() {
    let (trunk, _theirs) = silenced().await;
    assert!(trunk.occupy());
    let begun = Instant::now();
    let after = |seconds| begun + Duration::from_secs(seconds);
    assert!(
        trunk.look(after(1)) && trunk.look(after(30)),
        "asked by now"
    );
    settle().await;
    assert!(trunk.look(after(49)), "it has time to answer");
    assert!(!trunk.look(after(51)));
    settle().await;
    assert!(!trunk.is_open() && trunk.driving.is_finished());
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_is_alive_and_not_asked_again_for_minutes() {
    let (trunk, _serving) = pair().await;
    assert!(trunk.occupy());
    let begun = Instant::now();
    let mut asked = Vec::new();
    for seconds in (0..700).step_by(5) {
        assert!(
            trunk.look(begun + Duration::from_secs(seconds)),
            "{seconds}"
        );
        if trunk.health.lock().asked.is_some() {
            asked.push(seconds);
        }
        settle().await;
    }
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1] - asked[0] >= 300, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_request_it_is_kept_for_a_while_and_not_asked() {
    let (trunk, _serving) = pair().await;
    let now = Instant::now();
    assert!(trunk.occupy());
    trunk.leave(now + Duration::from_secs(60));
    assert!(trunk.look(now + Duration::from_secs(59)));
    assert!(trunk.health.lock().asked.is_none());
    assert!(!trunk.look(now + Duration::from_secs(60)));
}

#[tokio::test(start_paused = true)]
async fn one_that_left_a_request_unanswered_gets_no_other_until_it_is_heard() {
    let (trunk, _serving) = pair().await;
    assert!(trunk.occupy());
    trunk.suspect();
    assert!(!trunk.occupy(), "it may be dead");
    settle().await;
    assert!(trunk.look(Instant::now()));
    assert!(trunk.occupy(), "it has answered the ping");
}
