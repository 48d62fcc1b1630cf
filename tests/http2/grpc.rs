//! gRPC with its own client and server.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Authority, Keybearer, Process, Setup, connection, eventually, python};

const BEARER: &str = "auth = { type = \"bearer\", token = \"ours\" }";

/// A gRPC server of the tests.
struct Server {
    process: Process,
    port: u64,
}

impl Server {
    async fn start(args: &[&Path]) -> Self {
        let mut command = python::script("http2/grpc_server.py");
        let mut process = Process::spawn_bound(command.args(args));
        let port = eventually("the gRPC server", async || {
            assert!(process.ended().is_none(), "{}", process.stderr());
            let line = process.stdout().lines().next()?.to_owned();
            serde_json::from_str::<Value>(&line).ok()?["port"].as_u64()
        })
        .await;
        Self { process, port }
    }

    /// Waits until it has said this.
    async fn said(&self, event: &str) {
        eventually(event, async || {
            self.process.stdout().contains(event).then_some(())
        })
        .await;
    }
}

async fn pair(rest: &str) -> (Server, Keybearer) {
    let server = Server::start(&[]).await;
    let url = format!("http://127.0.0.1:{}", server.port);
    let rest = format!("prefix = \"/\"\nhttp = \"2\"\n{BEARER}\n{rest}");
    let keybearer = Keybearer::start(&connection("g", &url, &rest)).await;
    (server, keybearer)
}

async fn call(keybearer: &Keybearer, args: &[&str]) -> String {
    let target = keybearer.proxy().to_string();
    let args = [&[target.as_str()], args].concat();
    python::run("http2/grpc_client.py", &args).await.stdout
}

#[tokio::test]
async fn metadata_passes_both_ways_and_the_credential_is_ours() {
    let (_server, keybearer) = pair("").await;
    call(&keybearer, &["metadata_passes"]).await;
    call(&keybearer, &["statuses_pass"]).await;
}

#[tokio::test]
async fn streams_of_a_hundred_thousand_messages_stay_in_order() {
    let (_server, keybearer) = pair("").await;
    let target = keybearer.proxy().to_string();
    for case in ["uploads_pass_in_order", "downloads_pass_in_order"] {
        let mut command = python::script("http2/grpc_client.py");
        let mut client = Process::spawn(command.args([&target, case, "100000"]));
        // Each is waited for by itself: a client in Python takes its time.
        for count in 1..=10 {
            let told = format!("at {count}0000");
            eventually(&told, async || {
                let ended = client.ended().is_some();
                let said = client.stdout().contains(&told);
                assert!(said || !ended, "{case}: {}", client.stderr());
                said.then_some(())
            })
            .await;
        }
        let exit = client.exit().await;
        assert_eq!(exit.code, Some(0), "{case}: {}", exit.stderr);
    }
}

#[tokio::test]
async fn both_ways_go_on_at_once() {
    let (_server, keybearer) = pair("").await;
    call(&keybearer, &["both_ways_at_once"]).await;
}

#[tokio::test]
async fn large_messages_and_many_at_once_pass() {
    let (_server, keybearer) = pair("").await;
    call(&keybearer, &["large_messages_pass"]).await;
    call(&keybearer, &["many_at_once", "500"]).await;
}

#[tokio::test]
async fn deadlines_and_cancellations_reach_the_server() {
    for case in ["deadlines_pass", "cancellation_passes"] {
        let (server, keybearer) = pair("").await;
        call(&keybearer, &[case]).await;
        server.said("\"ended\"").await;
        let said = server.process.stdout();
        assert!(said.contains("\"active\": false"), "{case}: {said}");
    }
}

#[tokio::test]
async fn it_is_agreed_on_by_alpn() {
    let authority = Authority::new();
    let certificate = authority.issue(&["127.0.0.1"]);
    let setup = Setup::new().file("ca.pem", authority.pem());
    setup.write("key.pem", certificate.key_pem());
    setup.write("chain.pem", certificate.pem());
    let paths = [setup.path("key.pem"), setup.path("chain.pem")];
    let server = Server::start(&[&paths[0], &paths[1]]).await;
    let url = format!("https://127.0.0.1:{}", server.port);
    let rest = format!("prefix = \"/\"\n{BEARER}\ntls = {{ ca_certificate = \"ca.pem\" }}");
    let keybearer = setup.tables(&connection("g", &url, &rest)).start().await;
    call(&keybearer, &["metadata_passes"]).await;
    call(&keybearer, &["both_ways_at_once"]).await;
}

#[tokio::test]
async fn what_keybearer_says_itself_is_a_status() {
    for (rest, status) in [
        ("allow = { methods = [\"GET\"] }", "PERMISSION_DENIED"),
        ("allow = { paths = [\"/other/**\"] }", "PERMISSION_DENIED"),
        ("prefix = \"/other\"", "UNIMPLEMENTED"),
    ] {
        let server = Server::start(&[]).await;
        let url = format!("http://127.0.0.1:{}", server.port);
        let prefix = if rest.contains("prefix") {
            ""
        } else {
            "prefix = \"/\""
        };
        let rest = format!("{prefix}\nhttp = \"2\"\n{BEARER}\n{rest}");
        let keybearer = Keybearer::start(&connection("g", &url, &rest)).await;
        call(&keybearer, &["own_errors_are_read", status]).await;
    }
    let rest = format!("prefix = \"/\"\nhttp = \"2\"\n{BEARER}");
    let keybearer = Keybearer::start(&connection("g", "http://127.0.0.1:1", &rest)).await;
    let said = call(&keybearer, &["own_errors_are_read", "UNAVAILABLE"]).await;
    assert!(
        said.contains("refused the connection"),
        "what to do: {said}"
    );
    assert!(!said.contains("ours"), "{said}");
}
