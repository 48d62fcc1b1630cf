//! What the servers of these tests check, asked without keybearer: a test that passes because nobody
//! looks would prove nothing.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use crate::harness::aws::{Keys, Moto, Payload, S3Server, Signer, Verdict, Verifier, sha256};
use crate::harness::{Request, Response, Upstream};

const HOUR: Duration = Duration::from_secs(3600);

fn address(moto: &Moto) -> SocketAddr {
    moto.url.trim_start_matches("http://").parse().unwrap()
}

fn forged(keys: &Keys) -> Keys {
    Keys {
        secret: keys.secret.clone() + "x",
        ..keys.clone()
    }
}

fn refused(response: &Response, code: &str) {
    assert_eq!(response.status, 403, "{response:?}");
    assert!(response.text().contains(code), "{response:?}");
}

#[tokio::test]
async fn moto_refuses_wrong_keys_and_changed_requests() {
    let moto = Moto::shared().await;
    let address = address(moto);
    let s3 = |keys: &Keys, target: &str| {
        Signer::new(keys, "s3", &moto.region).request(address, "GET", target, b"")
    };
    let response = s3(&moto.app, "/").send().await;
    assert_eq!(response.status, 200, "{response:?}");
    let response = s3(&forged(&moto.app), "/").send().await;
    refused(&response, "SignatureDoesNotMatch");
    refused(&s3(&Keys::dummy(), "/").send().await, "InvalidAccessKeyId");
    refused(&s3(&moto.powerless, "/").send().await, "AccessDenied");
    let unsigned = Request::new(address, "GET", "/").send().await;
    assert_ne!(unsigned.status, 200, "{unsigned:?}");

    let dynamodb = |said: &str, content: &str| {
        let fields = [
            ("X-Amz-Target", "DynamoDB_20120810.ListTables"),
            ("Content-Type", "application/x-amz-json-1.0"),
        ];
        let signer = Signer::new(&moto.app, "dynamodb", &moto.region);
        let payload = Payload::Hash(said.as_bytes());
        let (request, _) = signer.head(address, "POST", "/", &fields, &payload);
        request.content(content)
    };
    let response = dynamodb("{}", "{}").send().await;
    assert_eq!(response.status, 200, "{response:?}");
    let response = dynamodb("{}", "{ }").send().await;
    assert_eq!(response.status, 403, "changed content: {response:?}");
}

#[tokio::test]
async fn moto_lets_assume_a_role_whoever_tells_its_external_id() {
    let moto = Moto::shared().await;
    let assume = async |keys: &Keys, external_id: &str| {
        let content = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", "AssumeRole"), ("Version", "2011-06-15")])
            .extend_pairs([("RoleArn", &*moto.role), ("RoleSessionName", "proof")])
            .append_pair("ExternalId", external_id)
            .finish();
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let signer = Signer::new(keys, "sts", &moto.region);
        let payload = Payload::Hash(content.as_bytes());
        let (request, _) = signer.head(address(moto), "POST", "/", &form, &payload);
        request.content(&content).send().await
    };
    let response = assume(&moto.app, &moto.external_id).await;
    assert_eq!(response.status, 200, "{response:?}");
    refused(&assume(&moto.app, "another").await, "AccessDenied");
    let response = assume(&moto.powerless, &moto.external_id).await;
    refused(&response, "AccessDenied");
}

#[tokio::test]
async fn the_s3_server_refuses_wrong_keys_stale_dates_and_changed_content() {
    let server = S3Server::start("bucket").await;
    let (address, keys) = (server.address(), server.keys());
    let signer = Signer::new(keys, "s3", "eu-west-1");
    let put = |signer: &Signer, said: &[u8]| {
        let payload = Payload::Hash(said);
        let (request, _) = signer.head(address, "PUT", "/bucket/key", &[], &payload);
        request.content("content")
    };
    let response = put(&signer, b"content").send().await;
    assert_eq!(response.status, 200, "{response:?}");
    let stored = std::fs::read(server.file("bucket", "key")).unwrap();
    assert_eq!(stored, b"content");
    let forged = forged(keys);
    let forged = Signer::new(&forged, "s3", "eu-west-1");
    let response = put(&forged, b"content").send().await;
    refused(&response, "SignatureDoesNotMatch");
    for time in [SystemTime::now() - HOUR, SystemTime::now() + HOUR] {
        let signer = Signer::new(keys, "s3", "eu-west-1").at(time);
        refused(
            &put(&signer, b"content").send().await,
            "RequestTimeTooSkewed",
        );
    }
    let response = put(&signer, b"another").send().await;
    assert!(response.status >= 400, "changed content: {response:?}");
}

