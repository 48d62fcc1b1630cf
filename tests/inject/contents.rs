//! `custom` with `form` or `json`: members merged into the caller's content.

use std::time::Duration;

use url::form_urlencoded;

use crate::harness::{Answer, Gate, Keybearer, Step, Upstream, connection};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const SECRET: &str = "s&=+ \"ä\\";

async fn pair(rest: &str) -> (Upstream, Keybearer) {
    let upstream = Upstream::start().await;
    let base = upstream.url("/base");
    let form = format!(r#"auth = {{ type = "custom", form = {{ client_secret = '{SECRET}' }} }}"#);
    let json = format!(r#"auth = {{ type = "custom", json = {{ token = '{SECRET}' }} }}"#);
    let tables = connection("form", &base, &format!("{form}\n{rest}"))
        + &connection("json", &base, &format!("{json}\n{rest}"));
    let keybearer = Keybearer::start(&tables).await;
    (upstream, keybearer)
}

#[tokio::test]
async fn a_form_keeps_its_bytes_and_gains_ours() {
    let (upstream, keybearer) = pair("").await;
    for (sent, kept, why) in [
        ("a=1&b=%20+&c", "a=1&b=%20+&c", "byte for byte"),
        ("a=1&a=2", "a=1&a=2", "repeated names"),
        (
            "a=%e4%F6",
            "a=%e4%F6",
            "bytes that are no UTF-8, in their own case",
        ),
        ("client_secret=mine&a=1", "a=1", "the caller's own first"),
        ("a=1&client_secret=mine", "a=1", "the caller's own last"),
        (
            "client%5Fsecret=mine&a=1&client_secret=mine",
            "a=1",
            "encoded and repeated",
        ),
        ("a=client_secret", "a=client_secret", "a value is no name"),
    ] {
        for chunked in [false, true] {
            let request = keybearer.post("/form/x");
            let request = match chunked {
                true => request.chunks(FORM, &[&sent[..1], &sent[1..]]),
                false => request.body(FORM, sent),
            };
            let response = request.send().await;
            assert_eq!(response.status, 200, "{why}: {}", response.text());
            let seen = upstream.last();
            assert!(seen.complete, "{why}");
            assert!(seen.text().starts_with(kept), "{why}: {}", seen.text());
            let pairs = form_urlencoded::parse(&seen.body);
            let ours: Vec<_> = pairs.filter(|(name, _)| name == "client_secret").collect();
            assert_eq!(ours.len(), 1, "{why}: {}", seen.text());
            assert_eq!(ours[0].1, SECRET, "{why}");
            assert!(!seen.text().contains("mine"), "{why}: {}", seen.text());
        }
    }
}

#[tokio::test]
async fn a_json_object_keeps_its_bytes_and_gains_ours() {
    let (upstream, keybearer) = pair("").await;
    for (sent, kept, why) in [
        ("{}", &[][..], "empty"),
        (" { } ", &[], "empty, with spaces"),
        (
            r#"{"n":123456789012345678901234567890,"f":1.10,"e":1E5}"#,
            &["123456789012345678901234567890", "1.10", "1E5"],
            "numbers stay as they were written",
        ),
        (
            r#"{"s":"\u00e9\/\"","o":{"token":"inner"},"l":[1,{"token":"inner"}]}"#,
            &[
                r#""\u00e9\/\"""#,
                r#"{"token":"inner"}"#,
                r#"[1,{"token":"inner"}]"#,
            ],
            "only members of the object itself count",
        ),
        (
            r#"{"token":"mine","a":1}"#,
            &["\"a\":1"],
            "the caller's own",
        ),
        (
            r#"{"token":"mine","a":1,"token":{"x":"mine"}}"#,
            &["\"a\":1"],
            "twice",
        ),
        (
            r#"{"\u0074oken":"mine","a":1}"#,
            &["\"a\":1"],
            "spelled with an escape",
        ),
        (
            r#"{"Token":"mine","a":1,"TO\u004bEN":"mine"}"#,
            &["\"a\":1"],
            "in another letter case",
        ),
        (
            r#"{"a":"token","tokens":"kept"}"#,
            &["\"a\":\"token\"", "\"tokens\":\"kept\""],
            "neither a value nor another name",
        ),
    ] {
        for (content_type, chunked) in [
            (JSON, false),
            (JSON, true),
            ("application/json; charset=utf-8", false),
            ("Application/JSON", false),
        ] {
            let request = keybearer.post("/json/x");
            let request = match chunked {
                true => request.chunks(content_type, &[&sent[..1], &sent[1..]]),
                false => request.body(content_type, sent),
            };
            let response = request.send().await;
            assert_eq!(response.status, 200, "{why}: {}", response.text());
            let seen = upstream.last();
            let text = seen.text();
            assert!(!text.contains("mine"), "{why}: {text}");
            for kept in kept {
                assert!(text.contains(kept), "{why}: {kept} is not in {text}");
            }
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(value["token"], SECRET, "{why}");
            assert_eq!(seen.header("content-type"), Some(content_type));
        }
    }
}

#[tokio::test]
async fn a_member_is_replaced_in_every_spelling_of_its_name() {
    let upstream = Upstream::start().await;
    let auth = "auth = { type = \"custom\", json = { api_key = \"ours\" } }";
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), auth)).await;
    let sent = r#"{"api-key":"mine","API_KEY":"mine","Api\u002dKey":"mine","apikey":"kept"}"#;
    keybearer.post("/p/x").body(JSON, sent).send().await;
    assert_eq!(
        upstream.last().text(),
        r#"{"apikey":"kept","api_key":"ours"}"#
    );
}

