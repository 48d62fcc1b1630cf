//! Random requests, signed here and by `aws_sigv4`: the signatures are equal.
//!
//! Left out is where that crate reads a request otherwise than the services do, or not at all:
//!
//! - Escapes in a query that are not UTF-8 (`%FF`): it replaces them by U+FFFD before it signs.
//! - Bytes outside of ASCII in a field, and tabs at the ends of one: it takes fields as text, and
//!   trims spaces only, where HTTP takes tabs away, too, before a server sees the value.
//! - Paths that S3 is sent as they came: by S3's rules the crate signs a path as it is given, without
//!   a look at how it is encoded, so it is given the target that is sent.
//! - Fields that it would sign and that are not signed here: it is not given them.

use std::borrow::Cow;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams,
    SigningSettings, UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use http::{Method, Uri};
use percent_encoding::percent_decode;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::auth::aws::sign::field;
use crate::auth::aws::sign::payload::PayloadHash;

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// What `aws_sigv4` signs.
fn theirs(
    s3: bool,
    token: Option<&str>,
    (method, uri): (&Method, &Uri),
    headers: &HeaderMap,
    payload: PayloadHash,
    time: SystemTime,
) -> String {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    if s3 {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    let token = token.map(str::to_owned);
    let identity = Credentials::new(ID, SECRET, token, None, "test").into();
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name(service(s3))
        .time(time)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let signed = headers.iter().filter(|(name, _)| field::is_signed(name));
    let fields = signed.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let body = match payload {
        PayloadHash::Empty => SignableBody::Bytes(&[]),
        PayloadHash::Unsigned => SignableBody::UnsignedPayload,
        PayloadHash::UnsignedTrailer => SignableBody::StreamingUnsignedPayloadTrailer,
        PayloadHash::Chunks { .. } => SignableBody::StreamingSignedPayloadTrailer,
        PayloadHash::Hash(hash) => {
            SignableBody::Precomputed(hash.iter().map(|byte| format!("{byte:02x}")).collect())
        }
    };
    let address = Cow::Owned(format!("https://host.example{uri}"));
    let request = SignableRequest::new(method.as_str(), address, fields, body).unwrap();
    let signed = aws_sigv4::http_request::sign(request, &params).unwrap();
    signed.into_parts().1
}

fn service(s3: bool) -> &'static str {
    if s3 { "s3" } else { "execute-api" }
}

fn ours(
    s3: bool,
    token: Option<&str>,
    (method, uri): (&Method, &Uri),
    headers: &HeaderMap,
    payload: PayloadHash,
    time: SystemTime,
) -> (Uri, String) {
    let signer = signer(service(s3), one("eu-west-1"), keys(ID, SECRET, token));
    let target = signer.target(uri.clone()).unwrap();
    let [sent, given] = [&target, uri].map(|uri| {
        let mut head = headers.clone();
        signer.sign(method, uri, &mut head, payload, time).unwrap();
        part(&head, "Signature=")
    });
    assert_eq!(
        sent, given,
        "{uri}: the target's form changes nothing in what is signed"
    );
    (target, sent)
}

fn paths() -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "/",
        "/",
        "//",
        "/./",
        "/../",
        "/..",
        "/.",
        ".",
        "..",
        "...",
        "a",
        "Z9",
        "-_~",
        "%20",
        "%2F",
        "%2f",
        "%7E",
        "%252F",
        "%C3%A4",
        "%c3%a4",
        "%ff",
        "%",
        "%z",
        "%2",
        "\u{e4}",
        "\u{1f600}",
        "+",
        ";",
        "=",
        "@",
        ":",
        "!",
        "$",
        "&",
        "'",
        "(",
        ")",
        "*",
        ",",
        "|",
        "\"",
        "{",
        "}",
    ]);
    proptest::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn queries() -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "&",
        "&",
        "&",
        "=",
        "=",
        "a",
        "a",
        "b",
        "B",
        "a-",
        "Z9",
        "-._~",
        "%20",
        "%2F",
        "%2f",
        "%7e",
        "%26",
        "%3D",
        "%252F",
        "%C3%A4",
        "%c3%a4",
        "%",
        "%z",
        "%2",
        "\u{e4}",
        "\u{1f600}",
        "+",
        "%2B",
        ";",
        "/",
        "?",
        "@",
        ":",
        "!",
        "$",
        "'",
        "(",
        ")",
        "*",
        ",",
        "[",
        "]",
        "|",
        "\\",
        "^",
        "`",
    ]);
    let query =
        proptest::collection::vec(pieces, 0..16).prop_map(|pieces| format!("?{}", pieces.concat()));
    prop_oneof![Just(String::new()), query]
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let names = select(vec![
        "x-amz-meta-a",
        "x-amz-meta-a",
        "x-amz-meta",
        "x-amz-acl",
        "range",
        "content-type",
        "accept",
        "content-md5",
        "date",
        "if-match",
        "x-custom",
        "user-agent",
        "connection",
        "cookie",
    ]);
    let field = (
        names,
        "([!-~][ -~\\t]{0,20}[!-~])?| {1,3}[a-z]( {1,4}[a-z\\t]{0,2}[a-z]){0,4} {0,3}",
    );
    proptest::collection::vec(field, 0..8)
}

fn payloads() -> impl Strategy<Value = PayloadHash> {
    prop_oneof![
        Just(PayloadHash::Empty),
        any::<[u8; 32]>().prop_map(PayloadHash::Hash),
        Just(PayloadHash::Unsigned),
        Just(PayloadHash::UnsignedTrailer),
        Just(PayloadHash::Chunks { trailer: true }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn signatures_are_equal(
        s3: bool,
        method in select(vec!["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "PURGE"]),
        path in paths(),
        query in queries(),
        fields in fields(),
        payload in payloads(),
        token in proptest::option::of("[A-Za-z0-9/+=]{1,40}"),
        seconds in 0u64..253_402_300_800,
    ) {
        // An escape may have come about from two pieces.
        prop_assume!(percent_decode(query.as_bytes()).decode_utf8().is_ok());
        let uri = Uri::try_from(path + &query).unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut head = headers(fields.iter().map(|(name, value)| (*name, value.as_str())));
        head.insert("host", HeaderValue::from_static("host.example"));
        let token = token.as_deref();
        let (target, ours) = ours(s3, token, (&method, &uri), &head, payload, at(seconds));
        let theirs = theirs(s3, token, (&method, &target), &head, payload, at(seconds));
        prop_assert_eq!(ours, theirs, "{}", target);
    }

    /// What a target decodes to is what the caller's does, and it is in its final form.
    #[test]
    fn targets_keep_their_meaning(s3: bool, path in paths(), query in queries()) {
        let uri = Uri::try_from(path + &query).unwrap();
        let signer = signer(service(s3), one("eu-west-1"), keys(ID, SECRET, None));
        let target = signer.target(uri.clone()).unwrap();
        prop_assert_eq!(signer.target(target.clone()).unwrap(), target.clone());
        let decode = |uri: &Uri| {
            let path: Vec<u8> = percent_decode(uri.path().as_bytes()).collect();
            let query = uri.query().unwrap_or_default().as_bytes();
            let pairs: Vec<_> = url::form_urlencoded::parse(query).into_owned().collect();
            (path, pairs)
        };
        prop_assert_eq!(decode(&uri), decode(&target));
    }
}
