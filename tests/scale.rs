//! Many connections, many callers, long contents; a Unix socket.
//!
//! Figures that only an optimised build can meet are asserted where `KEYBEARER_TEST_RELEASE=1`.

mod s3;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::str::FromStr;
use std::time::Instant;

use bytesize::ByteSize;
use rustix::process::Signal;

use crate::harness::{
    Answer, Gate, Keybearer, RawClient, Setup, Step, Upstream, connection, eventually, release,
};

const MIB: u64 = 1 << 20;

/// How long a long content is: `KEYBEARER_TEST_BIG`, such as `5GiB`.
fn big() -> u64 {
    let size = std::env::var("KEYBEARER_TEST_BIG").unwrap_or_else(|_| "256MiB".to_owned());
    ByteSize::from_str(&size)
        .expect("a size such as 5GiB")
        .as_u64()
}

async fn plain(rest: &str) -> (Upstream, Keybearer) {
    let upstream = Upstream::start().await;
    let rest = format!("auth = {{ type = \"bearer\", token = \"ours\" }}\n{rest}");
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), &rest)).await;
    (upstream, keybearer)
}

#[tokio::test]
async fn ten_thousand_connections_start_and_answer() {
    const COUNT: usize = 10_000;
    let upstream = Upstream::start().await;
    let tables = |token: &str| {
        let tables = (0..COUNT).map(|n| {
            let auth = format!("auth = {{ type = \"bearer\", token = \"{token}{n}\" }}");
            connection(&format!("c{n}"), &upstream.url(&format!("/base{n}")), &auth)
        });
        tables.collect::<String>()
    };
    let begun = Instant::now();
    let keybearer = Keybearer::start(&tables("t")).await;
    let took = begun.elapsed();
    for token in ["t", "u"] {
        for n in [0, 1, COUNT / 2, COUNT - 1] {
            let response = keybearer.get(&format!("/c{n}/x")).send().await;
            assert_eq!(response.status, 200);
            let seen = upstream.last();
            assert_eq!(seen.target(), format!("/base{n}/x"));
            let wanted = format!("Bearer {token}{n}");
            assert_eq!(seen.header("authorization"), Some(wanted.as_str()));
        }
        let resident = keybearer.resident();
        println!(
            "10,000 connections: {took:?} to readiness, {} MiB",
            resident / MIB
        );
        if release() && token == "t" {
            assert!(resident < 60 * MIB, "{resident} bytes resident");
            assert!(took.as_secs_f64() < 1.0, "{took:?} to readiness");
        }
        keybearer.reconfigure(&tables("u")).await;
    }
}