#[tokio::test]
async fn our_name_stands_once_in_the_object() {
    let (upstream, keybearer) = pair("").await;
    let sent = r#"{"token":1,"a":2,"token":3}"#;
    keybearer.post("/json/x").body(JSON, sent).send().await;
    assert_eq!(upstream.last().text().matches("\"token\"").count(), 1);
}

#[tokio::test]
async fn content_that_cannot_be_merged_into_is_refused() {
    let (upstream, keybearer) = pair("").await;
    let malformed = (400, "content-malformed");
    let unsupported = (415, "unsupported-content");
    for (prefix, content_type, body, (status, slug), why) in [
        ("/json", JSON, "{\"a\":", malformed, "cut"),
        ("/json", JSON, "[1]", malformed, "no object"),
        (
            "/json",
            JSON,
            "{\"a\":1} x",
            malformed,
            "more behind the object",
        ),
        ("/json", JSON, "{\"a\":1,}", malformed, "a comma too many"),
        ("/json", JSON, "{'a':1}", malformed, "another quote"),
        (
            "/json",
            JSON,
            "{\"a\":\"\u{1}\"}",
            malformed,
            "a raw control character",
        ),
        ("/json", "text/plain", "{}", unsupported, "another type"),
        ("/json", FORM, "a=1", unsupported, "a form"),
        ("/form", JSON, "{}", unsupported, "no form"),
        (
            "/form",
            "multipart/form-data; boundary=x",
            "--x--",
            unsupported,
            "another kind of form",
        ),
    ] {
        let request = keybearer.post(&format!("{prefix}/x"));
        let response = request.body(content_type, body).send().await;
        assert_eq!(response.status, status, "{why}: {}", response.text());
        response.problem(status, slug, "http_request_error");
    }
    let request = keybearer.post("/json/x").header("Content-Encoding", "gzip");
    let response = request.body(JSON, "{}").send().await;
    response.problem(415, "unsupported-content", "http_request_error");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn content_over_what_is_held_is_refused() {
    let (upstream, keybearer) = pair("limits = { signed_body = \"1KiB\" }").await;
    let object = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    let (fits, long) = (object(1024), object(1025));
    for request in [
        keybearer.post("/json/x").body(JSON, &fits),
        keybearer.post("/json/x").chunks(JSON, &[&fits]),
    ] {
        assert_eq!(request.send().await.status, 200);
    }
    upstream.take();
    for request in [
        keybearer.post("/json/x").body(JSON, &long),
        keybearer.post("/json/x").chunks(JSON, &[&long]),
    ] {
        let response = request.send().await;
        let detail = response.problem(413, "content-too-large", "http_request_error");
        assert!(detail.contains("signed_body"), "what to change: {detail}");
    }
    assert_eq!(upstream.count(), 0);
}

/// More than all buffers between two ends hold, several times.
fn long_form() -> String {
    format!("a={}", "x".repeat(30 << 20))
}

const HOLDS_IT: &str = "limits = { signed_body = \"32MiB\" }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_takes_content_steadily_may_take_long() {
    const PIECES: usize = 30;
    let timeouts = "timeouts = { read = \"1500ms\", write = \"1500ms\" }";
    let (upstream, keybearer) = pair(&format!("{timeouts}\n{HOLDS_IT}")).await;
    let gate = Gate::new();
    let slowly = [Step::Wait(gate.clone()), Step::Take(600_000)];
    let mut steps: Vec<_> = std::iter::repeat_n(slowly, PIECES).flatten().collect();
    steps.push(Step::ReadAndForget);
    steps.push(Step::Send(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
    ));
    upstream.on("/base/x", Answer(steps));
    let request = keybearer.post("/form/x").body(FORM, long_form());
    let answered = tokio::spawn(async move { request.send().await.status });
    upstream.wait_for_requests(1).await;
    // Twice as long as a stall may last, in pieces that are each far shorter.
    for _ in 0..PIECES {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open();
    }
    assert_eq!(answered.await.unwrap(), 200);
    assert!(upstream.last().complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_takes_no_more_content_times_out() {
    let timeouts = "timeouts = { write = \"300ms\" }";
    let (upstream, keybearer) = pair(&format!("{timeouts}\n{HOLDS_IT}")).await;
    upstream.on("/base/x", Answer(vec![Step::Wait(Gate::new())]));
    let request = keybearer.post("/form/x").body(FORM, long_form());
    let response = request.send().await;
    response.problem(504, "write-timeout", "connection_write_timeout");
}
