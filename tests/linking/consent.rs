//! A consent from the 503 to the first call that goes well: API, link's page, callback.

use serde_json::json;
use url::Url;

use super::{
    World, auth, authorization_url, begin, call, drive, link, parameter, settings, setup, shown,
    wait_for_state,
};
use crate::harness::{AuthorizationServer, OAuthClient, Person, connection};

#[tokio::test]
async fn a_503_leads_to_a_linked_connection() {
    let world = World::start("").await;
    let World { server, keybearer } = &world;
    let response = call(keybearer, "/drive/x").await;
    let detail = response.problem(503, "not-linked", "proxy_configuration_error");
    assert!(detail.contains("keybearer link drive"), "{detail}");
    let problem = response.json();
    assert_eq!(problem["connection"], "drive");
    assert_eq!(problem["credential_state"], "not_linked");
    assert_eq!(response.header("retry-after"), None);
    let page = format!("http://{}/link/drive", keybearer.console());
    assert_eq!(problem["link"], page);
    assert_eq!(shown(keybearer, "drive").await["link"], page);
    assert_eq!(server.log().await.len(), 0, "nothing to ask for yet");

    let page = keybearer.ask("GET", "/link/drive").send().await;
    assert_eq!(page.status, 200);
    let (_, href) = page
        .text()
        .split_once("id=\"link\" href=\"")
        .map(owned)
        .unwrap();
    let href = href.split('"').next().unwrap().replace("&amp;", "&");
    let landed = Person::new("jane").consent(&href).await;
    assert!(landed.body.contains("is linked"), "{landed:?}");
    let came_back = landed
        .way
        .iter()
        .filter(|url| url.path() == "/oauth/callback");
    assert_eq!(came_back.count(), 1, "{landed:?}");

    let shown = wait_for_state(keybearer, "drive", "ready").await;
    assert_eq!(shown["auth"], "oauth2_authorization_code");
    assert!(shown["credential_expires_at"].is_string(), "{shown}");
    let seen = call(keybearer, "/drive/a?b=c").await.json();
    assert_eq!(
        (&seen["sub"], &seen["scope"]),
        (&json!("jane"), &json!("read"))
    );
    assert_eq!(seen["target"], "/a?b=c");
    let log = server.token_requests("authorization_code").await;
    assert_eq!((log.len(), log[0].client_auth.as_str()), (1, "basic"));
}

#[tokio::test]
async fn what_came_of_a_consent_can_be_asked_for() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    let begun = begin(&keybearer, "drive").await;
    let url = begun["authorization_url"].as_str().unwrap();
    let path = format!(
        "/api/connections/drive/link/{}",
        begun["consent"].as_str().unwrap()
    );
    let outcome = async || keybearer.ask("GET", &path).send().await.json();
    assert_eq!(outcome().await, json!({ "outcome": "pending" }));
    Person::new("jane").consent(url).await;
    assert_eq!(outcome().await, json!({ "outcome": "linked" }));
    let elsewhere = path.replace("drive", "other");
    let other = keybearer.ask("GET", &elsewhere).send().await;
    other.problem(404, "no-route", "destination_not_found");
}

#[tokio::test]
async fn the_authorization_request_has_what_it_needs_and_nothing_else_changes() {
    let server = AuthorizationServer::start(settings()).await;
    let own = format!("{}?tenant=a%20b&prompt=consent", server.authorization_url());
    let auth = auth(&server, "id", "").replace(&server.authorization_url(), &own);
    let table = connection("drive", server.resource_url(), &format!("auth = {auth}"));
    let table = table.replace(" scopes", " audience = \"an audience\", scopes");
    let keybearer = setup().tables(&table).start().await;
    let url = authorization_url(&keybearer, "drive").await;
    assert!(url.as_str().starts_with(&own), "{url}");
    let callback = format!("http://{}/oauth/callback", keybearer.console());
    for (name, value) in [
        ("tenant", "a b"),
        ("prompt", "consent"),
        ("response_type", "code"),
        ("client_id", "id"),
        ("redirect_uri", callback.as_str()),
        ("scope", "read"),
        ("audience", "an audience"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(&url, name).as_deref(), Some(value), "{name}");
    }
    let [state, challenge] = ["state", "code_challenge"].map(|name| parameter(&url, name).unwrap());
    assert_eq!((state.len(), challenge.len()), (43, 43), "256 bits each");
    let other = authorization_url(&keybearer, "drive").await;
    for name in ["state", "code_challenge"] {
        assert_ne!(parameter(&url, name), parameter(&other, name), "{name}");
    }
    let landed = Person::new("jane").consent(url.as_str()).await;
    assert!(landed.body.contains("is linked"), "{landed:?}");
    let log = server.token_requests("authorization_code").await;
    assert_eq!(log[0].redirect_uri, Some(callback));
}

#[tokio::test]
async fn the_redirect_uri_follows_the_public_url_and_its_path() {
    let server = AuthorizationServer::start(settings()).await;
    for (public, redirect) in [
        (
            "https://keys.example/kb/",
            "https://keys.example/kb/oauth/callback",
        ),
        (
            "https://keys.example",
            "https://keys.example/oauth/callback",
        ),
    ] {
        let setup = setup().admin(&format!("public_url = \"{public}\""));
        let keybearer = setup.tables(&drive(&server, "")).start().await;
        let url = authorization_url(&keybearer, "drive").await;
        assert_eq!(parameter(&url, "redirect_uri").as_deref(), Some(redirect));
        let page = redirect.replace("oauth/callback", "link/drive");
        assert_eq!(shown(&keybearer, "drive").await["link"], page);
    }
}

