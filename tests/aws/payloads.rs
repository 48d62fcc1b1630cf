//! How content is covered by the signature, and how it arrives, whatever framing it came in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{REGION, ours, signing};
use crate::harness::aws::{Keys, Payload, S3Server, Signer, Verifier, sha256};
use crate::harness::{Keybearer, Recorded, Request, Setup, Upstream};

const LIMIT: usize = 64 * 1024;

/// A connection that holds [`LIMIT`] bytes to hash them.
fn limited(base_url: &str, service: &str, keys: &Keys, payload: &str) -> String {
    let table = signing("p", base_url, service, keys, payload);
    table + &format!("[connections.p.limits]\nsigned_body = \"{LIMIT}B\"\n")
}

async fn started(service: &str, payload: &str) -> (Upstream, Keybearer, Verifier) {
    let (upstream, keys) = (Upstream::start().await, ours());
    let keybearer = Keybearer::start(&limited(&upstream.url(""), service, &keys, payload)).await;
    (
        upstream,
        keybearer,
        Verifier::new(service, REGION, &[&keys]),
    )
}

/// Bytes that do not repeat within a chunk.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 251) as u8).collect()
}

async fn passed(upstream: &Upstream, request: Request) -> Recorded {
    let response = request.send().await;
    assert_eq!(response.status, 200, "{response:?}");
    upstream.take().remove(0)
}

#[tokio::test]
async fn the_setting_decides_how_content_is_covered() {
    let chunks = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    for (payload, length, wanted) in [
        ("", 1000, "hash"),
        ("", LIMIT, "hash"),
        ("", LIMIT + 1, chunks),
        ("payload = \"auto\"", 1000, "hash"),
        ("payload = \"signed\"", 1000, "hash"),
        ("payload = \"chunked\"", 1000, chunks),
        ("payload = \"chunked\"", 10 * LIMIT, chunks),
        ("payload = \"unsigned\"", 1000, "UNSIGNED-PAYLOAD"),
        ("payload = \"unsigned\"", 10 * LIMIT, "UNSIGNED-PAYLOAD"),
    ] {
        let (upstream, keybearer, verifier) = started("s3", payload).await;
        let content = bytes(length);
        let put = keybearer.request("PUT", "/p/bucket/key").content(&content);
        let arrived = passed(&upstream, put).await;
        let verdict = verifier.accept_one(&arrived).await;
        let hash = sha256(&content);
        assert_eq!(verdict.content_sha256, hash, "{payload} {length}");
        let wanted = if wanted == "hash" { &hash } else { wanted };
        assert_eq!(verdict.payload, wanted, "{payload} {length}");
        if wanted == chunks {
            // S3 takes no chunk but the last one that is shorter than 8 KiB.
            let (last, others) = verdict.chunks.split_last().unwrap();
            assert!(
                others.iter().all(|&chunk| chunk >= 8192),
                "{:?}",
                verdict.chunks
            );
            assert!(*last > 0);
        }
    }
}

#[tokio::test]
async fn what_has_to_be_hashed_whole_has_a_limit() {
    for (service, payload) in [
        ("dynamodb", ""),
        ("dynamodb", "payload = \"signed\""),
        ("s3", "payload = \"signed\""),
    ] {
        let (upstream, keybearer, _) = started(service, payload).await;
        for request in [
            keybearer.post("/p/x").content(bytes(LIMIT + 1)),
            keybearer.post("/p/x").raw_chunks(&bytes(LIMIT + 1), 8192),
        ] {
            let response = request.send().await;
            let detail = response.problem(413, "content-too-large", "http_request_error");
            assert!(detail.contains("signed_body"), "{detail}");
        }
        assert_eq!(upstream.count(), 0);
    }
}

/// AWS's own S3 takes no content of unknown length, and so nothing of it is sent there.
#[tokio::test]
async fn content_of_unknown_length_is_refused_for_aws_itself() {
    let table = limited("https://s3.eu-west-1.amazonaws.com", "s3", &ours(), "");
    let keybearer = Keybearer::start(&table).await;
    let put = keybearer.request("PUT", "/p/bucket/key");
    let response = put.raw_chunks(&bytes(LIMIT + 1), 8192).send().await;
    let detail = response.problem(413, "content-too-large", "http_request_error");
    for said in ["nothing says how long", "Content-Length", "signed_body"] {
        assert!(detail.contains(said), "no {said}: {detail}");
    }
}

