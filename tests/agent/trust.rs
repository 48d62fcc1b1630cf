//! Who is let in, and for how long.

use std::fs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{
    Agent, Authority, Keybearer, Setup, Site, TOKEN, Upstream, eventually, within,
};

use super::erp;

#[tokio::test]
async fn a_wrong_token_is_told_on_both_sides_and_mended_while_the_agent_runs() {
    let upstream = Upstream::start().await;
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let args = [
        "--name",
        "dc",
        "--token-file",
        "wrong",
        "--allow",
        "127.0.0.1:*",
    ];
    let agent = Agent::start(
        &site.agents.to_string(),
        &site.authority,
        &args,
        |command| {
            let folder = command.get_current_dir().unwrap().to_owned();
            fs::write(folder.join("wrong"), "canary-wrong-token").unwrap();
        },
    );
    let told = agent.logged(&["Not connected", "401"]).await;
    assert!(
        told.contains("is not the one that `[agents.tokens]`"),
        "{told}"
    );
    let line = site.keybearer.logged(&["Agent refused", "dc"]).await;
    assert!(line.contains("127.0.0.1:"), "{line}");
    assert_eq!(site.connected().await, 0);
    let metrics = site.keybearer.metrics().await;
    let labels = [("agent", "dc"), ("result", "refused")];
    let refused = metrics.value("keybearer_agent_connections_total", &labels);
    assert!(refused >= Some(1.0), "{refused:?}");
    agent.write("wrong", TOKEN);
    site.wait_for_connected(1).await;
    assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
    for log in [agent.log(), site.keybearer.log()] {
        assert!(!log.contains("canary"), "{log}");
    }
}

#[tokio::test]
async fn a_token_of_the_environment_does_and_an_unknown_name_does_not() {
    let site = Site::start("").await;
    let start = |name: &str| {
        let args = ["--name", name, "--allow", "a.example:443"];
        Agent::start(
            &site.agents.to_string(),
            &site.authority,
            &args,
            |command| {
                command.env("KEYBEARER_AGENT_TOKEN", TOKEN);
            },
        )
    };
    let _agent = start("dc");
    site.wait_for_connected(1).await;
    let other = start("other");
    other.logged(&["Not connected", "401"]).await;
    let metrics = site.keybearer.metrics().await;
    let labels = [("agent", ""), ("result", "refused")];
    assert!(metrics.value("keybearer_agent_connections_total", &labels) >= Some(1.0));
    assert!(
        !metrics
            .labels("keybearer_agent_connections_total")
            .iter()
            .any(|l| l.contains("other"))
    );
}

#[tokio::test]
async fn a_reload_ends_the_tunnels_of_a_token_that_changed_and_no_others() {
    let upstream = Upstream::start().await;
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let agent = site.agent(&["127.0.0.1:*"]).await;
    assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
    // What is no token of it leaves it alone.
    let more = "[connections.b]\nbase_url = \"http://127.0.0.1:1\"";
    let tables = erp(&upstream.url(""), "") + more;
    site.keybearer.reconfigure(&Site::tables("", &tables)).await;
    assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
    assert_eq!(site.standing().await["instances"][0]["streams_total"], 1);
    site.keybearer.setup().replace("dc.token", "canary-rotated");
    site.keybearer.logged(&["Agent no longer let in"]).await;
    agent.logged(&["Disconnected"]).await;
    site.wait_for_connected(0).await;
    let response = site.keybearer.get("/erp/").send().await;
    response.problem(502, "agent-absent", "destination_unavailable");
    agent.write("token", "canary-rotated\n");
    site.wait_for_connected(1).await;
    assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
    // Nobody is let in who is no longer named.
    let plain = more.to_owned();
    let tables = Site::tables("", &plain).replace("dc = ", "elsewhere = ");
    site.keybearer.reconfigure(&tables).await;
    eventually("no agent", async || {
        let agents = site.keybearer.ask("GET", "/api/agents").send().await.json();
        let agents = agents["agents"].as_array().unwrap().clone();
        (agents.len() == 1 && agents[0]["name"] == "elsewhere").then_some(())
    })
    .await;
    let metrics = site.keybearer.ask("GET", "/metrics").send().await.text();
    assert!(!metrics.contains("agent=\"dc\""), "{metrics}");
    for log in [agent.log(), site.keybearer.log()] {
        assert!(!log.contains("canary"), "{log}");
    }
}

