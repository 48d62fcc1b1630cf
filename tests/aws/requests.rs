//! Requests of any kind: signed for the service, with nothing of the caller's own credentials.

use super::{REGION, ours, signing};
use crate::harness::aws::{Keys, Payload, Signer, Verifier};
use crate::harness::{Answer, Keybearer, Recorded, Request, Upstream};

async fn started(service: &str, keys: &Keys) -> (Upstream, Keybearer, Verifier) {
    let upstream = Upstream::start().await;
    let table = signing("p", &upstream.url(""), service, keys, "");
    let keybearer = Keybearer::start(&table).await;
    (upstream, keybearer, Verifier::new(service, REGION, &[keys]))
}

async fn passed(upstream: &Upstream, request: Request) -> Recorded {
    let response = request.send().await;
    assert_eq!(response.status, 200, "{response:?}");
    upstream.take().remove(0)
}

#[tokio::test]
async fn every_method_and_every_kind_of_content() {
    for service in ["s3", "execute-api", "dynamodb"] {
        let (upstream, keybearer, verifier) = started(service, &ours()).await;
        let mut arrived = Vec::new();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let request = || keybearer.request(method, "/p/a/b?c=d");
            for request in [
                request(),
                request().content(""),
                request().content("some"),
                request().body("application/json", "{\"a\":1}"),
                request().chunks("text/plain", &["in ", "chunks"]),
            ] {
                arrived.push(passed(&upstream, request).await);
            }
        }
        let host = upstream.address().to_string();
        for (request, verdict) in arrived.iter().zip(verifier.accept(&arrived).await) {
            assert_eq!(request.header("host"), Some(host.as_str()));
            assert_eq!(request.target(), "/a/b?c=d");
            if request.header("content-type").is_some() {
                let signed = verdict.signed_headers.iter();
                assert!(
                    signed.clone().any(|name| name == "content-type"),
                    "{verdict:?}"
                );
            }
        }
        assert_eq!(arrived[3].text(), "{\"a\":1}");
        assert_eq!(arrived[4].text(), "in chunks");
    }
}

/// Targets that a caller may write, which have to be verified alike by everybody who reads them.
#[tokio::test]
async fn paths_and_queries_of_any_spelling() {
    for service in ["s3", "execute-api"] {
        let (upstream, keybearer, verifier) = started(service, &ours()).await;
        let mut arrived = Vec::new();
        for target in [
            "",
            "/",
            "//",
            "/a//b///",
            "/a%20b",
            "/a+b",
            "/a%2Bb",
            "/a:b=c@d!e$f&g'h(i)j*k,l;m",
            "/~%7E%7e",
            "/%C3%A4/%e6%97%a5",
            "/%25/100%25",
            "/a%2Fb",
            "/@connections/x%3D",
            "/arn%3Aaws%3Alambda%3A1/invocations",
            "/?",
            "/?list-type=2&prefix=a%2Fb&delimiter=%2F",
            "/?acl",
            "/?b=2&a=1&b=1&a",
            "/?prefix=a+b",
            "/?prefix=a%20b%2Bc",
            "/?q=~-._*'()!&z",
            "/?%C3%A4=%e6&a=%41",
            "/?a=b=c&=d&&",
        ] {
            let request = passed(&upstream, keybearer.get(&format!("/p{target}"))).await;
            arrived.push(request);
        }
        verifier.accept(&arrived).await;
    }
}

#[tokio::test]
async fn what_the_caller_signed_with_does_not_arrive() {
    let dummy = Keys {
        token: Some("dummy-token".to_owned()),
        ..Keys::dummy()
    };
    for service in ["s3", "sqs"] {
        let (upstream, keybearer, verifier) = started(service, &ours()).await;
        let signer = Signer::new(&dummy, service, "us-east-1");
        let payload = Payload::Hash(b"content");
        let (signed, _) = signer.head(keybearer.proxy(), "POST", "/p/x?a=1", &[], &payload);
        let presigned = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIADUMMY%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=dummy-token&X-Amz-Signature=dummy";
        let second = "AWSAccessKeyId=AKIADUMMY&Signature=dummy&Expires=1893456000";
        let escaped = presigned.replace("Amz-", "%41mz%2D");
        let mut arrived = Vec::new();
        for request in [
            signed.content("content"),
            keybearer.get(&format!("/p/x?{presigned}&a=1")),
            keybearer.get(&format!("/p/x?a=1&{}", presigned.to_lowercase())),
            keybearer.get(&format!("/p/x?a=1&{escaped}")),
            keybearer.get(&format!("/p/x?{second}&a=1")),
            keybearer.get(&format!("/p/x?{}&a=1", second.to_lowercase())),
            keybearer
                .get("/p/x?a=1")
                .header("x-amz-security_token", "dummy-token")
                .header("X-AMZ-SECURITY-TOKEN", "dummy-token")
                .header("authorization", "AWS AKIADUMMY:dummy")
                .header("x-amz-date", "20260101T000000Z")
                .header("x-amz-content-sha256", "dummy"),
        ] {
            let request = passed(&upstream, request).await;
            assert_eq!(request.target(), "/x?a=1");
            let head = String::from_utf8_lossy(&request.head.raw).to_lowercase();
            assert!(!head.contains("dummy"), "{head}");
            arrived.push(request);
        }
        verifier.accept(&arrived).await;
    }
}

