//! A real DNS server, dnsmasq, whose records a test changes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::eventually;
use super::process::Process;
use super::proxy::{free_address, program};

/// A running DNS server that knows names under `.test`, killed when dropped.
pub struct NameServer {
    process: Process,
    folder: TempDir,
    address: SocketAddr,
}

impl NameServer {
    /// One with these lines, each an address and its names, whose answers are good for a second.
    pub async fn start(lines: &str) -> Self {
        for _ in 0..5 {
            let server = Self::at(free_address(), lines);
            if let Some(server) = server.await {
                return server;
            }
        }
        panic!("dnsmasq does not start");
    }

    /// One at this address; none if somebody else has it.
    pub async fn at(address: SocketAddr, lines: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let hosts = folder.path().join("hosts");
        fs::write(&hosts, lines).unwrap();
        fs::set_permissions(&hosts, fs::Permissions::from_mode(0o644)).unwrap();
        let mut command = Command::new(program("dnsmasq"));
        command
            .args(["--no-daemon", "--no-resolv", "--no-hosts", "--log-queries"])
            .args([
                "--conf-file=/dev/null",
                "--pid-file=",
                "--local=/test/local/",
            ])
            .args(["--local-ttl=1", "--bind-interfaces", "--except-interface=x"])
            .arg(format!("--addn-hosts={}", hosts.display()))
            .arg(format!("--listen-address={}", address.ip()))
            .arg(format!("--port={}", address.port()));
        let mut process = Process::spawn(&mut command);
        let up = eventually("dnsmasq", async || {
            let ended = process.ended().is_some();
            let up = TcpStream::connect(address).await.is_ok();
            (ended || up).then_some(!ended)
        })
        .await;
        up.then_some(Self {
            process,
            folder,
            address,
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line of `[server]` that has it asked.
    pub fn line(&self) -> String {
        format!("dns = [\"{}\"]", self.address)
    }

    /// Answers with these lines from now on.
    pub fn change(&self, lines: &str) {
        fs::write(self.folder.path().join("hosts"), lines).unwrap();
        self.process.signal(Signal::HUP);
    }

    /// Stops answering, without closing anything.
    pub fn stop(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Answers again.
    pub fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    /// How often it was asked for the IPv4 addresses of a name.
    pub fn asked(&self, name: &str) -> usize {
        let line = format!("query[A] {name} from");
        self.process.stderr().matches(&line).count()
    }
}