#[tokio::test]
async fn a_certificate_for_its_name_takes_the_place_of_a_token() {
    let upstream = Upstream::start().await;
    let agents = Authority::new();
    let setup = Setup::new().file("agents-ca.pem", agents.pem());
    let client_ca = "client_ca = \"agents-ca.pem\"";
    let site = Site::start_with(setup, client_ca, &erp(&upstream.url(""), "")).await;
    let start = |authority: &Authority, name: &str| {
        let certificate = authority.issue(&[name]);
        let args = [
            "--name",
            "dc",
            "--certificate",
            "own.pem",
            "--key",
            "own.key",
        ];
        let args = [&args[..], &["--allow", "127.0.0.1:*"]].concat();
        Agent::start(
            &site.agents.to_string(),
            &site.authority,
            &args,
            |command| {
                let folder = command.get_current_dir().unwrap().to_owned();
                fs::write(folder.join("own.pem"), certificate.pem()).unwrap();
                fs::write(folder.join("own.key"), certificate.key_pem()).unwrap();
            },
        )
    };
    let stranger = start(&Authority::new(), "dc");
    let other = start(&agents, "other");
    let told = other.logged(&["Not connected", "403"]).await;
    assert!(told.contains("has not the agent's name"), "{told}");
    let told = stranger.logged(&["Not connected"]).await;
    assert!(told.contains("`agents.client_ca`"), "{told}");
    assert_eq!(site.connected().await, 0);
    let agent = start(&agents, "dc");
    site.wait_for_connected(1).await;
    assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
    // Without the authority it is worth nothing.
    let tables = Site::tables("", &erp(&upstream.url(""), ""));
    site.keybearer.reconfigure(&tables).await;
    agent.logged(&["Disconnected"]).await;
    agent
        .logged(&["Not connected", "401", "neither a token nor a certificate"])
        .await;
    assert_eq!(site.connected().await, 0);
}

#[tokio::test]
async fn the_listener_takes_a_new_certificate_without_a_restart() {
    let site = Site::start("").await;
    let agent = site.agent(&["a.example:443"]).await;
    let authority = Authority::new();
    let certificate = authority.issue(&["localhost", "127.0.0.1"]);
    let setup = site.keybearer.setup();
    setup.replace("agents.key", certificate.key_pem());
    setup.replace("agents.pem", certificate.pem());
    site.keybearer.reload().await;
    let server = site.agents.to_string();
    let args = [
        "--name",
        "dc",
        "--token-file",
        "token",
        "--allow",
        "a.example:443",
    ];
    let _new = Agent::start(&server, &authority, &args, |_| {});
    // Who is there stays.
    site.wait_for_connected(2).await;
    assert!(!agent.log().contains("Disconnected"), "{}", agent.log());
    let old = site.unconnected(&["a.example:443"]);
    let told = old.logged(&["Not connected", "TLS"]).await;
    assert!(told.contains("give `--ca`"), "{told}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_with_what_to_set() {
    let site = Site::start("").await;
    let other = ["--server-name", "other.example"];
    let args = [
        "--name",
        "dc",
        "--token-file",
        "token",
        "--allow",
        "a.example:443",
    ];
    let agent = site.start_agent(&[&args[..], &other].concat());
    let told = agent.logged(&["Not connected", "TLS"]).await;
    assert!(told.contains("give `--server-name`"), "{told}");
}

#[tokio::test]
async fn who_proves_nothing_is_not_waited_for_and_whoever_is_no_agent_is_told_so() {
    let site = Site::start("").await;
    // More than may be unproved at a time, all of one address: an agent of another gets in meanwhile.
    let mut silent = Vec::new();
    for _ in 0..300 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(site.agents).await.unwrap());
    }
    let _agent = site.agent(&["a.example:443"]).await;
    let waiting = silent.iter().filter(|stream| is_open(stream)).count();
    assert!((1..=64).contains(&waiting), "{waiting}");
    drop(silent);
    // What is no keybearer at all.
    let console: &Keybearer = &site.keybearer;
    let args = [
        "--name",
        "dc",
        "--token-file",
        "token",
        "--allow",
        "a.example:443",
    ];
    let server = console.console().to_string();
    let lost = Agent::start(&server, &site.authority, &args, |_| {});
    let told = lost.logged(&["Not connected"]).await;
    assert!(told.contains("agents.listen"), "{told}");
}

/// Whether nothing has come, the end included.
fn is_open(stream: &tokio::net::TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn who_proves_nothing_learns_no_names() {
    let site = Site::start("").await;
    let mut told = Vec::new();
    for name in ["dc", "other"] {
        for token in [None, Some("wrong")] {
            told.push(hello(&site, name, token).await);
        }
    }
    assert!(
        told[0].contains("neither a token nor a certificate"),
        "{told:?}"
    );
    assert!(told[1].contains("the token is not the one"), "{told:?}");
    assert_eq!(told[..2], told[2..]);
}

/// What the listener answers an agent of this name.
async fn hello(site: &Site, name: &str, token: Option<&str>) -> String {
    let stream = tokio::net::TcpStream::connect(site.agents).await.unwrap();
    let localhost = "localhost".try_into().unwrap();
    let mut stream = site
        .authority
        .connector()
        .connect(localhost, stream)
        .await
        .unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let head = format!(
        "POST /agent HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: keybearer-agent/1\r\nKeybearer-Agent: {name}\r\n{}\r\n",
        token.unwrap_or_default()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // How it ends says nothing.
    let _ = within("an answer", stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, content) = answer.split_once("\r\n\r\n").unwrap();
    format!("{} {content}", head.lines().next().unwrap())
}
