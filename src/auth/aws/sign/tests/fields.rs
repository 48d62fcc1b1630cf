//! What is written into a head, over what, and what is never shown.

use http::{Method, Uri};

use super::*;
use crate::auth::Invalid;
use crate::auth::aws::sign::digest;
use crate::auth::aws::sign::payload::PayloadHash;
use crate::auth::aws::sign::signer::SignFault;

const KEY: &str = "canary-secret-key";
const TOKEN: &str = "canary-session-token";
const NOON: u64 = 1_440_936_000;

fn signed(signer: &Signer, fields: &[(&str, &str)]) -> HeaderMap {
    let mut head = headers(fields.iter().copied());
    let uri = Uri::from_static("/a");
    signer
        .sign(&Method::GET, &uri, &mut head, PayloadHash::Empty, at(NOON))
        .unwrap();
    head
}

const DUMMY: [(&str, &str); 7] = [
    ("host", "h"),
    ("authorization", "AWS4-HMAC-SHA256 Credential=dummy"),
    ("x-amz-date", "19990101T000000Z"),
    ("x-amz-content-sha256", "mine"),
    ("x-amz-security-token", "mine"),
    ("x-amz-security-token", "mine again"),
    ("x-amz-region-set", "mine"),
];

#[test]
fn what_a_caller_signed_is_replaced() {
    let of_session = keys("ID", KEY, Some(TOKEN));
    let head = signed(&signer("s3", one("r"), of_session.clone()), &DUMMY);
    assert_eq!(head["x-amz-date"], "20150830T120000Z");
    assert_eq!(head["x-amz-content-sha256"], digest::EMPTY);
    assert_eq!(head["x-amz-security-token"], TOKEN);
    assert!(!head.contains_key("x-amz-region-set"));
    assert_eq!(part(&head, "Credential="), "ID/20150830/r/s3/aws4_request");
    assert_eq!(
        part(&head, "SignedHeaders="),
        "host;x-amz-content-sha256;x-amz-date;x-amz-security-token"
    );
    assert_eq!(head.len(), 5, "{head:?}");

    let set = signed(&signer("s3", Region::Set("r,q".into()), of_session), &DUMMY);
    assert_eq!(set["x-amz-region-set"], "r,q");
    assert_eq!(part(&set, "Credential="), "ID/20150830/s3/aws4_request");
    assert!(part(&set, "SignedHeaders=").contains("x-amz-region-set"));

    let permanent = signed(&signer("s3", one("r"), keys("ID", KEY, None)), &DUMMY);
    assert!(!permanent.contains_key("x-amz-security-token"));
}

#[test]
fn other_orders_to_the_service_are_kept_and_signed() {
    let fields = [
        ("host", "h"),
        ("x-amz-acl", "private"),
        ("x-amz-meta-b", "1"),
        ("x-amz-meta-a", "2"),
        ("user-agent", "curl"),
        ("te", "trailers"),
    ];
    let head = signed(&signer("s3", one("r"), keys("ID", KEY, None)), &fields);
    assert_eq!(head["x-amz-meta-a"], "2");
    assert_eq!(
        part(&head, "SignedHeaders="),
        "host;x-amz-acl;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-meta-b"
    );
}

#[test]
fn every_change_of_what_is_signed_changes_the_signature() {
    let signer = signer("s3", one("r"), keys("ID", KEY, None));
    let signature = |method, target: &str, fields: &[(&str, &str)], payload, seconds| {
        let mut head = headers(fields.iter().copied());
        let uri = Uri::try_from(target).unwrap();
        signer
            .sign(&method, &uri, &mut head, payload, at(seconds))
            .unwrap();
        part(&head, "Signature=")
    };
    let host = [("host", "h")];
    let empty = PayloadHash::Empty;
    let mut all = vec![
        signature(Method::GET, "/a", &host, empty, NOON),
        signature(Method::PUT, "/a", &host, empty, NOON),
        signature(Method::GET, "/b", &host, empty, NOON),
        signature(Method::GET, "/a?b", &host, empty, NOON),
        signature(Method::GET, "/a", &[("host", "i")], empty, NOON),
        signature(
            Method::GET,
            "/a",
            &[host[0], ("range", "bytes=0-1")],
            empty,
            NOON,
        ),
        signature(Method::GET, "/a", &host, PayloadHash::of(b"x"), NOON),
        signature(Method::GET, "/a", &host, PayloadHash::Unsigned, NOON),
        signature(Method::GET, "/a", &host, empty, NOON + 1),
        signature(Method::GET, "/a", &host, empty, NOON + 86_400),
    ];
    let count = all.len();
    assert_eq!(
        all[0],
        signature(Method::GET, "/a", &host, empty, NOON),
        "deterministic"
    );
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn bytes_outside_of_ascii_are_signed_as_they_are() {
    let signer = signer("s3", one("r"), keys("ID", KEY, None));
    let mut signatures = ["\u{e4}".as_bytes(), b"\xff", b"\xfe"].map(|bytes| {
        let mut head = headers([("host", "h")]);
        head.insert("x-amz-meta-name", HeaderValue::from_bytes(bytes).unwrap());
        let uri = Uri::from_static("/\u{e4}");
        signer
            .sign(&Method::GET, &uri, &mut head, PayloadHash::Empty, at(NOON))
            .unwrap();
        part(&head, "Signature=")
    });
    signatures.sort();
    assert!(signatures.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn values_are_signed_as_a_server_reads_them() {
    let signer = signer("s3", one("r"), keys("ID", KEY, None));
    let signature = |values: &[&str]| {
        let fields = values.iter().map(|value| ("x-amz-meta-a", *value));
        let fields: Vec<_> = fields.chain([("host", "h")]).collect();
        part(&signed(&signer, &fields), "Signature=")
    };
    assert_eq!(signature(&["a b"]), signature(&["\t a   b \t"]));
    assert_eq!(signature(&["a", "b"]), signature(&["a,b"]));
    assert_eq!(signature(&["a", ""]), signature(&["a,"]));
    assert_ne!(signature(&["a", "b"]), signature(&["b", "a"]));
    assert_ne!(signature(&["a\tb"]), signature(&["a b"]));
    assert_ne!(signature(&["a"]), signature(&["A"]));
}

#[test]
fn signers_share_nothing_whatever_they_sign_at_once() {
    let uri = Uri::from_static("/a");
    let signature = |signer: &Signer, seconds| {
        let mut head = headers([("host", "h")]);
        signer
            .sign(
                &Method::GET,
                &uri,
                &mut head,
                PayloadHash::Empty,
                at(seconds),
            )
            .unwrap();
        part(&head, "Signature=")
    };
    let new = |secret| signer("s3", one("r"), keys("ID", secret, None));
    let signers = ["one", "two"].map(|secret| (new(secret), secret));
    let days = [NOON, NOON + 86_400];
    let alone = |secret, day| signature(&new(secret), day);
    assert_ne!(alone("one", NOON), alone("two", NOON));
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (signers, alone, signature) = (&signers, &alone, &signature);
            scope.spawn(move || {
                for turn in start..start + 40 {
                    let (signer, secret) = &signers[turn % 2];
                    let day = days[turn / 2 % 2];
                    assert_eq!(signature(signer, day), alone(secret, day));
                }
            });
        }
    });
}