#[tokio::test]
async fn orders_to_the_service_arrive_signed() {
    let (upstream, keybearer, verifier) = started("s3", &ours()).await;
    let request = keybearer
        .request("PUT", "/p/key")
        .header("X-Amz-Acl", "private")
        .header("X-Amz-Meta-One", "  two   spaces  ")
        .header("x-amz-meta-one", "again")
        .header("X-Amz-Storage-Class", "STANDARD_IA")
        .header("User-Agent", "a caller")
        .header("Range", "bytes=0-9")
        .header("TE", "trailers")
        .content("content");
    let arrived = passed(&upstream, request).await;
    let verdict = verifier.accept_one(&arrived).await;
    for name in [
        "x-amz-acl",
        "x-amz-meta-one",
        "x-amz-storage-class",
        "range",
    ] {
        assert!(
            verdict.signed_headers.contains(&name.to_owned()),
            "{name}: {verdict:?}"
        );
    }
    assert_eq!(arrived.header("user-agent"), Some("a caller"));
    let line = "x-amz-meta-one:two spaces,again";
    assert!(verdict.canonical_request.contains(line), "{verdict:?}");
}

#[tokio::test]
async fn the_token_of_temporary_keys_is_sent_and_signed() {
    let keys = Keys {
        token: Some("ours/token+of==".to_owned()),
        ..Keys::new("ASIAOURS", "ours")
    };
    for service in ["s3", "sqs"] {
        let (upstream, keybearer, verifier) = started(service, &keys).await;
        let arrived = passed(&upstream, keybearer.get("/p/x")).await;
        assert_eq!(
            arrived.header("x-amz-security-token"),
            keys.token.as_deref()
        );
        verifier.accept_one(&arrived).await;
    }
}

#[tokio::test]
async fn requests_under_a_base_path_and_a_host_of_their_own() {
    let upstream = Upstream::start().await;
    let keys = ours();
    let table = signing("p", &upstream.url("/bucket"), "s3", &keys, "");
    let table = table.replacen("base_url", "hosts = [\"bucket.localhost\"]\nbase_url", 1);
    let keybearer = Keybearer::start(&table).await;
    let by_prefix = passed(&upstream, keybearer.get("/p/a%20b?x")).await;
    let by_host = keybearer.get("/a%20b?x").host("bucket.localhost");
    let by_host = passed(&upstream, by_host).await;
    for arrived in [&by_prefix, &by_host] {
        assert_eq!(arrived.target(), "/bucket/a%20b?x");
    }
    let verifier = Verifier::new("s3", REGION, &[&keys]);
    verifier.accept(&[by_prefix, by_host]).await;
}

#[tokio::test]
async fn the_handshake_of_a_web_socket_is_signed() {
    let (upstream, keybearer, verifier) = started("execute-api", &ours()).await;
    upstream.on("/ws", Answer::web_socket());
    let handshake = keybearer
        .get("/p/ws")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
    // Some clients say that there is no content, and that is not sent on.
    for handshake in [handshake.clone(), handshake.header("Content-Length", "0")] {
        let mut caller = keybearer.caller().await;
        caller.send(handshake.bytes()).await;
        let head = caller.head().await.expect("the head of an answer");
        assert_eq!(head.part(1), "101", "{head:?}");
        let mut arrived = upstream.last();
        assert_eq!(arrived.header("content-length"), None, "{arrived:?}");
        // Of a handshake there is no content to wait for.
        arrived.complete = true;
        verifier.accept_one(&arrived).await;
    }
}
