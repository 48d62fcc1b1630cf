//! Every type of credential: its draft is good, and so is the TOML that comes of it.

use serde_json::{Value, json};

use super::{CANARY, drafted, instance};
use crate::harness::{Setup, Upstream};

/// A draft of every type, with all of its secrets in variables and files.
fn drafts() -> Vec<Value> {
    let env = |name: &str| json!({ "env": name });
    let https = "https://api.example";
    let auths = [
        json!({ "type": "none" }),
        json!({ "type": "basic", "username": "me@example.com", "password": env("SECRET") }),
        json!({ "type": "bearer", "token": { "file": "token" } }),
        json!({ "type": "header", "headers": { "X-Key": { "env": "SECRET", "format": "Token {}" }, "X-Tenant": "acme" } }),
        json!({ "type": "query", "params": { "api_key": env("SECRET") } }),
        json!({
            "type": "custom",
            "headers": { "X-Key": env("SECRET") },
            "params": { "k": env("SECRET") },
            "basic": { "username": env("SECRET"), "password": "" },
            "form": { "user": "me", "pass word": env("SECRET") },
        }),
        json!({
            "type": "oauth2_client_credentials",
            "token_url": "https://login.example/token",
            "client_id": "keybearer",
            "client_auth": "post",
            "client_secret": env("SECRET"),
            "scopes": ["a.read", "a.write"],
            "audience": "https://api.example",
            "resource": "https://api.example",
            "params": { "tenant": "acme" },
            "token_header": "X-Token",
            "token_format": "{}",
            "token_field": "id_token",
            "refresh_before": "2m",
            "default_lifetime": "1h",
        }),
        json!({
            "type": "oauth2_authorization_code",
            "authorization_server": "https://accounts.example",
            "client_id": "keybearer",
            "client_secret": env("SECRET"),
            "pkce": "plain",
            "device_authorization_url": "https://accounts.example/device",
        }),
        json!({
            "type": "oauth2_jwt_bearer",
            "token_url": "https://login.example/token",
            "issuer": "keybearer@example",
            "subject": "person@example",
            "private_key": { "file": "rsa.pem" },
            "key_id": "1",
            "algorithm": "PS256",
        }),
        json!({
            "type": "azure_client_credentials",
            "tenant": "contoso.example",
            "client_id": "id",
            "client_secret": env("SECRET"),
            "scopes": ["https://graph.microsoft.com/.default"],
        }),
        json!({
            "type": "azure_authorization_code",
            "tenant": "contoso.example",
            "client_id": "id",
            "client_auth": "none",
        }),
        json!({
            "type": "aws_access_key",
            "access_key_id": env("KEY_ID"),
            "secret_access_key": env("SECRET"),
            "service": "execute-api",
            "region": ["eu-west-1", "eu-west-2"],
            "payload": "signed",
        }),
        json!({
            "type": "aws_iam_role",
            "role_arn": "arn:aws:iam::123456789012:role/reader",
            "external_id": { "scope": "project-x" },
            "service": "sqs",
            "region": "eu-west-1",
            "source": { "access_key_id": env("KEY_ID"), "secret_access_key": env("SECRET") },
            "session_name": "keybearer",
            "duration": "30m",
            "sts_endpoint": "https://sts.eu-west-1.amazonaws.com",
        }),
    ];
    let draft = |auth: Value| {
        let name = auth["type"].as_str().unwrap().to_owned();
        json!({ "name": name, "base_url": https, "auth": auth })
    };
    let mut all: Vec<_> = auths.into_iter().map(draft).collect();
    // And the ways that lead to an upstream.
    let roads = [
        json!({ "name": "pem", "base_url": https, "tls": {
            "client_certificate": "chain.pem", "client_key": { "file": "encrypted.key" },
            "client_key_password": env("PASSWORD"), "ca_certificate": "authority.pem",
            "server_name": "api.internal" } }),
        json!({ "name": "pkcs12", "prefix": "/api/v1", "base_url": https, "tls": {
            "client_identity": "new.p12", "client_key_password": env("PASSWORD") } }),
        json!({ "name": "proxied", "base_url": https, "network": {
            "proxy": { "env": "PASSWORD", "format": "http://me:{}@proxy.example:3128" },
            "no_proxy": [".internal", "10.0.0.0/8"] } }),
        json!({ "name": "straight", "base_url": https, "network": { "proxy": "direct" } }),
    ];
    all.extend(roads);
    all
}

