//! A changed configuration never sees the token of another one, and keeps its own.

use serde_json::json;

use super::{answer, api, bearer, fine, form, issuing, link, machine, personal};
use crate::harness::{
    Answer, AuthorizationServer, AuthorizationSettings, Gate, Keybearer, OAuthClient, Step,
    Upstream, eventually,
};

const TOKENS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

#[tokio::test]
async fn other_inputs_get_another_token() {
    let (endpoint, resource) = (issuing(&TOKENS, 3600).await, Upstream::start().await);
    let table = |rest: &str| {
        api(
            "p",
            &resource.url(""),
            &machine(&endpoint.url("/token"), rest),
            "",
        )
    };
    let keybearer = Keybearer::start(&table("")).await;
    fine(keybearer.get("/p/x")).await;
    assert_eq!(bearer(&resource.last()), "one");
    let changed = [
        table("scopes = [\"read\"]"),
        table("scopes = [\"read\", \"write\"]"),
        table("audience = \"other\""),
        table("audience = \"other\"").replace("client_id = \"id\"", "client_id = \"id2\""),
        table("params = { tenant = \"other\" }"),
    ];
    for (table, token) in changed.iter().zip(&TOKENS[1..]) {
        keybearer.reconfigure(table).await;
        fine(keybearer.get("/p/x")).await;
        assert_eq!(bearer(&resource.last()), *token, "{table}");
    }
    assert_eq!(endpoint.count(), TOKENS.len());
    assert_eq!(form(&endpoint.last())["tenant"], "other");
}

#[tokio::test]
async fn what_has_nothing_to_do_with_it_changes_nothing() {
    let (endpoint, resource) = (issuing(&TOKENS, 3600).await, Upstream::start().await);
    let auth = machine(&endpoint.url("/token"), "");
    let table = |rest: &str| api("p", &resource.url(""), &auth, rest);
    let keybearer = Keybearer::start(&table("")).await;
    fine(keybearer.get("/p/x")).await;
    let other = api(
        "q",
        &resource.url(""),
        "type = \"bearer\"\ntoken = \"static\"",
        "",
    );
    for (table, path) in [
        (table("prefix = \"/elsewhere\""), "/elsewhere/x"),
        (table("timeouts = { read = \"7s\" }"), "/p/x"),
        (table("refresh_on = []\nretries = 0"), "/p/x"),
        (table("allow = { methods = [\"GET\"] }"), "/p/x"),
        (format!("{}{other}", table("")), "/p/x"),
        (table(""), "/p/x"),
    ] {
        keybearer.reconfigure(&table).await;
        fine(keybearer.get(path)).await;
        assert_eq!(bearer(&resource.last()), "one", "{table}");
    }
    assert_eq!(endpoint.count(), 1);
    // One that went and came back is another one.
    keybearer.reconfigure(&other).await;
    keybearer.reconfigure(&table("")).await;
    fine(keybearer.get("/p/x")).await;
    assert_eq!(bearer(&resource.last()), "two");
}

