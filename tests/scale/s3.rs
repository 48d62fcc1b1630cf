//! Long uploads to S3: signed on their way, whole when they arrive, and never held.

use std::cell::RefCell;
use std::str::FromStr;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytesize::ByteSize;
use crc_fast::{CrcAlgorithm, Digest};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::MIB;
use crate::harness::aws::S3Server;
use crate::harness::{Keybearer, RawClient, Response};

const BLOCK: usize = 256 * 1024;

/// How long the content is: `KEYBEARER_TEST_UPLOAD`, such as `2GiB`.
fn length() -> u64 {
    let size = std::env::var("KEYBEARER_TEST_UPLOAD").unwrap_or_else(|_| "64MiB".to_owned());
    let size = ByteSize::from_str(&size).expect("a size such as 2GiB");
    size.as_u64().next_multiple_of(BLOCK as u64)
}

/// The blocks of a content, none like another.
fn blocks() -> impl Iterator<Item = Vec<u8>> {
    let count = length() / BLOCK as u64;
    (0..count).map(|number| {
        let mut block = vec![b'x'; BLOCK];
        block[..8].copy_from_slice(&number.to_be_bytes());
        block
    })
}

async fn started() -> (S3Server, Keybearer) {
    let server = S3Server::start("bucket").await;
    let (address, keys) = (server.address(), server.keys());
    let table = format!(
        "[connections.s3]\nbase_url = \"http://{address}\"\nlimits = {{ request_body = \"1TiB\" }}\n[connections.s3.auth]\ntype = \"aws_access_key\"\nservice = \"s3\"\nregion = \"eu-west-1\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
        keys.id, keys.secret
    );
    let keybearer = Keybearer::start(&table).await;
    // What the first request needs is not what the length of content needs.
    let first = keybearer
        .request("PUT", "/s3/bucket/first")
        .content("first");
    assert_eq!(first.send().await.status, 200);
    (server, keybearer)
}

/// Sends what `frame` makes of each block, and then what `end` tells.
async fn upload(
    keybearer: &Keybearer,
    head: String,
    mut frame: impl FnMut(Vec<u8>) -> Vec<u8>,
    end: impl FnOnce() -> Vec<u8>,
) -> Response {
    let (before, begun) = (keybearer.resident(), Instant::now());
    let mut caller: RawClient = keybearer.caller().await;
    caller.send(head).await;
    let mut most = before;
    for block in blocks() {
        caller.send(frame(block)).await;
        most = most.max(keybearer.resident());
    }
    caller.send(end()).await;
    let response = caller.response().await;
    most = most.max(keybearer.resident());
    let growth = most.saturating_sub(before);
    println!(
        "an upload of {} MiB in {:?}: {} KiB more",
        length() / MIB,
        begun.elapsed(),
        growth / 1024
    );
    assert!(growth < 32 * MIB, "{growth} bytes more than before");
    response
}

/// Asserts that an object was stored byte for byte.
async fn stored(server: &S3Server, key: &str) {
    let mut file = File::open(server.file("bucket", key)).await.unwrap();
    assert_eq!(file.metadata().await.unwrap().len(), length());
    let mut read = vec![0; BLOCK];
    for (number, block) in blocks().enumerate() {
        file.read_exact(&mut read).await.unwrap();
        assert!(read == block, "block {number} of {key} is another");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_upload_to_s3_is_signed_on_its_way() {
    let (server, keybearer) = started().await;
    let head = format!(
        "PUT /s3/bucket/plain HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        length()
    );
    let response = upload(&keybearer, head, |block| block, Vec::new).await;
    assert_eq!(response.status, 200, "{response:?}");
    stored(&server, "plain").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_upload_in_awss_framing_is_framed_anew() {
    let (server, keybearer) = started().await;
    let head = format!(
        "PUT /s3/bucket/framed HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: aws-chunked\r\nTransfer-Encoding: chunked\r\nX-Amz-Content-Sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nX-Amz-Trailer: x-amz-checksum-crc32\r\nX-Amz-Decoded-Content-Length: {}\r\n\r\n",
        length()
    );
    let crc = RefCell::new(Digest::new(CrcAlgorithm::Crc32IsoHdlc));
    let frame = |block: Vec<u8>| {
        crc.borrow_mut().update(&block);
        let line = format!("{:x}\r\n", block.len());
        chunk(&[line.as_bytes(), &block, b"\r\n"].concat())
    };
    let end = || {
        let crc = crc.borrow().finalize().to_be_bytes();
        let crc = STANDARD.encode(&crc[4..]);
        let trailer = format!("0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n");
        [&chunk(trailer.as_bytes())[..], b"0\r\n\r\n"].concat()
    };
    let response = upload(&keybearer, head, frame, end).await;
    assert_eq!(response.status, 200, "{response:?}");
    stored(&server, "framed").await;
}

fn chunk(content: &[u8]) -> Vec<u8> {
    let line = format!("{:x}\r\n", content.len());
    [line.as_bytes(), content, b"\r\n"].concat()
}
