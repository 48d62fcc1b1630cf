//! Real proxies: tinyproxy, squid, danted and microsocks, each with rules and a log of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::eventually;
use super::process::Process;

/// The user that proxies know, as it stands in URLs, and as it is.
pub const LOGIN: &str = "me:hunter2%20%3A%2F%40";
const USERNAME: &str = "me";
const PASSWORD: &str = "hunter2 :/@";

/// A running proxy, killed when dropped.
pub struct Proxy {
    process: Process,
    folder: TempDir,
    address: SocketAddr,
    scheme: &'static str,
}

impl Proxy {
    /// tinyproxy with these lines in its configuration.
    pub async fn tinyproxy(lines: &str) -> Self {
        Self::start("http", |port, folder| {
            let log = folder.join("log");
            let text = format!(
                "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogFile \"{}\"\nLogLevel Info\n{lines}\n",
                log.display()
            );
            let path = folder.join("tinyproxy.conf");
            fs::write(&path, text).unwrap();
            let mut command = Command::new(program("tinyproxy"));
            command.arg("-d").arg("-c").arg(path);
            command
        })
        .await
    }

    /// squid, which lets [`LOGIN`] in, with these lines before its last rules.
    pub async fn squid(lines: &str) -> Self {
        Self::start("http", |port, folder| {
            let users = folder.join("users");
            fs::write(&users, format!("{USERNAME}:{}\n", hash(PASSWORD))).unwrap();
            let folder = folder.display();
            let text = format!(
                "http_port 127.0.0.1:{port}\n\
                 auth_param basic program /usr/lib/squid/basic_ncsa_auth {}\n\
                 auth_param basic children 2\n\
                 acl users proxy_auth REQUIRED\n\
                 {lines}\n\
                 http_access allow users\n\
                 http_access deny all\n\
                 logfile_rotate 0\n\
                 access_log stdio:{folder}/log\n\
                 cache_log {folder}/cache.log\n\
                 coredump_dir {folder}\n\
                 cache deny all\n\
                 pid_filename none\n\
                 pinger_enable off\n\
                 shutdown_lifetime 0 seconds\n",
                users.display()
            );
            let path = users.with_file_name("squid.conf");
            fs::write(&path, text).unwrap();
            let mut command = Command::new(program("squid"));
            // Its shared memory has the name that it is told.
            command
                .arg("-n")
                .arg(format!("kb{}x{port}", std::process::id()));
            command.arg("-N").arg("-f").arg(path);
            command
        })
        .await
    }

    /// microsocks, which lets only [`LOGIN`] in.
    pub async fn microsocks() -> Self {
        Self::start("socks5", |port, _| {
            let mut command = Command::new(program("microsocks"));
            command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
            command.args(["-u", USERNAME, "-P", PASSWORD]);
            command
        })
        .await
    }

    /// danted, which asks nobody who they are, and leads nowhere on `barred`.
    pub async fn danted(barred: u16) -> Self {
        Self::start("socks5h", |port, folder| {
            let text = format!(
                "logoutput: stderr\n\
                 internal: 127.0.0.1 port = {port}\n\
                 external: 127.0.0.1\n\
                 clientmethod: none\n\
                 socksmethod: none\n\
                 user.privileged: root\n\
                 user.unprivileged: nobody\n\
                 client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
                 socks block {{ from: 0.0.0.0/0 to: 0.0.0.0/0 port = {barred} }}\n\
                 socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 log: connect error }}\n"
            );
            let path = folder.join("danted.conf");
            fs::write(&path, text).unwrap();
            let mut command = Command::new(program("danted"));
            command.arg("-f").arg(path);
            command
        })
        .await
    }

    /// Starts one on a port that was free just before; somebody else may have taken it meanwhile.
    async fn start(scheme: &'static str, make: impl Fn(u16, &Path) -> Command) -> Self {
        let mut said = String::new();
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            // Those that do not stay root write here, too.
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
            let address = free_address();
            let mut command = make(address.port(), folder.path());
            let mut process = Process::spawn(&mut command);
            let up = eventually("a proxy", async || {
                let ended = process.ended().is_some();
                let up = TcpStream::connect(address).await.is_ok();
                (ended || up).then_some(!ended)
            })
            .await;
            if up {
                return Self {
                    process,
                    folder,
                    address,
                    scheme,
                };
            }
            let exit = process.exit().await;
            let own = fs::read_to_string(folder.path().join("cache.log"));
            said = format!("{}{}{}", exit.stdout, exit.stderr, own.unwrap_or_default());
        }
        panic!("the proxy does not start: {said}");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL without a user.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Its URL with this user.
    pub fn url_with(&self, login: &str) -> String {
        format!("{}://{login}@{}", self.scheme, self.address)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let file = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        file + &self.process.stdout() + &self.process.stderr()
    }

    /// Waits until its log has this text.
    pub async fn logged(&self, text: &str) {
        let found = async || self.log().contains(text).then_some(());
        eventually(&format!("`{text}` in the proxy's log"), found).await;
    }

    /// Kills it at once, and all its connections.
    pub async fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.exit().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // What squid would take away if it were not killed.
        let name = format!("kb{}x{}", std::process::id(), self.address.port());
        for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&name) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// An address that nobody listens at.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Where a program is that `make test` installs, some of them for the administrator only.
pub(super) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("no `{name}`: run `make test`, which installs it"))
}

/// A password as Apache's files have it.
fn hash(password: &str) -> String {
    let output = Command::new("openssl")
        .args(["passwd", "-apr1", password])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