#[tokio::test]
async fn a_rotated_client_secret_keeps_the_linked_grant() {
    let client = OAuthClient::basic("app", "right").authorization_code("/oauth/callback");
    let settings = AuthorizationSettings::with(client).scopes(&["read"]);
    let server = AuthorizationServer::start(settings).await;
    let table = |secret: &str, scope: &str| {
        let keys = format!("client_secret = \"{secret}\"\nscopes = [{scope}]\n");
        api(
            "p",
            server.resource_url(),
            &personal(&server, "app", &keys),
            "",
        )
    };
    let keybearer = Keybearer::start(&table("right", "\"read\"")).await;
    assert_eq!(link(&keybearer, "p", "jane").await.status, 200);
    let first = fine(keybearer.get("/p/x")).await.json();
    keybearer.reconfigure(&table("wrong", "\"read\"")).await;
    let second = fine(keybearer.get("/p/x")).await.json();
    assert_eq!(first["token_sha256"], second["token_sha256"]);
    // What fails with the wrong secret loses nothing.
    server.revoke_access_tokens().await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 401);
    let log = server.token_requests("refresh_token").await;
    assert_eq!(log[0].error.as_deref(), Some("invalid_client"));
    keybearer.reconfigure(&table("right", "\"read\"")).await;
    let third = fine(keybearer.get("/p/x")).await.json();
    assert_eq!(third["sub"], "jane");
    assert_ne!(first["token_sha256"], third["token_sha256"]);

    // A scope that nobody has consented to, and back.
    keybearer
        .reconfigure(&table("right", "\"read\", \"openid\""))
        .await;
    let refused = keybearer.get("/p/x").send().await;
    refused.problem(503, "not-linked", "proxy_configuration_error");
    keybearer.reconfigure(&table("right", "\"read\"")).await;
    let fourth = fine(keybearer.get("/p/x")).await.json();
    assert_eq!(fourth["token_sha256"], third["token_sha256"]);
    assert_eq!(server.reuses().await, 0);
}

#[tokio::test]
async fn a_token_from_before_is_not_used_for_another_client() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let tokens = json!({ "access_token": "jane's", "expires_in": 3600, "refresh_token": "r" });
    endpoint.on("/token", answer(&tokens));
    let table = |id: &str| {
        let url = endpoint.url("");
        let auth = format!(
            "type = \"oauth2_authorization_code\"\nauthorization_url = \"{url}/auth\"\ntoken_url = \"{url}/token\"\nclient_id = \"{id}\"\nclient_auth = \"none\"\n"
        );
        api("p", &resource.url(""), &auth, "")
    };
    let keybearer = Keybearer::start(&table("one")).await;
    let begun = keybearer
        .ask("POST", "/api/connections/p/link")
        .send()
        .await
        .json();
    let url = url::Url::parse(begun["authorization_url"].as_str().unwrap()).unwrap();
    let (_, state) = url.query_pairs().find(|(name, _)| name == "state").unwrap();
    let back = format!("/oauth/callback?code=c0de&state={state}");
    assert_eq!(keybearer.ask("GET", &back).send().await.status, 200);
    fine(keybearer.get("/p/x")).await;
    keybearer.reconfigure(&table("two")).await;
    let refused = keybearer.get("/p/x").send().await;
    refused.problem(503, "not-linked", "proxy_configuration_error");
    // A code is good for one use, and for what it was asked for.
    assert_eq!(keybearer.ask("GET", &back).send().await.status, 400);
    assert_eq!((resource.count(), endpoint.count()), (1, 1));
}

/// A request that began before a change may still use the old credential; that it is kept fresh for so
/// long would be exchanges that nobody configures any more.
#[tokio::test]
async fn a_credential_that_was_replaced_is_renewed_no_more() {
    let (endpoint, resource) = (issuing(&["short"], 2).await, Upstream::start().await);
    let gate = Gate::new();
    let slow = Answer(vec![
        Step::Read,
        Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf".into()),
        Step::Wait(gate.clone()),
        Step::Send("done".into()),
    ]);
    resource.on("/slow", slow);
    let table = |audience: &str| {
        let rest = format!("audience = \"{audience}\"");
        let auth = machine(&endpoint.url("/token"), &rest);
        api("p", &resource.url(""), &auth, "")
    };
    let keybearer = Keybearer::start(&table("old")).await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/p/slow").bytes()).await;
    caller.until("half").await;
    keybearer.reconfigure(&table("new")).await;
    let asked = |audience: &str| {
        let all = endpoint.requests();
        let ours = |request: &&_| form(request)["audience"] == audience;
        all.iter().filter(ours).count()
    };
    let before = asked("old");
    let several = async || (asked("new") >= 4).then_some(());
    eventually("renewals of the new one", several).await;
    // One may have been under way.
    assert!(
        asked("old") <= before + 1,
        "{before}, then {}",
        asked("old")
    );
    gate.open();
    caller.until("done").await;
}
