//! Framed content as it is sent: by itself, and over real connections.

mod relay;

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;

use self::relay::{Relay, Way};
use super::decode::Fault;
use super::decode::tests::framing;
use super::encode::tests::{Recording, announced};
use super::encode::{Coverage, Encoder, Layout};
use super::framing::Framing;
use crate::upstream::content::{Content, ContentFault};
use crate::upstream::flow::Stage;

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const TRAILED: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const CRC: &str = "x-amz-checksum-crc32";
const RIGHT: &str = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
const WRONG: &str = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhw==\r\n\r\n";

fn held(body: &'static str, framing: &Framing) -> Content {
    Content::unframed(Content::held(Bytes::from_static(body.as_bytes())), framing)
}

async fn next(content: &mut Content) -> Option<Result<Bytes, ContentFault>> {
    let frame = content.frame().await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

fn reframed(content: Content, decoded: u64, names: &str) -> Content {
    let layout = Layout::new(Coverage::Signed, decoded, announced(names));
    Content::framed(
        content,
        Encoder::new(layout, || Box::new(Recording::default())),
    )
}

#[tokio::test]
async fn content_is_handed_out_up_to_what_completes_it_and_that_when_the_end_is_right() {
    let framing = framing(TRAILED, Some(5), CRC);
    let right = "2\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    let wrong = "2\r\nhe\r\n3\r\nllo\r\n0\r\nx-amz-checksum-crc32:NhCmhw==\r\n\r\n";
    for (body, whole) in [(right, true), (wrong, false)] {
        let mut content = held(body, &framing);
        let flow = content.flow().unwrap();
        assert_eq!(
            (content.size_hint().exact(), content.is_end_stream()),
            (Some(5), false)
        );
        assert_eq!(next(&mut content).await.unwrap().unwrap(), "he");
        assert_eq!(flow.observe(), (Stage::Sending, 2));
        assert_eq!(content.size_hint().exact(), Some(3));
        let last = next(&mut content).await.unwrap();
        if whole {
            assert_eq!(last.unwrap(), "llo");
            assert_eq!(flow.observe(), (Stage::Ended, 5));
            assert!(content.is_end_stream() && next(&mut content).await.is_none());
            assert_eq!(content.trailers().unwrap().iter().len(), 1);
        } else {
            assert!(matches!(last, Err(ContentFault::Malformed(_))), "{last:?}");
            let again = next(&mut content).await;
            assert!(
                matches!(again, Some(Err(_))),
                "it never ends well: {again:?}"
            );
            assert!(content.trailers().is_none() && !content.is_end_stream());
        }
    }
}

#[tokio::test]
async fn whole_content_comes_with_its_checksums() {
    let framing = framing(TRAILED, Some(5), CRC);
    let content = held(RIGHT, &framing)
        .collect_trailed(5, Duration::MAX)
        .await;
    let (whole, trailers) = content.unwrap();
    assert_eq!(whole, "hello");
    let mut head = http::HeaderMap::new();
    trailers.write_fields(&mut head);
    assert_eq!(
        (head.len(), &head[CRC]),
        (1, &http::HeaderValue::from_static("NhCmhg=="))
    );
    let refused = held(RIGHT, &framing)
        .collect_trailed(4, Duration::MAX)
        .await;
    assert!(matches!(refused, Err(ContentFault::TooLargeToHold(4))));
    let refused = held(WRONG, &framing).collect(5, Duration::MAX).await;
    let Err(ContentFault::Malformed(malformed)) = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(malformed.fault, Fault::Checksum(_)));
    // Other content has none.
    let plain = Content::held(Bytes::from_static(b"hello"));
    let (whole, trailers) = plain.collect_trailed(5, Duration::MAX).await.unwrap();
    assert!(whole == "hello" && trailers.is_empty());
}

