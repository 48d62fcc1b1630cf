//! The authorization server does what tests of OAuth 2.0 take for granted.

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::assertion::sign;
use super::{
    AuthorizationServer, AuthorizationSettings, JWT_BEARER, Mode, OAuthClient, RawClient, Request,
    Response, TokenRequest, base64, eventually,
};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[tokio::test]
async fn clients_authenticate_in_every_way() {
    let settings =
        AuthorizationSettings::with(OAuthClient::basic("b c", "s+ %41:").client_credentials())
            .client(OAuthClient::post("post", "hidden").client_credentials())
            .scopes(&["read"]);
    let algorithms = ["ES256", "RS256", "PS256", "EdDSA"];
    let signing = |settings: AuthorizationSettings, algorithm: &&str| {
        settings.client(OAuthClient::private_key_jwt(algorithm, algorithm).client_credentials())
    };
    let server = AuthorizationServer::start(algorithms.iter().fold(settings, signing)).await;
    let grant = ("grant_type", "client_credentials");

    let ours = format!("Basic {}", base64("b%20c:s%2B%20%2541%3A"));
    let basic = [("Authorization", ours.as_str())];
    let url = server.token_url();
    let response = server.post(&url, &[grant, ("scope", "read")], &basic).await;
    assert_eq!(taken(&response)["scope"], "read");
    let post = [grant, ("client_id", "post"), ("client_secret", "hidden")];
    taken(&server.post(&url, &post, &[]).await);
    for algorithm in algorithms {
        let now = now();
        let claims = json!({
            "iss": algorithm, "sub": algorithm, "aud": url, "exp": now + 60, "iat": now, "jti": "1",
        });
        let assertion = sign(algorithm, server.private_key(algorithm), &claims);
        let form = [
            grant,
            ("client_assertion_type", ASSERTION),
            ("client_assertion", &assertion),
        ];
        taken(&server.post(&url, &form, &[]).await);
        refused(&server.post(&url, &form, &[]).await, "invalid_client");
    }
    let wrong = [grant, ("client_id", "post"), ("client_secret", "wrong")];
    refused(&server.post(&url, &wrong, &[]).await, "invalid_client");

    let log = server.token_requests("client_credentials").await;
    let first = &log[0];
    assert_eq!(first.client_id.as_deref(), Some("b c"));
    assert_eq!(first.parameters, ["grant_type", "scope"]);
    assert_eq!(first.scope.as_deref(), Some("read"));
    let ways: Vec<_> = log
        .iter()
        .map(|request| request.client_auth.as_str())
        .collect();
    assert_eq!(ways[..3], ["basic", "post", "private_key_jwt"]);
    let said = format!("{log:?}");
    assert!(
        !said.contains("s+ %41") && !said.contains("hidden") && !said.contains("eyJ"),
        "{said}"
    );
}

#[tokio::test]
async fn tokens_are_checked_by_the_resource_server_and_can_be_withdrawn() {
    let client = OAuthClient::post("id", "secret").client_credentials();
    let settings = AuthorizationSettings::with(client)
        .scopes(&["read"])
        .resources(&["https://api.example"]);
    let server = AuthorizationServer::start(settings).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "id"),
        ("client_secret", "secret"),
        ("scope", "read"),
        ("resource", "https://api.example"),
        ("audience", "ignored"),
    ];
    let answer = taken(&server.post(&server.token_url(), &form, &[]).await);
    let token = text(&answer, "access_token");
    let response = server.call("/a?b=c", &token).await;
    assert_eq!(response.status, 200, "{response:?}");
    let seen = response.json();
    assert_eq!(seen["target"], "/a?b=c");
    assert_eq!(
        (&seen["client_id"], &seen["scope"]),
        (&json!("id"), &json!("read"))
    );
    assert_eq!(seen["aud"], "https://api.example");
    assert_eq!(seen["token_sha256"], hex_sha256(&token));

    assert_eq!(server.revoke_access_tokens().await, 1);
    let response = server.call("/", &token).await;
    assert_eq!(response.status, 401);
    let challenge = response.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(server.resource_requests().await, (1, 1));

    let unknown = [&form[..4], &[("resource", "https://other.example")]].concat();
    refused(
        &server.post(&server.token_url(), &unknown, &[]).await,
        "invalid_target",
    );
    let log = server.log().await;
    assert_eq!(log[0].resource.as_deref(), Some("https://api.example"));
    assert_eq!(log[0].audience.as_deref(), Some("ignored"));
    assert_eq!(
        (log[1].status, log[1].error.as_deref()),
        (Some(400), Some("invalid_target"))
    );
}

