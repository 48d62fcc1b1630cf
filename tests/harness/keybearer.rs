//! The built executable with a configuration of its own, on ports of its own.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{RawClient, Request, Response};
use super::eventually;
use super::metrics::Metrics;
use super::process::{Exit, Process};

/// The built executable; `KEYBEARER_TEST_BIN` names another build of it.
pub fn executable() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_keybearer").into();
    std::env::var_os("KEYBEARER_TEST_BIN").map_or_else(built, PathBuf::from)
}

/// A folder, a configuration in it, and how the executable is started there.
pub struct Setup {
    dir: TempDir,
    top: String,
    server: String,
    admin: String,
    rest: String,
    env: Vec<(OsString, OsString)>,
    args: Vec<OsString>,
    format: &'static str,
    config: Option<PathBuf>,
    program: PathBuf,
    wrapper: Vec<OsString>,
    own_group: bool,
}

/// A running keybearer, killed when dropped.
pub struct Keybearer {
    setup: Setup,
    process: Process,
    proxy: SocketAddr,
    console: SocketAddr,
    webhooks: Option<SocketAddr>,
}

impl Setup {
    /// A fresh folder and an empty configuration.
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            top: String::new(),
            server: "listen = [\"127.0.0.1:0\"]\n".to_owned(),
            admin: "listen = \"127.0.0.1:0\"\n".to_owned(),
            rest: String::new(),
            env: Vec::new(),
            args: Vec::new(),
            format: "json",
            config: None,
            program: executable(),
            wrapper: Vec::new(),
            own_group: false,
        }
    }

    /// Adds a line above all tables.
    #[must_use]
    pub fn top(mut self, line: &str) -> Self {
        self.top = self.top + line + "\n";
        self
    }

    /// Adds a line to `[server]`; one that sets `listen` replaces the harness' own.
    #[must_use]
    pub fn server(mut self, line: &str) -> Self {
        if line.starts_with("listen ") {
            self.server.clear();
        }
        self.server = self.server + line + "\n";
        self
    }

    /// Adds a line to `[admin]`; one that sets `listen` replaces the harness' own.
    #[must_use]
    pub fn admin(mut self, line: &str) -> Self {
        if line.starts_with("listen ") {
            self.admin.clear();
        }
        self.admin = self.admin + line + "\n";
        self
    }

    /// Adds tables.
    #[must_use]
    pub fn tables(mut self, tables: &str) -> Self {
        self.rest = self.rest + tables + "\n";
        self
    }

    /// Sets an environment variable of the executable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Writes logs for people instead of JSON.
    #[must_use]
    pub fn text_logs(mut self) -> Self {
        self.format = "text";
        self
    }

    /// Writes a file into the folder.
    #[must_use]
    pub fn file(self, name: &str, content: &str) -> Self {
        self.write(name, content);
        self
    }

    /// Runs a copy of the executable, in the folder under this name.
    #[must_use]
    pub fn copied(mut self, name: &str) -> Self {
        self.program = self.path(name);
        fs::copy(executable(), &self.program).unwrap();
        self
    }

    /// Has this command run it, which gets its path and arguments behind its own.
    #[must_use]
    pub fn wrapped(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(Into::into).collect();
        self
    }

    /// Starts it as the leader of a process group of its own.
    #[must_use]
    pub fn own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// Takes this path, under the folder, for `--config` and writes no configuration.
    #[must_use]
    pub fn config(mut self, path: &str) -> Self {
        self.config = Some(self.path(path));
        self
    }

    /// With other tables.
    #[must_use]
    pub fn retold(mut self, tables: &str) -> Self {
        self.rest = tables.to_owned();
        self
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file in place, readable by its owner only.
    pub fn write(&self, name: &str, content: &str) {
        write_private(&self.path(name), content);
    }

    /// Writes a file beside it and renames that over it, as editors and deployment tools do.
    pub fn replace(&self, name: &str, content: &str) {
        let beside = self.path(&format!("{name}.new"));
        write_private(&beside, content);
        fs::rename(beside, self.path(name)).unwrap();
    }

    /// The configuration with these tables in place of its own.
    pub fn text_with(&self, tables: &str) -> String {
        let Self {
            top, server, admin, ..
        } = self;
        format!("{top}\n[server]\n{server}\n[admin]\n{admin}\n{tables}")
    }

    /// The configuration.
    pub fn text(&self) -> String {
        self.text_with(&self.rest)
    }

    /// The executable with these arguments, in the folder, without the environment of the tests.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut words = self.wrapper.iter().map(OsString::as_os_str);
        let mut words = words.by_ref().chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.current_dir(self.dir.path()).env_clear();
        command.env("HOME", self.dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.args(args).args(&self.args);
        command
    }

    /// Runs a command on the configuration, written first, and waits for its end.
    pub async fn run(&self, args: &[&str]) -> Exit {
        if self.config.is_none() {
            self.write("keybearer.toml", &self.text());
        }
        let mut command = self.command(args);
        command.arg("--config").arg(self.config_path());
        Process::run(&mut command).await
    }

    /// Runs a command as it stands, with no configuration named.
    pub async fn run_bare(&self, args: &[&str]) -> Exit {
        Process::run(&mut self.command(args)).await
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Keybearer {
        raise_open_files();
        if self.config.is_none() {
            self.write("keybearer.toml", &self.text());
        }
        let mut command = self.command(&["run", "--log-format", self.format]);
        command.arg("--config").arg(self.config_path());
        if self.own_group {
            command.process_group(0);
        }
        let mut process = Process::spawn(&mut command);
        let proxy = listening(&mut process, "proxy").await;
        let console = listening(&mut process, "console").await;
        let webhooks = match self.rest.contains("[webhooks]") {
            true => Some(listening(&mut process, "webhooks").await),
            false => None,
        };
        let keybearer = Keybearer {
            setup: self,
            process,
            proxy,
            console,
            webhooks,
        };
        keybearer.wait_for_readyz(200).await;
        keybearer
    }

    fn config_path(&self) -> PathBuf {
        let default = || self.path("keybearer.toml");
        self.config.clone().unwrap_or_else(default)
    }
}

impl Keybearer {
    /// Starts one with these tables.
    pub async fn start(tables: &str) -> Self {
        Setup::new().tables(tables).start().await
    }

    /// Where callers connect.
    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Where the console listens.
    pub fn console(&self) -> SocketAddr {
        self.console
    }

    /// Where webhooks arrive, if its tables say so.
    pub fn webhooks(&self) -> SocketAddr {
        self.webhooks.expect("a table `[webhooks]`")
    }

    /// Its folder and configuration.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// A caller's GET.
    pub fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    /// A caller's POST without content yet.
    pub fn post(&self, target: &str) -> Request {
        self.request("POST", target)
    }

    /// A caller's request.
    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.proxy, method, target)
    }

    /// A request to the console.
    pub fn ask(&self, method: &str, target: &str) -> Request {
        Request::new(self.console, method, target)
    }

    /// A caller's connection.
    pub async fn caller(&self) -> RawClient {
        RawClient::connect(self.proxy).await
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> Metrics {
        let response = self.ask("GET", "/metrics").send().await;
        assert_eq!(response.status, 200, "{response:?}");
        Metrics::parse(&response.text())
    }

    /// Reloads by the API.
    pub async fn reload(&self) -> Response {
        self.ask("POST", "/api/reload").send().await
    }

    /// Replaces the configuration's tables by renaming, and reloads.
    pub async fn reconfigure(&self, tables: &str) {
        let text = self.setup.text_with(tables);
        self.setup.replace("keybearer.toml", &text);
        let response = self.reload().await;
        assert_eq!(response.status, 200, "{response:?}");
    }

    /// Waits until `/readyz` answers so.
    pub async fn wait_for_readyz(&self, status: u16) {
        let as_wanted = async || {
            let mut client = RawClient::connect(self.console).await;
            client.send(self.ask("GET", "/readyz").bytes()).await;
            let response = client.try_response_to("GET").await?;
            (response.status == status).then_some(())
        };
        eventually(&format!("/readyz to say {status}"), as_wanted).await;
    }

    /// Starts another command on its configuration, such as `link`, while it runs.
    pub fn spawn(&self, args: &[&str]) -> Process {
        let mut command = self.setup.command(args);
        command.arg("--config").arg(self.setup.config_path());
        Process::spawn(&mut command)
    }

    /// Ends it with `kill -9` if it has not ended by itself, and gives its folder for another start,
    /// with all that it logged.
    pub async fn kill(mut self) -> (Setup, String) {
        if self.running() {
            self.signal(Signal::KILL);
        }
        let exit = self.exit().await;
        (self.setup, exit.stderr)
    }

    /// Sends a signal to the process group that it leads.
    pub fn signal_group(&self, signal: Signal) {
        assert!(self.setup.own_group, "the group is that of the tests");
        kill_process_group(Pid::from_raw(self.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The processes that make exchanges for it.
    pub fn couriers(&self) -> Vec<u32> {
        let of_ours = |id: &u32| {
            let read = |name| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
            let status = read("status");
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
            let parent = parent.and_then(|id| id.trim().parse().ok());
            parent == Some(self.id()) && read("cmdline").contains("exchange")
        };
        let all = fs::read_dir("/proc").unwrap();
        let ids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        ids.filter(of_ours).collect()
    }

    /// Asks it to end, waits for that, and gives its folder for another start.
    pub async fn stop(mut self) -> (Setup, Exit) {
        self.signal(Signal::TERM);
        let exit = self.exit().await;
        (self.setup, exit)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Where another listener of it is bound.
    pub async fn listener(&mut self, name: &str) -> SocketAddr {
        listening(&mut self.process, name).await
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> Exit {
        self.process.exit().await
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Waits until its log has a line with all of these texts, and gives it.
    pub async fn logged(&self, texts: &[&str]) -> String {
        let found = async || {
            let log = self.process.stderr();
            let fits = |line: &&str| texts.iter().all(|text| line.contains(text));
            log.lines().find(fits).map(str::to_owned)
        };
        eventually(&format!("log of {texts:?}"), found).await
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// Waits for the log line that says where a listener is bound.
async fn listening(process: &mut Process, listener: &str) -> SocketAddr {
    eventually(&format!("the {listener} listener"), async || {
        let log = process.stderr();
        let address = log.lines().find_map(|line| bound(line, listener));
        if address.is_none() && process.ended().is_some() {
            panic!("keybearer ended instead of listening:\n{log}");
        }
        address
    })
    .await
}

/// The address in a line such as `… Listening listener=proxy address=127.0.0.1:40001`.
pub fn bound(line: &str, listener: &str) -> Option<SocketAddr> {
    if let Ok(line) = serde_json::from_str::<Value>(line) {
        let field = |name: &str| {
            let nested = line["fields"][name].as_str();
            nested.or(line[name].as_str())
        };
        let fits = field("message") == Some("Listening") && field("listener") == Some(listener);
        return fits.then(|| field("address")?.parse().ok()).flatten();
    }
    let words = || line.split(|c: char| c.is_whitespace() || c == '"' || c == '=');
    let fits = words().any(|word| word == "Listening") && words().any(|word| word == listener);
    fits.then(|| words().find_map(|word| word.parse().ok()))
        .flatten()
}

fn write_private(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(path).unwrap();
    std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A thousand callers need more descriptors, here and in the child, than the usual soft limit.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, wanted).unwrap();
}
