//! The API's description against the running server, by schemathesis: it sends what the description
//! allows and what it does not, and holds each answer against it.

use std::process::Command;

use serde_json::Value;

use super::table;
use crate::harness::python::interpreter;
use crate::harness::{AuthorizationServer, Keybearer, Process, Setup, Upstream, connection};
use crate::linking;

const TOKEN: &str = "canary-admin-token-19c4";

/// Connections of several kinds, so that their paths answer differently.
async fn start(setup: Setup, upstream: &Upstream, server: &AuthorizationServer) -> Keybearer {
    let down = "auth = { type = \"bearer\", token = \"x\" }";
    let tables = table(upstream)
        + &linking::drive(server, "")
        + &connection("down", "http://127.0.0.1:1", down)
        + &crate::webhooks::hook(&upstream.url("/"), "");
    setup.tables(&tables).start().await
}

fn schemathesis(keybearer: &Keybearer, more: &[&str]) -> Command {
    let mut command = Command::new(interpreter());
    command.args(["-I", "-m", "schemathesis.cli"]);
    // What it reports is read, and nothing is kept.
    command.current_dir(keybearer.setup().path(""));
    command.args([
        "run",
        &format!("http://{}/api/openapi.json", keybearer.console()),
    ]);
    command.args([
        "--max-examples",
        "15",
        "--no-color",
        "--request-timeout",
        "60",
    ]);
    command.args([
        "--phases",
        "examples,coverage,fuzzing",
        "--generation-deterministic",
    ]);
    command.args(more);
    command
}

async fn assert_holds(mut command: Command) {
    let mut process = Process::spawn(&mut command);
    let begun = std::time::Instant::now();
    while process.ended().is_none() {
        assert!(begun.elapsed().as_secs() < 400, "{}", process.stdout());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let exit = process.exit().await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
}

#[tokio::test]
async fn every_answer_is_as_it_is_described() {
    let upstream = Upstream::start().await;
    let server = AuthorizationServer::start(linking::settings()).await;
    let setup = linking::setup().admin(&format!("token = \"{TOKEN}\""));
    let keybearer = start(setup, &upstream, &server).await;
    let authorization = format!("Authorization: Bearer {TOKEN}");
    assert_holds(schemathesis(
        &keybearer,
        // Whether others are refused is tested elsewhere: here, too many of them would be.
        &[
            "--header",
            &authorization,
            "--exclude-checks",
            "ignored_auth",
        ],
    ))
    .await;
    assert_eq!(keybearer.ask("GET", "/healthz").send().await.status, 200);
}

#[tokio::test]
async fn the_description_has_every_path_of_the_api() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&table(&upstream)).await;
    let described = keybearer.ask("GET", "/api/openapi.json").send().await;
    assert_eq!(described.status, 200);
    let described = described.json();
    assert_eq!(described["info"]["version"], env!("CARGO_PKG_VERSION"));
    let source = concat!(
        include_str!("../../src/console/mod.rs"),
        include_str!("../../src/console/form/mod.rs")
    );
    let routes = source.split(".route(").skip(1);
    let paths: Vec<_> = routes.filter_map(|route| route.split('"').nth(1)).collect();
    let in_api = |path: &&&str| path.starts_with("/api/") || path.ends_with("z");
    let mut missing = paths.iter().filter(in_api).filter(|path| {
        // The consent's parameter has another name inside.
        let path = path.replace("{id}", "{consent}");
        described["paths"].get(&path).is_none_or(Value::is_null)
    });
    assert_eq!(missing.next(), None, "{:?}", described["paths"]);
}
