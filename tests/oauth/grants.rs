//! Every grant and every client authentication, against a certified authorization server and a
//! resource server that asks it about each token.

use super::{api, bearer, fine, form, link, machine, personal, shown, token, wait_for_state};
use crate::harness::{
    AuthorizationServer, AuthorizationSettings, JWT_BEARER, Keybearer, OAuthClient, Setup,
    TokenRequest, Upstream, base64, eventually,
};

const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

/// What a form and Basic authentication have to encode (RFC 6749 appendix A.2 has no more).
const SECRET: &str = "s+ %41:&=?/\"\\~";

/// `auth` of a client that needs nobody's consent.
fn client(server: &AuthorizationServer, id: &str, rest: &str) -> String {
    let url = server.token_url();
    format!(
        "type = \"oauth2_client_credentials\"\ntoken_url = \"{url}\"\nclient_id = \"{id}\"\n{rest}"
    )
}

/// `private_key` and what belongs to it.
fn key(id: &str, algorithm: &str) -> String {
    format!(
        "private_key = {{ file = \"{id}.pem\" }}\nkey_id = \"test-key\"\nalgorithm = \"{algorithm}\"\n"
    )
}

#[tokio::test]
async fn clients_authenticate_in_every_way() {
    let settings =
        AuthorizationSettings::with(OAuthClient::basic("b c+%", SECRET).client_credentials())
            .client(OAuthClient::post("post", SECRET).client_credentials())
            .client(OAuthClient::public("public").client_credentials())
            .scopes(&["read", "write"])
            .resources(&["https://api.example"]);
    let settings = ALGORITHMS.iter().fold(settings, |settings, algorithm| {
        settings.client(OAuthClient::private_key_jwt(algorithm, algorithm).client_credentials())
    });
    let server = AuthorizationServer::start(settings).await;
    let resource = server.resource_url();
    let secret = format!("client_secret = '{SECRET}'\n");
    let wanted = "scopes = [\"read\", \"write\"]\nresource = \"https://api.example\"\n";
    let mut setup = Setup::new()
        .tables(&api(
            "basic",
            resource,
            &client(&server, "b c+%", &(secret.clone() + wanted)),
            "",
        ))
        .tables(&api(
            "post",
            resource,
            &client(&server, "post", &(secret + "client_auth = \"post\"")),
            "",
        ))
        .tables(&api(
            "none",
            resource,
            &client(&server, "public", "client_auth = \"none\""),
            "",
        ));
    for algorithm in ALGORITHMS {
        let auth = format!(
            "client_auth = \"private_key_jwt\"\n{}",
            key(algorithm, algorithm)
        );
        setup = setup
            .file(&format!("{algorithm}.pem"), server.private_key(algorithm))
            .tables(&api(
                algorithm,
                resource,
                &client(&server, algorithm, &auth),
                "",
            ));
    }
    let keybearer = setup.start().await;

    for (name, id) in [("basic", "b c+%"), ("post", "post"), ("none", "public")]
        .into_iter()
        .chain(ALGORITHMS.map(|algorithm| (algorithm, algorithm)))
    {
        let seen = fine(keybearer.get(&format!("/{name}/a?b=c"))).await.json();
        assert_eq!(
            (&seen["client_id"], &seen["target"]),
            (&id.into(), &"/a?b=c".into())
        );
        if name == "basic" {
            assert_eq!(seen["scope"], "read write");
            assert_eq!(seen["aud"], "https://api.example");
        }
    }
    let log = server.token_requests("client_credentials").await;
    let way = |id: &str| {
        let of = |request: &&TokenRequest| request.client_id.as_deref() == Some(id);
        let all: Vec<_> = log.iter().filter(of).collect();
        assert_eq!(all.len(), 1, "{id}: {all:?}");
        all[0].client_auth.clone()
    };
    assert_eq!(
        [way("b c+%"), way("post"), way("public")],
        ["basic", "post", "none"]
    );
    assert_eq!(ALGORITHMS.map(way), ["private_key_jwt"; 4]);
    let said = keybearer.log();
    assert!(!said.contains("s+ %41") && !said.contains("eyJ"), "{said}");
}

fn consenting() -> AuthorizationSettings {
    let client = OAuthClient::basic("app", SECRET).authorization_code("/oauth/callback");
    AuthorizationSettings::with(client).scopes(&["read"])
}

