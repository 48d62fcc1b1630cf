//! Keys and certificates in every form that OpenSSL writes, and no form of them in what is told.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{put, seen, setup, showing};
use crate::harness::nginx::{Nginx, TELL};
use crate::harness::{Authority, Process, Setup, connection};

const PASSWORD: &str = "canary-password-81fe";

/// Runs `openssl` in the setup's folder.
async fn openssl(setup: &Setup, args: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(setup.path("")).args(args.split(' '));
    let exit = Process::run(&mut command).await;
    assert_eq!(exit.code, Some(0), "openssl {args}: {}", exit.stderr);
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn every_form_that_openssl_writes_is_shown() {
    let authority = Authority::new();
    let nginx = Nginx::start(&authority.issue(&["127.0.0.1"]), &[&authority], TELL).await;
    let setup = setup(&authority).env("PASSWORD", PASSWORD);
    let certificate = authority.client("app", 0x77);
    put(&setup, "pkcs8", &certificate);
    let pass = format!("-passout pass:{PASSWORD}");
    openssl(&setup, "ec -in pkcs8.key -out sec1.key").await;
    openssl(
        &setup,
        &format!("pkcs8 -topk8 -in pkcs8.key -out encrypted.key {pass}"),
    )
    .await;
    for (name, more) in [("new", ""), ("old", " -legacy")] {
        let made = format!(
            "pkcs12 -export{more} -inkey pkcs8.key -in pkcs8.pem -certfile ca.pem -out {name}.p12 {pass}"
        );
        openssl(&setup, &made).await;
    }
    for file in ["sec1.key", "encrypted.key", "new.p12", "old.p12"] {
        private(&setup.path(file));
    }
    for name in ["sec1", "encrypted"] {
        setup.write(&format!("{name}.pem"), certificate.pem());
    }
    let url = nginx.url("");
    let password = "client_key_password = { env = \"PASSWORD\" }";
    let mut tables = showing("pkcs8", &url, "")
        + &showing("sec1", &url, "")
        + &showing("encrypted", &url, password);
    for (name, written) in [("new", "\"new.p12\""), ("old", "{ file = \"old.p12\" }")] {
        let tls = format!(
            "[connections.{name}.tls]\nca_certificate = \"ca.pem\"\nclient_identity = {written}\n{password}"
        );
        tables += &connection(name, &url, &tls);
    }
    let keybearer = setup.tables(&tables).start().await;
    for name in ["pkcs8", "sec1", "encrypted", "new", "old"] {
        assert_eq!(seen(&keybearer, name).await.serial, "77", "{name}");
    }
}

#[tokio::test]
async fn neither_key_nor_password_is_told() {
    let authority = Authority::new();
    let nginx = Nginx::start(&authority.issue(&["127.0.0.1"]), &[&authority], TELL_ANY).await;
    let setup = setup(&authority).tables("[log]\nlevel = \"trace\"\n");
    let certificate = authority.client("app", 0x77);
    put(&setup, "plain", &certificate);
    let pass = format!("-passout pass:{PASSWORD}");
    openssl(
        &setup,
        &format!("pkcs8 -topk8 -in plain.key -out encrypted.key {pass}"),
    )
    .await;
    private(&setup.path("encrypted.key"));
    setup.write("encrypted.pem", certificate.pem());
    let password = format!("client_key_password = \"{PASSWORD}\"");
    let tables = showing("plain", &nginx.url(""), "")
        + &showing("encrypted", &nginx.url(""), &password)
        + &connection(
            "refused",
            "https://127.0.0.1:1",
            "tls = { client_certificate = \"plain.pem\", client_key = { file = \"plain.key\" } }",
        );
    let setup = setup.tables(&tables);
    let mut told = String::new();
    for args in [&["check"][..], &["check", "--json"]] {
        let exit = setup.run(args).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        told += &(exit.stdout + &exit.stderr);
    }
    let keybearer = setup.start().await;
    for name in ["plain", "encrypted", "refused"] {
        let response = keybearer.get(&format!("/{name}/x")).send().await;
        told += &format!("{response:?}");
    }
    for path in ["/api/connections", "/metrics", "/"] {
        told += &keybearer.ask("GET", path).send().await.text();
    }
    // Wrong in every way that a key can be wrong.
    for (file, text) in [
        ("encrypted.pem", authority.pem()),
        ("plain.key", "canary-password-81fe"),
    ] {
        keybearer.setup().replace(file, text);
        told += &keybearer.reload().await.text();
    }
    let text = keybearer
        .setup()
        .text()
        .replace(PASSWORD, "canary-password-81fe-wrong");
    keybearer.setup().replace("keybearer.toml", &text);
    told += &keybearer.reload().await.text();
    let (_, exit) = keybearer.stop().await;
    told += &(exit.stdout + &exit.stderr);
    assert!(
        told.contains("client_key_password"),
        "it did say something:\n{told}"
    );
    for canary in canaries(certificate.key_pem()) {
        assert!(!told.contains(&canary), "{canary} is told:\n{told}");
    }
}

/// Clients of any authority.
const TELL_ANY: &str = "ssl_verify_client optional_no_ca; location / { return 200 '{}'; }";

/// Password and key as they could be told.
fn canaries(pem: &str) -> Vec<String> {
    let lines: Vec<_> = pem.lines().filter(|line| !line.contains("-----")).collect();
    let der = STANDARD.decode(lines.concat()).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{:?}", &der[40..48]);
    let mut canaries = vec![
        PASSWORD.to_owned(),
        hex(&der[40..56]),
        decimal.trim_matches(['[', ']']).to_owned(),
    ];
    canaries.extend(lines.iter().map(|line| line[..20].to_owned()));
    canaries
}
