//! What is wrong with a draft is told at its field.

use serde_json::{Value, json};

use super::{CANARY, bearer, drafted, fields, instance, plain};
use crate::harness::{Setup, Upstream, connection};

/// A good draft, changed.
fn with(path: &str, value: Value) -> Value {
    let mut draft = json!({
        "name": "x",
        "base_url": "https://a.example",
        "auth": { "type": "bearer", "token": { "env": "TOKEN" } },
    });
    let pointer = format!("/{}", path.replace('.', "/"));
    match draft.pointer_mut(&pointer) {
        Some(place) => *place = value,
        None => {
            let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
            let mut at = &mut draft;
            for part in table.split('.').filter(|part| !part.is_empty()) {
                if at[part].is_null() {
                    at[part] = json!({});
                }
                at = &mut at[part];
            }
            at[key] = value;
        }
    }
    draft
}

fn auth(auth: Value) -> Value {
    with("auth", auth)
}

#[tokio::test]
async fn each_is_told_at_its_field() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await.env("TOKEN", "t");
    let setup = setup.env("EMPTY", "").file("folder/x", "");
    let keybearer = setup.start().await;
    for (draft, field, text) in [
        (with("name", json!("")), "name", "no name for a connection"),
        (
            with("name", json!("a b")),
            "name",
            "no name for a connection",
        ),
        (
            with("name", json!("../a")),
            "name",
            "no name for a connection",
        ),
        (with("name", json!("a".repeat(200))), "name", "128"),
        (with("prefix", json!("/a//b")), "prefix", "segment"),
        (with("prefix", json!(7)), "prefix", "takes a string"),
        (with("base_url", json!("ftp://a")), "base_url", "https://"),
        (
            with("base_url", Value::Null),
            "base_url",
            "has no `base_url`",
        ),
        (
            with("base_url", json!("x".repeat(5000))),
            "base_url",
            "4 KiB",
        ),
        (with("nonsense.deep", json!(1)), "", ""),
        (
            with("tls.nonsense", json!(1)),
            "tls.nonsense",
            "no such field",
        ),
        (
            with("auth.type", json!("magic")),
            "auth.type",
            "it is one of `none`",
        ),
        (
            with("auth.type", Value::Null),
            "auth.type",
            "needs a `type`",
        ),
        (
            with("auth.token", Value::Null),
            "auth.token",
            "needs a `token`",
        ),
        (
            with("auth.token", json!(CANARY)),
            "auth.token",
            "does not go into the configuration",
        ),
        (
            with("auth.token", json!({ "value": CANARY })),
            "auth.token",
            "where it is",
        ),
        (
            with("auth.token", json!({ "command": ["id"] })),
            "auth.token",
            "commands are not taken",
        ),
        (
            with("auth.token", json!({ "env": "A", "file": "b" })),
            "auth.token",
            "one source",
        ),
        (
            with("auth.token", json!({ "env": "not a name" })),
            "auth.token",
            "name of an environment variable",
        ),
        (
            with(
                "auth.token",
                json!({ "env": "TOKEN", "format": "no place" }),
            ),
            "auth.token",
            "exactly one `{}`",
        ),
        (
            with("auth.token", json!({ "file": "folder" })),
            "auth.token",
            "is a folder",
        ),
        (
            with("auth.token", json!({ "file": "" })),
            "auth.token",
            "names no file",
        ),
        (
            with("auth.username", json!("me")),
            "auth.username",
            "no such field",
        ),
        (
            auth(json!({ "type": "basic", "username": "a:b", "password": "" })),
            "auth.username",
            "has a `:`",
        ),
        (
            auth(json!({ "type": "basic", "username": "a", "password": CANARY })),
            "auth.password",
            "does not go into",
        ),
        (
            auth(json!({ "type": "header", "headers": { "Host": { "env": "TOKEN" } } })),
            "auth.headers.Host",
            "frames or routes",
        ),
        (
            auth(json!({ "type": "header", "headers": { "a b": { "env": "TOKEN" } } })),
            "auth.headers.a b",
            "not a header name",
        ),
        (
            auth(json!({ "type": "header", "headers": { "A.b": { "env": "9" } } })),
            "auth.headers.A.b",
            "name of an environment",
        ),
        (
            auth(json!({ "type": "header" })),
            "auth.headers",
            "needs `headers`",
        ),
        (
            auth(json!({ "type": "query", "params": { "": { "env": "TOKEN" } } })),
            "auth.params.",
            "needs a name",
        ),
        (
            auth(json!({ "type": "custom" })),
            "auth.headers",
            "at least one of",
        ),
        (
            auth(
                json!({ "type": "oauth2_jwt_bearer", "token_url": "https://a.example", "issuer": "i" }),
            ),
            "auth.private_key",
            "needs a `private_key`",
        ),
        (
            auth(
                json!({ "type": "oauth2_client_credentials", "token_url": "http://a.example", "client_id": "a", "client_auth": "none" }),
            ),
            "auth.token_url",
            "`http://`",
        ),
        (
            auth(
                json!({ "type": "oauth2_client_credentials", "token_url": "https://a.example", "client_id": "a", "client_auth": "maybe" }),
            ),
            "auth.client_auth",
            "one of `basic`",
        ),
        (
            auth(
                json!({ "type": "azure_authorization_code", "tenant": "a/b", "client_id": "a", "client_auth": "none" }),
            ),
            "auth.tenant",
            "GUID",
        ),
        (
            auth(
                json!({ "type": "aws_access_key", "access_key_id": { "env": "TOKEN" }, "secret_access_key": { "env": "TOKEN" }, "service": "s3" }),
            ),
            "auth.region",
            "`region` is needed",
        ),
        (
            auth(
                json!({ "type": "aws_iam_role", "role_arn": "x", "service": "s3", "region": "eu-west-1" }),
            ),
            "auth.role_arn",
            "arn:",
        ),
        (
            with("tls.client_certificate", json!("x.pem")),
            "tls.client_certificate",
            "needs its private key",
        ),
        (
            with("tls.server_name", json!("a b")),
            "tls.server_name",
            "not a host name",
        ),
        (
            with("network.agent", json!("nobody")),
            "network.agent",
            "nobody",
        ),
        (
            with("network.proxy", json!(format!("http://me:{CANARY}@a:1"))),
            "network.proxy",
            "does not go into",
        ),
        (
            with("network.no_proxy", json!("a")),
            "network.no_proxy",
            "list of strings",
        ),
        (
            with("values", json!({ "auth.tokne": CANARY })),
            "auth.tokne",
            "no environment variable or file",
        ),
        (
            with("values", json!({ "auth.token": "" })),
            "auth.token",
            "is empty",
        ),
        (
            with(
                "values",
                json!({ "auth.token": format!("{CANARY}\n{CANARY}") }),
            ),
            "auth.token",
            "line break",
        ),
    ] {
        if field.is_empty() {
            let response = super::post(&keybearer, "/api/drafts", &draft).await;
            assert_eq!(response.status, 400, "{draft}");
            continue;
        }
        let told = drafted(&keybearer, &draft).await;
        let errors = told["errors"].as_array().unwrap();
        let found = errors.iter().find(|error| error["field"] == field);
        let found = found.unwrap_or_else(|| panic!("nothing at {field} of {draft}: {told}"));
        let message = found["message"].as_str().unwrap();
        assert!(message.contains(text), "{field}: {message}");
        assert!(!told.to_string().contains(CANARY), "{told}");
        assert!(errors.len() <= 2, "no crowd of consequences: {told}");
    }
}

