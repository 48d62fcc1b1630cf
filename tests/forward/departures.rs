//! Either side going away at any point: the other one learns it.

use super::pair;
use crate::harness::{Answer, Gate, RawClient, Step};

#[tokio::test]
async fn an_early_answer_reaches_a_caller_that_still_uploads() {
    let (upstream, keybearer) = pair("").await;
    let early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nfull";
    for (name, last) in [("open", Step::WaitForClose), ("closed", Step::Close)] {
        let answer = Answer(vec![Step::Send(early.into()), last]);
        upstream.on("/base/early", answer);
        let mut client = keybearer.caller().await;
        let head = "POST /p/early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485760\r\n\r\n";
        client.send(head).await;
        client.send(vec![b'x'; 1000]).await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (413, "full"),
            "{name}"
        );
        assert!(!upstream.last().complete, "{name}");
    }
    assert_eq!(keybearer.get("/p/after").send().await.status, 200);
}

#[tokio::test]
async fn a_caller_gone_while_uploading_ends_the_upstream_request() {
    let (upstream, keybearer) = pair("").await;
    for lines in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let (ended, seen) = (upstream.ended(), upstream.count());
        let mut client = keybearer.caller().await;
        let head =
            format!("POST /p/up HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n5\r\nhello\r\n");
        client.send(head).await;
        upstream.wait_for_requests(seen + 1).await;
        drop(client);
        upstream.wait_for_ended(ended + 1).await;
        assert!(
            !upstream.last().complete,
            "half of it must not look whole: {lines}"
        );
    }
}

#[tokio::test]
async fn a_caller_gone_while_waiting_ends_the_upstream_request() {
    let (upstream, keybearer) = pair("").await;
    upstream.on("/base/stall", Answer::stall());
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/stall").bytes()).await;
    upstream.wait_for_requests(1).await;
    drop(client);
    upstream.wait_for_ended(1).await;
}

#[tokio::test]
async fn a_caller_gone_while_downloading_ends_the_upstream_request() {
    let (upstream, keybearer) = pair("").await;
    upstream.on("/base/endless", Answer::download(u64::from(u32::MAX)));
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/endless").bytes()).await;
    client.head().await.expect("the head");
    client.skip(1 << 20).await.unwrap();
    drop(client);
    upstream.wait_for_ended(1).await;
}

#[tokio::test]
async fn an_upstream_gone_in_the_middle_is_seen_as_a_cut() {
    let (upstream, keybearer) = pair("").await;
    for (name, head) in [
        ("sized", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        (
            "chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n",
        ),
    ] {
        let gate = Gate::new();
        let answer = Answer::raw(head)
            .then(Step::Send("half".into()))
            .then(Step::Wait(gate.clone()))
            .then(Step::Close);
        upstream.on("/base/cut", answer);
        let mut client = keybearer.caller().await;
        client.send(keybearer.get("/p/cut").bytes()).await;
        let head = client.head().await.expect("the head");
        client.until("half").await;
        gate.open();
        let rest = client.closed().await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(
            !rest.contains("0\r\n\r\n"),
            "{name} looks whole: {head:?} {rest}"
        );
    }
    assert_eq!(keybearer.get("/p/after").send().await.status, 200);
}

#[tokio::test]
async fn an_answer_cut_with_its_head_never_looks_whole() {
    let (upstream, keybearer) = pair("retries = 0").await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    upstream.on("/base/cut", Answer::raw(head).then(Step::Close));
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/cut").bytes()).await;
    match client.try_response_to("GET").await {
        None => {}
        Some(response) if response.status == 200 => assert!(!response.complete),
        Some(response) => {
            response.problem(502, "connection-terminated", "connection_terminated");
        }
    }
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_let_go() {
    let (upstream, keybearer) = pair("timeouts = { write = \"300ms\" }").await;
    upstream.on("/base/big", Answer::download(1 << 30));
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/big").bytes()).await;
    // It reads nothing: once no buffer has room, the time runs.
    upstream.wait_for_ended(1).await;
    keybearer.logged(&["/p/big", "aborted"]).await;
}

#[tokio::test]
async fn a_caller_that_reads_slowly_is_kept_until_it_stops() {
    let (upstream, keybearer) = pair("timeouts = { write = \"1500ms\" }").await;
    upstream.on("/base/big", Answer::download(1 << 30));
    let mut client = RawClient::connect_narrow(keybearer.proxy()).await;
    client.send(keybearer.get("/p/big").bytes()).await;
    client.head().await.expect("the head");
    // Far less than what has to be read before the system calls the stream writable again.
    for _ in 0..50 {
        client.skip(4096).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(upstream.ended(), 0, "it was reading");
    upstream.wait_for_ended(1).await;
    keybearer.logged(&["/p/big", "aborted"]).await;
}

#[tokio::test]
async fn an_early_answer_lasts_as_long_as_the_upload_makes_progress() {
    let (upstream, keybearer) = pair("timeouts = { read = \"600ms\" }").await;
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = Answer(vec![
        Step::Send(head.into()),
        Step::Read,
        Step::Wait(gate.clone()),
        Step::Send("4\r\ndone\r\n0\r\n\r\n".into()),
    ]);
    upstream.on("/base/early", answer);
    let mut client = keybearer.caller().await;
    let head = "POST /p/early HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    // Three times as long as a stall may last, in pieces that are each far shorter.
    for _ in 0..18 {
        client.send("5\r\nhello\r\n").await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    client.send("0\r\n\r\n").await;
    gate.open();
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "done"));
}
