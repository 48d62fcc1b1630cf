//! What the form makes in a person's browser is used: every type of credential reaches servers that
//! look at it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::aws::{Keys, Sts, Verifier};
use crate::harness::{
    Answer, AuthorizationServer, AuthorizationSettings, Keybearer, OAuthClient, Recorded, Upstream,
    Walk, base64,
};
use crate::linking;

/// In the environment of the instance that uses the configuration, and nowhere else.
const SECRET: &str = "canary-of-the-form-1f60";

/// Who the provider knows the private key by.
const ROBOT: &str = "robot@robots.example";

const REGION: &str = "eu-west-1";

/// The servers that the drafts lead to.
struct World {
    upstream: Upstream,
    server: AuthorizationServer,
    /// Answers below the paths of Microsoft's endpoints.
    microsoft: Upstream,
    sts: Sts,
}

impl World {
    async fn start() -> Self {
        let client = OAuthClient::basic("id", SECRET)
            .client_credentials()
            .authorization_code("/oauth/callback");
        let settings = AuthorizationSettings::with(client)
            .client(OAuthClient::jwt_bearer(ROBOT, "RS256"))
            .scopes(&["read"]);
        let microsoft = Upstream::start().await;
        let token = json!({
            "access_token": "of-microsoft", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r",
        });
        let content_type = "Content-Type: application/json\r\n";
        microsoft.on(
            "/contoso.example/oauth2/v2.0/token",
            Answer::sized("200 OK", content_type, &token.to_string()),
        );
        Self {
            upstream: Upstream::start().await,
            server: AuthorizationServer::start(settings).await,
            microsoft,
            sts: Sts::start::<3600>().await,
        }
    }

    /// A draft of every type, named as the type is.
    fn drafts(&self) -> Vec<Value> {
        let secret = json!({ "env": "SECRET" });
        let with = |kind: &str, auth: Value| {
            let mut auth = auth;
            auth["type"] = kind.into();
            let base_url = match kind.starts_with("oauth2_") {
                true => self.server.resource_url().to_owned(),
                false => self.upstream.url("/base"),
            };
            json!({ "name": kind, "base_url": base_url, "auth": auth })
        };
        let microsoft = json!({
            "tenant": "contoso.example", "client_id": "id", "client_secret": secret,
            "scopes": ["https://graph.example/.default"], "authority_host": self.microsoft.url(""),
        });
        let token_url = self.server.token_url();
        vec![
            with("none", json!({})),
            with(
                "basic",
                json!({ "username": "me@example.com", "password": secret }),
            ),
            with("bearer", json!({ "token": { "file": "token" } })),
            with(
                "header",
                json!({ "headers": { "X-Key": { "env": "SECRET", "format": "Token {}" }, "X-Tenant": "acme" } }),
            ),
            with("query", json!({ "params": { "api_key": secret } })),
            with(
                "custom",
                json!({
                    "headers": { "X-Key": secret }, "params": { "k": secret },
                    "basic": { "username": secret, "password": "" }, "form": { "pass word": secret },
                }),
            ),
            with(
                "oauth2_client_credentials",
                json!({
                    "token_url": token_url, "client_id": "id", "client_secret": secret, "scopes": ["read"],
                }),
            ),
            with(
                "oauth2_authorization_code",
                json!({
                    "authorization_url": self.server.authorization_url(), "token_url": token_url,
                    "client_id": "id", "client_secret": secret, "scopes": ["read"],
                }),
            ),
            with(
                "oauth2_jwt_bearer",
                json!({
                    "token_url": token_url, "issuer": ROBOT, "subject": "someone",
                    "private_key": { "file": "robot.pem" }, "scopes": ["read"],
                }),
            ),
            with("azure_client_credentials", microsoft.clone()),
            with("azure_authorization_code", microsoft),
            with(
                "aws_access_key",
                json!({
                    "access_key_id": { "env": "KEY_ID" }, "secret_access_key": secret,
                    "service": "execute-api", "region": REGION,
                }),
            ),
            with(
                "aws_iam_role",
                json!({
                    "role_arn": "arn:aws:iam::123456789012:role/app", "service": "s3", "region": REGION,
                    "sts_endpoint": self.sts.url(),
                    "source": { "access_key_id": { "env": "KEY_ID" }, "secret_access_key": secret },
                }),
            ),
        ]
    }
}