#[tokio::test]
async fn a_person_links_and_the_grant_is_kept_fresh() {
    let server = AuthorizationServer::start(consenting().access_token_lifetime(4)).await;
    let keys = format!("client_secret = '{SECRET}'\nscopes = [\"read\"]\n");
    let auth = personal(&server, "app", &keys);
    let keybearer = Keybearer::start(&api("p", server.resource_url(), &auth, "")).await;
    wait_for_state(&keybearer, "p", "not_linked").await;
    let refused = keybearer.get("/p/x").send().await;
    let detail = refused.problem(503, "not-linked", "proxy_configuration_error");
    assert!(detail.contains("keybearer link p"), "{detail}");
    assert_eq!(refused.json()["credential_state"], "not_linked");
    let page = refused.json()["link"].as_str().unwrap().to_owned();
    assert!(page.ends_with("/link/p"), "{page}");

    let page = link(&keybearer, "p", "jane").await;
    assert_eq!(page.status, 200, "{page:?}");
    let seen = fine(keybearer.get("/p/x")).await.json();
    assert_eq!(
        (&seen["sub"], &seen["scope"]),
        (&"jane".into(), &"read".into())
    );

    // Renewed in the background, each refresh token once.
    let log = server.wait_for_token_requests("refresh_token", 3).await;
    for pair in log.windows(2) {
        assert!(!pair[0].overlaps(&pair[1]), "{pair:?}");
        assert_ne!(pair[0].refresh_token_sha256, pair[1].refresh_token_sha256);
    }
    assert_eq!(server.reuses().await, 0);
    let seen = fine(keybearer.get("/p/x")).await.json();
    assert_eq!(seen["sub"], "jane");
    let code = &server.token_requests("authorization_code").await[0];
    assert!(
        code.parameters.iter().any(|name| name == "code_verifier"),
        "{code:?}"
    );
    assert_eq!(code.client_auth, "basic");
}

#[tokio::test]
async fn a_public_client_links_by_metadata_and_a_grant_without_rotation_lives_on() {
    let client = OAuthClient::public("tool").authorization_code("/oauth/callback");
    let settings = AuthorizationSettings::with(client)
        .access_token_lifetime(4)
        .without_rotation();
    let server = AuthorizationServer::start(settings).await;
    let auth = format!(
        "type = \"oauth2_authorization_code\"\nauthorization_server = \"{}\"\nclient_id = \"tool\"\nclient_auth = \"none\"\nscopes = [\"openid\"]\n",
        server.issuer()
    );
    let keybearer = Keybearer::start(&api("p", server.resource_url(), &auth, "")).await;
    let page = link(&keybearer, "p", "joe").await;
    assert_eq!(page.status, 200, "{page:?}");
    let log = server.wait_for_token_requests("refresh_token", 2).await;
    assert_eq!(log[0].refresh_token_sha256, log[1].refresh_token_sha256);
    assert_eq!(log[0].client_auth, "none");
    assert_eq!(fine(keybearer.get("/p/x")).await.json()["sub"], "joe");
}

#[tokio::test]
async fn a_withdrawn_grant_asks_for_a_new_consent_and_gets_it() {
    let server = AuthorizationServer::start(consenting()).await;
    let keys = format!("client_secret = '{SECRET}'\nscopes = [\"read\"]\n");
    let auth = personal(&server, "app", &keys);
    let keybearer = Keybearer::start(&api("p", server.resource_url(), &auth, "")).await;
    assert_eq!(link(&keybearer, "p", "jane").await.status, 200);
    fine(keybearer.get("/p/x")).await;
    server.revoke_grants().await;
    // The upstream's own refusal: it was asked, and there is no other token.
    assert_eq!(keybearer.get("/p/x").send().await.status, 401);
    let refreshes = server.token_requests("refresh_token").await;
    assert_eq!(refreshes.len(), 1);
    assert_eq!(refreshes[0].error.as_deref(), Some("invalid_grant"));
    let told = shown(&keybearer, "p").await;
    let error = told["last_error"].as_str().unwrap();
    assert!(error.contains("keybearer link p"), "{error}");
    assert_eq!(link(&keybearer, "p", "jane").await.status, 200);
    fine(keybearer.get("/p/x")).await;
    assert_eq!(shown(&keybearer, "p").await["state"], "ready");
}

#[tokio::test]
async fn assertions_get_tokens() {
    let settings = ALGORITHMS.iter().skip(1).fold(
        AuthorizationSettings::with(OAuthClient::jwt_bearer("RS256@robots.example", "RS256")),
        |settings, algorithm| {
            let issuer = format!("{algorithm}@robots.example");
            settings.client(OAuthClient::jwt_bearer(&issuer, algorithm))
        },
    );
    let server = AuthorizationServer::start(settings.scopes(&["read"])).await;
    let mut setup = Setup::new();
    for algorithm in ALGORITHMS {
        let issuer = format!("{algorithm}@robots.example");
        let auth = format!(
            "type = \"oauth2_jwt_bearer\"\ntoken_url = \"{}\"\nissuer = \"{issuer}\"\nsubject = \"someone\"\nscopes = [\"read\"]\n{}",
            server.token_url(),
            key(algorithm, algorithm)
        );
        setup = setup
            .file(&format!("{algorithm}.pem"), server.private_key(&issuer))
            .tables(&api(algorithm, server.resource_url(), &auth, ""));
    }
    let keybearer = setup.start().await;
    for algorithm in ALGORITHMS {
        let seen = fine(keybearer.get(&format!("/{algorithm}/x"))).await.json();
        assert_eq!(
            (&seen["sub"], &seen["scope"]),
            (&"someone".into(), &"read".into())
        );
    }
    assert_eq!(
        server.token_requests(JWT_BEARER).await.len(),
        ALGORITHMS.len()
    );
}

