//! Content that is signed in chunks: the examples of the S3 API's reference, 66,560 bytes of `a` in
//! chunks of 64 KiB.

use http::{Method, Uri};
use ring::digest::{SHA256, digest};

use super::published::{ID, SECRET, TIME};
use super::*;
use crate::auth::aws::sign::payload::PayloadHash;
use crate::auth::aws::sign::signer::SignFault;
use crate::upstream::aws_chunked::SignChunk;

const TARGET: &str = "/examplebucket/chunkObject.txt";

fn head() -> HeaderMap {
    headers([
        ("host", "s3.amazonaws.com"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ])
}

fn sign(head: &mut HeaderMap, trailer: bool) -> impl SignChunk + use<> {
    let signer = signer("s3", one("us-east-1"), keys(ID, SECRET, None));
    let payload = PayloadHash::Chunks { trailer };
    signer
        .sign(
            &Method::PUT,
            &Uri::from_static(TARGET),
            head,
            payload,
            at(TIME),
        )
        .unwrap()
        .unwrap()
}

fn chunks(signer: &mut impl SignChunk) -> [String; 3] {
    [65_536, 1024, 0].map(|len| {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &vec![b'a'; len]).as_ref());
        text(signer.chunk(&hash))
    })
}

fn text(signature: [u8; 64]) -> String {
    String::from_utf8(signature.into()).unwrap()
}

#[test]
fn example_without_a_trailer() {
    let mut head = head();
    head.insert("content-length", HeaderValue::from_static("66824"));
    let mut chunk_signer = sign(&mut head, false);
    assert_eq!(
        head["x-amz-content-sha256"],
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    );
    assert_eq!(
        part(&head, "Signature="),
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    );
    assert_eq!(
        chunks(&mut chunk_signer),
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ]
    );
}

#[test]
fn example_with_a_trailer() {
    let mut head = head();
    head.insert(
        "x-amz-trailer",
        HeaderValue::from_static("x-amz-checksum-crc32c"),
    );
    let mut chunk_signer = sign(&mut head, true);
    assert_eq!(
        head["x-amz-content-sha256"],
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    );
    assert_eq!(
        part(&head, "Signature="),
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    );
    assert_eq!(
        chunks(&mut chunk_signer),
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ]
    );
    assert_eq!(
        text(chunk_signer.trailer(b"x-amz-checksum-crc32c:sOO8/Q==\n")),
        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
    );
}

#[test]
fn only_content_in_signed_chunks_has_a_chunk_signer_and_only_in_one_region() {
    let uri = Uri::from_static(TARGET);
    for (region, payload, chunks) in [
        (one("r"), PayloadHash::Chunks { trailer: true }, Ok(true)),
        (one("r"), PayloadHash::UnsignedTrailer, Ok(false)),
        (one("r"), PayloadHash::Unsigned, Ok(false)),
        (one("r"), PayloadHash::Empty, Ok(false)),
        (
            Region::Set("*".into()),
            PayloadHash::UnsignedTrailer,
            Ok(false),
        ),
        (
            Region::Set("*".into()),
            PayloadHash::Chunks { trailer: false },
            Err(SignFault::Chunks),
        ),
    ] {
        let signer = signer("s3", region, keys(ID, SECRET, None));
        let mut head = head();
        let signed = signer.sign(&Method::PUT, &uri, &mut head, payload, at(TIME));
        assert_eq!(signed.map(|signer| signer.is_some()), chunks, "{payload:?}");
        assert_eq!(head.contains_key("authorization"), chunks.is_ok());
    }
}
