//! Broken `aws-chunked` framing: the caller is told, and the upstream never gets a whole request.

use super::{ours, signing};
use crate::harness::{Keybearer, Request, Upstream, eventually};

/// Longer than what is held to be hashed, so that its first part is under way when the fault shows.
const LONG: usize = 256 * 1024;

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// What is broken, and how it is told.
struct Broken {
    why: &'static str,
    said: &'static str,
    /// What is announced as decoded length, beside the content's own.
    length: Option<&'static str>,
    /// What stands in place of the last chunk and what follows it.
    end: &'static str,
}

fn broken() -> Vec<Broken> {
    const SIGNATURE: &str =
        ";chunk-signature=0000000000000000000000000000000000000000000000000000000000000000";
    let case = |why, said, end: &str| Broken {
        why,
        said,
        length: None,
        end: String::leak(end.replace(";S", SIGNATURE)),
    };
    let announced = |why, length| Broken {
        length: Some(length),
        ..case(why, SIGNED, "0;S\r\n\r\n")
    };
    vec![
        case("no last chunk", SIGNED, ""),
        case("no last chunk", TRAILER, ""),
        case("a size of no digits", SIGNED, ";S\r\n\r\n"),
        case("a size of other digits", SIGNED, "0x0;S\r\n\r\n"),
        case("a negative size", SIGNED, "-1;S\r\n\r\n"),
        case(
            "a size that no number has",
            SIGNED,
            "fffffffffffffffff;S\r\nx\r\n0;S\r\n\r\n",
        ),
        case("a line without an end", SIGNED, &"0".repeat(100_000)),
        case("a line feed alone", SIGNED, "0;S\n\n"),
        case(
            "a chunk longer than told",
            SIGNED,
            "1;S\r\nxy\r\n0;S\r\n\r\n",
        ),
        case(
            "a chunk that is cut short",
            SIGNED,
            "ff;S\r\nxy\r\n0;S\r\n\r\n",
        ),
        case("more after the end", SIGNED, "0;S\r\n\r\nmore"),
        case(
            "a trailer that is not announced",
            SIGNED,
            "0;S\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        ),
        case("no announced trailer", TRAILER, "0\r\n\r\n"),
        case(
            "another trailer",
            TRAILER,
            "0\r\nx-amz-checksum-sha1:AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        ),
        case(
            "a wrong checksum",
            TRAILER,
            "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        ),
        case(
            "a wrong checksum",
            SIGNED_TRAILER,
            "0;S\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:00\r\n\r\n",
        ),
        case(
            "a checksum that is none",
            TRAILER,
            "0\r\nx-amz-checksum-crc32:?\r\n\r\n",
        ),
        case(
            "a trailer without an end",
            TRAILER,
            "0\r\nx-amz-checksum-crc32:AAAAAA==",
        ),
        announced("less than announced", "262145"),
        announced("more than announced", "262143"),
    ]
}

fn request(keybearer: &Keybearer, broken: &Broken, sized: bool) -> Request {
    let own = LONG.to_string();
    let mut request = keybearer
        .request("PUT", "/p/bucket/key")
        .header("Content-Encoding", "aws-chunked")
        .header("X-Amz-Content-Sha256", broken.said)
        .header(
            "X-Amz-Decoded-Content-Length",
            broken.length.unwrap_or(&own),
        );
    if broken.said.ends_with("-TRAILER") {
        request = request.header("X-Amz-Trailer", "x-amz-checksum-crc32");
    }
    let line = match broken.said {
        TRAILER => format!("{LONG:x}\r\n"),
        _ => format!("{LONG:x};chunk-signature={}\r\n", "0".repeat(64)),
    };
    let content = [
        line.as_bytes(),
        &vec![b'x'; LONG],
        b"\r\n",
        broken.end.as_bytes(),
    ]
    .concat();
    match sized {
        true => request.content(content),
        false => request.raw_chunks(&content, 10_000),
    }
}

/// `limit` is what is held: more than all, or so little that content is under way at once.
async fn refuses_every_fault(limit: &str) {
    let upstream = Upstream::start().await;
    let table = signing("p", &upstream.url(""), "s3", &ours(), "");
    let table = table + &format!("[connections.p.limits]\nsigned_body = \"{limit}\"\n");
    let keybearer = Keybearer::start(&table).await;
    for broken in broken() {
        for sized in [true, false] {
            let why = format!("{}, {}", broken.why, broken.said);
            let response = request(&keybearer, &broken, sized).send().await;
            assert_eq!(response.status, 400, "{why}: {response:?}");
            let detail = response.own();
            assert!(detail.contains("aws-chunked"), "{why}: {detail}");
            assert!(!detail.contains("upstream"), "{why}: {detail}");
            let ended = async || (upstream.ended() == upstream.connections()).then_some(());
            eventually("the end of upstream connections", ended).await;
            let whole = upstream
                .requests()
                .iter()
                .filter(|seen| seen.complete)
                .count();
            assert_eq!(whole, 0, "{why} reached the upstream whole");
        }
    }
    // Whoever made a mistake can do better on a new connection.
    let put = keybearer.request("PUT", "/p/bucket/key").content("right");
    assert_eq!(put.send().await.status, 200);
}

#[tokio::test]
async fn faults_in_content_that_is_held() {
    refuses_every_fault("16MiB").await;
}

#[tokio::test]
async fn faults_in_content_that_is_under_way() {
    refuses_every_fault("16KiB").await;
}

#[tokio::test]
async fn lengths_and_kinds_that_cannot_be_understood() {
    let upstream = Upstream::start().await;
    let table = signing("p", &upstream.url(""), "s3", &ours(), "");
    let keybearer = Keybearer::start(&table).await;
    let framed = "1;chunk-signature=0\r\nx\r\n0;chunk-signature=0\r\n\r\n";
    for (said, length) in [
        (SIGNED, "x"),
        (SIGNED, "-1"),
        (SIGNED, "1, 1"),
        (SIGNED, "99999999999999999999999"),
        ("STREAMING-AWS5-HMAC-SHA256-PAYLOAD", "1"),
        ("STREAMING-", "1"),
    ] {
        let request = keybearer
            .request("PUT", "/p/bucket/key")
            .header("X-Amz-Content-Sha256", said)
            .header("X-Amz-Decoded-Content-Length", length)
            .content(framed);
        let response = request.send().await;
        assert_eq!(response.status, 400, "{said} {length}: {response:?}");
        response.own();
    }
    assert_eq!(upstream.count(), 0);
}