/// With the files that the drafts name.
fn with_files(setup: Setup) -> Setup {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let files = [
        "keys/rsa.pem",
        "client/chain.pem",
        "client/encrypted.key",
        "client/authority.pem",
        "client/new.p12",
    ];
    for file in files {
        let bytes = std::fs::read(data.join(file)).unwrap();
        let name = file.split('/').next_back().unwrap();
        setup.write(name, "");
        std::fs::write(setup.path(name), bytes).unwrap();
    }
    setup.file("token", CANARY)
}

/// Of the keys in `tests/data/client`.
const PASSWORD: &str = "hunter2";

#[tokio::test]
async fn a_draft_of_every_type_is_good_and_so_is_its_toml() {
    let upstream = Upstream::start().await;
    let keybearer = with_files(instance(&upstream).await).start().await;
    let mut all = String::new();
    let mut types = Vec::new();
    for draft in drafts() {
        let told = drafted(&keybearer, &draft).await;
        assert_eq!(told["errors"], json!([]), "{draft}: {told}");
        assert!(told["trial"].is_null(), "none was asked for");
        let missing = told["missing"].as_array().unwrap();
        let names: Vec<_> = missing.iter().filter_map(|it| it["env"].as_str()).collect();
        let has = |name: &str| draft.to_string().contains(&format!("\"env\":\"{name}\""));
        for name in ["SECRET", "KEY_ID", "PASSWORD"] {
            assert_eq!(names.contains(&name), has(name), "{name}: {told}");
        }
        assert!(
            missing.iter().all(|it| it["file"].is_null()),
            "files are there: {told}"
        );
        all += told["toml"].as_str().unwrap();
        all += "\n";
        let auth = draft["auth"]["type"].as_str().unwrap_or("none");
        types.push((draft["name"].as_str().unwrap().to_owned(), auth.to_owned()));
    }
    assert!(!all.contains(CANARY), "files are not read: {all}");

    // All that a person pastes, together.
    let setup = with_files(Setup::new())
        .file("pasted.toml", &all)
        .config("pasted.toml")
        .env("SECRET", "secret")
        .env("KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("PASSWORD", PASSWORD);
    let exit = setup.run(&["check", "--json"]).await;
    assert_eq!(exit.code, Some(0), "{}{}\n{all}", exit.stdout, exit.stderr);
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let lines = report["connections"].as_array().unwrap();
    let mut found: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("name"), text("auth"))
        })
        .collect();
    found.sort();
    types.sort();
    assert_eq!(found, types);
    let line = |name: &str| lines.iter().find(|line| line["name"] == name).unwrap();
    assert_eq!(line("pkcs12")["prefix"], "/api/v1");
    assert_eq!(line("proxied")["proxy"], "http://proxy.example:3128");
    assert!(line("pem")["client_certificate"].is_object());
    let secrets = line("header")["secrets"].to_string();
    assert!(secrets.contains("env SECRET"), "{secrets}");
}

#[tokio::test]
async fn with_edit_allowed_what_is_there_is_looked_at() {
    let upstream = Upstream::start().await;
    let setup = with_files(instance(&upstream).await).admin("allow_edit = true");
    let setup = setup
        .env("SECRET", "secret")
        .env("KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .env("PASSWORD", PASSWORD);
    let keybearer = setup.start().await;
    for draft in drafts() {
        let told = drafted(&keybearer, &draft).await;
        assert_eq!(told["errors"], json!([]), "{draft}: {told}");
        assert_eq!(told["missing"], json!([]), "{draft}: {told}");
    }
    let mut wrong = drafts()
        .into_iter()
        .find(|it| it["name"] == "pkcs12")
        .unwrap();
    wrong["tls"]["client_key_password"] = json!({ "env": "SECRET" });
    let told = drafted(&keybearer, &wrong).await;
    assert_eq!(super::fields(&told), ["tls.client_identity"], "{told}");
}
