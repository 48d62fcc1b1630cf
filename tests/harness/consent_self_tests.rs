//! People and browsers do at the authorization server what tests of consents take for granted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use url::Url;

use super::oauth_self_tests::{hex_sha256, refused, taken, text};
use super::{
    Answer, AuthorizationServer, AuthorizationSettings, Browser, DEVICE_CODE, OAuthClient, Person,
    Response, Upstream,
};

const VERIFIER: &str = "a-code-verifier-of-at-least-forty-three-characters";

#[tokio::test]
async fn a_consent_gives_refresh_tokens_that_rotate_and_a_reuse_ends_them_all() {
    let server = AuthorizationServer::start(personal()).await;
    let first = linked(&server).await;
    let second = taken(&refresh(&server, &first).await);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let token = text(&second, "access_token");
    let seen = server.call("/", &token).await.json();
    assert_eq!(
        (&seen["sub"], &seen["scope"]),
        (&json!("jane"), &json!("read"))
    );

    assert_eq!(server.revoke_access_tokens().await, 2);
    assert_eq!(server.call("/", &token).await.status, 401);
    let third = taken(&refresh(&server, &second).await);
    let newest = text(&third, "access_token");
    assert_eq!(server.call("/", &newest).await.status, 200);

    refused(&refresh(&server, &first).await, "invalid_grant");
    assert_eq!(server.reuses().await, 1);
    assert_eq!(server.call("/", &newest).await.status, 401);
    refused(&refresh(&server, &third).await, "invalid_grant");
    let log = server.token_requests("refresh_token").await;
    let shown = text(&first, "refresh_token");
    assert_eq!(log[0].refresh_token_sha256, Some(hex_sha256(&shown)));
    assert_eq!(
        log[2].error_detail.as_deref(),
        Some("refresh token already used")
    );
}

#[tokio::test]
async fn a_withdrawn_consent_ends_its_tokens() {
    let settings = personal().without_rotation().without_pkce();
    let server = AuthorizationServer::start(settings).await;
    let callback = "http://localhost:9/oauth/callback";
    let bare = authorization_url(&server)(callback).replace("code_challenge", "x");
    query(&Person::new("jane").authorize(&bare).await, "code");
    let first = linked(&server).await;
    let second = taken(&refresh(&server, &first).await);
    assert_eq!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(server.revoke_grants().await, 1);
    refused(&refresh(&server, &second).await, "invalid_grant");
    let token = text(&second, "access_token");
    assert_eq!(server.call("/", &token).await.status, 401);
}

#[tokio::test]
async fn a_code_is_bound_to_its_verifier_and_a_refusal_comes_back() {
    let server = AuthorizationServer::start(personal()).await;
    let (client, url) = (Upstream::start().await, authorization_url(&server));
    let callback = client.url("/oauth/callback");
    let mut person = Person::new("jane");
    let page = person.decline(&url(&callback)).await;
    assert_eq!((page.status, page.body.as_str()), (200, "ok"));
    assert_eq!(query(&page.url, "error"), "access_denied");
    assert_eq!(query(&page.url, "state"), "a state");

    let page = person.consent(&url(&callback)).await;
    assert_eq!((page.status, page.body.as_str()), (200, "ok"));
    assert_eq!(query(&page.url, "iss"), server.issuer());
    assert!(page.way.len() > 4, "sign-in and consent: {page:?}");
    assert!(client.last().target().contains("code="), "{page:?}");
    let wrong = exchange(&server, &page.url, &callback, &VERIFIER.to_uppercase()).await;
    refused(&wrong, "invalid_grant");

    let bare = url(&callback).replace("code_challenge", "x");
    let page = Person::new("jane").consent(&bare).await;
    assert_eq!(query(&page.url, "error"), "invalid_request");
    let log = server.token_requests("authorization_code").await;
    assert_eq!(log[0].redirect_uri, Some(callback));
    let elsewhere = Person::new("jane")
        .consent(&url("http://127.0.0.1/other"))
        .await;
    assert_eq!(elsewhere.status, 400, "{elsewhere:?}");
}

