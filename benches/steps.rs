//! The steps of a request by themselves: what keybearer adds to hyper's work.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    self, PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::BytesMut;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use keybearer::auth::Authenticator;
use keybearer::auth::aws::keys::Keys;
use keybearer::auth::aws::payload::PayloadHash;
use keybearer::auth::aws::signer::Signer;
use keybearer::config::source::{Location, Process};
use keybearer::config::{self, Config};
use keybearer::connection::aws::{Aws, Payload, Region, Source};
use keybearer::connection::url::Prefix;
use keybearer::request::guard::{self, Guard, HostName};
use keybearer::request::route::Routes;
use keybearer::request::strip::Strip;
use keybearer::request::{answer, pin};
use keybearer::secret::{Origin, Secret};

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
                strip.head(&mut head.headers);
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

/// A GET of an S3 object as an SDK sends it, to be signed.
fn object() -> (Uri, HeaderMap) {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        ("host", "examplebucket.s3.eu-west-1.amazonaws.com"),
        ("user-agent", "Boto3/1.42 md/Botocore#1.42 ua/2.1 os/linux"),
        ("accept", "*/*"),
        ("x-amz-checksum-mode", "ENABLED"),
        ("range", "bytes=0-1048575"),
        (
            "amz-sdk-invocation-id",
            "0f7d1c36-67b2-4f3b-9f41-a4ad3a3d0c34",
        ),
        ("amz-sdk-request", "attempt=1"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    let uri = Uri::from_static("/reports/2026/11/summary.parquet?x-id=GetObject&partNumber=1");
    (uri, fields)
}

fn sign(criterion: &mut Criterion) {
    const ID: &str = "AKIAIOSFODNN7EXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let secret = |text: &str| Secret::new(text, Origin::Literal);
    let settings = Aws {
        kind: "aws_access_key",
        service: "s3".into(),
        region: Region::One("eu-west-1".into()),
        payload: Payload::Auto,
        source: Source::Default,
    };
    let keys = Keys {
        id: secret(ID),
        secret: secret(SECRET),
        session_token: None,
    };
    let signer = Signer::new(&settings, keys, Arc::default()).unwrap();
    let (uri, fields) = object();
    let day = Duration::from_secs(86_400);
    let now = UNIX_EPOCH + 20_000 * day;
    let sign = |head: &mut HeaderMap, now| {
        let target = signer.target(uri.clone()).unwrap();
        let payload = PayloadHash::Empty;
        signer
            .sign(&Method::GET, &target, head, payload, now)
            .unwrap();
    };

    let mut group = criterion.benchmark_group("sign");
    let copy = || fields.clone();
    group.bench_function("a GET", |bencher| {
        bencher.iter_batched_ref(copy, |head| sign(head, now), BatchSize::SmallInput);
    });
    group.bench_function("a GET on another day than the one before", |bencher| {
        let mut now = now;
        let each = |head: &mut HeaderMap| {
            now += day;
            sign(head, now);
        };
        bencher.iter_batched_ref(copy, each, BatchSize::SmallInput);
    });
    group.bench_function("a GET by aws-sigv4", |bencher| {
        let identity = Credentials::new(ID, SECRET, None, None, "bench").into();
        let each = |head: &mut HeaderMap| sign_by_crate(&identity, &uri, head, now);
        bencher.iter_batched_ref(copy, each, BatchSize::SmallInput);
    });
    group.bench_function("SHA-256 of 64 KiB", |bencher| {
        let content = vec![b'a'; 64 * 1024];
        bencher.iter(|| PayloadHash::of(black_box(&content)));
    });
    group.finish();
}

/// The same by the crate that the AWS SDK uses, by S3's rules too.
fn sign_by_crate(identity: &Identity, uri: &Uri, head: &mut HeaderMap, now: SystemTime) {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params = v4::SigningParams::builder()
        .identity(identity)
        .region("eu-west-1")
        .name("s3")
        .time(now)
        .settings(settings)
        .build()
        .unwrap();
    let params = params.into();
    let fields = head.iter();
    let fields = fields.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let uri = format!("https://examplebucket.s3.eu-west-1.amazonaws.com{uri}");
    let request = SignableRequest::new("GET", uri, fields, SignableBody::empty()).unwrap();
    let (signed, _) = http_request::sign(request, &params).unwrap().into_parts();
    for field in signed.into_parts().0 {
        let value = HeaderValue::try_from(field.value()).unwrap();
        head.insert(field.name(), value);
    }
}

criterion_group!(benches, route, request, sign);
criterion_main!(benches);
