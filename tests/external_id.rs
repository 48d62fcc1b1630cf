//! `keybearer external-id`: asked of the running instance, or of the store while none runs.

use serde_json::{Value, json};

use crate::harness::{Exit, Keybearer, Setup};
use crate::linking;

const ROLES: &str = r#"
[connections.orders]
base_url = "https://sqs.eu-west-1.amazonaws.com"
auth = { type = "aws_iam_role", role_arn = "arn:aws:iam::123456789012:role/orders" }

[connections.tenant]
base_url = "https://sqs.eu-west-1.amazonaws.com"

[connections.tenant.auth]
type = "aws_iam_role"
role_arn = "arn:aws:iam::123456789012:role/tenant"
external_id = { scope = "project-x" }
source = { role_arn = "arn:aws:iam::123456789012:role/hub" }
"#;

fn setup() -> Setup {
    linking::setup().tables(ROLES)
}

/// What a command printed with `--json`.
fn json(exit: &Exit) -> Value {
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    serde_json::from_str(&exit.stdout).unwrap()
}

fn id(exit: &Exit) -> String {
    json(exit)["external_id"].as_str().unwrap().to_owned()
}

async fn ask(keybearer: &Keybearer, args: &[&str]) -> Exit {
    keybearer.spawn(args).exit().await
}

#[tokio::test]
async fn it_prints_the_id_and_a_policy_to_paste() {
    let setup = setup();
    let exit = setup.run(&["external-id"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let (id, policy) = exit.stdout.split_once("\n\n").unwrap();
    assert!(id.starts_with("keybearer-") && id.len() == 42, "{id}");
    let policy: Value = serde_json::from_str(policy).unwrap();
    let statement = &policy["Statement"][0];
    assert_eq!(
        statement["Condition"],
        json!({ "StringEquals": { "sts:ExternalId": id } })
    );
    assert_eq!(statement["Action"], "sts:AssumeRole");
    assert!(exit.stdout.find("Version") < exit.stdout.find("Statement"));
    for line in ["role/orders  orders", "role/hub  tenant"] {
        assert!(exit.stderr.contains(line), "{line}: {}", exit.stderr);
    }
    assert!(
        !exit.stderr.contains("role/tenant"),
        "that is of a scope: {}",
        exit.stderr
    );
}

#[tokio::test]
async fn it_stays_the_same_with_and_without_an_instance() {
    let setup = setup();
    let ours = id(&setup.run(&["external-id", "--json"]).await);
    assert_eq!(id(&setup.run(&["external-id", "--json"]).await), ours);

    let keybearer = setup.start().await;
    let told = json(&ask(&keybearer, &["external-id", "--json"]).await);
    assert_eq!(told["external_id"], *ours);
    assert_eq!(told["scope"], Value::Null);
    let scoped = ask(
        &keybearer,
        &["external-id", "--scope", "project-x", "--json"],
    )
    .await;
    let scoped = json(&scoped);
    assert_ne!(scoped["external_id"], *ours);
    let role = "arn:aws:iam::123456789012:role/tenant";
    assert_eq!(
        scoped["roles"],
        json!([{ "connection": "tenant", "role_arn": role }])
    );

    let (setup, _) = keybearer.kill().await;
    let exit = setup
        .run(&["external-id", "--scope", "project-x", "--json"])
        .await;
    assert_eq!(json(&exit), scoped, "it was on disk before it was told");
    assert_eq!(id(&setup.run(&["external-id", "--json"]).await), ours);
}

#[tokio::test]
async fn a_scope_that_is_none_is_refused() {
    let setup = setup();
    for scope in ["", "a b", "a/b", "é"] {
        let exit = setup.run(&["external-id", "--scope", scope]).await;
        assert_eq!(exit.code, Some(2), "{scope}: {}", exit.stdout);
        assert!(
            exit.stderr.contains("a scope has 1 to 64"),
            "{}",
            exit.stderr
        );
    }
    let keybearer = setup.start().await;
    for content in [r#"{"scope": "a b"}"#, r#"{"socpe": "a"}"#, "7", "x"] {
        let asked = keybearer.ask("POST", "/api/external-id");
        let response = asked.body("application/json", content).send().await;
        response.problem(400, "content-malformed", "http_request_error");
    }
}

#[tokio::test]
async fn the_console_asks_for_its_token() {
    let setup = setup()
        .admin("token = { env = \"ADMIN\" }")
        .env("ADMIN", "canary-admin");
    let keybearer = setup.start().await;
    let response = keybearer.ask("POST", "/api/external-id").send().await;
    assert_eq!(response.status, 401, "{response:?}");
    let response = keybearer.ask("GET", "/api/external-id").send().await;
    assert_eq!(response.status, 401, "{response:?}");
    let browser = keybearer
        .ask("POST", "/api/external-id")
        .header("authorization", "Bearer canary-admin")
        .header("sec-fetch-site", "same-origin");
    assert_eq!(browser.send().await.status, 403);
    let exit = ask(&keybearer, &["external-id", "--json"]).await;
    assert!(id(&exit).starts_with("keybearer-"));
    assert!(!exit.stderr.contains("canary-admin") && !exit.stdout.contains("canary-admin"));
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_told() {
    let table = "[connections.a]\nbase_url = \"https://a.example\"\n\n[store]\ntype = \"memory\"";
    let setup = linking::setup().tables(table);
    let exit = setup.run(&["external-id"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stdout);
    assert!(
        exit.stderr.contains("`store.type` is `memory`"),
        "{}",
        exit.stderr
    );
    let keybearer = setup.start().await;
    let exit = ask(&keybearer, &["external-id"]).await;
    assert_eq!((exit.code, &*exit.stdout), (Some(1), ""), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("`store.type` is `memory`"),
        "{}",
        exit.stderr
    );
}

#[tokio::test]
async fn an_instance_that_cannot_be_asked_keeps_its_store() {
    let setup = setup();
    let keybearer = setup.start().await;
    // This one has its store open from here on.
    ask(&keybearer, &["external-id"]).await;
    let setup = keybearer.setup();
    let off = setup
        .text()
        .replace("listen = \"127.0.0.1:", "listen = \"off\" # ");
    let off = off.replacen("listen = [\"127.0.0.1:0\"]", "", 1);
    setup.write("off.toml", &off);
    let path = setup.path("off.toml");
    let exit = setup
        .run_bare(&["external-id", "--config", path.to_str().unwrap()])
        .await;
    assert_eq!((exit.code, &*exit.stdout), (Some(2), ""), "{}", exit.stderr);
    for words in [
        "another keybearer uses the store",
        "admin.listen is \"off\"",
    ] {
        assert!(exit.stderr.contains(words), "{words}: {}", exit.stderr);
    }
}

#[tokio::test]
async fn an_invalid_configuration_is_told() {
    let setup = setup().tables("[connections.orders.allow]\nmethod = 7");
    let exit = setup.run(&["external-id"]).await;
    assert_eq!((exit.code, &*exit.stdout), (Some(2), ""), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("unknown key `method`"),
        "{}",
        exit.stderr
    );
}