#[tokio::test]
async fn the_s3_server_refuses_changed_chunks() {
    let server = S3Server::start("bucket").await;
    let signer = Signer::new(server.keys(), "s3", "eu-west-1");
    let content = vec![b'x'; 20_000];
    let put = async |key: &str, change: fn(&mut Vec<u8>)| {
        let fields = [("X-Amz-Decoded-Content-Length", "20000")];
        let target = format!("/bucket/{key}");
        let said = Payload::Said("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
        let (request, seed) = signer.head(server.address(), "PUT", &target, &fields, &said);
        let mut framed = signer.chunks(&seed, &content, 8192);
        change(&mut framed);
        request.content(framed).send().await
    };
    let response = put("right", |_| {}).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(
        std::fs::read(server.file("bucket", "right")).unwrap(),
        content
    );
    let response = put("content", |framed| framed[12_000] = b'y').await;
    assert!(response.status >= 400, "{response:?}");
    // A digit of the first chunk's signature.
    let response = put("signature", |framed| framed[30] ^= 1).await;
    assert!(response.status >= 400, "{response:?}");
    for key in ["content", "signature"] {
        assert!(!server.file("bucket", key).exists(), "{key} is stored");
    }
}

/// Sends a request to an upstream that takes all, and gives what botocore makes of it.
async fn verdict(verifier: &Verifier, request: impl FnOnce(SocketAddr) -> Request) -> Verdict {
    let upstream = Upstream::start().await;
    let response = request(upstream.address()).send().await;
    assert_eq!(response.status, 200, "{response:?}");
    verifier.judge(&upstream.requests()).await.remove(0)
}

/// The fault that botocore finds in a request.
async fn fault(verifier: &Verifier, request: impl FnOnce(SocketAddr) -> Request) -> String {
    let verdict = verdict(verifier, request).await;
    verdict.fault.unwrap_or_default()
}

#[tokio::test]
async fn the_verifier_finds_each_fault() {
    let keys = Keys::new("AKIAVERIFIED", "secret");
    let session = Keys {
        token: Some("token".to_owned()),
        ..Keys::new("ASIASESSION", "secret")
    };
    let verifier = Verifier::new("service", "eu-west-1", &[&keys, &session]);
    let signer = |keys| Signer::new(keys, "service", "eu-west-1");
    let said = Payload::Hash(b"content");
    let (forged, dummy) = (forged(&keys), Keys::dummy());
    let tokenless = Keys {
        token: None,
        ..session.clone()
    };
    let plain = async |signer: Signer| {
        fault(&verifier, |address| {
            signer.request(address, "PUT", "/a%20b/../c?b=1&a=%2F&a=", b"content")
        })
        .await
    };
    assert_eq!(plain(signer(&keys)).await, "");
    assert_eq!(plain(signer(&session)).await, "");
    let before = SystemTime::now() - HOUR;
    for (wanted, signer) in [
        ("does not match", signer(&forged)),
        ("unknown access key", signer(&dummy)),
        ("stale", signer(&keys).at(before)),
        ("scope", Signer::new(&keys, "service", "us-east-1")),
        ("scope", Signer::new(&keys, "other", "eu-west-1")),
        ("token", signer(&tokenless)),
    ] {
        let found = plain(signer).await;
        assert!(found.contains(wanted), "{found} instead of {wanted}");
    }
    type Change = fn(Request) -> Request;
    let changes: [(&str, &str, Change); 5] = [
        ("does not match", "/x", |request| request.content("changed")),
        ("not signed", "/x", |request| {
            request.header("X-Amz-Acl", "private").content("content")
        }),
        ("presigned", "/x?x-aMz-sIgnature=1", |request| {
            request.content("content")
        }),
        ("`authorization` 2 times", "/x", |request| {
            request.header("Authorization", "no").content("content")
        }),
        ("token", "/x", |request| {
            request
                .header("X-Amz-Security-Token", "no")
                .content("content")
        }),
    ];
    for (wanted, target, change) in changes {
        let found = fault(&verifier, |address| {
            let signer = signer(&keys);
            change(signer.head(address, "PUT", target, &[], &said).0)
        })
        .await;
        assert!(found.contains(wanted), "{found} instead of {wanted}");
    }
}

#[tokio::test]
async fn the_verifier_finds_faults_of_s3() {
    let keys = Keys::new("AKIAVERIFIED", "secret");
    let verifier = Verifier::new("s3", "eu-west-1", &[&keys]);
    let signer = Signer::new(&keys, "s3", "eu-west-1");
    let get = async |target: &str| {
        fault(&verifier, |address| {
            signer.request(address, "GET", target, b"")
        })
        .await
    };
    assert_eq!(get("/bucket//a%20b/./c%2B").await, "");
    let found = get("/bucket/a+b").await;
    assert!(found.contains("is canonical"), "{found}");
    let content = [b'x'; 20_000];
    let chunked = async |change: fn(&mut Vec<u8>)| {
        verdict(&verifier, |address| {
            let fields = [("X-Amz-Decoded-Content-Length", "20000")];
            let said = Payload::Said("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
            let (request, seed) = signer.head(address, "PUT", "/b/k", &fields, &said);
            let mut framed = signer.chunks(&seed, &content, 8192);
            change(&mut framed);
            request.content(framed)
        })
        .await
    };
    let right = chunked(|_| {}).await;
    assert_eq!(right.fault, None);
    assert_eq!(right.access_key_id, keys.id);
    assert_eq!(right.payload, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert_eq!(right.content_sha256, sha256(&content));
    assert_eq!(right.chunks, [8192, 8192, 3616]);
    assert!(right.signed_headers.contains(&"host".to_owned()));
    assert!(right.canonical_request.starts_with("PUT\n/b/k\n\n"));
    let found = chunked(|framed| framed[12_000] = b'y').await.fault.unwrap();
    assert!(found.contains("signature of chunk 1"), "{found}");
    let found = chunked(|framed| framed.truncate(15_000))
        .await
        .fault
        .unwrap();
    assert!(found.contains("cut short"), "{found}");
}