/// VPC Lattice refuses whatever covers content, an empty one as well.
#[tokio::test]
async fn content_is_never_covered_for_a_service_that_takes_no_such_signature() {
    let (upstream, keybearer, verifier) = started("vpc-lattice-svcs", "").await;
    for request in [
        keybearer.get("/p/x"),
        keybearer.post("/p/x").content("some"),
        keybearer.post("/p/x").content(bytes(LIMIT + 1)),
        keybearer.post("/p/x").raw_chunks(&bytes(LIMIT + 1), 8192),
    ] {
        let arrived = passed(&upstream, request).await;
        let verdict = verifier.accept_one(&arrived).await;
        assert_eq!(verdict.payload, "UNSIGNED-PAYLOAD");
    }
}

#[tokio::test]
async fn a_setting_that_the_service_may_not_take_is_doubted() {
    for (service, payload, is_doubted) in [
        ("dynamodb", "unsigned", true),
        ("dynamodb", "auto", false),
        ("s3", "unsigned", false),
        ("vpc-lattice-svcs", "unsigned", false),
        ("vpc-lattice-svcs", "signed", true),
    ] {
        let setting = format!("payload = \"{payload}\"");
        let table = limited("https://127.0.0.1:9", service, &ours(), &setting);
        let setup = Setup::new().tables(&table);
        let exit = setup.run(&["check"]).await;
        assert_eq!(exit.code, Some(0), "{exit:?}");
        let warning = format!("warning: connections.p.auth: `{setting}`");
        let warned = exit.stderr.contains(&warning);
        assert_eq!(warned, is_doubted, "{service} {payload}: {exit:?}");
        let exit = setup.run(&["check", "--json"]).await;
        assert_eq!(exit.stdout.contains("\"warning\""), is_doubted, "{exit:?}");
        assert!(!exit.stderr.contains("warning"), "{exit:?}");
        let keybearer = setup.start().await;
        let log = keybearer.log();
        let logged = log.contains("Configuration is doubtful");
        assert_eq!(logged, is_doubted, "{service} {payload}: {log}");
    }
}

/// How an SDK frames content.
struct Framing {
    name: &'static str,
    said: &'static str,
    signed: bool,
    trailer: bool,
}

const FRAMINGS: [Framing; 3] = [
    Framing {
        name: "signed chunks",
        said: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        signed: true,
        trailer: false,
    },
    Framing {
        name: "signed chunks and trailer",
        said: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        signed: true,
        trailer: true,
    },
    Framing {
        name: "a trailer",
        said: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        signed: false,
        trailer: true,
    },
];

impl Framing {
    /// A request as an SDK with dummy keys sends it; `sized` has a Content-Length.
    fn request(&self, to: &Keybearer, target: &str, content: &[u8], sized: bool) -> Request {
        let keys = Keys::dummy();
        let signer = Signer::new(&keys, "s3", "us-east-1");
        let length = content.len().to_string();
        let mut fields = vec![
            ("Content-Encoding", "aws-chunked"),
            ("X-Amz-Decoded-Content-Length", length.as_str()),
            ("X-Amz-Meta-Kept", "yes"),
        ];
        if self.trailer {
            fields.push(("X-Amz-Trailer", "x-amz-checksum-sha256"));
        }
        let said = Payload::Said(self.said);
        let (request, seed) = signer.head(to.proxy(), "PUT", target, &fields, &said);
        let mut framed = match self.signed {
            true => signer.chunks(&seed, content, 8192),
            false => unsigned(content),
        };
        if self.trailer {
            framed.truncate(framed.len() - 2);
            framed.extend_from_slice(b"x-amz-checksum-sha256:");
            framed.extend_from_slice(checksum(content).as_bytes());
            framed.extend_from_slice(b"\r\n");
            if self.signed {
                let dummy = format!("x-amz-trailer-signature:{}\r\n", "0".repeat(64));
                framed.extend_from_slice(dummy.as_bytes());
            }
            framed.extend_from_slice(b"\r\n");
        }
        match sized {
            true => request.content(framed),
            false => request.raw_chunks(&framed, 5000),
        }
    }
}

fn unsigned(content: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in content.chunks(8192).chain([&[][..]]) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed
}

fn checksum(content: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, content);
    STANDARD.encode(hash.as_ref())
}

