use super::*;
use crate::upstream::aws_chunked::framing::Coding;
use http::HeaderMap;
use proptest::prelude::*;

/// The framing of content of `decoded` bytes with these trailers.
pub(in crate::upstream::aws_chunked) fn framing(
    hash: &str,
    decoded: Option<u64>,
    trailers: &str,
) -> Framing {
    let mut head = HeaderMap::new();
    head.insert("x-amz-content-sha256", HeaderValue::from_str(hash).unwrap());
    head.insert("x-amz-trailer", HeaderValue::from_str(trailers).unwrap());
    if let Some(decoded) = decoded {
        head.insert("x-amz-decoded-content-length", HeaderValue::from(decoded));
    }
    match Coding::of(&head).unwrap() {
        Coding::Framed(framing) => framing,
        other => panic!("{other:?}"),
    }
}

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILED: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

type Decoded = (Vec<u8>, Vec<(String, String)>);

/// What is in `pieces`.
fn decode<'p>(
    framing: &Framing,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Result<Decoded, Malformed> {
    let mut decoder = Decoder::new(framing);
    let mut whole = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(data) = decoder.decode(&mut input)? {
            assert!(!data.is_empty());
            whole.extend_from_slice(&data);
        }
        assert!(input.is_empty());
    }
    let trailers = decoder.finish()?;
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let trailers = trailers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)));
    Ok((whole, trailers.collect()))
}