#[tokio::test]
async fn content_is_framed_anew_with_its_trailers() {
    let framing = framing(TRAILED, Some(5), CRC);
    let mut content = reframed(held(RIGHT, &framing), 5, CRC);
    let flow = content.flow().unwrap();
    let length = content.size_hint().exact().unwrap();
    assert!(content.spare().is_none());
    let first = next(&mut content).await.unwrap().unwrap();
    assert_eq!(flow.observe(), (Stage::Sending, first.len() as u64));
    let last = next(&mut content).await.unwrap().unwrap();
    assert_eq!(flow.observe(), (Stage::Ended, length));
    assert!(content.is_end_stream() && next(&mut content).await.is_none());
    assert!(first.starts_with(b"5;chunk-signature=2cf24d") && first.ends_with(b"\r\nhello\r\n"));
    let last = std::str::from_utf8(&last).unwrap();
    assert!(last.starts_with("0;chunk-signature=e3b0c4"), "{last}");
    assert!(
        last.contains("\r\nx-amz-checksum-crc32:NhCmhg==\r\nx-amz-trailer-signature:ffff"),
        "{last}"
    );
}

#[tokio::test]
async fn what_is_not_as_announced_is_never_framed_to_its_end() {
    let trailed = framing(TRAILED, Some(5), CRC);
    let plain = || Content::held(Bytes::from_static(b"hello"));
    for (content, fault) in [
        (reframed(held(WRONG, &trailed), 5, CRC), "broken"),
        (reframed(plain(), 6, ""), "announced"),
        (reframed(plain(), 4, ""), "announced"),
        (reframed(plain(), 5, CRC), "announced"),
        (reframed(held(RIGHT, &trailed), 5, ""), "announced"),
        (reframed(Content::Empty, 1, ""), "announced"),
    ] {
        let length = content.size_hint().exact().unwrap();
        let mut content = content;
        let mut sent = 0;
        let refused = loop {
            match next(&mut content).await.expect("no end") {
                Ok(data) => sent += data.len() as u64,
                Err(refused) => break refused,
            }
        };
        assert!(
            sent < length && refused.to_string().contains(fault),
            "{refused}"
        );
        assert!(!content.is_end_stream());
    }
    let mut empty = reframed(Content::Empty, 0, "");
    assert!(
        next(&mut empty)
            .await
            .unwrap()
            .unwrap()
            .starts_with(b"0;chunk-signature=")
    );
    assert!(empty.is_end_stream());
}

#[test]
fn content_stays_as_small_as_it_was() {
    assert!(size_of::<Content>() <= 64, "{}", size_of::<Content>());
}

#[tokio::test]
async fn framed_content_arrives_as_what_is_in_the_frames() {
    let relay = Relay::start(Way::Stream).await;
    for http_chunked in [false, true] {
        let answer = relay.put(TRAILED, "5", RIGHT, http_chunked).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = relay.seen().await;
        assert!(seen.complete && seen.body == b"hello", "{seen:?}");
        assert!(seen.head.contains("content-length: 5\r\n"), "{}", seen.head);
        for gone in ["x-amz", "aws-chunked", "transfer-encoding"] {
            assert!(!seen.head.contains(gone), "{}", seen.head);
        }
    }
}

#[tokio::test]
async fn framed_content_arrives_framed_anew() {
    let relay = Relay::start(Way::Frame).await;
    let mut body = String::new();
    // More than hyper reads at once, in chunks of the sizes that clients use.
    for size in [1, 17, 8192, 65536, 131_072, 1_048_576] {
        body.push_str(&format!(
            "{size:x};chunk-signature=0\r\n{}\r\n",
            "x".repeat(size)
        ));
    }
    body.push_str("0;chunk-signature=0\r\n\r\n");
    let length: usize = 1 + 17 + 8192 + 65536 + 131_072 + 1_048_576;
    for http_chunked in [false, true] {
        let answer = relay
            .put(SIGNED, &length.to_string(), &body, http_chunked)
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = relay.seen().await;
        let announced = format!("content-length: {}\r\n", seen.body.len());
        assert!(
            seen.complete && seen.head.contains(&announced),
            "{}",
            seen.head
        );
        assert!(
            seen.head.contains("content-encoding: aws-chunked\r\n"),
            "{}",
            seen.head
        );
        let framing = framing(SIGNED, Some(length as u64), "");
        let again = Content::unframed(Content::held(seen.body.into()), &framing);
        let whole = again.collect(u64::MAX, Duration::MAX).await.unwrap();
        assert!(whole.len() == length && whole.iter().all(|&byte| byte == b'x'));
    }
}

