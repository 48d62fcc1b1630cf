//! Both ends of a tunnel, on a pipe, with an upstream of a test's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::allow::Allow;
use super::refusal::Reason;
use super::relay;
use super::stream::TunnelStream;
use super::tunnel::{NotOpened, Proof, Tunnel};

const LIMIT: Duration = Duration::from_secs(10);

/// The proxy's end of a tunnel whose agent allows `rules`.
async fn tunnel(rules: &[&str]) -> Arc<Tunnel> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let allow = Arc::new(Allow::parse(rules.iter().copied()).unwrap());
    tokio::spawn(serve(far, allow));
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(super::STREAM_WINDOW)
        .initial_connection_window_size(super::TUNNEL_WINDOW)
        .handshake(near)
        .await
        .unwrap();
    tokio::spawn(connection);
    let peer = "127.0.0.1:1".parse().unwrap();
    let tunnel = Tunnel::new(
        "dc".into(),
        peer,
        "".into(),
        Proof::Certificate,
        sender,
        None,
    );
    Arc::new(tunnel)
}

async fn serve(far: DuplexStream, allow: Arc<Allow>) {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(super::STREAM_WINDOW)
        .initial_connection_window_size(super::TUNNEL_WINDOW)
        .max_send_buffer_size(super::SEND_BUFFER)
        .handshake(far)
        .await
        .unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let allow = Arc::clone(&allow);
        tokio::spawn(async move { relay::carry(request, respond, &allow).await });
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A stream to an upstream, and the upstream's end of it.
async fn joined() -> (TunnelStream, TcpStream, Arc<Tunnel>) {
    let tunnel = tunnel(&["127.0.0.1:*"]).await;
    let (listener, address) = listen().await;
    let authority: Uri = address.to_string().parse().unwrap();
    let (stream, accepted) = tokio::join!(tunnel.open(&authority, LIMIT), listener.accept());
    (stream.unwrap(), accepted.unwrap().0, tunnel)
}

#[tokio::test]
async fn each_side_ends_by_itself() {
    let (mut stream, mut upstream, tunnel) = joined().await;
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut asked = Vec::new();
    timeout(LIMIT, upstream.read_to_end(&mut asked))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(asked, b"question");
    // The other direction is open still.
    upstream.write_all(b"answer").await.unwrap();
    let mut answered = [0; 6];
    stream.read_exact(&mut answered).await.unwrap();
    assert_eq!(&answered, b"answer");
    assert!(!stream.is_closed());
    upstream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut answered).await.unwrap(), 0);
    assert!(stream.is_closed());
    assert_eq!(
        tunnel
            .traffic
            .sent
            .load(std::sync::atomic::Ordering::Relaxed),
        8
    );
    drop(stream);
    assert_eq!(
        tunnel
            .traffic
            .open
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

#[tokio::test]
async fn an_upstream_may_end_first() {
    let (mut stream, mut upstream, _tunnel) = joined().await;
    upstream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    stream.write_all(b"late").await.unwrap();
    stream.shutdown().await.unwrap();
    timeout(LIMIT, upstream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest, b"late");
}

#[tokio::test]
async fn what_breaks_on_one_side_breaks_on_the_other() {
    let (mut stream, upstream, _tunnel) = joined().await;
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    assert!(stream.is_closed());
    let (stream, mut upstream, _tunnel) = joined().await;
    drop(stream);
    let error = upstream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}

#[tokio::test]
async fn what_was_answered_before_a_break_arrives() {
    let answer: Vec<u8> = (0..=255).cycle().take(60_000).collect();
    for says_goodbye in [true, false] {
        let (stream, mut upstream, _tunnel) = joined().await;
        let (mut incoming, mut outgoing) = tokio::io::split(stream);
        let uploading = tokio::spawn(async move {
            let block = vec![7; 1 << 16];
            let mut written = Ok(());
            for _ in 0..64 {
                written = written.and(outgoing.write_all(&block).await);
            }
            (outgoing, written)
        });
        upstream.read_exact(&mut [0; 1024]).await.unwrap();
        upstream.write_all(&answer).await.unwrap();
        if says_goodbye {
            upstream.shutdown().await.unwrap();
        }
        // It has not read all, and so breaks the connection.
        drop(upstream);
        // Nobody reads before the upload has ended.
        let (uploaded, written) = timeout(LIMIT, uploading).await.unwrap().unwrap();
        assert_eq!(written.is_ok(), says_goodbye);
        let mut answered = Vec::new();
        let end = timeout(LIMIT, incoming.read_to_end(&mut answered)).await;
        assert!(answered == answer, "{} of {}", answered.len(), answer.len());
        assert_eq!(end.unwrap().is_ok(), says_goodbye);
        drop(uploaded);
    }
}

#[tokio::test]
async fn whoever_goes_away_after_its_question_is_noticed() {
    let (mut stream, mut upstream, _tunnel) = joined().await;
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut asked = Vec::new();
    upstream.read_to_end(&mut asked).await.unwrap();
    assert_eq!(asked, b"question");
    drop(stream);
    // The upstream does not say a word, by which it could be found out.
    broken(&upstream).await;
}

#[tokio::test]
async fn whoever_goes_away_from_an_upstream_that_has_ended_is_noticed() {
    let (mut stream, mut upstream, _tunnel) = joined().await;
    upstream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    let block = vec![7; 1 << 16];
    // Nobody reads it, so that it waits where it is carried.
    while let Ok(written) = timeout(Duration::from_millis(300), stream.write_all(&block)).await {
        written.unwrap();
    }
    drop(stream);
    broken(&upstream).await;
}

/// Waits until the system says that a connection is broken, which nobody reads or writes.
async fn broken(upstream: &TcpStream) {
    let broken = async {
        while upstream.take_error().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, broken).await.unwrap();
}

#[tokio::test]
async fn whoever_writes_waits_for_whoever_reads() {
    let (mut stream, mut upstream, _tunnel) = joined().await;
    let mut written: usize = 0;
    let block = vec![7; 1 << 16];
    let pause = Duration::from_millis(500);
    while let Ok(count) = timeout(pause, stream.write(&block)).await {
        written += count.unwrap();
        // Windows, and what two sockets of the system take.
        assert!(written < 64 << 20, "nothing holds it up");
    }
    assert!(written > super::STREAM_WINDOW as usize, "{written}");
    let reading = tokio::spawn(async move {
        let mut rest = Vec::new();
        upstream.read_to_end(&mut rest).await.unwrap();
        rest.len()
    });
    stream.write_all(&block).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(reading.await.unwrap(), written + block.len());
}

#[tokio::test]
async fn a_refusal_says_why() {
    let tunnel = tunnel(&["127.0.0.1:*", "localhost:1"]).await;
    let authority: Uri = "localhost:1".parse().unwrap();
    let refused = tunnel.open(&authority, LIMIT).await.unwrap_err();
    let NotOpened::Refused(refusal) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.reason, Reason::ConnectionRefused);
    let authority: Uri = "other:1".parse().unwrap();
    let refused = tunnel.open(&authority, LIMIT).await.unwrap_err();
    let NotOpened::Refused(refusal) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.reason, Reason::NotListed);
    assert_eq!(refusal.detail, "add `--allow 'other:1'` there");
}