#[tokio::test]
async fn tokens_end_when_they_say_and_refusals_look_as_wanted() {
    let client = OAuthClient::post("id", "secret").client_credentials();
    let settings = AuthorizationSettings::with(client)
        .access_token_lifetime(2)
        .refusal(403, "text/plain", "token expired");
    let server = AuthorizationServer::start(settings).await;
    let answer = taken(&credentials(&server).await);
    assert_eq!(answer["expires_in"], 2);
    let token = text(&answer, "access_token");
    let refusal = eventually("the token's end", async || {
        let response = server.call("/", &token).await;
        (response.status != 200).then_some(response)
    });
    let refusal = refusal.await;
    assert_eq!(
        (refusal.status, refusal.text().as_str()),
        (403, "token expired")
    );
}

#[tokio::test]
async fn an_assertion_gets_a_token() {
    let issuer = "robot@project.example";
    let client = OAuthClient::jwt_bearer(issuer, "RS256");
    let settings = AuthorizationSettings::with(client).scopes(&["read"]);
    let server = AuthorizationServer::start(settings).await;
    let claims = |issuer: &str, lifetime: i64| {
        json!({
            "iss": issuer, "sub": "someone", "aud": server.token_url(), "scope": "read",
            "exp": i64::try_from(now()).unwrap() + lifetime,
        })
    };
    let key = server.private_key(issuer);
    let bear = async |claims: &Value| {
        let assertion = sign("RS256", key, claims);
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        server.post(&server.token_url(), &form, &[]).await
    };
    let answer = taken(&bear(&claims(issuer, 60)).await);
    let seen = server
        .call("/", &text(&answer, "access_token"))
        .await
        .json();
    assert_eq!(
        (&seen["sub"], &seen["scope"]),
        (&json!("someone"), &json!("read"))
    );
    refused(&bear(&claims(issuer, -60)).await, "invalid_grant");
    refused(&bear(&claims("stranger", 60)).await, "invalid_client");
    assert_eq!(server.token_requests(JWT_BEARER).await.len(), 3);
    assert_eq!(server.requests_to("/token").await, 3);
}

#[tokio::test]
async fn the_token_endpoint_misbehaves_as_told() {
    let client = OAuthClient::post("id", "secret").client_credentials();
    let mut server = AuthorizationServer::start(AuthorizationSettings::with(client)).await;
    let refuse = Mode::refuse().error("slow_down").retry_after("7");
    server.set_mode(refuse.times(1)).await;
    let response = credentials(&server).await;
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("7"))
    );
    assert_eq!(response.json()["error"], "slow_down");
    taken(&credentials(&server).await);

    server.set_mode(Mode::close().grant("refresh_token")).await;
    taken(&credentials(&server).await);
    for (mode, outcome) in [(Mode::close(), "closed"), (Mode::lose(), "issued")] {
        server.set_mode(mode).await;
        let mut client = ask(&server).await;
        assert!(client.try_response_to("POST").await.is_none(), "{outcome}");
        assert_eq!(last(&server).await.outcome, outcome);
    }
    assert!(last(&server).await.lost);

    server.set_mode(Mode::hang()).await;
    let client = ask(&server).await;
    let log = server
        .wait_for_token_requests("client_credentials", 6)
        .await;
    assert_eq!((log[5].outcome.as_str(), log[5].ended), ("hung", None));
    drop(client);
    let given_up = async || last(&server).await.ended;
    eventually("the hung request's end", given_up).await;

    server.set_mode(Mode::hold()).await;
    let mut clients = [ask(&server).await, ask(&server).await];
    let log = server
        .wait_for_token_requests("client_credentials", 8)
        .await;
    assert_eq!([&*log[6].outcome, &*log[7].outcome], ["held", "held"]);
    server.set_mode(Mode::up()).await;
    for client in &mut clients {
        taken(&client.response_to("POST").await);
    }
    let log = server.log().await;
    assert_eq!([&*log[6].outcome, &*log[7].outcome], ["issued", "issued"]);
    assert!(log[6].overlaps(&log[7]) && !log[0].overlaps(&log[1]));

    let address = server.issuer().trim_start_matches("http://").to_owned();
    server.kill().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

const CREDENTIALS: &str = "grant_type=client_credentials&client_id=id&client_secret=secret";

async fn credentials(server: &AuthorizationServer) -> Response {
    ask(server).await.response_to("POST").await
}

/// A connection on which a token was asked for.
async fn ask(server: &AuthorizationServer) -> RawClient {
    let address = server
        .issuer()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    let request = Request::new(address, "POST", "/token");
    let mut client = RawClient::connect(address).await;
    let request = request.body("application/x-www-form-urlencoded", CREDENTIALS);
    client.send(request.bytes()).await;
    client
}

async fn last(server: &AuthorizationServer) -> TokenRequest {
    server.log().await.pop().expect("a token request")
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

pub fn taken(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

pub fn refused(response: &Response, error: &str) {
    assert!((400..500).contains(&response.status), "{response:?}");
    assert_eq!(response.json()["error"], error, "{response:?}");
}

pub fn text(answer: &Value, member: &str) -> String {
    let text = answer[member].as_str();
    text.unwrap_or_else(|| panic!("no `{member}` in {answer}"))
        .to_owned()
}

pub fn hex_sha256(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