#[tokio::test]
async fn broken_content_is_refused_and_no_server_takes_it_for_whole() {
    for way in [Way::Stream, Way::Frame, Way::Collect] {
        let relay = Relay::start(way).await;
        for (body, why) in [
            (WRONG, "is not the checksum"),
            ("5\r\nhello\r\n0\r\n\r\n", "does not follow"),
            (
                "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n",
                "stops",
            ),
            ("5\r\nhello\r\n", "stops"),
            ("5\r\nhe", "stops"),
            ("5\r\nhello!\r\n", "does not end"),
            ("6\r\nhello!\r\n", "more bytes"),
            ("", "stops"),
        ] {
            let answer = relay.put(TRAILED, "5", body, false).await;
            assert!(
                answer.starts_with("HTTP/1.1 400"),
                "{way:?} {body:?}: {answer}"
            );
            assert!(
                answer.contains("content-malformed") && answer.contains(why),
                "{answer}"
            );
            assert!(answer.contains("connection: close"), "{answer}");
            if way == Way::Collect {
                assert!(relay.is_quiet().await, "{body:?}");
            } else {
                let seen = relay.seen().await;
                assert!(!seen.complete, "{way:?} {body:?}: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_limit_is_for_the_content_and_not_for_its_framing() {
    let relay = Relay::limited(Way::Stream, 1000).await;
    // Each byte in a chunk of its own.
    let body = |count: usize| format!("{}0\r\n\r\n", "1;chunk-signature=0\r\nx\r\n".repeat(count));
    for http_chunked in [false, true] {
        let answer = relay.put(SIGNED, "1001", &body(1001), http_chunked).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(!relay.seen().await.complete);
        let answer = relay.put(SIGNED, "1000", &body(1000), http_chunked).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(relay.seen().await.complete);
    }
}

#[tokio::test]
async fn a_caller_that_waits_is_told_to_continue() {
    for way in [Way::Stream, Way::Frame, Way::Collect] {
        let relay = Relay::start(way).await;
        let mut caller = relay.caller().await;
        let head = relay::head(TRAILED, "5", &format!("Content-Length: {}", RIGHT.len()));
        caller
            .send(&head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"))
            .await;
        assert_eq!(
            caller.receive("\r\n\r\n").await,
            "HTTP/1.1 100 Continue\r\n\r\n"
        );
        caller.send(RIGHT).await;
        let answer = caller.receive("ok").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(relay.seen().await.complete);
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_breaks_off_with_its_content() {
    for way in [Way::Stream, Way::Frame] {
        let relay = Relay::answering_at_once(way).await;
        let mut caller = relay.caller().await;
        caller
            .send(&relay::head(TRAILED, "70000", "Transfer-Encoding: chunked"))
            .await;
        let first = "x".repeat(66_000);
        caller
            .send(&relay::http_chunk(&format!(
                "{:x}\r\n{first}\r\n",
                first.len()
            )))
            .await;
        let begun = caller.receive("begun").await;
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
        caller.send(&relay::http_chunk("not a size\r\n")).await;
        let rest = caller.until_closed().await;
        assert_eq!(rest, "", "nothing that looks like an end");
        assert!(!relay.seen().await.complete, "{way:?}");
    }
}
