//! The form in a person's browser.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{CANARY, instance};
use crate::harness::node::{program, script};
use crate::harness::{Process, Upstream};

/// How long a browser may take: it is many processes.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_person_fills_in_the_form_tries_it_and_writes_it() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let keybearer = setup.start().await;
    let settings = json!({
        "executable": program("chromium"),
        "page": format!("http://{}/new", keybearer.console()),
        "base_url": upstream.url("/base"),
        "secret": CANARY,
    });
    let mut process = Process::spawn(&mut script("oauth", "form.js", &settings.to_string()));
    let started = Instant::now();
    while process.ended().is_none() && started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let exit = process.exit().await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let seen: Value = serde_json::from_str(&exit.stdout).unwrap();
    let text = |key: &str| {
        seen[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key}: {seen}"))
    };

    assert_eq!(seen["errors"], json!([]), "of the script");
    assert_eq!(seen["types"].as_array().unwrap().len(), 13);
    assert_eq!(seen["shownFirst"], json!(["none"]));
    assert_eq!(seen["shown"], json!(["header"]), "the chosen type alone");

    assert_eq!(text("focused"), "form-errors", "what is wrong is read out");
    assert!(
        text("summary").contains("Name: `two words` is no name"),
        "{seen}"
    );
    let invalid = seen["invalid"].as_array().unwrap();
    assert!(invalid.contains(&json!("f-name")), "{seen}");
    assert!(
        invalid
            .iter()
            .any(|id| id.as_str().unwrap().contains("base")),
        "{seen}"
    );
    let described = seen["described"].to_string();
    assert!(
        described.contains("is no name") && described.contains("Letters"),
        "{seen}"
    );
    assert!(
        invalid.contains(&seen["led"]),
        "an error leads to its field: {seen}"
    );

    assert_eq!(
        seen["hidden"],
        json!(true),
        "a plain text is not tried with another"
    );
    assert!(text("status").contains("the API answered"), "{seen}");
    for part in ["connect", "request", "200 OK", "x-key"] {
        assert!(text("trial").contains(part), "no {part}: {seen}");
    }
    for part in [
        "[connections.made.auth.headers]",
        "{ env = \"MADE_X_KEY\" }",
        "\"acme\"",
    ] {
        assert!(text("toml").contains(part), "no {part}: {seen}");
    }
    assert!(
        text("missing").contains("`MADE_X_KEY` is not set"),
        "{seen}"
    );
    let tried = upstream.requests();
    assert_eq!(tried[0].header("x-key"), Some(CANARY));
    assert!(!seen.to_string().contains(CANARY), "{seen}");

    assert_eq!(
        seen["invalidEntry"],
        json!(["a b", "acme"]),
        "one entry, not all: {seen}"
    );
    assert!(text("url").ends_with("/connections/made"), "{seen}");
    assert_eq!(keybearer.get("/made/x").send().await.status, 200);
    assert_eq!(upstream.last().header("x-tenant"), Some("acme"));
    assert!(!keybearer.log().contains(CANARY));
}
