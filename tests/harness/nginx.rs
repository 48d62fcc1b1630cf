//! nginx as an upstream behind TLS, which `make test` installs.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::certificates::{Authority, Certificate};
use super::client::Response;
use super::eventually;
use super::process::Process;

/// A running nginx, killed when dropped.
pub struct Nginx {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

/// What nginx says of the connection that a request came on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Seen {
    /// The client certificate's subject.
    pub subject: String,
    /// Its serial number.
    pub serial: String,
    /// The SHA-1 of all of it.
    pub fingerprint: String,
    /// `r` where a session was resumed, else `.`.
    pub resumed: String,
    /// A number that no other connection has.
    pub connection: String,
    /// Such as `TLSv1.3`.
    pub protocol: String,
}

impl Seen {
    /// What an answer says, which has to be 200.
    pub fn in_answer(response: &Response) -> Self {
        assert_eq!(response.status, 200, "{response:?}");
        serde_json::from_slice(&response.body)
            .unwrap_or_else(|error| panic!("{error}: {response:?}"))
    }
}

/// Tells of each request what [`Seen`] holds.
pub const TELL: &str = r#"location / {
  return 200 '{"subject":"$ssl_client_s_dn","serial":"$ssl_client_serial","fingerprint":"$ssl_client_fingerprint","resumed":"$ssl_session_reused","connection":"$connection","protocol":"$ssl_protocol"}';
}"#;

impl Nginx {
    /// Starts one that presents `own`, takes clients of `trusted` and no others, and does what
    /// `directives` of its server say.
    pub async fn start(own: &Certificate, trusted: &[&Authority], directives: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let trusted: Vec<_> = trusted.iter().map(|authority| authority.pem()).collect();
        write("own.pem", own.pem());
        write("own.key", own.key_pem());
        write("trusted.pem", &trusted.concat());
        loop {
            let port = free_port();
            write("nginx.conf", &configuration(port, directives));
            let mut process = Process::spawn(&mut command(folder.path()));
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let listens = eventually("nginx", async || match process.ended() {
                Some(_) => Some(false),
                None => TcpStream::connect(address).await.is_ok().then_some(true),
            });
            if listens.await && process.ended().is_none() {
                return Self {
                    address,
                    _process: process,
                    _folder: folder,
                };
            }
            // Somebody may have taken the port meanwhile.
            let exit = process.exit().await;
            let taken = exit.stderr.contains("Address already in use");
            assert!(taken, "nginx ended: {}", exit.stderr);
        }
    }

    /// Its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn command(folder: &Path) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut places = std::env::split_paths(&path).map(|place| place.join("nginx"));
    let nginx = places.find(|place| place.is_file());
    let nginx = nginx.expect("no `nginx`: run `make test`, which installs it");
    let mut command = Command::new(nginx);
    command
        .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
        .arg(folder);
    command
}

/// One process, so that none is left behind.
fn configuration(port: u16, directives: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("{kind}_temp_path {kind};\n"));
    let verify = match directives.contains("ssl_verify_client") {
        true => "",
        false => "ssl_verify_client on;",
    };
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr info;\n\
         events {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n{}\
         server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate own.pem;\n\
         ssl_certificate_key own.key;\nssl_client_certificate trusted.pem;\n\
         {verify}\nssl_protocols TLSv1.2 TLSv1.3;\nssl_session_cache shared:sessions:1m;\n\
         {directives}\n}}\n}}\n",
        temporary.concat()
    )
}
