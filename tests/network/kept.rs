//! Connections that were kept, and that the upstream closes: what it costs callers.
//!
//! A server that closes an idle connection may do so while a request is on its way. Whether that
//! request was read then, nobody on this side can know (RFC 9112 section 9.3.1): one that may be
//! repeated is, and no other. Those others are kept away from connections that such a server is about
//! to close, as soon as one of its closes was seen.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::{Keybearer, RawClient, Request, connection, release};

/// Requests of one run.
fn requests() -> u32 {
    if release() { 100_000 } else { 20_000 }
}

const CALLERS: u32 = 16;

/// So many POSTs may meet the first closes of all, from which is learnt what the others avoid.
const LEARNING: u32 = 5;

/// When an upstream closes its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Closes {
    /// With an answer that says so, after a few.
    Announced,
    /// Without a word, right behind an answer.
    BehindAnswer,
    /// Without a word, after a little while without a request.
    Idle,
    /// The same, but after as long as its answers have said.
    IdleAsTold,
    /// Without a word, and only the first connection, after a second and a half without a request.
    FirstOnly,
}

/// What came upstream: how often each request was read, and on how many connections.
#[derive(Default)]
struct Seen {
    requests: Mutex<HashMap<String, u32>>,
    connections: AtomicU32,
}

/// An upstream that serves a few requests on each connection.
async fn upstream(closes: Closes) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Seen>::default();
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            let count = seen.connections.fetch_add(1, SeqCst);
            // A connection that breaks is a request that fails: its caller tells.
            tokio::spawn(async move { serve(stream, closes, count, &seen).await });
        }
    });
    (address, all)
}

async fn serve(mut stream: TcpStream, closes: Closes, count: u32, seen: &Seen) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // From one to nine, and from nothing to three milliseconds, differently on each connection.
    let most = match closes {
        Closes::Announced | Closes::BehindAnswer => 1 + count * 7 % 9,
        Closes::Idle | Closes::IdleAsTold | Closes::FirstOnly => u32::MAX,
    };
    let patience = match closes {
        Closes::FirstOnly if count == 0 => Duration::from_millis(1500),
        Closes::Announced | Closes::BehindAnswer | Closes::FirstOnly => Duration::from_secs(60),
        Closes::Idle => Duration::from_micros(u64::from(count) * 377 % 3000),
        Closes::IdleAsTold => Duration::from_secs(1),
    };
    let mut buffer = Vec::with_capacity(1024);
    for n in 1..=most {
        let read = match timeout(patience, stream.read_buf(&mut buffer)).await {
            Ok(read) => read?,
            // Nothing of a request was read.
            Err(_) if n > 1 => return Ok(()),
            Err(_) => stream.read_buf(&mut buffer).await?,
        };
        if read == 0 {
            return Ok(());
        }
        while !buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&buffer).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        *seen.requests.lock().unwrap().entry(target).or_default() += 1;
        if head.starts_with("POST ") && !buffer.ends_with(b"\r\n\r\nonce") {
            // The content came by itself.
            let mut content = [0; 4];
            stream.read_exact(&mut content).await?;
        }
        buffer.clear();
        let fields = match closes {
            Closes::Announced if n == most => "Connection: close\r\n",
            Closes::IdleAsTold => "Keep-Alive: timeout=1\r\n",
            _ => "",
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// How many requests of a run failed, by method.
#[derive(Debug, Default)]
struct Failed {
    gets: u32,
    posts: u32,
}

/// Sends a run's requests, half of them POST, and counts those that got no answer; each was read once
/// at most if it was a POST, and at least once if it was answered.
async fn run(closes: Closes) -> Failed {
    let requests = requests();
    let (address, seen) = upstream(closes).await;
    let rest = "auth = { type = \"bearer\", token = \"ours\" }";
    let log = "[log]\naccess = false\n";
    let tables = connection("p", &format!("http://{address}/base"), rest) + log;
    let keybearer = Keybearer::start(&tables).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let proxy = keybearer.proxy();
            tokio::spawn(async move { call(proxy, caller, requests).await })
        })
        .collect();
    let mut failed = Failed::default();
    let mut answered = 0;
    for caller in callers {
        for (target, status, detail) in caller.await.unwrap() {
            let read = seen
                .requests
                .lock()
                .unwrap()
                .get(&target)
                .copied()
                .unwrap_or_default();
            let is_post = target.contains("/post/");
            assert!(!is_post || read <= 1, "{target} was read {read} times");
            if status == 200 {
                assert!(read >= 1, "{target}");
                answered += 1;
                continue;
            }
            assert_eq!(status, 502, "{target}: {detail}");
            match is_post {
                true => failed.posts += 1,
                false => failed.gets += 1,
            }
        }
    }
    println!(
        "{closes:?}: {answered} of {requests} answered on {} connections, {failed:?}",
        seen.connections.load(SeqCst)
    );
    failed
}

