//! The contestants, started and checked.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::configuration::{self, Place};
use crate::cores::Cores;
use crate::cpu::Reading;
use crate::exchange::Caller;
use crate::executable::Executable;
use crate::head;
use crate::process::Process;
use crate::scenario::{CALLERS_SECRET, Scenario};
use crate::upstream::Upstream;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// No proxy: the latency that the others add to.
    Direct,
    Nginx,
    /// nginx with buffers that hold what it otherwise writes to disk; only where bodies are large.
    NginxTuned,
    Haproxy,
    PingoraProxy,
    Keybearer,
    /// Another build of keybearer, which `$KEYBEARER_OTHER` names; beside keybearer, it tells what a change costs.
    KeybearerOther,
    /// keybearer without its console; beside keybearer, it tells what a console costs that nobody looks at.
    KeybearerBare,
    /// keybearer that has a collector told of every request; beside keybearer, it tells what traces cost.
    KeybearerTraces,
    /// keybearer that writes its access log; beside keybearer, it tells what that costs.
    KeybearerLog,
    /// keybearer with a token that has an end; beside keybearer, it tells what costs to be able to renew it.
    KeybearerOauth,
    /// keybearer with a connection that signs for AWS; beside keybearer, it tells what signing costs.
    KeybearerAws,
    /// keybearer with an upstream that speaks HTTP/2; beside keybearer, it tells what that costs.
    KeybearerH2,
    /// The same with callers that speak HTTP/2, too, as gRPC does.
    KeybearerH2c,
    /// keybearer behind a proxy that leads through by CONNECT, with an upstream in TLS.
    KeybearerConnect,
    /// keybearer with an on-prem agent, whose own CPU does not count.
    KeybearerAgent,
}

/// Where a caller finds the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    direct: bool,
}

/// A contestant that serves; it ends when dropped.
pub(crate) struct Contestant {
    pub(crate) kind: Kind,
    pub(crate) site: Site,
    process: Option<Process>,
    /// What stands on its road, and is not measured.
    _agent: Option<Process>,
    /// Dropped after the process that works in it.
    _folder: TempDir,
}

/// The processes of a contestant, found before the time is taken.
pub(crate) struct Watch(Vec<u32>);

/// How contestants are run.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    /// The core that they are given, and the one of load and upstream.
    pub(crate) cores: Cores,
    /// What they run under, such as callgrind; as one process then.
    pub(crate) under: Vec<String>,
    /// How long they may take until they serve.
    pub(crate) patience: Duration,
}

impl Kind {
    pub(crate) const ALL: [Self; 16] = [
        Self::Direct,
        Self::Nginx,
        Self::NginxTuned,
        Self::Haproxy,
        Self::PingoraProxy,
        Self::Keybearer,
        Self::KeybearerOther,
        Self::KeybearerBare,
        Self::KeybearerTraces,
        Self::KeybearerLog,
        Self::KeybearerOauth,
        Self::KeybearerAws,
        Self::KeybearerH2,
        Self::KeybearerH2c,
        Self::KeybearerConnect,
        Self::KeybearerAgent,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::NginxTuned => "nginx-tuned",
            Self::Haproxy => "haproxy",
            Self::PingoraProxy => "pingora-proxy",
            Self::Keybearer => "keybearer",
            Self::KeybearerOther => "keybearer-other",
            Self::KeybearerBare => "keybearer-bare",
            Self::KeybearerTraces => "keybearer-traces",
            Self::KeybearerLog => "keybearer-log",
            Self::KeybearerOauth => "keybearer-oauth",
            Self::KeybearerAws => "keybearer-aws",
            Self::KeybearerH2 => "keybearer-h2",
            Self::KeybearerH2c => "keybearer-h2c",
            Self::KeybearerConnect => "keybearer-connect",
            Self::KeybearerAgent => "keybearer-agent",
        }
    }

    /// Whether the scenario tells anything about this contestant.
    pub(crate) fn runs(self, scenario: Scenario) -> bool {
        match self {
            Self::Direct => scenario.rate().is_some(),
            Self::NginxTuned => matches!(scenario, Scenario::Post64k | Scenario::Dl10m),
            Self::Keybearer | Self::KeybearerOther => true,
            Self::KeybearerAws => matches!(
                scenario,
                Scenario::Get1k | Scenario::Post64k | Scenario::Sdk64k
            ),
            Self::KeybearerH2 | Self::KeybearerH2c | Self::KeybearerOauth => {
                matches!(scenario, Scenario::Get1k | Scenario::Post64k)
            }
            Self::KeybearerBare | Self::KeybearerLog | Self::KeybearerTraces => {
                scenario == Scenario::Get1k
            }
            Self::KeybearerConnect => scenario.tls(),
            Self::KeybearerAgent => matches!(
                scenario,
                Scenario::Get1k | Scenario::Tls1k | Scenario::Post64k | Scenario::Dl10m
            ),
            _ => scenario != Scenario::Sdk64k,
        }
    }

    /// Whether its upstream speaks HTTP/2.
    pub(crate) fn reaches_http2(self) -> bool {
        matches!(self, Self::KeybearerH2 | Self::KeybearerH2c)
    }

    /// Whether its callers speak HTTP/2.
    pub(crate) fn is_asked_in_http2(self) -> bool {
        self == Self::KeybearerH2c
    }
}

