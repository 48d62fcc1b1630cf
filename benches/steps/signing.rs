//! What a signature costs.

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
use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderValue, Method, Uri};
use keybearer::auth::aws::keys::Keys;
use keybearer::auth::aws::sign::payload::PayloadHash;
use keybearer::auth::aws::sign::signer::Signer;
use keybearer::connection::aws::{Aws, Payload, Region, Source};
use keybearer::secret::{Origin, Secret};

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

pub(crate) fn sign(criterion: &mut Criterion) {
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