#[test]
fn a_corrected_clock_signs_for_the_time_of_the_server() {
    let clock = Arc::new(Clock::default());
    let signer = Signer::new(
        &settings("s3", one("r")),
        keys("ID", KEY, None),
        Arc::clone(&clock),
    );
    let signer = signer.unwrap();
    let local = SystemTime::now();
    let server = local - Duration::from_secs(400 * 86_400);
    assert!(clock.correct(server, local, signer.clock().now()));
    let mut head = headers([("host", "h")]);
    let uri = Uri::from_static("/");
    let now = signer.clock().now();
    signer
        .sign(&Method::GET, &uri, &mut head, PayloadHash::Empty, now)
        .unwrap();
    let day = &head["x-amz-date"].to_str().unwrap()[..8];
    // It may have become the next day in between.
    let days = [server, server + Duration::from_secs(60)].map(|time| {
        chrono::DateTime::<chrono::Utc>::from(time)
            .format("%Y%m%d")
            .to_string()
    });
    assert!(
        days.iter().any(|expected| expected == day),
        "{day}: {days:?}"
    );
    assert!(part(&head, "Credential=").contains(day));
}

#[test]
fn a_head_that_cannot_be_signed_stays_as_it_was() {
    let signer = signer("s3", one("r"), keys("ID", KEY, None));
    let uri = Uri::from_static("/");
    for (fields, time, fault) in [
        (&DUMMY[1..], at(NOON), SignFault::Host),
        (
            &DUMMY[..],
            UNIX_EPOCH - Duration::from_secs(1),
            SignFault::Time,
        ),
    ] {
        let mut head = headers(fields.iter().copied());
        let before = head.clone();
        let signed = signer.sign(&Method::GET, &uri, &mut head, PayloadHash::Empty, time);
        assert_eq!(signed.err(), Some(fault));
        assert_eq!(head, before);
    }
}

#[test]
fn keys_that_cannot_stand_in_a_field_are_refused() {
    let new =
        |service: &str, keys| Signer::new(&settings(service, one("r")), keys, Arc::default()).err();
    for id in ["", "A B", "A,B", "A\nB", "\u{c4}"] {
        assert_eq!(
            new("s3", keys(id, KEY, None)),
            Some(Invalid::AccessKeyId),
            "{id:?}"
        );
    }
    assert_eq!(
        new("s3", keys("ID", KEY, Some("a\nb"))),
        Some(Invalid::Field)
    );
    assert_eq!(new("s\n3", keys("ID", KEY, None)), Some(Invalid::Field));
    assert_eq!(new("s3", keys("min/io=", KEY, Some("a"))), None);
}

#[test]
fn signers_are_equal_by_keys_and_scope() {
    let new = |service, region, id| signer(service, region, keys(id, KEY, None));
    let first = new("s3", one("r"), "ID");
    assert!(first == new("s3", one("r"), "ID"));
    assert!(first != new("s3", one("r"), "DI"));
    assert!(first != new("s3", one("q"), "ID"));
    assert!(first != new("s3", Region::Set("r".into()), "ID"));
    assert!(first != new("sqs", one("r"), "ID"));
}

#[test]
fn nothing_that_is_printed_has_a_secret() {
    for region in [one("r"), Region::Set("*".into())] {
        let signer = signer("s3", region, keys("canary-id", KEY, Some(TOKEN)));
        let head = signed(&signer, &[("host", "h")]);
        let mut fields = headers([("host", "h")]);
        let chunks = signer.sign(
            &Method::PUT,
            &Uri::from_static("/"),
            &mut fields,
            PayloadHash::Chunks { trailer: false },
            at(NOON),
        );
        let signature = part(&head, "Signature=");
        let shown = format!("{signer:?} {signer:#?} {head:?} {fields:?} {chunks:?}");
        assert!(shown.contains("s3") && !shown.contains("canary"), "{shown}");
        assert!(!shown.contains(&signature), "{shown}");
        assert!(head["authorization"].is_sensitive());
        assert!(head["x-amz-security-token"].is_sensitive());
    }
}
