//! What the documents promise is run: every configuration in them loads, every answer is listed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use keybearer::problem::Kind;

use crate::harness::{Authority, Exit, Process, executable};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The way in, and everything in `docs`.
fn documents() -> Vec<String> {
    let files = std::fs::read_dir(root().join("docs")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut documents: Vec<_> = names
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    documents.push("README.md".to_owned());
    documents
}

/// The blocks of a Markdown text that are fenced as `language`.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let starts = text.split(&fence).skip(1);
    starts
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

/// Every `env = "NAME"` of a configuration.
fn variables(config: &str) -> Vec<String> {
    let names = config.split("env = \"").skip(1);
    names
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

async fn check(path: &Path) -> Exit {
    let config = std::fs::read_to_string(path).unwrap();
    let mut command = Command::new(executable());
    command.args(["check", "--config"]).arg(path);
    for name in variables(&config) {
        let value = match &*name {
            // The base64 of 32 bytes.
            "KEYBEARER_STORE_KEY" => "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            _ => "dummy",
        };
        command.env(name, value);
    }
    Process::run(&mut command).await
}

/// Checks a configuration that stands in a document, beside the files of the examples.
async fn check_text(text: &str, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(root().join("config/examples")).unwrap() {
        let file = file.unwrap();
        if file
            .path()
            .extension()
            .is_some_and(|extension| extension == "pem")
        {
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    let key = root().join("tests/data/keys/rsa.pem");
    for name in ["salesforce.pem", "service-account.pem"] {
        std::fs::copy(&key, folder.path().join(name)).unwrap();
    }
    for (from, to) in [("chain.pem", "client.pem"), ("sec1.key", "client.key")] {
        let from = root().join("tests/data/client").join(from);
        std::fs::copy(from, folder.path().join(to)).unwrap();
    }
    let authority = Authority::new();
    let certificate = authority.issue(&["keybearer.example.com"]);
    for (name, pem) in [
        ("agents.pem", certificate.pem()),
        ("agents.key", certificate.key_pem()),
        ("agents-ca.pem", authority.pem()),
    ] {
        std::fs::write(folder.path().join(name), pem).unwrap();
    }
    let path = folder.path().join("keybearer.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let exit = check(&path).await;
    assert_eq!(exit.code, Some(0), "{what}:\n{text}\n{}", exit.stderr);
}

#[tokio::test]
async fn every_configuration_in_the_documents_loads() {
    let mut found = 0;
    for document in documents() {
        for block in blocks(&read(&document), "toml") {
            check_text(&block, &document).await;
            found += 1;
        }
    }
    assert!(found >= 30, "only {found} configurations found");
}

#[tokio::test]
async fn every_example_loads() {
    let mut found = 0;
    for file in std::fs::read_dir(root().join("config/examples")).unwrap() {
        let path: PathBuf = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            check_text(
                &std::fs::read_to_string(&path).unwrap(),
                &path.display().to_string(),
            )
            .await;
            found += 1;
        }
    }
    assert!(found >= 5, "only {found} examples found");
}

#[tokio::test]
async fn the_embedded_default_is_the_file_that_is_shipped() {
    assert_eq!(
        keybearer::config::source::EMBEDDED,
        read("config/keybearer.toml")
    );
    check_text(&read("config/keybearer.toml"), "config/keybearer.toml").await;
}

#[test]
fn every_answer_of_our_own_is_in_the_table_in_order() {
    let text = read("docs/problems.md");
    let rows: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("| 4") || line.starts_with("| 5"))
        .collect();
    assert_eq!(rows.len(), Kind::ALL.len(), "one row per kind");
    for (kind, row) in Kind::ALL.iter().zip(rows) {
        let start = format!(
            "| {} | `{}` | `{}` |",
            kind.status().as_u16(),
            kind.slug(),
            kind.error()
        );
        assert!(row.starts_with(&start), "{row}\nshould start with\n{start}");
    }
}