impl Site {
    /// What the API's paths begin with.
    pub(crate) fn prefix(&self, tls: bool) -> &'static str {
        match (self.direct, tls) {
            (true, _) => "/base",
            (false, false) => "/api",
            (false, true) => "/tls",
        }
    }
}

impl Conditions {
    /// As a user would run them.
    pub(crate) fn plain(cores: Cores) -> Self {
        Self {
            cores,
            under: Vec::new(),
            patience: Duration::from_secs(20),
        }
    }
}

impl Contestant {
    /// Starts a contestant and waits until it serves.
    pub(crate) async fn start(
        executable: &Executable,
        upstream: &Upstream,
        conditions: &Conditions,
    ) -> Result<Self> {
        let kind = executable.kind;
        let folder = tempfile::Builder::new()
            .prefix("keybearer-bench-")
            .tempdir()?;
        if kind == Kind::Direct {
            return Ok(Self {
                kind,
                site: Site {
                    address: upstream.plain,
                    direct: true,
                },
                process: None,
                _agent: None,
                _folder: folder,
            });
        }
        let [listen, admin, agents] = free_ports()?;
        let place = Place {
            folder: folder.path(),
            listen,
            admin,
            agents,
            upstream,
            one_process: !conditions.under.is_empty(),
        };
        let mut words = conditions.under.clone();
        words.extend(place.prepare(kind, &executable.path)?);
        let log = folder.path().join("printed");
        let Cores { proxy, load } = conditions.cores;
        let agent = match kind {
            Kind::KeybearerAgent => {
                let log = folder.path().join("printed-by-agent");
                let words = place.agent(&executable.path)?;
                // Where the upstream is: it stands for another machine.
                Some(Process::start(&words, load, &log)?)
            }
            _ => None,
        };
        let mut contestant = Self {
            kind,
            site: Site {
                address: listen,
                direct: false,
            },
            process: Some(Process::start(&words, proxy, &log)?),
            _agent: agent,
            _folder: folder,
        };
        contestant.wait(conditions.patience).await?;
        Ok(contestant)
    }

    async fn wait(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let name = self.kind.name();
        loop {
            let probe = tokio::time::timeout(patience, self.inspect(Scenario::Get1k)).await;
            let error = match probe {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer".to_owned(),
            };
            let Some(process) = &mut self.process else {
                bail!("the upstream does not serve: {error}")
            };
            if let Some(status) = process.exited() {
                bail!("{name} ended, {status}\n{}", process.last_words());
            }
            if Instant::now() > deadline {
                let printed = process.last_words();
                bail!("{name} does not serve within {patience:?}: {error}\n{printed}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails unless the upstream sees the connection's credential and nothing of the caller's.
    pub(crate) async fn verify(&self, scenario: Scenario, upstream: &Upstream) -> Result<()> {
        if self.kind == Kind::Direct {
            return Ok(());
        }
        let name = self.kind.name();
        let seen = self
            .inspect(scenario)
            .await
            .with_context(|| format!("{name}: {}", self.last_words()))?;
        let text = String::from_utf8_lossy(&seen).into_owned();
        let one = |field: &str, wanted: &str| {
            head::values(&seen, field).collect::<Vec<_>>() == [wanted.as_bytes()]
        };
        let host = if scenario.tls() {
            upstream.tls
        } else if self.kind.reaches_http2() {
            upstream.http2
        } else {
            upstream.plain
        };
        ensure!(
            configuration::is_credential(self.kind, head::values(&seen, "authorization")),
            "{name} did not inject the credential:\n{text}"
        );
        ensure!(
            !text.contains(CALLERS_SECRET) && head::values(&seen, "cookie").next().is_none(),
            "{name} let the caller's credential through:\n{text}"
        );
        ensure!(
            one("host", &host.to_string())
                && text.starts_with("GET /base/inspect?page=2&sort=name HTTP/1.1\r\n"),
            "{name} sent the request elsewhere:\n{text}"
        );
        Ok(())
    }

    /// The head that reaches the upstream.
    async fn inspect(&self, scenario: Scenario) -> Result<Vec<u8>> {
        let mut seen = Vec::new();
        let request = scenario.inspection(&self.site);
        Caller::connect(self.site.address)
            .await?
            .exchange(&request, |body| seen.extend_from_slice(body))
            .await?;
        Ok(seen)
    }

    /// Whether there is a process between load and upstream.
    pub(crate) fn measurable(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.process.as_ref().map_or_else(Vec::new, Process::tree))
    }

    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    pub(crate) fn last_words(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, Process::last_words)
    }
}

impl Watch {
    pub(crate) fn read(&self) -> Result<Reading> {
        Reading::take(&self.0)
    }

    pub(crate) fn processes(&self) -> &[u32] {
        &self.0
    }
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    let mut held = Vec::new();
    for address in &mut addresses {
        let listener = TcpListener::bind(*address).context("bind")?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}
