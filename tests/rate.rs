//! The configuration changes under a steady rate of requests, whether or not those before were
//! answered: none fails, none sees two configurations.
//!
//! For a release build, and for a machine that does nothing else meanwhile: `make test` runs it so.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::harness::{Keybearer, connection, eventually};

/// Requests per second.
const RATE: u32 = 3000;
const SECONDS: u32 = 20;
const REQUESTS: u32 = RATE * SECONDS;
const CALLERS: u32 = 64;
const RELOADS: u32 = 50;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The upstream's counts: requests with the one credential, the other, and with neither or both.
#[derive(Default)]
struct Seen {
    even: AtomicU32,
    odd: AtomicU32,
    mixed: AtomicU32,
}

/// A connection that injects the same text in three places.
fn table(upstream: SocketAddr, text: &str) -> String {
    let auth = format!(
        r#"auth = {{ type = "custom", headers = {{ X-One = "{text}", X-Two = "{text}" }}, params = {{ three = "{text}" }} }}"#
    );
    let log = "[log]\naccess = false\n";
    // A second attempt would hide that the first one failed.
    let rest = format!("retries = 0\n{auth}");
    connection("p", &format!("http://{upstream}/base"), &rest) + log
}

#[ignore = "needs a release build and the machine to itself: `make test` runs it so"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_at_a_steady_rate_lose_nothing_and_mix_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let seen = Arc::<Seen>::default();
    let accepting = tokio::spawn(accept(listener, Arc::clone(&seen)));
    let keybearer = Keybearer::start(&table(upstream, "even")).await;

    let start = Instant::now() + Duration::from_millis(100);
    let answered = Arc::<AtomicU32>::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let request = keybearer.get("/p/x").bytes();
            let (address, answered) = (keybearer.proxy(), Arc::clone(&answered));
            tokio::spawn(async move { call(address, &request, n, start, &answered).await })
        })
        .collect();
    for n in 1..=RELOADS {
        let due = REQUESTS / (RELOADS + 1) * n;
        let enough = async || (answered.load(SeqCst) >= due).then_some(());
        let what = format!("{due} answers before reload {n}; is a caller broken off?");
        eventually(&what, enough).await;
        let text = if n % 2 == 0 { "even" } else { "odd" };
        keybearer.reconfigure(&table(upstream, text)).await;
    }
    for caller in callers {
        caller.await.unwrap().expect("an answer to every request");
    }
    let took = start.elapsed().as_secs_f64();
    accepting.abort();

    let (even, odd) = (seen.even.load(SeqCst), seen.odd.load(SeqCst));
    let attained = f64::from(answered.load(SeqCst)) / took;
    println!(
        "{REQUESTS} requests in {took:.2} s, {attained:.0}/s of {RATE}/s, {RELOADS} reloads: \
         {even} and {odd} with either credential"
    );
    assert_eq!(seen.mixed.load(SeqCst), 0, "a mixture");
    assert_eq!(answered.load(SeqCst), REQUESTS);
    assert_eq!(even + odd, REQUESTS, "each once");
    assert!(even.min(odd) >= REQUESTS / 4, "both, in turn");
    let generation = keybearer.metrics().await;
    let generation = generation.value("keybearer_config_generation", &[]);
    assert_eq!(generation, Some(f64::from(1 + RELOADS)));
}

/// Sends one caller's share of the requests, each when it is due or, where the answer before it
/// came late, at once.
async fn call(
    address: SocketAddr,
    request: &[u8],
    caller: u32,
    start: Instant,
    answered: &AtomicU32,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; 1024];
    for n in (caller..REQUESTS).step_by(CALLERS as usize) {
        sleep_until(start + Duration::from_secs(1) * n / RATE).await;
        stream.write_all(request).await?;
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"\r\n\r\nok") {
            filled += some(stream.read(&mut buffer[filled..]).await?)?;
        }
        if !buffer.starts_with(b"HTTP/1.1 200 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&buffer[..filled])));
        }
        answered.fetch_add(1, SeqCst);
    }
    Ok(())
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let seen = Arc::clone(&seen);
        // A connection that breaks is a request that fails: its caller tells.
        tokio::spawn(async move { serve(stream, &seen).await });
    }
}

/// Answers the requests of one connection, which have no content and do not overtake each other.
async fn serve(mut stream: TcpStream, seen: &Seen) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 1024];
    loop {
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"\r\n\r\n") {
            filled += some(stream.read(&mut buffer[filled..]).await?)?;
        }
        let credential = credential(&buffer[..filled]);
        let count = match credential {
            Some(b"even") => &seen.even,
            Some(b"odd") => &seen.odd,
            _ => &seen.mixed,
        };
        count.fetch_add(1, SeqCst);
        stream.write_all(ANSWER).await?;
    }
}

/// The credential in a head, if it is the same in all three places.
fn credential(head: &[u8]) -> Option<&[u8]> {
    let (mut one, mut two) = (None, None);
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let target = lines.next()?.strip_prefix(b"GET /base/x?three=")?;
    let three = target.strip_suffix(b" HTTP/1.1")?;
    for line in lines {
        one = one.or(line.strip_prefix(b"x-one: "));
        two = two.or(line.strip_prefix(b"x-two: "));
    }
    (one == Some(three) && two == Some(three)).then_some(three)
}

/// A count of bytes, of which none is the end.
fn some(count: usize) -> io::Result<usize> {
    match count {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}