#[tokio::test]
async fn a_console_of_ten_thousand_connections_is_usable() {
    let count = if release() { 10_000 } else { 1_000 };
    let upstream = Upstream::start().await;
    let tables = (0..count).map(|n| {
        let auth = format!("auth = {{ type = \"bearer\", token = \"t{n}\" }}");
        connection(&format!("c{n:05}"), &upstream.url(""), &auth)
    });
    let keybearer = Keybearer::start(&tables.collect::<String>()).await;
    // Each has figures of its own.
    let mut caller = keybearer.caller().await;
    for n in 0..count {
        let request = keybearer.get(&format!("/c{n:05}/x"));
        assert_eq!(request.send_on(&mut caller).await.status, 200);
    }
    let asked = async |target: &str| {
        let begun = Instant::now();
        let response = keybearer.ask("GET", target).send().await;
        assert_eq!(response.status, 200, "{target}");
        let took = begun.elapsed();
        println!("{count} connections: {target} in {took:?}");
        if release() {
            assert!(took.as_secs_f64() < 2.0, "{target}: {took:?}");
        }
        response.text()
    };
    let metrics = asked("/metrics").await;
    let series = metrics.matches("keybearer_requests_total{").count();
    assert!(series >= count, "{series} series");
    let last = count - 1;
    let page = asked("/").await;
    assert!(
        page.contains("c00049") && !page.contains("c00050"),
        "50 on a page"
    );
    let page = asked(&format!("/?page={}", count / 50)).await;
    assert!(page.contains(&format!("c{last:05}")));
    let page = asked(&format!("/?q=c{last:05}")).await;
    assert_eq!(page.matches("<tr id=").count(), 1);
    assert!(page.contains("1 shown"));
    asked(&format!("/connections/c{last:05}")).await;
    asked("/api/connections").await;
    if release() {
        println!("{} MiB", keybearer.resident() / MIB);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_callers_cost_little() {
    let (upstream, keybearer) = plain("").await;
    let request = keybearer.get("/p/x");
    let mut callers = Vec::new();
    for _ in 0..1000 {
        let mut caller = keybearer.caller().await;
        assert_eq!(request.send_on(&mut caller).await.status, 200);
        callers.push(caller);
    }
    let resident = keybearer.resident();
    println!("1,000 idle callers: {} MiB", resident / MIB);
    if release() {
        assert!(resident < 64 * MIB, "{resident} bytes resident");
    }
    for caller in &mut callers {
        assert_eq!(request.send_on(caller).await.status, 200);
    }
    assert_eq!(upstream.count(), 2000);
    assert_eq!(
        upstream.connections(),
        1,
        "one after the other, so one is enough"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_at_once_are_all_answered() {
    let (upstream, keybearer) = plain("").await;
    let gate = Gate::new();
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    upstream.on("/base/wait", Answer::raw(ok).behind(&gate));
    let request = keybearer.get("/p/wait");
    let mut callers = Vec::new();
    for _ in 0..1000 {
        let mut caller = keybearer.caller().await;
        caller.send(request.bytes()).await;
        callers.push(caller);
    }
    upstream.wait_for_requests(1000).await;
    for _ in 0..1000 {
        gate.open();
    }
    for caller in &mut callers {
        assert_eq!(caller.response().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_download_passes_with_flat_memory() {
    let (upstream, keybearer) = plain("").await;
    let size = big();
    upstream.on("/base/big", Answer::download(size));
    keybearer.get("/p/x").send().await;
    let before = keybearer.resident();
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/big").bytes()).await;
    let head = client.head().await.expect("the head");
    let length = size.to_string();
    assert_eq!(head.one("content-length"), Some(length.as_str()));
    let mut most = before;
    let mut left = size;
    while left > 0 {
        let part = left.min(8 * MIB);
        crate::harness::within("the next part", client.skip(part))
            .await
            .unwrap();
        left -= part;
        most = most.max(keybearer.resident());
    }
    flat(before, most);
    assert_eq!(upstream.sent(), size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_upload_passes_with_flat_memory() {
    let (upstream, keybearer) = plain("limits = { request_body = \"1TiB\" }").await;
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    upstream.on(
        "/base/big",
        Answer(vec![Step::ReadAndForget, Step::Send(ok.into())]),
    );
    keybearer.get("/p/x").send().await;
    let size = big();
    let block = vec![b'x'; 256 * 1024];
    for chunked in [false, true] {
        let (before, received) = (keybearer.resident(), upstream.received());
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {size}"),
        };
        let mut client = keybearer.caller().await;
        let head = format!("POST /p/big HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
        client.send(head).await;
        let mut most = before;
        let mut left = size;
        while left > 0 {
            let part = usize::try_from(left.min(block.len() as u64)).unwrap();
            if chunked {
                client.send(format!("{part:x}\r\n")).await;
            }
            client.send(&block[..part]).await;
            if chunked {
                client.send("\r\n").await;
            }
            left -= part as u64;
            most = most.max(keybearer.resident());
        }
        if chunked {
            client.send("0\r\n\r\n").await;
        }
        assert_eq!(client.response().await.status, 200);
        assert_eq!(upstream.received() - received, size);
        flat(before, most);
    }
}

fn flat(before: u64, most: u64) {
    let growth = most.saturating_sub(before);
    println!("{} KiB more for a long content", growth / 1024);
    assert!(growth < 16 * MIB, "{growth} bytes more than before");
}

#[tokio::test]
async fn a_unix_socket_is_its_owners_alone() {
    let upstream = Upstream::start().await;
    let setup = Setup::new();
    let path = setup.path("keybearer.sock");
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let table = connection(
        "p",
        &upstream.url("/base"),
        "auth = { type = \"bearer\", token = \"ours\" }",
    );
    let mut keybearer = setup.server(&listen).tables(&table).start().await;
    let bound = async || fs::metadata(&path).ok();
    let metadata = eventually("the socket", bound).await;
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let mut client = RawClient::connect_unix(&path).await;
    for n in 1..=2 {
        client
            .send("GET /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert_eq!(client.response().await.text(), "ok");
        assert_eq!(upstream.count(), n);
    }
    let seen = upstream.last();
    assert_eq!(seen.header("authorization"), Some("Bearer ours"));
    drop(client);
    keybearer.signal(Signal::TERM);
    assert_eq!(keybearer.exit().await.code, Some(0));
}

#[tokio::test]
async fn a_socket_file_left_behind_is_taken_over() {
    let setup = Setup::new();
    let path = setup.path("keybearer.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let table = connection("p", "builtin:echo", "auth = { type = \"none\" }");
    let keybearer = setup.server(&listen).tables(&table).start().await;
    let mut client = RawClient::connect_unix(&path).await;
    client
        .send("GET /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
    drop(keybearer);
}