#[tokio::test]
async fn metadata_stands_in_for_the_urls() {
    let server = AuthorizationServer::start(settings()).await;
    let urls = format!(
        "authorization_url = \"{}\", token_url = \"{}\"",
        server.authorization_url(),
        server.token_url()
    );
    let metadata = format!("authorization_server = \"{}\"", server.issuer());
    let table = drive(&server, "").replace(&urls, &metadata);
    let keybearer = setup().tables(&table).start().await;
    assert_eq!(call(&keybearer, "/drive/x").await.status, 503);
    link(&keybearer, "drive").await;
    assert_eq!(call(&keybearer, "/drive/x").await.status, 200);

    // The server's metadata promises an `iss` (RFC 9207 section 3), so an answer without is not its.
    let url = authorization_url(&keybearer, "drive").await;
    let landed = Person::new("jane").authorize(url.as_str()).await;
    let bare = without(&landed, "iss");
    let response = keybearer.ask("GET", &bare).send().await;
    assert_eq!(response.status, 502, "{response:?}");
    assert!(response.text().contains("RFC 9207"), "{response:?}");
    assert_eq!(server.token_requests("authorization_code").await.len(), 1);
}

#[tokio::test]
async fn forgetting_needs_a_new_consent() {
    let world = World::linked(settings()).await;
    let forget = world.keybearer.ask("DELETE", "/api/connections/drive/link");
    assert_eq!(forget.send().await.status, 204);
    let refused = async |world: &World| {
        let response = call(&world.keybearer, "/drive/x").await;
        response.problem(503, "not-linked", "proxy_configuration_error");
        assert_eq!(response.json()["credential_state"], "not_linked");
    };
    refused(&world).await;
    let world = world.restart().await;
    refused(&world).await;
    link(&world.keybearer, "drive").await;
    world.assert_works().await;
}

#[tokio::test]
async fn linking_again_replaces_the_tokens() {
    let world = World::linked(settings()).await;
    let token = async |world: &World| {
        let seen = call(&world.keybearer, "/drive/x").await.json();
        (seen["sub"].clone(), seen["token_sha256"].clone())
    };
    let (first, before) = token(&world).await;
    let url = authorization_url(&world.keybearer, "drive").await;
    assert_eq!(token(&world).await.1, before, "good until there are others");
    let landed = Person::new("joe").consent(url.as_str()).await;
    assert!(landed.body.contains("is linked"), "{landed:?}");
    let (second, after) = token(&world).await;
    assert_eq!((first, second), (json!("jane"), json!("joe")));
    assert_ne!(before, after);
    let world = world.restart().await;
    assert_eq!(token(&world).await.1, after);
}

#[tokio::test]
async fn what_cannot_be_linked_says_so() {
    let robot = OAuthClient::post("robot", super::SECRET).client_credentials();
    let server = AuthorizationServer::start(settings().client(robot)).await;
    let token_url = server.token_url();
    let robot = format!(
        "auth = {{ type = \"oauth2_client_credentials\", token_url = \"{token_url}\", client_id = \"robot\", client_secret = {{ env = \"CLIENT_SECRET\" }}, client_auth = \"post\" }}"
    );
    let tables = connection("robot", server.resource_url(), &robot)
        + &connection("none", server.resource_url(), "auth = { type = \"none\" }")
        + &drive(&server, "");
    let keybearer = setup().tables(&tables).start().await;
    for name in ["robot", "none"] {
        for method in ["POST", "DELETE"] {
            let path = format!("/api/connections/{name}/link");
            let response = keybearer.ask(method, &path).send().await;
            let detail = response.problem(409, "not-linkable", "http_request_denied");
            assert!(detail.contains("nothing to link"), "{detail}");
        }
        let page = keybearer.ask("GET", &format!("/link/{name}")).send().await;
        assert_eq!(page.status, 409, "{page:?}");
        assert!(shown(&keybearer, name).await["link"].is_null());
    }
    for (method, path) in [
        ("GET", "/api/connections/absent"),
        ("POST", "/api/connections/absent/link"),
        ("DELETE", "/api/connections/absent/link"),
        ("GET", "/api/connections/absent/link/x"),
        ("GET", "/api/connections/drive/link/x"),
    ] {
        let response = keybearer.ask(method, path).send().await;
        response.problem(404, "no-route", "destination_not_found");
    }
    let page = keybearer.ask("GET", "/link/absent").send().await;
    assert_eq!(page.status, 404);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    let device = keybearer.ask("POST", "/api/connections/drive/link");
    let device = device.body("application/json", "{\"flow\":\"device\"}");
    let detail = device
        .send()
        .await
        .problem(409, "not-linkable", "http_request_denied");
    assert!(detail.contains("device_authorization_url"), "{detail}");
    for content in ["{\"flow\":\"fax\"}", "{\"flw\":\"device\"}", "x"] {
        let odd = keybearer.ask("POST", "/api/connections/drive/link");
        let response = odd.body("application/json", content).send().await;
        response.problem(400, "content-malformed", "http_request_error");
    }
}

#[tokio::test]
async fn paths_name_the_methods_that_they_take() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    for (method, path, allow) in [
        ("PUT", "/api/connections", "GET,HEAD,POST"),
        ("DELETE", "/api/connections/drive", "GET,HEAD"),
        ("GET", "/api/connections/drive/link", "POST,DELETE"),
        ("POST", "/api/connections/drive/link/x", "GET,HEAD"),
        ("GET", "/api/reload", "POST"),
        ("POST", "/oauth/callback", "GET,HEAD"),
    ] {
        let response = keybearer.ask(method, path).send().await;
        response.problem(405, "method-refused", "http_request_denied");
        assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
    }
}

fn owned((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

/// Path and query of a URL, without one parameter.
pub fn without(url: &Url, name: &str) -> String {
    let pairs = url.query_pairs().filter(|(key, _)| key != name);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    format!("{}?{query}", url.path())
}
