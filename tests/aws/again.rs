//! Requests that are sent again, and answers that are no reason to.

use std::time::{Duration, SystemTime};

use super::{REGION, ours, signing};
use crate::harness::aws::{Keys, Verifier};
use crate::harness::{Answer, Keybearer, Upstream};

fn session() -> Keys {
    Keys {
        token: Some("canary-session-token-5d".to_owned()),
        ..Keys::new("ASIAOURS", "ours")
    }
}

async fn started(service: &str, keys: &Keys) -> (Upstream, Keybearer, Verifier) {
    let upstream = Upstream::start().await;
    let table = signing("p", &upstream.url(""), service, keys, "");
    let keybearer = Keybearer::start(&table).await;
    (upstream, keybearer, Verifier::new(service, REGION, &[keys]))
}

fn refused(status: &str, fields: &str, body: &str) -> Answer {
    Answer::sized(status, fields, body)
}

fn dated(time: SystemTime) -> String {
    format!("Date: {}\r\n", httpdate::fmt_http_date(time))
}

#[tokio::test]
async fn a_connection_that_breaks_is_followed_by_a_request_that_is_signed_as_well() {
    for keys in [ours(), session()] {
        let (upstream, keybearer, verifier) = started("s3", &keys).await;
        for request in [
            keybearer.get("/p/x"),
            keybearer.request("HEAD", "/p/x"),
            keybearer.request("DELETE", "/p/x"),
            keybearer.request("PUT", "/p/x").content("content"),
        ] {
            upstream.on_each("/x", [Answer::silence(), Answer::ok("")]);
            let response = request.send().await;
            assert_eq!(response.status, 200, "{response:?}");
            let seen = upstream.take();
            assert_eq!(seen.len(), 2);
            verifier.accept(&seen).await;
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_code_is_the_callers_whatever_its_date() {
    let (upstream, keybearer, _) = started("execute-api", &ours()).await;
    let fields = dated(SystemTime::now() + Duration::from_secs(3600));
    let body = r#"{"message":"x is missing"}"#;
    upstream.on("/x", refused("400 Bad Request", &fields, body));
    let response = keybearer.post("/p/x").content("{}").send().await;
    assert_eq!((response.status, &*response.text()), (400, body));
    assert_eq!(upstream.take().len(), 1, "sent once");
}

#[tokio::test]
async fn a_time_that_cannot_be_is_not_followed() {
    let (upstream, keybearer, verifier) = started("s3", &ours()).await;
    let never = "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n";
    upstream.on_each("/x", [refused("403 Forbidden", never, ""), Answer::ok("")]);
    let response = keybearer.request("HEAD", "/p/x").send().await;
    assert_eq!(response.status, 403);
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    verifier.accept(&upstream.take()).await;
}

#[tokio::test]
async fn an_expired_token_of_the_callers_own_is_for_the_caller() {
    let (upstream, keybearer, _) = started("sts", &session()).await;
    let body = r#"{"__type":"ExpiredTokenException","message":"The web identity token that was passed is expired"}"#;
    upstream.on(
        "/x",
        refused(
            "400 Bad Request",
            "Content-Type: application/json\r\n",
            body,
        ),
    );
    let response = keybearer.post("/p/x").content("{}").send().await;
    assert_eq!((response.status, &*response.text()), (400, body));
}

#[tokio::test]
async fn an_answer_that_repeats_the_session_token_does_not_reach_the_caller() {
    let keys = session();
    let (upstream, keybearer, _) = started("s3", &keys).await;
    let token = keys.token.clone().unwrap();
    let fields = "Content-Type: application/xml\r\n";
    for code in ["SignatureDoesNotMatch", "InvalidToken"] {
        let body = format!(
            "<Error><Code>{code}</Code><CanonicalRequest>x-amz-security-token:{token}</CanonicalRequest></Error>"
        );
        upstream.on("/x", refused("403 Forbidden", fields, &body));
        let response = keybearer.get("/p/x").send().await;
        assert!(!response.text().contains(&token), "{code}");
        response.problem(502, "signature-refused", "proxy_configuration_error");
    }
}

#[tokio::test]
async fn keys_that_aws_does_not_know_show_in_the_status() {
    let (upstream, keybearer, _) = started("s3", &ours()).await;
    let body = "<Error><Code>InvalidAccessKeyId</Code></Error>";
    let fields = "Content-Type: application/xml\r\n";
    upstream.on_each(
        "/x",
        [refused("403 Forbidden", fields, body), Answer::ok("")],
    );
    let response = keybearer.get("/p/x").send().await;
    assert_eq!((response.status, &*response.text()), (403, body));
    let shown = super::shown(&keybearer, "p").await;
    assert_eq!(shown["state"], "misconfigured", "{shown}");
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    let shown = super::shown(&keybearer, "p").await;
    assert_eq!(shown["state"], "ready", "{shown}");
}