/// A checksum that came in a trailer and has arrived, as a field or in a trailer again.
fn arrived_checksum(request: &Recorded) -> Option<String> {
    let name = "x-amz-checksum-sha256";
    if let Some(value) = request.header(name) {
        return Some(value.to_owned());
    }
    let framed = String::from_utf8_lossy(&request.body);
    let (_, rest) = framed.rsplit_once(&format!("{name}:"))?;
    Some(rest.split("\r\n").next()?.to_owned())
}

#[tokio::test]
async fn framed_content_of_every_kind_arrives_signed_anew() {
    for payload in ["", "payload = \"chunked\"", "payload = \"unsigned\""] {
        let (upstream, keybearer, verifier) = started("s3", payload).await;
        let mut sent = Vec::new();
        for framing in &FRAMINGS {
            for length in [0, 1, 20_000, LIMIT, 5 * LIMIT + 1] {
                for sized in [true, false] {
                    let content = bytes(length);
                    let request = framing.request(&keybearer, "/p/bucket/key", &content, sized);
                    sent.push((framing, content, passed(&upstream, request).await));
                }
            }
        }
        let arrived: Vec<_> = sent.iter().map(|(_, _, arrived)| arrived.clone()).collect();
        let verdicts = verifier.judge(&arrived).await;
        for ((framing, content, arrived), verdict) in sent.iter().zip(verdicts) {
            let what = format!("{}, {} bytes, {payload}", framing.name, content.len());
            assert_eq!(verdict.fault, None, "{what}: {:?}", arrived.head);
            assert_eq!(verdict.content_sha256, sha256(content), "{what}");
            assert_eq!(arrived.header("x-amz-meta-kept"), Some("yes"));
            if framing.trailer {
                let wanted = Some(checksum(content));
                assert_eq!(arrived_checksum(arrived), wanted, "{what}");
            }
            let streaming = verdict.payload.starts_with("STREAMING-");
            let encoded = arrived.header("content-encoding") == Some("aws-chunked");
            assert_eq!(encoded, streaming, "{what}: {:?}", arrived.head);
        }
    }
}

#[tokio::test]
async fn another_server_stores_what_was_framed() {
    let server = S3Server::start("bucket").await;
    for payload in ["", "payload = \"chunked\""] {
        let base_url = format!("http://{}", server.address());
        let table = limited(&base_url, "s3", server.keys(), payload);
        let keybearer = Keybearer::start(&table).await;
        for framing in &FRAMINGS {
            for length in [1, LIMIT, 5 * LIMIT + 1] {
                let content = bytes(length);
                let request = framing.request(&keybearer, "/p/bucket/key", &content, true);
                let response = request.send().await;
                let name = framing.name;
                assert_eq!(response.status, 200, "{name} {length}: {response:?}");
                let stored = std::fs::read(server.file("bucket", "key")).unwrap();
                assert!(stored == content, "{name} {length}");
            }
        }
    }
}

#[tokio::test]
async fn another_encoding_beside_the_framing_stays() {
    let (upstream, keybearer, verifier) = started("s3", "").await;
    let framing = &FRAMINGS[0];
    let request = framing.request(&keybearer, "/p/bucket/key", b"zipped", true);
    let text = String::from_utf8(request.bytes()).unwrap();
    let text = text.replacen("aws-chunked", "gzip,aws-chunked", 1);
    let mut caller = keybearer.caller().await;
    caller.send(text).await;
    assert_eq!(caller.response().await.status, 200);
    let arrived = upstream.last();
    let encoding = arrived.header("content-encoding");
    assert_eq!(encoding, Some("gzip,aws-chunked"));
    let verdict = verifier.accept_one(&arrived).await;
    assert_eq!(verdict.content_sha256, sha256(b"zipped"));
}

#[tokio::test]
async fn the_framing_is_known_without_a_content_encoding() {
    let (upstream, keybearer, verifier) = started("s3", "").await;
    let request = FRAMINGS[0].request(&keybearer, "/p/bucket/key", b"as restic sends", true);
    let text = String::from_utf8(request.bytes()).unwrap();
    let text = text.replacen("Content-Encoding: aws-chunked\r\n", "", 1);
    let mut caller = keybearer.caller().await;
    caller.send(text).await;
    assert_eq!(caller.response().await.status, 200);
    let arrived = upstream.last();
    let verdict = verifier.accept_one(&arrived).await;
    assert_eq!(verdict.content_sha256, sha256(b"as restic sends"));
}
