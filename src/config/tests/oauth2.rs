//! What the keys of OAuth 2.0 types, expiry signals and commands become.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::world::{CANARY, World};
use crate::config::Config;
use crate::connection::Connection;
use crate::connection::auth::{Auth, BodyFields};
use crate::connection::oauth2::{
    Algorithm, AuthorizationCode, ClientAuthentication, Grant, OAuth2, Pkce,
};
use crate::secret::{Command, Origin, Secret};

fn config() -> Config {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/config/valid/");
    let text = std::fs::read_to_string(format!("{folder}oauth2.toml")).unwrap();
    World::new().config(&text)
}

fn connection(name: &str) -> Arc<Connection> {
    let config = config();
    let found = config.connections.iter().find(|c| &*c.name == name);
    Arc::clone(found.unwrap())
}

fn oauth2(name: &str) -> OAuth2 {
    match &connection(name).auth {
        Auth::OAuth2(oauth2) => OAuth2::clone(oauth2),
        other => panic!("{name} is {}", other.kind()),
    }
}

fn code(oauth2: &OAuth2) -> &AuthorizationCode {
    match &oauth2.grant {
        Grant::AuthorizationCode(code) => code,
        other => panic!("{other:?}"),
    }
}

fn command(secret: &Secret) -> &Command {
    match secret.origin() {
        Origin::Command(command) => command,
        other => panic!("{other:?}"),
    }
}

fn texts(texts: &[Box<str>]) -> Vec<&str> {
    texts.iter().map(|text| &**text).collect()
}

#[test]
fn client_credentials_have_every_key() {
    let full = oauth2("client-credentials");
    assert_eq!(full.kind, "oauth2_client_credentials");
    assert_eq!(full.grant, Grant::ClientCredentials);
    assert_eq!(
        full.token_url.unwrap().as_str(),
        "https://login.example/token?tenant=a"
    );
    assert_eq!(&*full.client.id, "me");
    let ClientAuthentication::Post(secret) = &full.client.authentication else {
        panic!("{:?}", full.client);
    };
    assert_eq!(secret.expose(), CANARY);
    assert_eq!(texts(&full.scopes), ["read", "https://a.example/write:all"]);
    assert_eq!(full.audience.as_deref(), Some("https://a.example"));
    assert_eq!(texts(&full.resource), ["https://a.example/api"]);
    assert_eq!(&*full.params[0].name, "organization");
    assert_eq!(
        command(&full.params[1].value).format,
        ("<".into(), ">".into())
    );
    assert_eq!(full.token.header, "x-token");
    assert_eq!(&*full.token.written, "X-Token");
    assert_eq!(full.token.format, ("Token ".into(), "!".into()));
    assert_eq!(texts(&full.token.field), ["data", "token"]);
    assert_eq!(full.refresh_before, Some(Duration::from_secs(300)));
    assert_eq!(full.default_lifetime, Some(Duration::from_secs(3600)));
}

#[test]
fn what_is_left_out_is_as_documented() {
    let minimal = oauth2("minimal");
    assert!(matches!(
        minimal.client.authentication,
        ClientAuthentication::Basic(_)
    ));
    assert!(minimal.scopes.is_empty() && minimal.resource.is_empty() && minimal.params.is_empty());
    assert_eq!((minimal.audience, minimal.refresh_before), (None, None));
    assert_eq!(minimal.default_lifetime, None);
    assert_eq!(minimal.token.header, "authorization");
    assert_eq!(&*minimal.token.written, "Authorization");
    assert_eq!(minimal.token.format, ("Bearer ".into(), "".into()));
    assert_eq!(texts(&minimal.token.field), ["access_token"]);
    assert_eq!(connection("minimal").refresh_on, None);
}

