//! The trace that a caller is in, and what upstreams are told of it.

use super::{PARENT, TRACE, logged, only, told, traceparent, tracing};
use crate::aws::{REGION, ours, signing};
use crate::harness::aws::Verifier;
use crate::harness::{Answer, Collector, Keybearer, Upstream, connection};

#[tokio::test]
async fn the_callers_trace_is_continued() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    let request = keybearer
        .get("/api/")
        .header("traceparent", &traceparent("01"));
    let request = request
        .header("tracestate", "a=1")
        .header("tracestate", "b=2");
    request.send().await;
    let spans = collector.exactly(2).await;
    let (server, client) = (
        only(&spans, "SERVER", "GET /api"),
        only(&spans, "CLIENT", "GET"),
    );
    assert_eq!((&*server.trace, &*server.parent), (TRACE, PARENT));
    assert_eq!((&*client.trace, &client.parent), (TRACE, &server.id));
    assert_eq!(server.span.trace_state, "a=1,b=2");
    // Known, and another process': https://opentelemetry.io/docs/specs/otlp/.
    assert_eq!((server.span.flags, client.span.flags), (0x301, 0x101));
    let request = &upstream.requests()[0];
    assert_eq!(told(request), ["00", TRACE, &client.id, "01"]);
    assert_eq!(request.head.all("tracestate"), ["a=1", "b=2"]);
}

/// Also where nothing comes of it, or the caller takes the fields to be for the next hop alone.
#[tokio::test]
async fn the_callers_trace_is_continued_whatever_becomes_of_the_request() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let tables = connection("api", &upstream.url(""), "allow = { methods = [\"GET\"] }")
        + &collector.table("sample = 0");
    let keybearer = Keybearer::start(&tables).await;
    let hop = ("connection", "traceparent, tracestate");
    for (method, path, field, status) in [
        ("GET", "/nowhere", ("accept", "*/*"), 404),
        ("POST", "/api/", ("accept", "*/*"), 403),
        ("GET", "/nowhere", hop, 404),
        ("GET", "/api/", hop, 200),
    ] {
        let request = keybearer.request(method, path).header(field.0, field.1);
        let request = request.header("traceparent", &traceparent("01"));
        let response = request.header("tracestate", "a=1").send().await;
        assert_eq!(response.status, status, "{method} {path}");
        let spans = collector.exactly(if status == 200 { 2 } else { 1 }).await;
        let server = &spans[0];
        assert_eq!((&*server.trace, &*server.parent), (TRACE, PARENT), "{path}");
        assert_eq!(server.span.trace_state, "a=1", "{path}");
        let line = keybearer.logged(&[path, &server.id]).await;
        assert_eq!(logged(&line).0, TRACE);
        collector.0.take();
    }
    let request = &upstream.requests()[0];
    assert_eq!(told(request)[1], TRACE);
    assert_eq!(request.header("tracestate"), None, "it was for us");
}

#[tokio::test]
async fn a_state_that_is_no_text_spoils_no_message() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    for state in ["a=\u{e9}".to_owned(), format!("a={}", "x".repeat(512))] {
        let request = keybearer
            .get("/api/")
            .header("traceparent", &traceparent("01"));
        let response = request.header("tracestate", &state).send().await;
        assert_eq!(response.status, 200);
    }
    let spans = collector.exactly(4).await;
    for span in &spans {
        assert_eq!((&*span.trace, &*span.span.trace_state), (TRACE, ""));
    }
}

#[tokio::test]
async fn what_the_caller_does_not_record_is_not_exported_but_passed_on() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    let unsampled = keybearer
        .get("/api/quiet")
        .header("traceparent", &traceparent("00"));
    unsampled.send().await;
    // What follows is exported, and so would have been what came before.
    keybearer.get("/api/loud").send().await;
    let spans = collector.exactly(2).await;
    assert!(spans.iter().all(|span| span.trace != TRACE), "{spans:#?}");
    let told = told(&upstream.requests()[0]).map(str::to_owned);
    assert_eq!((&*told[1], &*told[3]), (TRACE, "00"));
    assert_ne!(told[2], PARENT, "it is a span of ours that asks");
    let line = keybearer.logged(&["/api/quiet"]).await;
    assert_eq!(logged(&line).0, TRACE);
}

