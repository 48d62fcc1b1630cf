//! `kill -9` at any moment: what was answered 202 is delivered, in order.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{open, path, start};
use crate::harness::{Keybearer, Setup, eventually};

/// How many endpoints there are, each with a sender of its own that waits for each answer.
const ENDPOINTS: usize = 4;

/// How often it is killed.
const KILLS: usize = 100;

/// So many webhooks a second are sent in all, while somebody answers.
const RATE: u64 = 500;

#[tokio::test]
async fn what_was_answered_202_is_delivered_in_order_whenever_it_is_killed() {
    let target = Target::start().await;
    let hooks = (0..ENDPOINTS).map(|at| {
        open(
            &format!("hook-{at}"),
            &format!("http://{}/{at}", target.address),
        )
    });
    let mut keybearer = start(&hooks.collect::<String>()).await;
    let mut paths = Vec::new();
    for at in 0..ENDPOINTS {
        paths.push(path(&keybearer, &format!("hook-{at}")).await);
    }
    // The same port each time, so that senders find it.
    let address = keybearer.webhooks();
    let at_port = |setup: Setup| {
        let text = setup.text().replace(
            "[webhooks]\nlisten = \"127.0.0.1:0\"",
            &format!("[webhooks]\nlisten = \"{address}\""),
        );
        let tables = text
            .split_once("[store]")
            .map(|(_, tables)| format!("[store]{tables}"));
        setup.retold(&tables.unwrap())
    };
    let sending = Arc::new(AtomicBool::new(true));
    let senders: Vec<_> = paths
        .into_iter()
        .map(|path| tokio::spawn(send(address, path, Arc::clone(&sending))))
        .collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..KILLS {
        // Any moment will do, also that of the start.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        tokio::time::sleep(Duration::from_micros((random >> 33) % 150_000)).await;
        keybearer.signal(Signal::KILL);
        let (setup, _) = keybearer.kill().await;
        keybearer = at_port(setup).start().await;
    }
    sending.store(false, SeqCst);
    let mut accepted = Vec::new();
    for sender in senders {
        accepted.push(sender.await.unwrap());
    }
    let all: usize = accepted.iter().map(|sent| sent.len()).sum();
    println!(
        "{KILLS} kills, {all} accepted, {} requests at the target",
        target.count.load(SeqCst)
    );
    assert!(all > KILLS, "too few were accepted to say anything: {all}");
    let arrived = async || {
        let got = target.got.lock().unwrap();
        accepted
            .iter()
            .zip(got.iter())
            .all(|(sent, got)| sent.iter().all(|number| got.0.contains(number)))
            .then_some(())
    };
    eventually("all that was accepted to arrive", arrived).await;
    for (sent, (_, firsts)) in accepted.iter().zip(target.got.lock().unwrap().iter()) {
        // One that was kept without its answer may have arrived as well, at its place; some arrive twice.
        let firsts: Vec<_> = firsts
            .iter()
            .filter(|number| sent.contains(number))
            .collect();
        assert!(firsts.is_sorted(), "out of order: {firsts:?}");
    }
    wait_for_rest(&keybearer).await;
}

/// Nothing waits in the end.
async fn wait_for_rest(keybearer: &Keybearer) {
    let empty = async || {
        let metrics = keybearer.metrics().await;
        (metrics.sum("keybearer_webhook_queue_depth") == 0.0).then_some(())
    };
    eventually("the queue to be empty", empty).await;
}

/// Sends numbers one after the other, each once it is known what became of the one before; those that were
/// answered 202.
async fn send(address: SocketAddr, path: String, sending: Arc<AtomicBool>) -> Vec<usize> {
    let pause = Duration::from_micros(1_000_000 * ENDPOINTS as u64 / RATE);
    let mut accepted = Vec::new();
    let mut stream: Option<TcpStream> = None;
    let mut number = 0;
    while sending.load(SeqCst) {
        number += 1;
        let began = tokio::time::Instant::now();
        match post(&mut stream, address, &path, number).await {
            Some(202) => accepted.push(number),
            Some(503) | None => stream = None,
            Some(status) => panic!("{status} for {number}"),
        }
        tokio::time::sleep_until(began + pause).await;
    }
    accepted
}

async fn post(
    stream: &mut Option<TcpStream>,
    address: SocketAddr,
    path: &str,
    number: usize,
) -> Option<u16> {
    if stream.is_none() {
        *stream = TcpStream::connect(address).await.ok();
    }
    let stream = stream.as_mut()?;
    let text = number.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let length = stream
            .read(&mut piece)
            .await
            .ok()
            .filter(|length| *length > 0)?;
        answer.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, content)) = text.split_once("\r\n\r\n") {
            let length: usize = head
                .to_ascii_lowercase()
                .split_once("content-length: ")?
                .1
                .split("\r\n")
                .next()?
                .parse()
                .ok()?;
            if content.len() >= length {
                return head.split(' ').nth(1)?.parse().ok();
            }
        }
    }
}

type Got = (HashSet<usize>, Vec<usize>);

/// Answers everything, and remembers the numbers by path: all, and in the order of their first arrival.
struct Target {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    count: Arc<AtomicUsize>,
}

impl Target {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::new(Mutex::new(vec![Got::default(); ENDPOINTS])),
            count: Arc::default(),
        };
        let (got, count) = (Arc::clone(&target.got), Arc::clone(&target.count));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (got, count) = (Arc::clone(&got), Arc::clone(&count));
                tokio::spawn(serve(stream, got, count));
            }
        });
        target
    }
}

async fn serve(
    mut stream: TcpStream,
    got: Arc<Mutex<Vec<Got>>>,
    count: Arc<AtomicUsize>,
) -> Option<()> {
    let mut ahead = Vec::new();
    loop {
        let end = loop {
            let text = String::from_utf8_lossy(&ahead).into_owned();
            if let Some(at) = text.find("\r\n\r\n") {
                let head = text[..at].to_ascii_lowercase();
                let length = head.split_once("content-length: ")?.1;
                let length: usize = length.split("\r\n").next()?.parse().ok()?;
                if ahead.len() >= at + 4 + length {
                    let endpoint: usize = head.split(['/', ' ']).nth(2)?.parse().ok()?;
                    let number: usize = text[at + 4..at + 4 + length].parse().ok()?;
                    let mut got = got.lock().unwrap();
                    let (all, firsts) = &mut got[endpoint];
                    if all.insert(number) {
                        firsts.push(number);
                    }
                    count.fetch_add(1, SeqCst);
                    break at + 4 + length;
                }
            }
            let mut piece = [0; 4096];
            let length = stream
                .read(&mut piece)
                .await
                .ok()
                .filter(|length| *length > 0)?;
            ahead.extend_from_slice(&piece[..length]);
        };
        ahead.drain(..end);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.ok()?;
    }
}
