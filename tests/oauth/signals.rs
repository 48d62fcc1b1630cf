//! `refresh_on`: what else says that a token has expired, and what does not.

use ring::digest::{SHA256, digest};
use serde_json::json;

use super::{api, bearer, fine, issuing, machine};
use crate::harness::{Answer, Gate, Keybearer, Response, Step, Upstream, eventually};

/// An API whose answers are looked at by these signals, and a token endpoint.
async fn looking_for(signals: &str) -> (Upstream, Upstream, Keybearer) {
    let endpoint = issuing(&["one", "two", "three", "four"], 3600).await;
    let resource = Upstream::start().await;
    let auth = machine(&endpoint.url("/token"), "");
    let rest = format!("refresh_on = [{signals}]");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, &rest)).await;
    (endpoint, resource, keybearer)
}

fn json_answer(status: &str, members: &serde_json::Value) -> Answer {
    Answer::sized(
        status,
        "Content-Type: application/json; charset=utf-8\r\n",
        &members.to_string(),
    )
}

/// That this answer makes the request be sent again, with another token.
async fn is_a_sign(signals: &str, answer: Answer) {
    let (endpoint, resource, keybearer) = looking_for(signals).await;
    resource.on_each("/x", [answer, Answer::ok("at last")]);
    let post = keybearer.post("/p/x").body("text/plain", "content");
    assert_eq!(fine(post).await.text(), "at last", "{signals}");
    let seen = resource.requests();
    assert_eq!(
        seen.iter().map(bearer).collect::<Vec<_>>(),
        ["one", "two"],
        "{signals}"
    );
    assert_eq!(endpoint.count(), 2);
}

/// That this answer passes as it is.
async fn is_none(signals: &str, answer: Answer) -> Response {
    let (endpoint, resource, keybearer) = looking_for(signals).await;
    resource.on("/x", answer);
    let response = keybearer.get("/p/x").send().await;
    assert_eq!((resource.count(), endpoint.count()), (1, 1), "{signals}");
    assert!(response.complete, "{response:?}");
    response
}

const EXPIRED: &str = r#"{ status = 403, body = "(?i)token (has )?expired" }"#;
const HEADER: &str = r#"{ header = "X-Token-Expired" }"#;
const POINTER: &str = r#"{ status = 200, json = "/error/0/code", equals = "invalid_auth" }"#;

#[tokio::test]
async fn a_status_with_a_pattern() {
    let text = format!(
        "{}The Token has EXPIRED.{}",
        " ".repeat(8000),
        "x".repeat(100_000)
    );
    let sized = Answer::sized("403 Forbidden", "Content-Type: text/html\r\n", &text);
    is_a_sign(EXPIRED, sized).await;
    let chunked = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n";
    let pieces = "7\r\nThe tok\r\na\r\nen expired\r\n0\r\n\r\n";
    is_a_sign(EXPIRED, Answer::raw(format!("{chunked}{pieces}"))).await;
    for (status, start) in [("403 Forbidden", 8300), ("400 Bad Request", 10)] {
        let text = format!("{}token expired", " ".repeat(start));
        let response = is_none(EXPIRED, Answer::sized(status, "", &text)).await;
        assert_eq!(response.text(), text);
    }
    let response = is_none(EXPIRED, Answer::sized("401 Unauthorized", "", "no")).await;
    assert_eq!(response.status, 401);
}

#[tokio::test]
async fn a_field() {
    is_a_sign(HEADER, Answer::fields("x-token-expired: 0\r\n")).await;
    is_none(HEADER, Answer::fields("x-token: expired\r\n")).await;
    is_none("", Answer::sized("401 Unauthorized", "", "no")).await;
}