#[tokio::test]
async fn microsofts_endpoints_are_below_the_authority_host() {
    let (provider, resource) = (Upstream::start().await, Upstream::start().await);
    let path = "/contoso.example/oauth2/v2.0";
    let answer = serde_json::json!({
        "access_token": "of a person", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r",
    });
    provider.on_each(
        &format!("{path}/token"),
        [token("of the app", 3600), super::answer(&answer)],
    );
    let auth = |kind: &str, scope: &str| {
        format!(
            "type = \"azure_{kind}\"\nauthority_host = \"{}\"\ntenant = \"contoso.example\"\nclient_id = \"id\"\nclient_secret = '{SECRET}'\nscopes = [\"{scope}\"]\n",
            provider.url("")
        )
    };
    let app = api(
        "app",
        &resource.url(""),
        &auth("client_credentials", "https://graph.example/.default"),
        "",
    );
    let person = api(
        "person",
        &resource.url(""),
        &auth("authorization_code", "Mail.Read"),
        "",
    );
    let keybearer = Keybearer::start(&app).await;
    fine(keybearer.get("/app/x")).await;
    assert_eq!(bearer(&resource.last()), "of the app");
    let sent = provider.last();
    assert_eq!(sent.target(), format!("{path}/token"));
    let sent = form(&sent);
    assert_eq!(sent["grant_type"], "client_credentials");
    assert_eq!(sent["scope"], "https://graph.example/.default");
    assert_eq!(
        (&*sent["client_id"], &*sent["client_secret"]),
        ("id", SECRET)
    );

    keybearer.reconfigure(&format!("{app}{person}")).await;
    let begun = keybearer
        .ask("POST", "/api/connections/person/link")
        .send()
        .await
        .json();
    let url = url::Url::parse(begun["authorization_url"].as_str().unwrap()).unwrap();
    assert_eq!(url.path(), format!("{path}/authorize"));
    let asked: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(asked["scope"], "Mail.Read offline_access");
    assert_eq!(asked["code_challenge_method"], "S256");
    let back = format!("/oauth/callback?code=c0de&state={}", asked["state"]);
    let page = keybearer.ask("GET", &back).send().await;
    assert_eq!(page.status, 200, "{page:?}");
    let sent = form(&provider.last());
    assert_eq!(
        (&*sent["code"], &*sent["redirect_uri"]),
        ("c0de", &*asked["redirect_uri"])
    );
    fine(keybearer.get("/person/x")).await;
    assert_eq!(bearer(&resource.last()), "of a person");
    assert_eq!(provider.count(), 2, "the app's token stayed");
}

#[tokio::test]
async fn tokens_go_where_and_how_the_api_wants_them() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let nested = serde_json::json!({
        "ok": true, "data": { "session": { "key": "nested", "expires_in": 3600 } },
    });
    endpoint.on("/token", super::answer(&nested));
    let rest = "token_header = \"X-Session\"\ntoken_format = \"Token token={}, v=1\"\ntoken_field = \"data.session.key\"\naudience = \"https://api.example/\"\nresource = [\"urn:a\", \"urn:b\"]\nparams = { account = \"acme & co\", flavour = { env = \"FLAVOUR\" } }\n";
    let keybearer = Setup::new()
        .tables(&api(
            "p",
            &resource.url(""),
            &machine(&endpoint.url("/token?tenant=a%20b"), rest),
            "",
        ))
        .env("FLAVOUR", "vanilla")
        .start()
        .await;
    let asked = keybearer.get("/p/x").header("X-Session", "the caller's");
    fine(asked.header("Authorization", "Bearer mine")).await;
    let seen = resource.last();
    assert_eq!(seen.header("x-session"), Some("Token token=nested, v=1"));
    assert_eq!(seen.header("authorization"), None);
    let sent = endpoint.last();
    assert_eq!(
        (sent.method(), sent.target()),
        ("POST", "/token?tenant=a%20b")
    );
    let basic = format!("Basic {}", base64("id:client%20secret"));
    assert_eq!(sent.header("authorization"), Some(&*basic));
    let pairs: Vec<_> = url::form_urlencoded::parse(&sent.body)
        .into_owned()
        .collect();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    for pair in [
        ("grant_type", "client_credentials"),
        ("audience", "https://api.example/"),
        ("resource", "urn:a"),
        ("resource", "urn:b"),
        ("account", "acme & co"),
        ("flavour", "vanilla"),
    ] {
        assert!(pairs.contains(&pair), "{pair:?} in {pairs:?}");
    }
    let until = shown(&keybearer, "p").await["credential_expires_at"].clone();
    assert!(until.is_string(), "{until}");
    eventually("the refresh to be counted", async || {
        let metrics = keybearer.metrics().await;
        let labels = [("connection", "p"), ("result", "success")];
        metrics.value("keybearer_token_refreshes_total", &labels)
    })
    .await;
}