/// One caller's share: each request with its status, and what it says if it failed.
async fn call(proxy: SocketAddr, caller: u32, requests: u32) -> Vec<(String, u16, String)> {
    let mut client = RawClient::connect(proxy).await;
    let mut told = Vec::new();
    for n in (caller..requests).step_by(CALLERS as usize) {
        let (method, target) = match n / CALLERS % 2 {
            0 => ("GET", format!("/get/{n}")),
            _ => ("POST", format!("/post/{n}")),
        };
        let mut request = Request::new(proxy, method, &format!("/p{target}"));
        if method == "POST" {
            request = request.body("text/plain", "once");
        }
        let response = request.send_on(&mut client).await;
        told.push((format!("/base{target}"), response.status, response.text()));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_is_announced_costs_nothing() {
    let failed = run(Closes::Announced).await;
    assert_eq!((failed.gets, failed.posts), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_right_behind_an_answer_costs_no_get_and_sends_no_post_twice() {
    let failed = run(Closes::BehindAnswer).await;
    assert_eq!(failed.gets, 0);
    assert!(failed.posts <= LEARNING, "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_while_idle_costs_no_get_and_sends_no_post_twice() {
    let failed = run(Closes::Idle).await;
    assert_eq!(failed.gets, 0);
    assert!(failed.posts <= LEARNING, "{failed:?}");
}

#[tokio::test]
async fn a_close_without_a_word_tells_how_long_a_post_may_trust_a_connection() {
    let (address, seen) = upstream(Closes::FirstOnly).await;
    let rest = "auth = { type = \"bearer\", token = \"ours\" }";
    let tables = connection("p", &format!("http://{address}/base"), rest);
    let keybearer = Keybearer::start(&tables).await;
    let mut caller = keybearer.caller().await;
    // The upstream is found to have closed after two seconds at the most: half of that is trusted.
    for (rest, method, connections) in [
        (0, "GET", 1),
        (2000, "GET", 2),
        (10, "POST", 2),
        (10, "POST", 2),
        (3000, "POST", 3),
        (10, "POST", 3),
    ] {
        tokio::time::sleep(Duration::from_millis(rest)).await;
        let mut request = Request::new(keybearer.proxy(), method, "/p/x");
        if method == "POST" {
            request = request.body("text/plain", "once");
        }
        assert_eq!(request.send_on(&mut caller).await.status, 200);
        let seen = seen.connections.load(SeqCst);
        assert_eq!(seen, connections, "{method} after {rest} ms");
    }
}

#[tokio::test]
async fn an_upstreams_own_patience_is_not_used_up() {
    let (address, seen) = upstream(Closes::IdleAsTold).await;
    let rest = "auth = { type = \"bearer\", token = \"ours\" }";
    let tables = connection("p", &format!("http://{address}/base"), rest);
    let keybearer = Keybearer::start(&tables).await;
    let mut caller = keybearer.caller().await;
    for n in 1..=3 {
        // It would take this one, too: but of its second only the first half is used.
        let response = keybearer.post("/p/x").body("text/plain", "once");
        assert_eq!(response.send_on(&mut caller).await.status, 200);
        assert_eq!(seen.connections.load(SeqCst), n);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}
