use super::*;

fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
    let fields = fields.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )
    });
    fields.collect()
}

const HASH: &str = "x-amz-content-sha256";
const LENGTH: &str = "x-amz-decoded-content-length";
const NAMES: &str = "x-amz-trailer";
const CRC: &str = "x-amz-checksum-crc32";

fn framing(fields: &[(&'static str, &str)]) -> Option<Framing> {
    match Coding::of(&head(fields)).unwrap() {
        Coding::Framed(framing) => Some(framing),
        Coding::Events | Coding::Plain => None,
    }
}

#[test]
fn the_hash_tells_how_content_is_framed() {
    for (hash, signed, trailed) in [
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, false),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", true, false),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true),
        (
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
            true,
            true,
        ),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", false, true),
        ("streaming-unsigned-payload-trailer", false, true),
    ] {
        // As restic sends it, which names no coding.
        let framing = framing(&[(HASH, hash), (LENGTH, "66560"), (NAMES, CRC)]).unwrap();
        assert_eq!(framing.is_signed(), signed, "{hash}");
        assert_eq!(framing.decoded_length(), Some(66560), "{hash}");
        // Without the suffix nothing follows, whatever is announced.
        assert_eq!(framing.trailers().is_empty(), !trailed, "{hash}");
    }
}

#[test]
fn a_hash_of_the_content_means_that_it_is_not_framed() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for hash in [empty, "UNSIGNED-PAYLOAD", "", "STREAMING"] {
        // S3 stores this coding with the object.
        let fields = [
            (HASH, hash),
            ("content-encoding", "aws-chunked"),
            (LENGTH, "0"),
        ];
        assert_eq!(Coding::of(&head(&fields)).unwrap(), Coding::Plain, "{hash}");
    }
}

#[test]
fn content_that_nobody_signed_is_framed_if_its_coding_and_length_say_so() {
    let coding = ("content-encoding", "gzip, AWS-chunked");
    let fields = [coding, (LENGTH, "5"), (NAMES, CRC)];
    let framed = framing(&fields).unwrap();
    assert!(!framed.is_signed() && !framed.trailers().is_empty());
    assert!(framing(&fields[..1]).is_none());
    assert!(framing(&fields[1..]).is_none());
    assert!(framing(&[]).is_none());
}

#[test]
fn events_are_something_else() {
    for hash in [
        "STREAMING-AWS4-HMAC-SHA256-EVENTS",
        "STREAMING-AWS4-ECDSA-P256-SHA256-EVENTS",
    ] {
        assert_eq!(Coding::of(&head(&[(HASH, hash)])).unwrap(), Coding::Events);
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let signed = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    let trailed = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    for (fields, why) in [
        (
            &[(HASH, "STREAMING-AWS4-HMAC-SHA512-PAYLOAD")][..],
            "does not know",
        ),
        (&[(HASH, "STREAMING-")], "does not know"),
        (&[(HASH, signed), (HASH, signed)], "more than one"),
        (
            &[(HASH, "UNSIGNED-PAYLOAD"), (HASH, signed)],
            "more than one",
        ),
        (
            &[(HASH, signed), (LENGTH, "1"), (LENGTH, "1")],
            "more than one",
        ),
        (&[(HASH, signed), (LENGTH, "")], "digits"),
        (&[(HASH, signed), (LENGTH, "+1")], "digits"),
        (&[(HASH, signed), (LENGTH, "-1")], "digits"),
        (&[(HASH, signed), (LENGTH, "1 ")], "digits"),
        (&[(HASH, signed), (LENGTH, "0x1")], "digits"),
        (&[(HASH, signed), (LENGTH, "1,1")], "digits"),
        (&[(HASH, signed), (LENGTH, "1.0")], "digits"),
        (&[(HASH, signed), (LENGTH, "\u{661}")], "digits"),
        (
            &[(HASH, signed), (LENGTH, "18446744073709551616")],
            "digits",
        ),
        (&[(HASH, trailed), (NAMES, "authorization")], "checksum"),
    ] {
        let problem = Coding::of(&head(fields)).unwrap_err();
        assert_eq!(problem.kind(), Kind::MalformedRequest, "{fields:?}");
        assert!(problem.detail().contains(why), "{}", problem.detail());
    }
    // The largest length there is, and none.
    let most = framing(&[(HASH, signed), (LENGTH, "18446744073709551615")]).unwrap();
    assert_eq!(most.decoded_length(), Some(u64::MAX));
    assert_eq!(framing(&[(HASH, signed)]).unwrap().decoded_length(), None);
}

#[test]
fn what_is_about_the_framing_leaves_the_head() {
    for (codings, left) in [
        (&["aws-chunked"][..], None),
        (&["gzip,aws-chunked"], Some("gzip")),
        (&["aws-chunked, gzip"], Some("gzip")),
        (&["gzip", "AWS-Chunked , br"], Some("gzip,br")),
        (&[" ,aws-chunked,, aws-chunked"], None),
        // What has nothing of it stays byte for byte.
        (&["gzip,  x-aws-chunked"], Some("gzip,  x-aws-chunked")),
        (&[], None),
    ] {
        let mut head = head(&[
            (HASH, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            (LENGTH, "5"),
            (NAMES, CRC),
            (NAMES, "x-amz-checksum-sha1"),
            ("content-length", "99"),
            ("content-type", "text/plain"),
        ]);
        for coding in codings {
            head.append(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        Framing::take_fields(&mut head);
        let coding = head
            .get(CONTENT_ENCODING)
            .map(|value| value.to_str().unwrap());
        assert_eq!(coding, left, "{codings:?}");
        assert_eq!(head.len(), 1 + usize::from(left.is_some()), "{head:?}");
        assert_eq!(head["content-type"], "text/plain");
        add_coding(&mut head);
        add_coding(&mut head);
        let coding = head[CONTENT_ENCODING].to_str().unwrap();
        let expected = left.map_or(CODING.to_owned(), |left| {
            left.split(',')
                .map(str::trim)
                .chain([CODING])
                .collect::<Vec<_>>()
                .join(",")
        });
        assert_eq!(coding, expected);
    }
}