#[test]
fn clients_sign_with_keys_that_fit() {
    for (name, algorithm, id) in [
        ("private-key-jwt", Algorithm::Es256, Some("first")),
        ("ed25519", Algorithm::EdDsa, None),
    ] {
        let client = oauth2(name).client;
        let ClientAuthentication::PrivateKeyJwt(key) = client.authentication else {
            panic!("{name}");
        };
        assert_eq!((key.algorithm, key.id.as_deref()), (algorithm, id));
        assert!(key.key.expose().starts_with("-----BEGIN"));
    }
    let bearer = oauth2("jwt-bearer");
    let Grant::JwtBearer(grant) = &bearer.grant else {
        panic!("{:?}", bearer.grant);
    };
    assert_eq!(
        (&*grant.issuer, grant.subject.as_deref()),
        ("me@a.example", Some("you@a.example"))
    );
    assert_eq!(grant.key.algorithm, Algorithm::Rs256);
    assert_eq!(
        bearer.audience.as_deref(),
        Some("https://login.example"),
        "the token endpoint as it was written"
    );
    assert_eq!(&*bearer.client.id, "");
    assert_eq!(bearer.client.authentication, ClientAuthentication::None);
}

#[test]
fn authorization_codes_know_their_urls_or_who_tells_them() {
    let full = oauth2("authorization-code");
    let url = |url: &Option<url::Url>| url.as_ref().map(|url| url.as_str().to_owned());
    assert_eq!(
        url(&code(&full).authorization_url).unwrap(),
        "https://login.example/authorize?access_type=offline"
    );
    assert_eq!(
        url(&code(&full).authorization_server).unwrap(),
        "https://login.example/realm"
    );
    assert_eq!(
        url(&code(&full).device_authorization_url).unwrap(),
        "https://login.example/device"
    );
    assert_eq!(code(&full).pkce, Pkce::Plain);
    assert_eq!(texts(&full.resource), ["https://a.example/api", "urn:b"]);

    let discovered = oauth2("discovered");
    assert_eq!(
        (&discovered.token_url, &code(&discovered).authorization_url),
        (&None, &None)
    );
    assert_eq!(code(&discovered).pkce, Pkce::S256);
    assert_eq!(discovered.client.authentication, ClientAuthentication::None);
}

#[test]
fn microsoft_has_its_endpoints_filled_in() {
    let azure = oauth2("azure");
    assert_eq!(azure.kind, "azure_client_credentials");
    assert_eq!(
        azure.token_url.unwrap().as_str(),
        "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
    );
    assert_eq!(texts(&azure.scopes), ["https://a.example/.default"]);
    assert!(matches!(
        azure.client.authentication,
        ClientAuthentication::Post(_)
    ));

    let azure = oauth2("azure-code");
    let base = "https://login.example/x/common/oauth2/v2.0";
    let endpoints = [
        (azure.token_url.clone(), "token"),
        (code(&azure).authorization_url.clone(), "authorize"),
        (code(&azure).device_authorization_url.clone(), "devicecode"),
    ];
    for (url, name) in endpoints {
        assert_eq!(url.unwrap().as_str(), format!("{base}/{name}"));
    }
    assert_eq!(texts(&azure.scopes), ["User.Read", "offline_access"]);
}

#[test]
fn offline_access_is_asked_for_once() {
    let text = "[connections.a]\nbase_url = \"https://a.example\"\n\
        auth = { type = \"azure_authorization_code\", tenant = \"common\", client_id = \"me\", \
        client_secret = \"hunter2\", scopes = [\"offline_access\", \"x\"] }";
    let Auth::OAuth2(azure) = &World::new().config(text).connections[0].auth.clone() else {
        panic!("azure");
    };
    assert_eq!(texts(&azure.scopes), ["offline_access", "x"]);
}