#[tokio::test]
async fn a_device_is_allowed_by_a_person() {
    let client = OAuthClient::public("tv").device_code();
    let settings = AuthorizationSettings::with(client).scopes(&["read"]);
    let server = AuthorizationServer::start(settings).await;
    let form = [("client_id", "tv"), ("scope", "read")];
    let url = server.device_authorization_url();
    let answer = taken(&server.post(&url, &form, &[]).await);
    let code = text(&answer, "device_code");
    let form = [
        ("grant_type", DEVICE_CODE),
        ("device_code", &code),
        ("client_id", "tv"),
    ];
    let poll = async || server.post(&server.token_url(), &form, &[]).await;
    refused(&poll().await, "authorization_pending");
    let url = text(&answer, "verification_uri_complete");
    let page = Person::new("jane").consent(&url).await;
    assert!(page.body.contains("Sign-in Success"), "{page:?}");
    let answer = taken(&poll().await);
    assert!(answer["refresh_token"].is_string());
}

#[tokio::test]
async fn a_browser_consents_and_comes_back() {
    let server = AuthorizationServer::start(personal()).await;
    let client = Upstream::start().await;
    let page = "Content-Type: text/html\r\n";
    let link = authorization_url(&server)(&client.url("/oauth/callback"));
    let link = format!("<a href=\"{}\">Link</a>", link.replace('&', "&amp;"));
    client.on(
        "/oauth/callback",
        Answer::sized("202 Accepted", page, "<p>welcome</p>"),
    );
    client.on("/", Answer::sized("200 OK", page, &link));
    let shown = Browser::click_and_consent(&client.url("/"), "a", "jane").await;
    assert_eq!((shown.status, shown.text.as_str()), (202, "welcome"));
    assert!(shown.errors.is_empty(), "{shown:?}");
    let (url, callback) = (
        Url::parse(&shown.url).unwrap(),
        client.url("/oauth/callback"),
    );
    let answer = taken(&exchange(&server, &url, &callback, VERIFIER).await);
    let seen = server
        .call("/", &text(&answer, "access_token"))
        .await
        .json();
    assert_eq!(seen["sub"], "jane");

    let url = authorization_url(&server)(&callback);
    let shown = Browser::consent(&url, "joe").await;
    assert_eq!((shown.status, shown.text.as_str()), (202, "welcome"));
}

/// A client that acts for people.
fn personal() -> AuthorizationSettings {
    let client = OAuthClient::post("id", "secret").authorization_code("/oauth/callback");
    AuthorizationSettings::with(client).scopes(&["read"])
}

/// Makes authorization URLs that lead to a callback.
fn authorization_url(server: &AuthorizationServer) -> impl Fn(&str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
    let endpoint = server.authorization_url();
    move |callback| {
        let parameters = [
            ("response_type", "code"),
            ("client_id", "id"),
            ("redirect_uri", callback),
            ("scope", "read"),
            ("state", "a state"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        Url::parse_with_params(&endpoint, parameters)
            .unwrap()
            .into()
    }
}

/// The tokens of a person who has consented.
async fn linked(server: &AuthorizationServer) -> Value {
    let callback = "http://127.0.0.1:9/oauth/callback";
    let url = authorization_url(server)(callback);
    let landed = Person::new("jane").authorize(&url).await;
    assert_eq!(query(&landed, "state"), "a state");
    taken(&exchange(server, &landed, callback, VERIFIER).await)
}

async fn exchange(
    server: &AuthorizationServer,
    landed: &Url,
    callback: &str,
    verifier: &str,
) -> Response {
    let code = query(landed, "code");
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", callback),
        ("code_verifier", verifier),
        ("client_id", "id"),
        ("client_secret", "secret"),
    ];
    server.post(&server.token_url(), &form, &[]).await
}

async fn refresh(server: &AuthorizationServer, tokens: &Value) -> Response {
    let token = text(tokens, "refresh_token");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str()),
        ("client_id", "id"),
        ("client_secret", "secret"),
    ];
    server.post(&server.token_url(), &form, &[]).await
}

fn query(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(key, _)| key == name);
    found
        .unwrap_or_else(|| panic!("no `{name}` in {url}"))
        .1
        .into_owned()
}
