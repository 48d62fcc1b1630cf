//! Answers that begin before the request's content has ended.

use std::time::Duration;

use super::pair;
use crate::harness::{Answer, Gate, RawClient, Step, eventually};

/// More than the buffers towards one that reads nothing hold; those of one that reads grow further.
const LONG: usize = 16 << 20;

/// Writes a request's head and its content, framed as told.
fn upload(path: &str, content: &[u8], chunked: bool) -> Vec<u8> {
    let lines = match chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {}", content.len()),
    };
    let mut bytes =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n").into_bytes();
    if !chunked {
        bytes.extend_from_slice(content);
        return bytes;
    }
    for piece in content.chunks(100_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// The head of a long answer.
fn long_head() -> Step {
    Step::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n").into())
}

/// An answer that is whole before any content was read.
fn short(fields: &str) -> Step {
    Step::Send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 4\r\n\r\nsoon").into())
}

async fn long_answer(client: &mut RawClient) {
    let response = client.response().await;
    assert_eq!((response.status, response.complete), (200, true));
    assert!(response.body.len() == LONG && response.body.iter().all(|&b| b == b'x'));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_early_answer_does_not_stop_the_upload() {
    let (upstream, keybearer) = pair("timeouts = { write = \"5s\" }").await;
    upstream.on(
        "/base/x",
        Answer(vec![long_head(), Step::Exchange(LONG as u64)]),
    );
    let content: Vec<u8> = (0..=250).cycle().take(LONG).collect();
    for chunked in [false, true] {
        let mut client = keybearer.caller().await;
        // All of it before anything is read.
        client.send(upload("/p/x", &content, chunked)).await;
        long_answer(&mut client).await;
        let arrived = async || upstream.last().complete.then_some(());
        eventually("the end of the upload", arrived).await;
        assert!(upstream.last().body == content, "chunked: {chunked}");
        let after = keybearer.get("/p/after").send_on(&mut client).await;
        assert_eq!(after.text(), "ok");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_to_an_upload_that_is_never_read_is_cut() {
    let (upstream, keybearer) = pair("timeouts = { write = \"500ms\" }").await;
    upstream.on(
        "/base/x",
        Answer(vec![long_head(), Step::Fill(LONG as u64)]),
    );
    let mut client = keybearer.caller().await;
    // May end early: keybearer closes, and the write fails.
    client.send(upload("/p/x", &vec![b'x'; LONG], false)).await;
    upstream.wait_for_ended(1).await;
    keybearer.logged(&["/p/x", "aborted"]).await;
    assert_eq!(keybearer.get("/p/after").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_never_read_ends_after_its_answer_too() {
    let (upstream, keybearer) = pair("timeouts = { write = \"500ms\" }").await;
    let gate = Gate::new();
    let steps = vec![short(""), Step::Wait(gate.clone()), Step::WaitForClose];
    upstream.on("/base/x", Answer(steps));
    let mut client = keybearer.caller().await;
    client.send(upload("/p/x", &vec![b'x'; LONG], false)).await;
    // Before the upstream reads on: a caller's content may well be in the system's buffers as a
    // whole, and could then be sent after all.
    client.closed().await;
    gate.open();
    upstream.wait_for_ended(1).await;
}

#[tokio::test]
async fn an_upload_goes_on_after_a_whole_answer() {
    let (upstream, keybearer) = pair("").await;
    upstream.on("/base/x", Answer(vec![short(""), Step::Read]));
    let mut client = keybearer.caller().await;
    for (chunked, ended) in [(false, 1), (true, 2)] {
        let bytes = upload("/p/x", &[b'x'; 100], chunked);
        let (first, second) = bytes.split_at(bytes.len() - 50);
        client.send(first).await;
        assert_eq!(client.response().await.text(), "soon");
        client.send(second).await;
        let whole = async || upstream.last().complete.then_some(());
        eventually("the end of the upload", whole).await;
        assert_eq!(upstream.last().body, [b'x'; 100], "chunked: {chunked}");
        upstream.wait_for_ended(ended).await;
    }
    let after = keybearer.get("/p/after").send_on(&mut client).await;
    assert_eq!(after.text(), "ok");
}

#[tokio::test]
async fn an_upload_ends_with_an_answer_that_closes() {
    let (upstream, keybearer) = pair("").await;
    let steps = vec![short("Connection: close\r\n"), Step::WaitForClose];
    upstream.on("/base/x", Answer(steps));
    let mut client = keybearer.caller().await;
    let bytes = upload("/p/x", &[b'x'; 100], false);
    client.send(&bytes[..bytes.len() - 50]).await;
    assert_eq!(client.response().await.text(), "soon");
    upstream.wait_for_ended(1).await;
}

#[tokio::test]
async fn a_caller_that_only_uploads_is_not_taken_for_one_that_stopped() {
    let (upstream, keybearer) = pair("timeouts = { write = \"600ms\" }").await;
    upstream.on(
        "/base/x",
        Answer(vec![long_head(), Step::Exchange(LONG as u64)]),
    );
    let mut client = keybearer.caller().await;
    let head = "POST /p/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    // Three times as long as it may take nothing, in pieces that are each far shorter.
    for _ in 0..18 {
        client.send("5\r\nhello\r\n").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.send("0\r\n\r\n").await;
    long_answer(&mut client).await;
    assert_eq!(upstream.last().text(), "hello".repeat(18));
}

#[tokio::test]
async fn a_caller_gone_after_an_early_answer_began_ends_the_upload() {
    let (upstream, keybearer) = pair("").await;
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsoon\r\n";
    for (name, answer) in [("begun", Step::Send(begun.into())), ("whole", short(""))] {
        let ended = upstream.ended();
        upstream.on("/base/x", Answer(vec![answer, Step::WaitForClose]));
        let mut client = keybearer.caller().await;
        let bytes = upload("/p/x", &[b'x'; 100], false);
        client.send(&bytes[..bytes.len() - 50]).await;
        client.until("soon").await;
        assert_eq!(upstream.ended(), ended, "{name}: the upload is still on");
        drop(client);
        upstream.wait_for_ended(ended + 1).await;
    }
}