#[test]
fn expiry_signals_are_what_was_written() {
    let signals = connection("client-credentials").refresh_on.clone().unwrap();
    let [status, body, text, flag, number, fraction, header] = &*signals else {
        panic!("{signals:?}");
    };
    assert_eq!(status.status.unwrap(), 401);
    assert!(body.body.as_ref().unwrap().0.is_match(b"Token Expired"));
    let member = |signal: &crate::connection::oauth2::ExpirySignal| {
        let member = signal.json.clone().unwrap();
        (member.pointer.into_string(), member.equals.unwrap())
    };
    assert_eq!(member(text), ("/error".to_owned(), json!("invalid_auth")));
    assert_eq!(member(flag), (String::new(), json!(false)));
    assert_eq!(member(number), ("/a~1b/~0".to_owned(), json!(16)));
    assert_eq!(member(fraction), ("/code".to_owned(), json!(1.5)));
    assert_eq!(header.header.as_ref().unwrap(), "x-token-expired");
    assert_eq!(header.status, None);
    let none = connection("private-key-jwt").refresh_on.clone();
    assert_eq!(none, Some(Vec::new()), "no signals at all");
}

#[test]
fn commands_are_kept_and_not_run() {
    let code = oauth2("authorization-code");
    let ClientAuthentication::Basic(secret) = &code.client.authentication else {
        panic!("{:?}", code.client);
    };
    let expected = Command {
        words: ["./secret", CANARY].map(Box::from).into(),
        folder: PathBuf::from("."),
        ttl: Duration::from_secs(3600),
        format: ("<".into(), ">".into()),
    };
    assert_eq!((secret.expose(), command(secret)), ("", &expected));

    let Auth::Custom(custom) = &connection("command").auth else {
        panic!("custom");
    };
    let basic = custom.basic.as_ref().unwrap();
    assert_eq!(command(&basic.username).ttl, Duration::from_secs(300));
    assert_eq!(command(&basic.username).format, ("".into(), "".into()));
    assert_eq!(&*command(&basic.password).words[1], "hunter2\nhunter2");
    let Some(BodyFields::Form(form)) = &custom.body else {
        panic!("form");
    };
    for secret in [
        &custom.headers[0].value,
        &custom.params[0].value,
        &form[0].value,
    ] {
        assert_eq!(&*command(secret).words[0], "key");
    }
}

#[test]
fn commands_know_the_folder_of_their_file() {
    let text = "[connections.a]\nbase_url = \"https://a.example\"\n\
        auth = { type = \"bearer\", token = { command = [\"./secret\"] } }";
    let world = World::default()
        .file("main.toml", "include = [\"more/a.toml\"]")
        .file("more/a.toml", text);
    let config = world.load("main.toml").result.unwrap();
    let Auth::Bearer(token) = &config.connections[0].auth else {
        panic!("bearer");
    };
    assert_eq!(command(token).folder, PathBuf::from("more"));
}

#[test]
fn no_debug_output_tells_a_secret_or_an_argument() {
    let shown = format!("{:?}", config());
    assert!(shown.contains("command vault"), "the program is told");
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}

#[test]
fn cleartext_goes_to_this_machine_only() {
    let text = |url: &str| {
        format!(
            "[connections.a]\nbase_url = \"https://a.example\"\nauth = {{ type = \
            \"oauth2_client_credentials\", token_url = \"{url}\", client_id = \"me\", \
            client_secret = \"hunter2\" }}"
        )
    };
    for url in [
        "http://127.0.0.1/t",
        "http://127.9.9.9:1/t",
        "http://[::1]:1/t",
        "http://localhost:1",
        "HTTPS://login.example",
    ] {
        World::new().config(&text(url));
    }
    for url in [
        "http://login.example/t",
        "http://10.0.0.1/t",
        "http://0.0.0.0/t",
        "http://localhost.example/t",
        "http://127.0.0.1.example/t",
    ] {
        let wrong = World::new().wrong(&text(url));
        assert!(
            wrong.contains("would show client secret and tokens"),
            "{url}: {wrong}"
        );
    }
    for url in [
        "ftp://login.example",
        "login.example/t",
        "/t",
        "https://",
        "mailto:a@b",
    ] {
        let wrong = World::new().wrong(&text(url));
        assert!(wrong.contains("is absolute and starts with"), "{wrong}");
    }
}