fn signature(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// Content in the framings of real clients: who writes it so, its framing, it.
fn transcripts() -> Vec<(&'static str, Framing, String)> {
    const CRC: &str = "x-amz-checksum-crc32";
    const CRC_OF_HELLO: &str = "x-amz-checksum-crc32:DUoRhQ==";
    let (a, b, c) = (signature('a'), signature('b'), signature('c'));
    let trailed = |decoded| framing(UNSIGNED_TRAILED, Some(decoded), CRC);
    vec![
        (
            "Java v1, minio-go without trailer",
            framing(SIGNED, Some(11), ""),
            format!("b;chunk-signature={a}\r\nhello world\r\n0;chunk-signature={b}\r\n\r\n"),
        ),
        (
            "botocore, JavaScript v3, Go v2 over TLS",
            trailed(11),
            format!("5\r\nhello\r\n6\r\n world\r\n0\r\n{CRC_OF_HELLO}\r\n\r\n"),
        ),
        (
            "the CRT, upper case",
            trailed(11),
            format!("B\r\nhello world\r\n0\r\n{CRC_OF_HELLO}\r\n\r\n"),
        ),
        (
            "nothing, botocore",
            trailed(0),
            "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n".to_owned(),
        ),
        (
            "Java v2, Kotlin, .NET, Rust: signed with trailer",
            framing(SIGNED_TRAILED, Some(11), CRC),
            format!(
                "b;chunk-signature={a}\r\nhello world\r\n0;chunk-signature={b}\r\n{CRC_OF_HELLO}\r\nx-amz-trailer-signature:{c}\r\n\r\n"
            ),
        ),
        (
            "minio-go: signed with trailer",
            framing(SIGNED_TRAILED, Some(11), CRC),
            format!(
                "b;chunk-signature={a}\r\nhello world\r\n0;chunk-signature={b}\r\n{CRC_OF_HELLO}\n\r\nx-amz-trailer-signature:{c}\r\n\r\n"
            ),
        ),
        (
            "minio-go: unsigned",
            trailed(11),
            format!("b\r\nhello world\r\n0\r\n{CRC_OF_HELLO}\n\r\n\r\n"),
        ),
        (
            "as in AWS's documentation: unsigned",
            trailed(11),
            format!("b\r\nhello world\r\n0\r\n{CRC_OF_HELLO}\n\r\n\r\n\r\n"),
        ),
        (
            "ECDSA signatures, padded",
            framing(
                "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
                Some(11),
                CRC,
            ),
            format!(
                "b;chunk-signature={a}{b}****************\r\nhello world\r\n0;chunk-signature={b}**\r\n{CRC_OF_HELLO}\r\nx-amz-trailer-signature:{c}{c}**\r\n\r\n"
            ),
        ),
        (
            "a length that nobody told",
            framing(UNSIGNED_TRAILED, None, CRC),
            format!("1\r\nh\r\na\r\nello world\r\n0\r\n{CRC_OF_HELLO}\r\n\r\n"),
        ),
    ]
}

#[test]
fn what_real_clients_send_is_understood_in_pieces_of_any_size() {
    for (client, framing, body) in transcripts() {
        let body = body.as_bytes();
        let (whole, trailers) = decode(&framing, [body]).unwrap();
        let expected: &[u8] = match framing.decoded_length() {
            Some(0) => b"",
            _ => b"hello world",
        };
        assert_eq!(whole, expected, "{client}");
        assert_eq!(trailers.len(), framing.trailers().iter().len(), "{client}");
        for size in 1..body.len() {
            let again = decode(&framing, body.chunks(size)).unwrap();
            assert_eq!(
                (&again.0, &again.1),
                (&whole, &trailers),
                "{client} by {size}"
            );
        }
    }
}

#[test]
fn what_is_cut_off_anywhere_is_refused() {
    for (client, framing, body) in transcripts() {
        let body = body.as_bytes();
        // The last of several empty lines say nothing that the first has not said.
        let needed = match client {
            "minio-go: unsigned" => body.len() - 2,
            "as in AWS's documentation: unsigned" => body.len() - 4,
            _ => body.len(),
        };
        for length in 0..needed {
            let refused = decode(&framing, [&body[..length]]).unwrap_err();
            let fault = matches!(refused.fault, Fault::Unended | Fault::Unsigned);
            assert!(fault, "{client} cut at {length}: {refused}");
            assert!(
                refused.at <= length as u64,
                "{client} cut at {length}: {refused}"
            );
        }
    }
}

#[test]
fn a_byte_that_changed_is_seen_or_means_nothing() {
    for (client, framing, body) in transcripts() {
        let whole = decode(&framing, [body.as_bytes()]).unwrap();
        for at in 0..body.len() {
            for byte in [b'0', b'1', b'a', b':', b';', b'\r', b'\n', b' ', 0, 0xff] {
                let mut body = body.clone().into_bytes();
                body[at] = byte;
                if let Ok(decoded) = decode(&framing, [&body[..]]) {
                    // Without a checksum data is whatever it is.
                    if framing.trailers().is_empty() {
                        assert_eq!(decoded.0.len(), whole.0.len());
                    } else {
                        assert_eq!(decoded, whole, "{client}: {}", body.escape_ascii());
                    }
                }
            }
        }
    }
}

#[test]
fn data_is_not_copied() {
    let framing = framing(SIGNED, Some(5), "");
    let mut input = Bytes::from_static(b"5;chunk-signature=0\r\nhello\r\n0\r\n\r\n");
    let start = input.as_ptr();
    let mut decoder = Decoder::new(&framing);
    let data = decoder.decode(&mut input).unwrap().unwrap();
    assert_eq!(data.as_ptr(), start.wrapping_add(21));
    assert!(decoder.is_full());
}

#[test]
fn every_break_is_told_with_its_place() {
    let crc = "x-amz-checksum-crc32";
    let name = || HeaderName::from_static("x-amz-checksum-crc32");
    let right = "x-amz-checksum-crc32:NhCmhg==";
    let (trailed, plain) = (
        framing(UNSIGNED_TRAILED, Some(5), crc),
        framing(SIGNED, Some(5), ""),
    );
    let long = "x".repeat(2000);
    for (framing, body, fault, at) in [
        (&plain, "\r\n", Fault::Size, 0),
        (&plain, ";x\r\n", Fault::Size, 0),
        (&plain, "g\r\n", Fault::Size, 0),
        (&plain, "+5\r\n", Fault::Size, 0),
        (&plain, "-0\r\n", Fault::Size, 0),
        (&plain, " 5\r\n", Fault::Size, 0),
        (&plain, "0x5\r\n", Fault::Size, 0),
        (&plain, "5\n", Fault::Size, 0),
        (&plain, "5\rx\r\n", Fault::Size, 0),
        (&plain, "5;a\x00\r\n", Fault::Size, 0),
        (&plain, "10000000000000000\r\n", Fault::Size, 0),
        (&plain, &long, Fault::LongLine, 0),
        (&plain, &format!("5;{long}\r\n"), Fault::LongLine, 0),
        (&plain, "6\r\n", Fault::TooLong(5), 0),
        (&plain, "4\r\nhell\r\n2\r\n", Fault::TooLong(5), 9),
        (&plain, "ffffffffffffffff\r\n", Fault::TooLong(5), 0),
        (&plain, "4\r\nhell\r\n0\r\n", Fault::TooShort(5), 9),
        (&plain, "5\r\nhello!\r\n", Fault::DataEnd, 8),
        (&plain, "5\r\nhello\n", Fault::DataEnd, 8),
        (&plain, "5\r\nhello\r0\r\n", Fault::DataEnd, 8),
        (&plain, "5\r\nhello\r\n5\r\n", Fault::TooLong(5), 10),
        (&plain, "5\r\nhello\r\n0\r\n\r\nx\r\n", Fault::AfterEnd, 15),
        (
            &plain,
            "5\r\nhello\r\n0\r\n\r\nx: y\r\n",
            Fault::AfterEnd,
            15,
        ),
        (
            &plain,
            "5\r\nhello\r\n0\r\n\r\n\r\n\r\n\r\n\n",
            Fault::AfterEnd,
            21,
        ),
        (
            &plain,
            &format!("5\r\nhello\r\n0\r\n{right}\r\n"),
            Fault::NotAnnounced(name()),
            13,
        ),
        (
            &trailed,
            "5\r\nhello\r\n0\r\n\r\n",
            Fault::Missing(name()),
            13,
        ),
        (
            &trailed,
            "5\r\nhello\r\n0\r\nx-amz-trailer-signature:0\r\n",
            Fault::Missing(name()),
            13,
        ),
        (&trailed, "5\r\nhello\r\n0\r\nx\r\n", Fault::Trailer, 13),
        (&trailed, "5\r\nhello\r\n0\r\n:x\r\n", Fault::Trailer, 13),
        (&trailed, "5\r\nhello\r\n0\r\na b:x\r\n", Fault::Trailer, 13),
        (
            &trailed,
            "5\r\nhello\r\n0\r\na:\x01\r\n",
            Fault::Trailer,
            13,
        ),
        (
            &trailed,
            &format!("5\r\nhello\r\n0\r\na:{long}\r\n"),
            Fault::LongLine,
            13,
        ),
        (
            &trailed,
            "5\r\nhello\r\n0\r\nx-amz-acl:a\r\n",
            Fault::NotAnnounced(HeaderName::from_static("x-amz-acl")),
            13,
        ),
        (
            &trailed,
            &format!("5\r\nhello\r\n0\r\n{right}\r\n{right}\r\n"),
            Fault::Twice(name()),
            44,
        ),
        (
            &trailed,
            "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhw==\r\n",
            Fault::Checksum(name()),
            13,
        ),
        (
            &trailed,
            "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:3610a686\r\n",
            Fault::Checksum(name()),
            13,
        ),
        (
            &trailed,
            "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:\r\n",
            Fault::Checksum(name()),
            13,
        ),
        (
            &trailed,
            "5\r\nhellO\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n",
            Fault::Checksum(name()),
            13,
        ),
    ] {
        for size in [1, 7, usize::MAX] {
            let refused = decode(framing, body.as_bytes().chunks(size.min(body.len())));
            let expected = Malformed {
                fault: fault.clone(),
                at,
            };
            assert_eq!(refused.unwrap_err(), expected, "{body:?} by {size}");
        }
    }
    let text = Malformed {
        fault: Fault::Checksum(name()),
        at: 13,
    }
    .to_string();
    assert_eq!(
        text,
        "`x-amz-checksum-crc32` is not the checksum of what arrived, at byte 13"
    );
}

#[test]
fn what_is_broken_stays_broken() {
    let mut decoder = Decoder::new(&framing(SIGNED, Some(5), ""));
    let refused = decoder
        .decode(&mut Bytes::from_static(b"x\r\n"))
        .unwrap_err();
    let right = &mut Bytes::from_static(b"5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(decoder.decode(right), Err(refused.clone()));
    assert_eq!(decoder.finish(), Err(refused));
}

#[test]
fn sizes_beyond_all_numbers_are_refused_where_no_length_was_announced() {
    let framing = framing(SIGNED, None, "");
    let mut decoder = Decoder::new(&framing);
    let mut input = Bytes::from_static(b"00000000000000000000ffffffffffffffff\r\nx");
    assert_eq!(decoder.decode(&mut input).unwrap().unwrap(), "x");
    let two = b"1\r\nx\r\nffffffffffffffff\r\n";
    assert_eq!(decode(&framing, [&two[..]]).unwrap_err().fault, Fault::Size);
}

#[test]
fn checksums_of_every_algorithm_are_compared_or_passed_on() {
    for (name, value, checked) in [
        ("crc32", "NhCmhg==", true),
        ("crc32c", "mnG7TA==", true),
        ("crc64nvme", "M3eFcAZSQlc=", true),
        ("sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00=", true),
        (
            "sha256",
            "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
            true,
        ),
        (
            "sha512",
            "m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==",
            true,
        ),
        ("md5", "XUFAKrxLKna5cZ2REBfFkg==", false),
        ("xxhash64", "JseCfbiJ+ag=", false),
        ("xxhash128", "XUFAKrxLKna5cZ2REBfFkg==", false),
        ("somethingnew", "whatever", false),
    ] {
        let name = format!("x-amz-checksum-{name}");
        let framing = framing(UNSIGNED_TRAILED, Some(5), &name);
        let body = |value: &str| format!("5\r\nhello\r\n0\r\n{name}: {value} \r\n\r\n");
        let decoded = decode(&framing, [body(value).as_bytes()]).unwrap();
        assert_eq!(decoded.1, [(name.clone(), value.to_owned())]);
        let other = value.replace(|c: char| c.is_ascii_alphabetic(), "x");
        assert_eq!(
            decode(&framing, [body(&other).as_bytes()]).is_err(),
            checked,
            "{name}"
        );
        // A value of another length would make the request longer than announced.
        let longer = decode(&framing, [body("AAAA").as_bytes()]);
        assert_eq!(longer.is_err(), !name.ends_with("new"), "{name}");
    }
}

#[test]
fn several_checksums_may_follow_in_any_order() {
    let framing = framing(
        UNSIGNED_TRAILED,
        Some(5),
        "x-amz-checksum-sha1,x-amz-checksum-crc32",
    );
    let body = "5\r\nhello\r\n0\r\nX-Amz-Checksum-SHA1:qvTGHdzF6KLavt4PO0gs2a6pQ00=\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    let (_, trailers) = decode(&framing, [body.as_bytes()]).unwrap();
    let names: Vec<_> = trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-amz-checksum-crc32", "x-amz-checksum-sha1"]);
}

proptest! {
    /// Whatever arrives, it is taken or refused, and the same in any pieces.
    #[test]
    fn anything_is_taken_or_refused(
        parts in proptest::collection::vec(prop_oneof![
            Just("\r\n".to_owned()), Just("\n".to_owned()), Just("0".to_owned()), Just("5".to_owned()),
            Just("5\r\nhello\r\n".to_owned()), Just("0\r\n".to_owned()), Just("x-amz-trailer-signature:0".to_owned()),
            Just("x-amz-checksum-crc32:NhCmhg==".to_owned()), Just("fffffffffffffffff".to_owned()), ".{0,20}",
        ], 0..12),
        size in 1_usize..40,
        told in proptest::option::of(0_u64..12),
        signed in any::<bool>(),
    ) {
        let body = parts.concat();
        let hash = if signed { SIGNED_TRAILED } else { UNSIGNED_TRAILED };
        let framing = framing(hash, told, "x-amz-checksum-crc32");
        let whole = decode(&framing, [body.as_bytes()]);
        let pieces = decode(&framing, body.as_bytes().chunks(size));
        prop_assert_eq!(&whole, &pieces);
        if let Ok((data, trailers)) = whole {
            prop_assert!(told.is_none_or(|told| told == data.len() as u64));
            prop_assert_eq!(trailers.len(), 1);
        }
    }
}
