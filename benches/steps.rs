//! The steps of a request by themselves: what keybearer adds to hyper's work.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "steps/framing.rs"]
mod framing;
#[path = "steps/signing.rs"]
mod signing;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request};
use keybearer::auth::Authenticator;
use keybearer::config::source::{Location, Process};
use keybearer::config::{self, Config};
use keybearer::connection::url::Prefix;
use keybearer::request::guard::{self, Guard, HostName};
use keybearer::request::route::Routes;
use keybearer::request::strip::Strip;
use keybearer::request::{answer, pin};

/// A head as a browser sends it, with credentials of its own.
fn head() -> Parts {
    let fields = [
        ("host", "localhost:8080"),
        ("connection", "keep-alive"),
        (
            "sec-ch-ua",
            "\"Chromium\";v=\"156\", \"Not)A;Brand\";v=\"24\"",
        ),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Linux\""),
        ("upgrade-insecure-requests", "1"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        ),
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
        ("sec-fetch-dest", "document"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-US,en;q=0.9,de;q=0.8"),
        ("authorization", "Bearer mine"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
    ];
    let request =
        Request::builder().uri("/jira/issue/ABC-123?fields=summary%2Cstatus&expand=names");
    let request = fields.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    request.body(()).unwrap().into_parts().0
}

fn configuration() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keybearer.toml");
    let text = r#"
        [connections.jira]
        base_url = "https://example.atlassian.net/rest/api/3"
        auth = { type = "basic", username = "me@example.com", password = "secret" }
    "#;
    std::fs::write(&path, text).unwrap();
    config::load(&Location::File(path), &Process)
        .result
        .unwrap()
}

fn routes(count: usize) -> Routes<usize> {
    let mut routes = Routes::default();
    for index in 1..count {
        routes.insert_prefix(&Prefix::parse(&format!("/api-{index}")).unwrap(), index);
    }
    routes.insert_prefix(&Prefix::parse("/jira").unwrap(), 0);
    routes
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for count in [1, 10_000] {
        let routes = routes(count);
        group.bench_function(format!("{count} connections"), |bencher| {
            bencher.iter(|| {
                routes
                    .by_path(black_box("/jira/issue/ABC-123"))
                    .unwrap()
                    .prefix_len
            });
        });
    }
    group.finish();
}

fn request(criterion: &mut Criterion) {
    let config = configuration();
    let connection = &config.connections[0];
    let routes = routes(1);
    let guards = Guard::new(Some(vec!["localhost".into()]), Vec::new());
    let strip = Strip::new(connection);
    let authenticator = Authenticator::fixed(&connection.auth).unwrap();
    let host = connection.base_url.host_field();
    let mut scratch = BytesMut::with_capacity(4096);

    let mut group = criterion.benchmark_group("steps");
    group.bench_function("guard", |bencher| {
        let head = head();
        bencher.iter(|| {
            let HostName(name) = guard::message(black_box(&head)).unwrap();
            guards.host(HostName(name), None).unwrap();
            guards.origin(&head.headers).unwrap().is_none()
        });
    });
    group.bench_function("guard, route, pin, strip, inject", |bencher| {
        bencher.iter_batched_ref(
            head,
            |head| {
                let name = guard::message(head).unwrap();
                guards.host(name, None).unwrap();
                guards.origin(&head.headers).unwrap();
                let path = head.uri.path();
                pin::check_path(path).unwrap();
                let rest = &path[routes.by_path(path).unwrap().prefix_len..];
                let prepared = authenticator.ready().unwrap();
                let query = head.uri.query().map(|query| strip.query(query));
                let base = &connection.base_url;
                head.uri = pin::join(base, rest, query.as_deref(), prepared.query(), &mut scratch)
                    .unwrap();
                strip.head(&mut head.headers, |_| true);
                head.headers.insert(http::header::HOST, host.clone());
                prepared.apply(&mut head.headers);
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("answer", |bencher| {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-length", "1024"),
            ("date", "Sun, 22 Nov 2026 12:00:00 GMT"),
            ("server", "nginx"),
            ("connection", "keep-alive"),
            ("set-cookie", "a=b"),
            ("vary", "Accept-Encoding"),
            ("x-request-id", "0123456789abcdef"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        bencher.iter_batched_ref(
            || fields.clone(),
            |fields| {
                answer::strip(fields, connection.cookies);
                answer::relocate(fields, connection, "/jira");
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, route, request, signing::sign, framing::aws_chunked);
criterion_main!(benches);
