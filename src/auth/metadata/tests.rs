use serde_json::{Value, json};

use super::*;
use crate::auth::testing::{Server, connection, response};

const LONG: Duration = Duration::from_secs(20);

/// A server with one document at one path, made for its own address.
async fn server(
    path: &'static str,
    document: impl Fn(&str) -> Value + Send + Sync + 'static,
) -> Server {
    Server::start(move |request| {
        if request.target != path {
            return response(404, "text/html", "<html>canary");
        }
        let host = request.headers["host"].to_str().unwrap();
        let content = document(&format!("http://{host}")).to_string();
        response(200, "application/json", &content)
    })
    .await
}

async fn found(issuer: &Url) -> Result<Metadata, TokenFault> {
    discover(&Upstreams::default(), &connection(), issuer, LONG).await
}

fn minimal(origin: &str, path: &str) -> Value {
    json!({"issuer": format!("{origin}{path}"), "token_endpoint": format!("{origin}/token")})
}

#[tokio::test]
async fn both_places_are_looked_at_in_their_order() {
    for (issuer, place) in [
        ("", "/.well-known/oauth-authorization-server"),
        ("", "/.well-known/openid-configuration"),
        (
            "/tenant/a",
            "/.well-known/oauth-authorization-server/tenant/a",
        ),
        ("/tenant/a", "/tenant/a/.well-known/openid-configuration"),
    ] {
        let server = server(place, move |origin| minimal(origin, issuer)).await;
        let url = server.url(issuer);
        let metadata = found(&url).await.unwrap();
        assert_eq!(
            *metadata.issuer,
            format!("http://{}{issuer}", server.address)
        );
        assert_eq!(metadata.token_endpoint, server.url("/token"));
        let asked = server.received();
        assert_eq!(asked.len(), 1 + usize::from(place.contains("openid")));
        assert_eq!(asked.last().unwrap().target, place);
    }
}

#[tokio::test]
async fn a_client_with_a_certificate_has_places_of_its_own() {
    const PLACE: &str = "/.well-known/oauth-authorization-server";
    let mtls = "https://mtls.as.example";
    for (aliases, token, device) in [
        (json!(null), Ok("/token"), Some(Ok("/device"))),
        (json!({}), Ok("/token"), Some(Ok("/device"))),
        (
            json!({"token_endpoint": format!("{mtls}/t"), "device_authorization_endpoint": format!("{mtls}/d"), "revocation_endpoint": 5}),
            Ok("https://mtls.as.example/t"),
            Some(Ok("https://mtls.as.example/d")),
        ),
        (
            json!({"token_endpoint": "http://as.example/t"}),
            Err(()),
            Some(Ok("/device")),
        ),
    ] {
        let server = server(PLACE, move |origin| {
            let mut document = minimal(origin, "");
            document["device_authorization_endpoint"] = json!(format!("{origin}/device"));
            document["mtls_endpoint_aliases"] = aliases.clone();
            document
        })
        .await;
        let metadata = found(&server.url("")).await.unwrap();
        // Others go where they went.
        assert_eq!(metadata.token_endpoint, server.url("/token"));
        let whole = |url: &str| match url.starts_with('/') {
            true => server.url(url).to_string(),
            false => url.to_owned(),
        };
        let told = |url: Result<Url, String>| url.map(|url| url.to_string());
        match (told(metadata.token_for_certificates()), token) {
            (Ok(url), Ok(token)) => assert_eq!(url, whole(token)),
            (Err(why), Err(())) => {
                assert!(
                    why.contains("mtls_endpoint_aliases.token_endpoint"),
                    "{why}"
                );
            }
            other => panic!("{other:?}"),
        }
        let found = metadata
            .device_for_certificates()
            .map(|url| told(url).map_err(drop));
        assert_eq!(
            found,
            device.map(|device: Result<&str, ()>| device.map(whole))
        );
    }
}

#[tokio::test]
async fn every_endpoint_is_told() {
    let server = server("/.well-known/oauth-authorization-server", |origin| {
        json!({
            "issuer": format!("{origin}/"),
            "token_endpoint": "https://as.example/token?p=1",
            "authorization_endpoint": "https://as.example/authorize",
            "device_authorization_endpoint": "http://localhost:8/device",
            "authorization_response_iss_parameter_supported": true,
            "revocation_endpoint": 5,
        })
    })
    .await;
    let metadata = found(&server.url("/")).await.unwrap();
    assert_eq!(*metadata.issuer, server.url("/").to_string());
    let texts = [
        Some(metadata.token_endpoint),
        metadata.authorization_endpoint,
        metadata.device_authorization_endpoint,
    ]
    .map(|url| url.unwrap().to_string());
    let expected = [
        "https://as.example/token?p=1",
        "https://as.example/authorize",
        "http://localhost:8/device",
    ];
    assert_eq!(texts, expected);
    assert!(metadata.iss_promised);
}

#[tokio::test]
async fn a_document_that_is_not_the_issuers_own_or_not_safe_is_refused() {
    type Change = fn(&mut Value, &str);
    let cases: [(Change, &str); 6] = [
        (
            |d, o| d["issuer"] = json!(format!("{o}/tenant/")),
            "its `issuer` is not",
        ),
        (
            |d, _| d["issuer"] = json!("https://evil.example/tenant"),
            "its `issuer` is not",
        ),
        (
            |d, _| d["token_endpoint"] = Value::Null,
            "names no `token_endpoint`",
        ),
        (
            |d, _| d["token_endpoint"] = json!("http://as.example/t"),
            "`token_endpoint` is not an `https://` URL",
        ),
        (
            |d, _| d["authorization_endpoint"] = json!("javascript:1"),
            "`authorization_endpoint` is not an",
        ),
        (
            |d, _| d["device_authorization_endpoint"] = json!("/d"),
            "is not a URL",
        ),
    ];
    for (change, words) in cases {
        let server = server(
            "/.well-known/oauth-authorization-server/tenant",
            move |origin| {
                let mut document = minimal(origin, "/tenant");
                change(&mut document, origin);
                document
            },
        )
        .await;
        let fault = found(&server.url("/tenant")).await.unwrap_err();
        assert!(fault.is_misconfigured(), "{fault}");
        assert!(fault.to_string().contains(words), "{fault}, not {words}");
    }
}

#[tokio::test]
async fn no_metadata_names_both_places_and_a_weak_moment_passes() {
    let nothing = server("/none", |_| Value::Null).await;
    let fault = found(&nothing.url("/t")).await.unwrap_err();
    let text = fault.to_string();
    assert!(fault.is_misconfigured(), "{text}");
    let first = format!(
        "authorization server metadata {}",
        nothing.url("/.well-known/oauth-authorization-server/t")
    );
    assert!(text.starts_with(&first), "{text}");
    assert!(text.contains("/t/.well-known/openid-configuration: it answered 404 with text/html"));
    assert!(!text.contains("canary"));

    let weak = Server::saying(503, "text/html", "").await;
    assert!(found(&weak.url("/")).await.unwrap_err().is_transient());
}

#[test]
fn only_tls_or_this_machine_is_trusted() {
    for (text, good) in [
        ("https://as.example/x", true),
        ("http://127.0.0.1:9/x", true),
        ("http://[::1]/x", true),
        ("http://localhost/x", true),
        ("http://as.localhost/x", true),
        ("http://localhost.example/x", false),
        ("http://10.0.0.1/x", false),
        ("https://u:p@as.example/x", false),
        ("ftp://127.0.0.1/x", false),
        ("file:///x", false),
        ("", false),
    ] {
        assert_eq!(trusted("x", text).is_ok(), good, "{text}");
    }
}