#[tokio::test]
async fn what_is_not_there_yet_is_told_apart() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await.env("EMPTY", "");
    let keybearer = setup.start().await;
    let there = json!({ "env": "HOME" });
    for (token, missing) in [
        (
            json!({ "env": "ABSENT" }),
            Some(("env", "ABSENT", "is not set")),
        ),
        (
            json!({ "env": "EMPTY" }),
            Some(("env", "EMPTY", "is empty")),
        ),
        (
            json!({ "file": "no/such" }),
            Some(("file", "no/such", "does not exist")),
        ),
        (there, None),
    ] {
        let told = drafted(&keybearer, &bearer("x", "https://a.example", &token)).await;
        assert_eq!(told["errors"], json!([]), "{told}");
        let found = told["missing"].as_array().unwrap();
        let Some((kind, name, text)) = missing else {
            assert!(found.is_empty(), "{told}");
            continue;
        };
        assert_eq!(found.len(), 1, "{told}");
        assert_eq!(found[0]["field"], "auth.token");
        assert_eq!(found[0][kind], name);
        assert!(
            found[0]["message"].as_str().unwrap().contains(text),
            "{told}"
        );
        assert!(!found[0]["hint"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn names_and_prefixes_that_are_taken_are_told() {
    let upstream = Upstream::start().await;
    let setup = Setup::new()
        .top("include = [\"more.toml\"]")
        .file(
            "more.toml",
            &connection("inner", "https://b.example", "prefix = \"/taken\""),
        )
        .tables(&connection("p", &upstream.url(""), ""));
    let keybearer = setup.start().await;
    for (name, prefix, field, other) in [
        ("p", None, "name", "keybearer.toml"),
        ("inner", Some("/free"), "name", "more.toml"),
        ("free", Some("/p"), "prefix", "keybearer.toml"),
        ("free", Some("/taken/"), "prefix", "more.toml"),
        ("taken", None, "prefix", "more.toml"),
    ] {
        let mut draft = plain(name, "https://a.example");
        if let Some(prefix) = prefix {
            draft["prefix"] = json!(prefix);
        }
        let told = drafted(&keybearer, &draft).await;
        assert_eq!(fields(&told), [field], "{told}");
        let message = told["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(other), "{message}");
    }
    let own = format!("http://{}", keybearer.proxy());
    let listen = keybearer
        .setup()
        .text()
        .replace("127.0.0.1:0", &keybearer.proxy().to_string());
    assert!(
        listen.contains(&own[7..]),
        "the configuration names the port"
    );
    let told = drafted(&keybearer, &plain("free", "https://a.example")).await;
    assert_eq!(told["errors"], json!([]));
}

#[tokio::test]
async fn mistakes_of_the_configuration_itself_are_told_as_such() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await;
    let keybearer = setup.start().await;
    let spoilt = keybearer.setup().text() + "\n[connections.q]\nbase_ulr = 1\n";
    keybearer.setup().replace("keybearer.toml", &spoilt);
    let told = drafted(&keybearer, &plain("x", "https://a.example")).await;
    let errors = told["errors"].as_array().unwrap();
    assert!(!errors.is_empty());
    assert!(
        errors.iter().all(|error| error["field"].is_null()),
        "{told}"
    );
    let message = errors[0]["message"].as_str().unwrap();
    assert!(
        message.contains("as it stands is invalid") && message.contains("keybearer.toml:"),
        "{message}"
    );
}

#[tokio::test]
async fn nothing_that_is_typed_leaves_its_string() {
    let upstream = Upstream::start().await;
    let keybearer = instance(&upstream).await.start().await;
    for nasty in [
        "x\"]\n[admin]\nlisten = \"0.0.0.0:1\"\n#",
        "x'''\n[server]",
        "\\\" } ]",
        "x]\n[connections.evil]",
        "\u{202e}\u{0}\u{7f}\r\n",
        "ünïcode\u{85}\u{2028}",
        "\"\"\"",
    ] {
        let draft = json!({
            "name": nasty,
            "prefix": nasty,
            "base_url": nasty,
            "auth": { "type": "header", "headers": { nasty: { "env": nasty, "format": format!("{nasty}{{}}") } } },
            "tls": { "ca_certificate": nasty },
            "network": { "no_proxy": [nasty, nasty] },
        });
        let told = drafted(&keybearer, &draft).await;
        let toml = told["toml"].as_str().unwrap();
        let root: toml::Table = toml
            .parse()
            .unwrap_or_else(|error| panic!("{error}: {toml}"));
        assert_eq!(root.keys().collect::<Vec<_>>(), ["connections"], "{toml}");
        let all = root["connections"].as_table().unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), [nasty], "{toml}");
        let own = &all[nasty];
        assert_eq!(own["base_url"].as_str(), Some(nasty));
        assert_eq!(
            own["auth"]["headers"][nasty]["format"].as_str(),
            Some(&*format!("{nasty}{{}}"))
        );
        assert_eq!(own["network"]["no_proxy"][1].as_str(), Some(nasty));
        assert!(fields(&told).contains(&"name"), "{told}");
    }
}
