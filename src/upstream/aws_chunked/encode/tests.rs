use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::upstream::aws_chunked::decode::Decoder;
use crate::upstream::aws_chunked::framing::Coding;

/// Signs with what it was given: each signature is the SHA-256 of what it covers.
#[derive(Clone, Default)]
pub(in crate::upstream) struct Recording(pub(in crate::upstream) Arc<Mutex<Vec<String>>>);

impl SignChunk for Recording {
    fn chunk(&mut self, sha256: &[u8; 32]) -> [u8; 64] {
        let hash: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.lock().push(hash.clone());
        hash.as_bytes().try_into().unwrap()
    }

    fn trailer(&mut self, canonical: &[u8]) -> [u8; 64] {
        self.0
            .lock()
            .push(String::from_utf8(canonical.to_vec()).unwrap());
        [b'f'; 64]
    }
}

pub(in crate::upstream) fn announced(names: &str) -> Announced {
    let mut head = HeaderMap::new();
    head.insert(TRAILER, HeaderValue::from_str(names).unwrap());
    Announced::parse(&head).unwrap()
}

fn trailers(lines: &[(&'static str, &'static str)]) -> Trailers {
    let lines = lines.iter().map(|(name, value)| {
        (
            http::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    Trailers::new(lines.collect())
}

/// All of `data` in pieces of `size`, framed.
fn encode(
    encoder: &mut Encoder,
    data: &[u8],
    size: usize,
    trailers: &Trailers,
) -> Result<Vec<u8>, Mismatch> {
    let mut whole = Vec::new();
    for piece in data.chunks(size) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(chunk) = encoder.encode(&mut input)? {
            whole.extend_from_slice(&chunk);
        }
    }
    whole.extend_from_slice(&encoder.finish(trailers)?);
    Ok(whole)
}

/// As in the documentation of signed chunks: 65 KiB of the letter a.
const EXAMPLE: usize = 66560;

#[test]
fn signed_chunks_are_framed_as_documented() {
    let layout = Layout::new(Coverage::Signed, EXAMPLE as u64, Announced::default());
    assert_eq!(
        layout.encoded_length(),
        Some(66824),
        "the documented Content-Length"
    );
    let signer = Recording::default();
    let mut encoder = Encoder::new(layout, || Box::new(signer.clone()));
    let data = "a".repeat(EXAMPLE);
    let body = encode(&mut encoder, data.as_bytes(), 1000, &Trailers::default()).unwrap();
    let body = String::from_utf8(body).unwrap();
    let signatures = signer.0.lock().clone();
    // The hashes of the documented strings to sign.
    assert_eq!(
        signatures,
        [
            "bf718b6f653bebc184e1479f1935b8da974d701b893afcf49e701f3e2f9f9c5a",
            "2edc986847e209b4016e141a6dc8716d3207350f416969382d431539bf292e4a",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ]
    );
    let [first, second, last] = &signatures[..] else {
        panic!()
    };
    let expected = format!(
        "10000;chunk-signature={first}\r\n{}\r\n400;chunk-signature={second}\r\n{}\r\n0;chunk-signature={last}\r\n\r\n",
        "a".repeat(65536),
        "a".repeat(1024),
    );
    assert_eq!(body, expected);
    assert_eq!(body.len(), 66824);
}

#[test]
fn trailers_follow_the_last_chunk_signed_as_documented() {
    let names = announced("x-amz-checksum-crc32c");
    let layout = Layout::new(Coverage::Signed, EXAMPLE as u64, names);
    assert_eq!(layout.encoded_length(), Some(66824 + 32 + 90));
    let signer = Recording::default();
    let mut encoder = Encoder::new(layout.clone(), || Box::new(signer.clone()));
    let crc = trailers(&[("x-amz-checksum-crc32c", "sOO8/Q==")]);
    let data = "a".repeat(EXAMPLE);
    let body = encode(&mut encoder, data.as_bytes(), usize::MAX, &crc).unwrap();
    assert_eq!(Some(body.len() as u64), layout.encoded_length());
    let end = format!(
        "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{}\r\n\r\n",
        "f".repeat(64)
    );
    assert!(
        body.ends_with(end.as_bytes()),
        "{}",
        body[66700..].escape_ascii()
    );
    assert_eq!(signer.0.lock()[3], "x-amz-checksum-crc32c:sOO8/Q==\n");
    let hash = digest(&SHA256, b"x-amz-checksum-crc32c:sOO8/Q==\n");
    let hash: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hash,
        "1e376db7e1a34a8ef1c4bcee131a2d60a1cb62503747488624e10995f448d774"
    );
}

#[test]
fn unsigned_chunks_have_only_their_size() {
    let layout = Layout::new(Coverage::Unsigned, 5, announced("x-amz-checksum-crc32"));
    let mut encoder = Encoder::new(layout, || unreachable!("nothing is signed"));
    let crc = trailers(&[("x-amz-checksum-crc32", "NhCmhg==")]);
    let body = encode(&mut encoder, b"hello", 2, &crc).unwrap();
    let expected = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    assert_eq!(
        body.escape_ascii().to_string(),
        expected.escape_default().to_string()
    );
    let layout = Layout::new(Coverage::Unsigned, 0, Announced::default());
    let mut encoder = Encoder::new(layout, || unreachable!("nothing is signed"));
    assert_eq!(encoder.finish(&Trailers::default()).unwrap(), "0\r\n\r\n");
}

#[test]
fn what_is_not_as_announced_never_ends() {
    let layout = |names| Layout::new(Coverage::Unsigned, 5, announced(names));
    let none = Trailers::default();
    let crc = trailers(&[("x-amz-checksum-crc32", "NhCmhg==")]);
    for (data, names, trailers, fault) in [
        (&b"hell"[..], "", &none, Mismatch::Length(5)),
        (b"hello!", "", &none, Mismatch::Length(5)),
        (b"", "", &none, Mismatch::Length(5)),
        (b"hello", "", &crc, Mismatch::Trailers),
        (b"hello", "x-amz-checksum-crc32", &none, Mismatch::Trailers),
        (b"hello", "x-amz-checksum-sha1", &crc, Mismatch::Trailers),
    ] {
        let mut encoder = Encoder::new(layout(names), || unreachable!());
        assert_eq!(encode(&mut encoder, data, 1, trailers), Err(fault));
    }
}

#[test]
fn a_head_says_all_of_the_framing() {
    let mut head = HeaderMap::new();
    head.insert("content-encoding", HeaderValue::from_static("gzip"));
    head.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
    let names = announced("x-amz-checksum-crc32,x-amz-checksum-sha1");
    let layout = Layout::new(Coverage::Signed, 5, names);
    layout.write_fields(&mut head);
    let length = layout.encoded_length().unwrap().to_string();
    for (name, value) in [
        ("content-encoding", "gzip,aws-chunked"),
        ("content-length", &length),
        (
            "x-amz-content-sha256",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        ),
        ("x-amz-decoded-content-length", "5"),
        ("x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-sha1"),
    ] {
        assert_eq!(head[name], value);
    }
    assert_eq!(head.len(), 5);
    // What it says is what is read.
    let Coding::Framed(framing) = Coding::of(&head).unwrap() else {
        panic!()
    };
    assert_eq!(
        (framing.decoded_length(), framing.is_signed()),
        (Some(5), true)
    );
    assert_eq!(*framing.trailers(), layout.trailers);
    // Of a value that is not known nobody knows the length; and nothing is left of another layout.
    Layout::new(Coverage::Unsigned, 5, announced("x-amz-checksum-new")).write_fields(&mut head);
    assert!(!head.contains_key(CONTENT_LENGTH));
    Layout::new(Coverage::Signed, 5, Announced::default()).write_fields(&mut head);
    assert!(!head.contains_key(TRAILER));
    assert_eq!(head[CONTENT_SHA256], "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert_eq!(head["content-encoding"], "gzip,aws-chunked");
}

#[test]
fn lengths_are_right_up_to_the_largest_there_is() {
    for (decoded, length) in [
        (0, Some(5)),
        (1, Some(1 + 5 + 5)),
        (15, Some(15 + 5 + 5)),
        (16, Some(16 + 6 + 5)),
        (65535, Some(65535 + 8 + 5)),
        (65536, Some(65536 + 9 + 5)),
        (65537, Some(65536 + 9 + 6 + 5)),
        (
            u64::MAX / 2,
            Some(u64::MAX / 2 + (u64::MAX / 2 / 65536) * 9 + 8 + 5),
        ),
        (u64::MAX, None),
    ] {
        let layout = Layout::new(Coverage::Unsigned, decoded, Announced::default());
        assert_eq!(layout.encoded_length(), length, "{decoded}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is framed is what comes out, whatever it is cut into, and as long as was said.
    #[test]
    fn framing_and_back_changes_nothing(
        length in prop_oneof![0_usize..40, 65500_usize..65600, 131_000_usize..131_200],
        sizes in (1_usize..80_000, 1_usize..80_000),
        signed in any::<bool>(),
        trailed in any::<bool>(),
    ) {
        let data: Vec<u8> = (0..=255_u8).cycle().take(length).collect();
        let names = announced(if trailed { "x-amz-checksum-crc32" } else { "" });
        let coverage = if signed { Coverage::Signed } else { Coverage::Unsigned };
        let layout = Layout::new(coverage, length as u64, names.clone());
        let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc);
        crc.update(&data);
        let value = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &crc.finalize().to_be_bytes()[4..]);
        let sums = names.iter().map(|name| (name.clone(), HeaderValue::from_str(&value).unwrap()));
        let sums = Trailers::new(sums.collect());
        let mut encoder = Encoder::new(layout.clone(), || Box::new(Recording::default()));
        let body = encode(&mut encoder, &data, sizes.0, &sums).unwrap();
        prop_assert_eq!(Some(body.len() as u64), layout.encoded_length());

        let mut head = HeaderMap::new();
        layout.write_fields(&mut head);
        let Coding::Framed(framing) = Coding::of(&head).unwrap() else { panic!() };
        let mut decoder = Decoder::new(&framing);
        let mut whole = Vec::new();
        for piece in body.chunks(sizes.1) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(data) = decoder.decode(&mut input).unwrap() {
                whole.extend_from_slice(&data);
            }
        }
        prop_assert_eq!(decoder.finish().unwrap(), sums);
        prop_assert!(whole == data);
    }
}
