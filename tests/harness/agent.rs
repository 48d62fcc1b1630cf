//! Agents of a private network, and a proxy that lets them in.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::keybearer::{Keybearer, Setup, executable};
use super::process::{Exit, Process};
use super::{Authority, Certificate};

/// The token of the agent `dc`.
pub const TOKEN: &str = "canary-agent-token";

/// A proxy with a listener for agents, and the authority that its certificates are from.
pub struct Site {
    /// Issues the listener's certificate, and agents'.
    pub authority: Authority,
    /// The proxy.
    pub keybearer: Keybearer,
    /// Where agents dial.
    pub agents: SocketAddr,
}

impl Site {
    /// Starts a proxy that lets the agent `dc` in, with these tables of connections.
    pub async fn start(tables: &str) -> Self {
        Self::start_with(Setup::new(), "", tables).await
    }

    /// The same, with more keys of `[agents]`.
    pub async fn start_with(setup: Setup, agents: &str, tables: &str) -> Self {
        Self::start_at("127.0.0.1", setup, agents, tables).await
    }

    /// The same, with a listener for agents at this address.
    pub async fn start_at(host: &str, setup: Setup, agents: &str, tables: &str) -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(&["localhost", host]);
        let setup = with_identity(setup, &authority, &certificate);
        let tables = Self::tables(agents, tables).replace("127.0.0.1:0", &format!("{host}:0"));
        let mut keybearer = setup.tables(&tables).start().await;
        let agents = keybearer.listener("agents").await;
        Self {
            authority,
            keybearer,
            agents,
        }
    }

    /// `[agents]` as [`Self::start_with`] writes it, and these tables.
    pub fn tables(agents: &str, tables: &str) -> String {
        format!(
            "[agents]\nlisten = \"127.0.0.1:0\"\ncertificate = \"agents.pem\"\nkey = \"agents.key\"\n{agents}\n[agents.tokens]\ndc = {{ file = \"dc.token\" }}\n{tables}"
        )
    }

    /// An agent `dc` that opens these destinations, once it is connected.
    pub async fn agent(&self, allow: &[&str]) -> Agent {
        let before = self.connected().await;
        let agent = self.unconnected(allow);
        self.wait_for_connected(before + 1).await;
        agent
    }

    /// The same, not waited for.
    pub fn unconnected(&self, allow: &[&str]) -> Agent {
        let mut args = vec!["--name", "dc", "--token-file", "token"];
        args.extend(allow.iter().flat_map(|rule| ["--allow", rule]));
        self.start_agent(&args)
    }

    /// An agent with these arguments, to which server and authority are added.
    pub fn start_agent(&self, args: &[&str]) -> Agent {
        Agent::start(&self.agents.to_string(), &self.authority, args, |_| {})
    }

    /// What `/api/agents` says of the agent `dc`.
    pub async fn standing(&self) -> Value {
        let answer = self.keybearer.ask("GET", "/api/agents").send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let agents = answer.json()["agents"].clone();
        let mut agents = agents.as_array().unwrap().iter();
        agents.find(|agent| agent["name"] == "dc").unwrap().clone()
    }

    /// How many processes of `dc` are connected.
    pub async fn connected(&self) -> u64 {
        self.standing().await["connected"].as_u64().unwrap()
    }

    /// Waits until that many are.
    pub async fn wait_for_connected(&self, count: u64) {
        let as_wanted = async || (self.connected().await == count).then_some(());
        eventually(&format!("{count} agents"), as_wanted).await;
    }
}

/// A setup with the files that [`Site::tables`] names.
pub fn with_identity(setup: Setup, authority: &Authority, certificate: &Certificate) -> Setup {
    setup
        .file("agents.pem", certificate.pem())
        .file("agents.key", certificate.key_pem())
        .file("ca.pem", authority.pem())
        .file("dc.token", TOKEN)
}

/// A running agent, killed when dropped.
pub struct Agent {
    dir: TempDir,
    process: Process,
}

impl Agent {
    /// Starts one in a folder of its own, with its token in `token`; `change` is made to the command.
    pub fn start(
        server: &str,
        authority: &Authority,
        args: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let mut command = Command::new(executable());
        command.current_dir(dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["agent", "--log-format", "json", "--log-level", "debug"]);
        command
            .args(["--server", server, "--ca"])
            .arg(dir.path().join("ca.pem"));
        command.args(args);
        change(&mut command);
        let process = Process::spawn(&mut command);
        Self { dir, process }
    }

    /// Writes a file into its folder.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Waits until its log has a line with all of these texts, and gives it.
    pub async fn logged(&self, texts: &[&str]) -> String {
        let found = async || {
            let log = self.log();
            let fits = |line: &&str| texts.iter().all(|text| line.contains(text));
            log.lines().find(fits).map(str::to_owned)
        };
        eventually(&format!("an agent's log of {texts:?}"), found).await
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> Exit {
        self.process.exit().await
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        self.process.ended().is_none()
    }
}
