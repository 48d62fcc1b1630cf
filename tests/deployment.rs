//! Service managers and orchestrators: passed listeners, and the examples that are shipped for them.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{
    Exit, Process, RawClient, Setup, Upstream, connection, eventually, executable, python,
};
use crate::linking::free_port;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config/examples")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(example(name)).unwrap()
}

/// What `check` says of the file that was written.
async fn checked(setup: &Setup) -> Exit {
    let path = setup.path("keybearer.toml").display().to_string();
    Process::run(&mut setup.command(&["check", "--config", &path])).await
}

/// keybearer, started by systemd's own tool at the first connection to one of these places.
fn activated(setup: &Setup, places: &[&str]) -> Process {
    setup.write("keybearer.toml", &setup.text());
    let mut command = Command::new("systemd-socket-activate");
    for place in places {
        command.args(["--listen", place]);
    }
    command.arg(executable()).arg("--config");
    command.arg(setup.path("keybearer.toml")).arg("run");
    Process::spawn(&mut command)
}

/// A configuration that listens on a port and at a Unix socket, and on a port for the console.
async fn listening(upstream: &Upstream) -> (Setup, String, String, String) {
    let (proxy, console) = (free_port(), free_port());
    let (proxy, console) = (format!("127.0.0.1:{proxy}"), format!("127.0.0.1:{console}"));
    let setup = Setup::new();
    let socket = setup.path("k.sock").display().to_string();
    let setup = setup
        .server(&format!("listen = [\"{proxy}\", \"unix:{socket}\"]"))
        .admin(&format!("listen = \"{console}\""))
        .tables(&connection(
            "p",
            &upstream.url("/base"),
            "auth = { type = \"none\" }",
        ));
    (setup, proxy, socket, console)
}

#[tokio::test]
async fn passed_listeners_are_used_and_stay() {
    let upstream = Upstream::start().await;
    let (setup, proxy, socket, console) = listening(&upstream).await;
    let mut process = activated(&setup, &[&proxy, &socket, &console]);
    let connected = async || UnixStream::connect(&socket).is_ok().then_some(());
    eventually("systemd to listen", connected).await;
    for request in ["/p/1", "/p/2"] {
        let mut client = RawClient::connect(proxy.parse().unwrap()).await;
        let head = format!("GET {request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.send(head.as_bytes()).await;
        assert_eq!(client.try_response_to("GET").await.unwrap().status, 200);
    }
    let mut client = RawClient::connect(console.parse().unwrap()).await;
    client
        .send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(client.try_response_to("GET").await.unwrap().status, 200);
    process.signal(Signal::TERM);
    let exit = process.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(Path::new(&socket).exists(), "it is systemd's");
}

#[tokio::test]
async fn a_passed_listener_that_nothing_names_is_refused() {
    let upstream = Upstream::start().await;
    let (setup, proxy, _, _) = listening(&upstream).await;
    let other = format!("127.0.0.1:{}", free_port());
    let mut process = activated(&setup, &[&proxy, &other]);
    let connected = async || std::net::TcpStream::connect(&other).is_ok().then_some(());
    eventually("systemd to listen", connected).await;
    let exit = process.exit().await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    let text = format!("the service manager passes listeners at {other}");
    assert!(exit.stderr.contains(&text), "{}", exit.stderr);
}

/// systemd itself finds no fault with the units, and little to harden.
#[tokio::test]
async fn the_systemd_units_are_good() {
    let setup = Setup::new();
    let path = executable().display().to_string();
    setup.write("keybearer.socket", &read("systemd/keybearer.socket"));
    for name in ["keybearer.service", "keybearer-agent.service"] {
        let unit = read(&format!("systemd/{name}"));
        setup.write(name, &unit.replace("/usr/local/bin/keybearer", &path));
        is_good(&setup, name).await;
    }
}

async fn is_good(setup: &Setup, unit: &str) {
    let run = async |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(args).arg(setup.path(unit));
        Process::run(&mut command).await
    };
    let verified = run(&["verify", "--recursive-errors=no"]).await;
    let all = verified.stdout + &verified.stderr;
    assert_eq!((verified.code, all.as_str()), (Some(0), ""));
    // 2.0 of 10: what is left is the network, which is its purpose.
    let security = run(&["security", "--offline=true", "--threshold=20"]).await;
    assert_eq!(
        security.code,
        Some(0),
        "{}{}",
        security.stdout,
        security.stderr
    );
}

#[tokio::test]
async fn the_systemd_configuration_loads_and_fits_its_sockets() {
    let setup = Setup::new().file("jira-token", "dummy");
    let text = read("systemd/keybearer.toml");
    let place = setup.path("").display().to_string();
    let text = text
        .replace("/run/credentials/keybearer.service/", &place)
        .replace("/var/lib/keybearer", &place);
    setup.write("keybearer.toml", &text);
    let exit = checked(&setup).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    for line in read("systemd/keybearer.socket").lines() {
        if let Some(address) = line.strip_prefix("ListenStream=") {
            assert!(text.contains(&format!("\"{address}\"")), "{address}");
        }
    }
}

/// Each manifest fits Kubernetes' own schemas, and the configuration in it loads.
#[tokio::test]
async fn the_kubernetes_manifests_are_good() {
    for name in ["kubernetes/sidecar.yaml", "kubernetes/shared.yaml"] {
        let mut command = Command::new(python::interpreter());
        command.args(["-m", "kubernetes_validate", "--strict"]);
        let validated = Process::run(command.arg(example(name))).await;
        assert_eq!(
            validated.code,
            Some(0),
            "{}{}",
            validated.stdout,
            validated.stderr
        );
        let text = read(name);
        let block = text.split("keybearer.toml: |\n").nth(1).unwrap();
        let config: String = block
            .lines()
            .take_while(|line| line.is_empty() || line.starts_with("    "))
            .map(|line| format!("{}\n", line.trim_start()))
            .collect();
        let setup = Setup::new().file("github-token", "dummy");
        let place = setup.path("").display().to_string();
        let config = config.replace("/var/run/secrets/keybearer/", &place);
        setup.write("keybearer.toml", &config);
        let exit = checked(&setup).await;
        assert_eq!(exit.code, Some(0), "{name}: {}", exit.stderr);
        assert!(exit.stdout.contains("github"), "{name}");
    }
}
