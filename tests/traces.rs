//! Traces: what a collector of OpenTelemetry gets of requests and of renewals, read with the official
//! messages.

mod contexts;
mod export;
mod renewals;
mod spans;

use crate::harness::{Keybearer, Recorded, Span, Upstream, connection, traces};

/// A trace that a caller is in.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The caller's span in it.
const PARENT: &str = "00f067aa0ba902b7";

/// What the caller says of it.
fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// What an upstream was told, in its four parts.
fn told(request: &Recorded) -> [&str; 4] {
    let field = request.header("traceparent").unwrap();
    let parts: Vec<_> = field.split('-').collect();
    parts.try_into().unwrap()
}

/// The trace and the span of an access line.
fn logged(line: &str) -> (String, String) {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    (field("trace_id"), field("span_id"))
}

/// One of these spans is of this kind and name.
fn only<'s>(spans: &'s [Span], kind: &str, name: &str) -> &'s Span {
    let mut fitting = spans
        .iter()
        .filter(|it| it.kind == kind && it.span.name == name);
    let span = fitting.next();
    assert!(fitting.next().is_none(), "{kind} {name}: {spans:#?}");
    span.unwrap_or_else(|| panic!("{kind} {name}: {spans:#?}"))
}

/// A keybearer that traces to `endpoint`, with the connection `api` to this upstream.
async fn tracing(endpoint: &str, upstream: &Upstream) -> Keybearer {
    let tables = connection("api", &upstream.url("/base"), "retries = 2") + &traces(endpoint, "");
    Keybearer::start(&tables).await
}
