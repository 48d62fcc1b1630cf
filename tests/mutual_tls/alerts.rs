//! Refusals in TLS itself, by OpenSSL's own server: an alert becomes words that say what to do.

use std::process::Command;
use std::time::SystemTime;

use super::{put, setup, showing};
use crate::harness::{
    Authority, Certificate, DAY, Keybearer, Process, Setup, connection, eventually,
};

/// A server of OpenSSL's, killed when dropped.
struct Server {
    port: String,
    _process: Process,
}

impl Server {
    /// One that presents `own` and does as these further arguments say; `trusted.pem` are the clients'
    /// authorities.
    async fn start(setup: &Setup, own: &Certificate, trusted: &Authority, args: &[&str]) -> Self {
        setup.write("server.pem", own.pem());
        setup.write("server.key", own.key_pem());
        setup.write("trusted.pem", trusted.pem());
        let mut command = Command::new("openssl");
        command
            .current_dir(setup.path(""))
            .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
            .args(["-cert", "server.pem", "-key", "server.key"])
            .args(["-CAfile", "trusted.pem"])
            .args(args);
        let mut process = Process::spawn(&mut command);
        let port = eventually("openssl s_server", async || {
            if process.ended().is_some() {
                panic!("openssl s_server ended: {:?}", process.exit().await);
            }
            let said = process.stdout();
            let line = said.lines().find_map(|line| line.strip_prefix("ACCEPT "))?;
            Some(line.rsplit(':').next()?.trim().to_owned())
        });
        Self {
            port: port.await,
            _process: process,
        }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}

/// Refuses clients without a good certificate.
const DEMANDING: [&str; 3] = ["-Verify", "3", "-verify_return_error"];

/// What a caller is told; the kind is the same whenever in the handshake the alert comes.
async fn refusal(keybearer: &Keybearer, name: &str) -> String {
    let response = keybearer.get(&format!("/{name}/x")).send().await;
    response.problem(502, "tls-alert", "tls_alert_received")
}

#[tokio::test]
async fn a_refused_certificate_is_named_with_what_to_do() {
    let (ours, other) = (Authority::new(), Authority::new());
    for version in ["-tls1_3", "-tls1_2"] {
        let setup = setup(&ours);
        let own = ours.issue(&["127.0.0.1"]);
        let args = [&DEMANDING[..], &[version]].concat();
        let server = Server::start(&setup, &own, &ours, &args).await;
        put(&setup, "good", &ours.client("good", 1));
        put(&setup, "other", &other.client("other", 2));
        let past = SystemTime::now() - 400 * DAY;
        put(&setup, "expired", &ours.client_until("expired", 3, past));
        let mut tables = connection(
            "absent",
            &server.url(),
            "retries = 3\ntls.ca_certificate = \"ca.pem\"",
        );
        for name in ["good", "other", "expired"] {
            tables += &showing(name, &server.url(), "");
        }
        let keybearer = setup.tables(&tables).start().await;
        // Often, as whether the alert or the close comes first is a matter of luck.
        for _ in 0..10 {
            let detail = refusal(&keybearer, "absent").await;
            for word in [
                "client certificate",
                "tls.client_certificate",
                "tls.client_key",
            ] {
                assert!(
                    detail.contains(word),
                    "{version}: {word} is not in: {detail}"
                );
            }
            let detail = refusal(&keybearer, "other").await;
            for word in ["`CN=other`", "serial number 02", "authority that it trusts"] {
                assert!(
                    detail.contains(word),
                    "{version}: {word} is not in: {detail}"
                );
            }
            let detail = refusal(&keybearer, "expired").await;
            for word in ["`CN=expired`", "has expired; renew it"] {
                assert!(
                    detail.contains(word),
                    "{version}: {word} is not in: {detail}"
                );
            }
        }
        // Content that meets the close while it is written.
        let long = vec![b'x'; 512 << 10];
        for name in ["absent", "other"] {
            let post = keybearer.post(&format!("/{name}/x"));
            let response = post.body("text/plain", &long).send().await;
            let detail = response.problem(502, "tls-alert", "tls_alert_received");
            assert!(detail.contains("client certificate"), "{version}: {detail}");
        }
        let good = keybearer.get("/good/x").send().await;
        assert_eq!(good.status, 200, "{version}: {good:?}");
    }
}

#[tokio::test]
async fn a_refused_certificate_is_named_on_http2_too() {
    let (ours, other) = (Authority::new(), Authority::new());
    for version in ["-tls1_3", "-tls1_2"] {
        let setup = setup(&ours);
        let own = ours.issue(&["127.0.0.1"]);
        let args = [&DEMANDING[..], &[version, "-alpn", "h2"]].concat();
        let server = Server::start(&setup, &own, &ours, &args).await;
        put(&setup, "other", &other.client("other", 2));
        let absent = "http = \"2\"\nretries = 3\ntls.ca_certificate = \"ca.pem\"";
        let tables = connection("absent", &server.url(), absent)
            + &showing("other", &server.url(), "").replace("base_url", "http = \"2\"\nbase_url");
        let keybearer = setup.tables(&tables).start().await;
        for _ in 0..10 {
            let detail = refusal(&keybearer, "absent").await;
            assert!(
                detail.contains("tls.client_certificate"),
                "{version}: {detail}"
            );
            let detail = refusal(&keybearer, "other").await;
            assert!(detail.contains("`CN=other`"), "{version}: {detail}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_is_too_old_is_told_of() {
    let authority = Authority::new();
    let setup = setup(&authority);
    let own = authority.issue(&["127.0.0.1"]);
    let server = Server::start(&setup, &own, &authority, &["-tls1_2"]).await;
    let tables = [("least", "1.2"), ("strict", "1.3")].map(|(name, version)| {
        let tls = format!("tls = {{ ca_certificate = \"ca.pem\", min_version = \"{version}\" }}");
        connection(name, &server.url(), &tls)
    });
    let keybearer = setup.tables(&tables.concat()).start().await;
    let response = keybearer.get("/least/x").send().await;
    assert_eq!(response.status, 200, "{response:?}");
    let detail = refusal(&keybearer, "strict").await;
    for word in ["TLS 1.3", "tls.min_version", "\"1.2\""] {
        assert!(detail.contains(word), "{word} is not in: {detail}");
    }
}
