//! `keybearer check`: everything that `run` would read, and never a secret.

use serde_json::Value;

use crate::harness::{Setup, connection};

fn setup() -> Setup {
    let tables = [
        (
            "jira",
            "https://jira.example/rest/api/3",
            "prefix = \"/tickets\"\nauth = { type = \"basic\", username = \"me@example.com\", password = { env = \"JIRA_TOKEN\" } }",
        ),
        (
            "files",
            "http://files.example:8080",
            "auth = { type = \"bearer\", token = { file = \"file-token\" } }",
        ),
        (
            "open",
            "http://open.example",
            "auth = { type = \"header\", headers = { X-Key = \"literal-secret\" } }",
        ),
    ];
    let tables = tables.map(|(name, base, rest)| connection(name, base, rest));
    Setup::new()
        .env("JIRA_TOKEN", "env-secret")
        .file("file-token", "file-secret\n")
        .tables(&tables.concat())
}

const SECRETS: [&str; 3] = ["env-secret", "file-secret", "literal-secret"];

#[tokio::test]
async fn check_prints_a_line_for_each_connection() {
    let exit = setup().run(&["check"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    for (prefix, words) in [
        (
            "/tickets",
            &[
                "jira",
                "https://jira.example/rest/api/3",
                "basic",
                "JIRA_TOKEN",
            ][..],
        ),
        (
            "/files",
            &["http://files.example:8080", "bearer", "file-token"],
        ),
        ("/open", &["http://open.example", "header", "X-Key"]),
    ] {
        let line = exit.stdout.lines().find(|line| line.contains(prefix));
        let line = line.unwrap_or_else(|| panic!("no line for {prefix}: {}", exit.stdout));
        for word in words {
            assert!(line.contains(word), "no {word} in: {line}");
        }
    }
    let all = exit.stdout + &exit.stderr;
    assert!(SECRETS.iter().all(|secret| !all.contains(secret)), "{all}");
}

#[tokio::test]
async fn check_prints_json_where_that_is_asked_for() {
    let exit = setup().run(&["check", "--json"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let json: Value = serde_json::from_str(&exit.stdout).expect("JSON and nothing else");
    let jira = find(&json, "name", "jira").expect("an object named jira");
    assert_eq!(jira["prefix"], "/tickets");
    assert_eq!(jira["base_url"], "https://jira.example/rest/api/3");
    let text = jira.to_string();
    assert!(
        text.contains("basic") && text.contains("JIRA_TOKEN"),
        "{text}"
    );
    assert!(find(&json, "name", "open").is_some());
    assert!(SECRETS.iter().all(|secret| !exit.stdout.contains(secret)));
}

/// The first object, however deep, whose member `key` is `value`.
fn find<'a>(json: &'a Value, key: &str, value: &str) -> Option<&'a Value> {
    match json {
        Value::Object(members) => {
            let here = members.get(key).is_some_and(|member| member == value);
            here.then_some(json)
                .or_else(|| members.values().find_map(|member| find(member, key, value)))
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, key, value)),
        _ => None,
    }
}

#[tokio::test]
async fn check_reports_every_error_with_its_place() {
    let tables = "[connections.a]\nbase_ulr = \"http://x\"\nauth = { type = \"none\" }\n\
        [connections.b]\nbase_url = \"http://x\"\nauth = { type = \"bearer\", token = { env = \"ABSENT\" } }\n\
        [connections.c]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\nretries = \"one\"\n";
    let setup = Setup::new().tables(tables);
    let text = setup.text();
    let exit = setup.run(&["check"]).await;
    assert_eq!(exit.code, Some(2));
    assert!(exit.stdout.is_empty(), "{}", exit.stdout);
    for (line, word) in [
        ("base_ulr", "base_url"),
        ("auth = { type = \"bearer\"", "ABSENT"),
        ("retries", "retries"),
    ] {
        let number = 1 + text
            .lines()
            .position(|each| each.starts_with(line))
            .unwrap();
        let place = format!("keybearer.toml:{number}:");
        assert!(
            exit.stderr.contains(&place),
            "no {place} in {}",
            exit.stderr
        );
        assert!(exit.stderr.contains(word), "no {word} in {}", exit.stderr);
    }
    let exit = setup.run(&["check", "--json"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
}

#[tokio::test]
async fn check_tells_where_renewed_secrets_come_from_and_runs_nothing() {
    let tables = [
        (
            "crm",
            "auth = { type = \"oauth2_client_credentials\", token_url = \"https://login.example\", \
             client_id = \"me\", client_secret = { env = \"CRM\" }, params = { key = \"literal-secret\" } }",
        ),
        (
            "wiki",
            "auth = { type = \"bearer\", token = { command = [\"./absent\", \"literal-secret\"] } }",
        ),
    ];
    let tables = tables.map(|(name, auth)| connection(name, "http://a.example", auth));
    let setup = Setup::new()
        .env("CRM", "env-secret")
        .tables(&tables.concat());
    let exit = setup.run(&["check"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    for line in [
        "oauth2_client_credentials (client_secret from env CRM, params.key from the configuration)\n",
        "bearer (token from command ./absent)\n",
    ] {
        assert!(exit.stdout.contains(line), "no {line} in {}", exit.stdout);
    }
    let json = setup.run(&["check", "--json"]).await;
    let all = [exit.stdout, exit.stderr, json.stdout, json.stderr].concat();
    assert!(SECRETS.iter().all(|secret| !all.contains(secret)), "{all}");
}