#[tokio::test]
async fn what_is_malformed_begins_a_new_trace() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    let twice = [traceparent("01"), traceparent("01")];
    for (count, fields) in [
        vec![format!("00-{TRACE}-{PARENT}-1")],
        vec![traceparent("01").to_uppercase()],
        twice.to_vec(),
        vec![],
    ]
    .iter()
    .enumerate()
    {
        let mut request = keybearer.get("/api/").header("tracestate", "a=1");
        for field in fields {
            request = request.header("traceparent", field);
        }
        request.send().await;
        let requests = upstream.requests();
        let request = requests.last().unwrap();
        assert_ne!(told(request)[1], TRACE, "{fields:?}");
        assert_eq!(request.header("tracestate"), None, "{fields:?}");
        let spans = collector.exactly(2 * (count + 1)).await;
        assert!(spans.iter().all(|span| span.trace != TRACE), "{fields:?}");
    }
}

#[tokio::test]
async fn nothing_is_touched_where_nothing_is_traced() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&connection("api", &upstream.url(""), "")).await;
    for field in ["whatever", &traceparent("01")] {
        let request = keybearer.get("/api/").header("traceparent", field);
        let request = request
            .header("traceparent", "twice")
            .header("tracestate", "a=1");
        request.send().await;
        let requests = upstream.take();
        assert_eq!(requests[0].head.all("traceparent"), [field, "twice"]);
        assert_eq!(requests[0].head.all("tracestate"), ["a=1"]);
    }
    assert!(!keybearer.log().contains("trace_id"));
}

#[tokio::test]
async fn an_upstream_that_is_to_know_nothing_is_told_nothing() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let strip = "strip = { headers = [\"traceparent\", \"tracestate\"] }";
    let tables = connection("api", &upstream.url(""), strip) + &collector.table("");
    let keybearer = Keybearer::start(&tables).await;
    let request = keybearer
        .get("/api/")
        .header("traceparent", &traceparent("01"));
    request.header("tracestate", "a=1").send().await;
    let request = &upstream.requests()[0];
    assert_eq!(request.header("traceparent"), None);
    assert_eq!(request.header("tracestate"), None);
    let spans = collector.exactly(2).await;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
}

#[tokio::test]
async fn of_traces_that_begin_here_a_share_is_exported() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let tables = connection("api", &upstream.url(""), "") + &collector.table("sample = 0");
    let keybearer = Keybearer::start(&tables).await;
    keybearer.get("/api/none").send().await;
    assert_eq!(told(&upstream.requests()[0])[3], "00");
    let request = keybearer
        .get("/api/callers")
        .header("traceparent", &traceparent("01"));
    request.send().await;
    let spans = collector.exactly(2).await;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
}

/// Each attempt is told of a span of its own, and signed.
#[tokio::test]
async fn a_signature_holds_whatever_is_told_of_a_trace() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    upstream.on_each("/x", [Answer::silence(), Answer::ok("ok")]);
    let keys = ours();
    let table = signing("p", &upstream.url(""), "execute-api", &keys, "") + &collector.table("");
    let keybearer = Keybearer::start(&table).await;
    let request = keybearer
        .get("/p/x")
        .header("traceparent", &traceparent("01"));
    assert_eq!(request.send().await.status, 200);
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    let verifier = Verifier::new("execute-api", REGION, &[&keys]);
    verifier.accept(&requests).await;
    let spans = collector.exactly(3).await;
    for (request, span) in requests.iter().zip(&spans[1..]) {
        assert_eq!(told(request), ["00", TRACE, &span.id, "01"]);
    }
}