#[tokio::test]
async fn every_type_is_made_in_a_browser_and_its_toml_works() {
    let world = World::start().await;
    let form = Keybearer::start("").await;
    let drafts = world.drafts();
    let settings = json!({ "drafts": drafts });
    let (made, _) = Walk::begin(&form, "makes", settings).done().await;
    let made: BTreeMap<String, String> = serde_json::from_value(made).unwrap();
    assert_eq!(made.len(), 13, "every type: {made:?}");

    // As a person pastes it.
    let pasted: Vec<_> = made.into_values().collect();
    let setup = linking::setup()
        .tables(&pasted.join("\n"))
        .file("token", SECRET)
        .file("robot.pem", world.server.private_key(ROBOT))
        .env("SECRET", SECRET)
        .env("KEY_ID", &keys().id);
    let keybearer = setup.start().await;
    linking::link(&keybearer, "oauth2_authorization_code").await;
    consent_at_microsoft(&keybearer).await;

    let basic = |user: &str, password: &str| {
        Some(format!("Basic {}", base64(&format!("{user}:{password}"))))
    };
    for kind in ["none", "basic", "bearer", "header", "query"] {
        let seen = called(&keybearer, &world.upstream, kind).await;
        let authorization = match kind {
            "basic" => basic("me@example.com", SECRET),
            "bearer" => Some(format!("Bearer {SECRET}")),
            _ => None,
        };
        assert_eq!(
            seen.header("authorization"),
            authorization.as_deref(),
            "{kind}"
        );
        let key = format!("Token {SECRET}");
        let key = (kind == "header").then_some(&*key);
        assert_eq!(seen.header("x-key"), key, "{kind}");
        let query = format!("?api_key={SECRET}");
        let query = if kind == "query" { &query } else { "" };
        assert_eq!(seen.target(), format!("/base/x{query}"), "{kind}");
    }

    let call = keybearer.post("/custom/x");
    let call = call.body("application/x-www-form-urlencoded", "a=b");
    assert_eq!(call.send().await.status, 200);
    let seen = world.upstream.last();
    assert_eq!(seen.header("authorization"), basic(SECRET, "").as_deref());
    assert_eq!(seen.header("x-key"), Some(SECRET));
    assert_eq!(seen.target(), format!("/base/x?k={SECRET}"));
    assert_eq!(seen.text(), format!("a=b&pass%20word={SECRET}"));

    for (kind, who) in [
        ("oauth2_client_credentials", "id"),
        ("oauth2_authorization_code", "jane"),
        ("oauth2_jwt_bearer", "someone"),
    ] {
        let response = keybearer.get(&format!("/{kind}/x")).send().await;
        assert_eq!(response.status, 200, "{kind}: {response:?}");
        let seen = response.json();
        let seen = [&seen["sub"], &seen["client_id"]];
        assert!(seen.iter().any(|it| *it == who), "{kind}: {seen:?}");
    }
    for kind in ["azure_client_credentials", "azure_authorization_code"] {
        let seen = called(&keybearer, &world.upstream, kind).await;
        assert_eq!(seen.header("authorization"), Some("Bearer of-microsoft"));
    }

    let seen = called(&keybearer, &world.upstream, "aws_access_key").await;
    let verifier = Verifier::new("execute-api", REGION, &[&keys()]);
    verifier.accept_one(&seen).await;
    let seen = called(&keybearer, &world.upstream, "aws_iam_role").await;
    let session = seen.header("authorization").unwrap();
    let (_, id) = session.split_once("Credential=").unwrap();
    let session = Sts::keys(id.split('/').next().unwrap());
    let verifier = Verifier::new("s3", REGION, &[&session]);
    verifier.accept_one(&seen).await;
    assert_eq!(world.sts.asked().len(), 1);

    for log in [form.log(), keybearer.log()] {
        assert!(!log.contains(SECRET), "{log}");
    }
}

/// What arrived of a GET.
async fn called(keybearer: &Keybearer, upstream: &Upstream, name: &str) -> Recorded {
    let call = keybearer.get(&format!("/{name}/x"));
    let response = call.header("Authorization", "Bearer mine").send().await;
    assert_eq!(response.status, 200, "{name}: {response:?}");
    upstream.last()
}

/// Comes back from Microsoft's pages, which are nowhere but there.
async fn consent_at_microsoft(keybearer: &Keybearer) {
    let name = "azure_authorization_code";
    let url = linking::authorization_url(keybearer, name).await;
    let state = linking::parameter(&url, "state").unwrap();
    let back = format!("/oauth/callback?code=c0de&state={state}");
    let page = keybearer.ask("GET", &back).send().await;
    assert_eq!(page.status, 200, "{page:?}");
}

fn keys() -> Keys {
    Keys::new("AKIAOFTHEFORM", SECRET)
}