#[tokio::test]
async fn a_member_of_json() {
    let refused = json!({ "ok": false, "error": [{ "code": "invalid_auth" }] });
    is_a_sign(POINTER, json_answer("200 OK", &refused)).await;
    is_a_sign(
        r#"{ json = "/ok", equals = false }"#,
        json_answer("200 OK", &refused),
    )
    .await;
    is_a_sign(
        r#"{ json = "/error" }"#,
        json_answer("400 Bad Request", &refused),
    )
    .await;
    is_a_sign(
        &format!("{HEADER}, {POINTER}"),
        json_answer("200 OK", &refused),
    )
    .await;
    let other = json!({ "error": [{ "code": "ratelimited" }] });
    let response = is_none(POINTER, json_answer("200 OK", &other)).await;
    assert_eq!(response.json(), other);
    is_none(POINTER, json_answer("500 Oops", &refused)).await;
    is_none(POINTER, Answer::ok(&refused.to_string())).await;
}

#[tokio::test]
async fn what_is_looked_at_passes_byte_for_byte() {
    let signals = format!("{EXPIRED}, {POINTER}, {{ status = 200, body = \"nowhere\" }}");
    let long: String = (0..700_000).map(|n: u32| format!("{n:07}")).collect();
    let head = "Content-Type: application/json\r\nETag: \"a\"\r\n";
    let sized = Answer::sized("200 OK", head, &long);
    let mut chunked = format!("HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n");
    for piece in long.as_bytes().chunks(1237) {
        let piece = std::str::from_utf8(piece).unwrap();
        chunked.push_str(&format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    chunked.push_str("0\r\n\r\n");
    for (answer, length) in [(sized, Some(long.len())), (Answer::raw(chunked), None)] {
        let response = is_none(&signals, answer).await;
        let told = response
            .header("content-length")
            .map(|text| text.parse().unwrap());
        assert_eq!(told, length);
        assert_eq!(response.header("etag"), Some("\"a\""));
        let [got, sent] = [&response.body[..], long.as_bytes()].map(|text| digest(&SHA256, text));
        assert_eq!(got.as_ref(), sent.as_ref());
    }
    let empty = is_none(&signals, Answer::sized("200 OK", head, "")).await;
    assert_eq!(empty.header("content-length"), Some("0"));
    let until_close = Answer::raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n[1]")).then(Step::Close);
    assert_eq!(is_none(&signals, until_close).await.text(), "[1]");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_caller() {
    let (_endpoint, resource, keybearer) = looking_for(POINTER).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";
    resource.on("/x", Answer::raw(format!("{head}[1,2")).then(Step::Close));
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/p/x").bytes()).await;
    let got = caller.closed().await;
    let got = String::from_utf8(got).unwrap();
    assert!(
        got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\n[1,2"),
        "{got}"
    );
}

#[tokio::test]
async fn streams_are_not_held_back() {
    let (_endpoint, resource, keybearer) = looking_for(&format!(
        "{POINTER}, {{ status = 200, body = \"nowhere\" }}"
    ))
    .await;
    let medias = [
        "text/event-stream",
        "application/x-ndjson",
        "application/json",
        "text/plain",
    ];
    for media in medias {
        let gate = Gate::new();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let answer = Answer::raw(format!("{head}6\r\nfirst\n\r\n"));
        let answer = answer.then(Step::Wait(gate.clone()));
        resource.on(
            "/x",
            answer.then(Step::Send("5\r\nlast\n\r\n0\r\n\r\n".into())),
        );
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.get("/p/x").bytes()).await;
        let early = eventually(media, async || Some(caller.until("first\n").await)).await;
        assert!(early.contains(media), "{early}");
        gate.open();
        caller.until("last\n\r\n0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_content_to_look_at() {
    let (endpoint, resource, keybearer) = looking_for(POINTER).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";
    resource.on("/x", Answer::raw(head));
    let response = keybearer.request("HEAD", "/p/x").send().await;
    assert_eq!(
        (response.status, response.header("content-length")),
        (200, Some("100"))
    );
    assert_eq!(endpoint.count(), 1);
}
