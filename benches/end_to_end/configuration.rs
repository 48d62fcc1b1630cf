//! The same job in each contestant's own words: on one loopback port, `/api/` to the plain
//! upstream's `/base/` and `/tls/` to the TLS one's, the caller's `Authorization` and `Cookie`
//! away, ours in, `Host` the upstream's, connections to the upstream kept; one thread, no access
//! log; everything else as the contestant has it by default. Those whose names have more than one word
//! differ in what their name says.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::contestant::Kind;
use crate::upstream::{SERVER_NAME, Upstream};

const USERNAME: &str = "bench";
const PASSWORD: &str = "injected-secret";

/// What the upstream's token endpoint issues.
pub(crate) const TOKEN: &str = "injected-token";

const AGENT: &str = "bench";
const AGENT_TOKEN: &str = "an-agents-token-of-the-bench";

/// What one configuration is written for.
pub(crate) struct Place<'a> {
    /// Where the contestant may keep files; empty and its own.
    pub(crate) folder: &'a Path,
    pub(crate) listen: SocketAddr,
    /// keybearer's console.
    pub(crate) admin: SocketAddr,
    /// Where keybearer's agent dials.
    pub(crate) agents: SocketAddr,
    pub(crate) upstream: &'a Upstream,
    /// One process rather than a master and a worker, where there is the choice.
    pub(crate) one_process: bool,
}

/// Whether what reached the upstream is the connection's credential, once.
pub(crate) fn is_credential<'v>(kind: Kind, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
    let Some(value) = values.next() else {
        return false;
    };
    let fits = match kind {
        // Of which the upstream verifies nothing, as that would take its time.
        Kind::KeybearerAws => value.starts_with(b"AWS4-HMAC-SHA256 Credential=AKIABENCH/"),
        Kind::KeybearerOauth => value == format!("Bearer {TOKEN}").as_bytes(),
        _ => value == credential().as_bytes(),
    };
    fits && values.next().is_none()
}

/// The field value that must reach the upstream.
fn credential() -> String {
    let pair = BASE64_STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
    format!("Basic {pair}")
}

impl Place<'_> {
    /// Writes the files, and returns the command that serves them.
    pub(crate) fn prepare(&self, kind: Kind, executable: &Path) -> Result<Vec<String>> {
        self.file("ca.pem", &self.upstream.authority)?;
        if kind == Kind::KeybearerAgent {
            self.file("server.pem", &self.upstream.certificate)?;
            self.file("server.key", &self.upstream.key)?;
        }
        let mut words = vec![executable.display().to_string()];
        match kind {
            Kind::Direct => {}
            Kind::Nginx | Kind::NginxTuned => {
                let file = self.file("nginx.conf", &self.nginx(kind == Kind::NginxTuned))?;
                let folder = self.folder.display().to_string();
                words.extend(["-e", "stderr", "-p", &folder, "-c", &file].map(str::to_owned));
            }
            Kind::Haproxy => {
                let file = self.file("haproxy.cfg", &self.haproxy())?;
                words.extend(["-db", "-f", &file].map(str::to_owned));
            }
            Kind::PingoraProxy => words.extend([
                self.listen.to_string(),
                self.upstream.plain.to_string(),
                self.upstream.tls.to_string(),
                self.authority(),
                SERVER_NAME.to_owned(),
                credential(),
            ]),
            Kind::Keybearer
            | Kind::KeybearerAgent
            | Kind::KeybearerAws
            | Kind::KeybearerBare
            | Kind::KeybearerConnect
            | Kind::KeybearerH2
            | Kind::KeybearerH2c
            | Kind::KeybearerLog
            | Kind::KeybearerOauth
            | Kind::KeybearerOther
            | Kind::KeybearerTraces => {
                let file = self.file("keybearer.toml", &self.keybearer(kind))?;
                words.extend(["--config", &file, "run"].map(str::to_owned));
            }
        }
        Ok(words)
    }

    fn nginx(&self, tuned: bool) -> String {
        let (listen, plain, tls) = (self.listen, self.upstream.plain, self.upstream.tls);
        let (credential, ca) = (credential(), self.authority());
        // As root the worker would become another user, who may not enter our folder.
        let user = if rustix::process::getuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let processes = if self.one_process {
            "master_process off;"
        } else {
            "worker_processes 1;"
        };
        let buffers = if tuned {
            "client_body_buffer_size 64k; proxy_buffers 16 32k; proxy_max_temp_file_size 0;"
        } else {
            ""
        };
        let common = format!(
            "proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Cookie \"\";
      proxy_set_header Authorization \"{credential}\";"
        );
        format!(
            "daemon off; {user} {processes}
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path client_body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_max_body_size 1g; {buffers}
  keepalive_requests 1000000000;
  upstream plain {{
    server {plain};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  upstream tls {{
    server {tls};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen};
    location /api/ {{
      proxy_pass http://plain/base/;
      proxy_set_header Host {plain};
      {common}
    }}
    location /tls/ {{
      proxy_pass https://tls/base/;
      proxy_set_header Host {tls};
      {common}
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_verify on;
      proxy_ssl_verify_depth 2;
      proxy_ssl_trusted_certificate {ca};
      proxy_ssl_name {SERVER_NAME};
      proxy_ssl_server_name on;
      proxy_ssl_session_reuse on;
    }}
  }}
}}
"
        )
    }

    fn haproxy(&self) -> String {
        let (listen, plain, tls) = (self.listen, self.upstream.plain, self.upstream.tls);
        let (credential, ca) = (credential(), self.authority());
        format!(
            "global
  nbthread 1
  maxconn 4096
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 60s
frontend callers
  bind {listen}
  http-request del-header Cookie
  http-request set-header Authorization \"{credential}\"
  use_backend plain if {{ path_beg /api/ }}
  use_backend tls if {{ path_beg /tls/ }}
backend plain
  http-request set-path /base/%[path,bytes(5)]
  http-request set-header Host {plain}
  server upstream {plain} pool-purge-delay 60s
backend tls
  http-request set-path /base/%[path,bytes(5)]
  http-request set-header Host {tls}
  server upstream {tls} pool-purge-delay 60s ssl ssl-min-ver TLSv1.3 verify required ca-file {ca} verifyhost {SERVER_NAME} sni str({SERVER_NAME})
"
        )
    }

    fn keybearer(&self, kind: Kind) -> String {
        let listen = self.listen;
        let admin = match kind {
            Kind::KeybearerBare => "listen = \"off\"".to_owned(),
            _ => format!("listen = \"{0}\"\npublic_url = \"http://{0}\"", self.admin),
        };
        let traces = match kind {
            Kind::KeybearerTraces => {
                let collector = self.upstream.plain;
                format!("[traces]\nendpoint = \"http://{collector}/collector\"\n")
            }
            _ => String::new(),
        };
        let (plain, http) = match kind.reaches_http2() {
            true => (self.upstream.http2, "2"),
            false => (self.upstream.plain, "auto"),
        };
        let tls = self.upstream.tls;
        let auth = match kind {
            Kind::KeybearerAws => format!(
                "{{ type = \"aws_access_key\", service = \"execute-api\", region = \"eu-west-1\", access_key_id = \"AKIABENCH\", secret_access_key = \"{PASSWORD}\" }}"
            ),
            Kind::KeybearerOauth => format!(
                "{{ type = \"oauth2_client_credentials\", token_url = \"http://{}/token\", client_id = \"{USERNAME}\", client_secret = \"{PASSWORD}\" }}",
                self.upstream.plain
            ),
            _ => format!(
                "{{ type = \"basic\", username = \"{USERNAME}\", password = \"{PASSWORD}\" }}"
            ),
        };
        let (level, access) = match kind {
            Kind::KeybearerLog => ("info", true),
            _ => ("warn", false),
        };
        let road = self.road(kind);
        format!(
            "[server]
listen = [\"{listen}\"]
threads = 1
shutdown_grace = \"1s\"

[admin]
{admin}

{traces}
[log]
level = \"{level}\"
access = {access}

[connections.plain]
prefix = \"/api\"
base_url = \"http://{plain}/base\"
http = \"{http}\"
auth = {auth}

[connections.tls]
prefix = \"/tls\"
base_url = \"https://{tls}/base\"
auth = {auth}

[connections.tls.tls]
ca_certificate = \"ca.pem\"
server_name = \"{SERVER_NAME}\"

{road}"
        )
    }

    /// What leads to the upstreams.
    fn road(&self, kind: Kind) -> String {
        match kind {
            Kind::KeybearerConnect => {
                let proxy = self.upstream.connect;
                format!("[connections.tls.network]\nproxy = \"http://{proxy}\"\n")
            }
            Kind::KeybearerAgent => {
                let listen = self.agents;
                format!(
                    "[defaults.network]
agent = \"{AGENT}\"

[agents]
listen = \"{listen}\"
certificate = \"server.pem\"
key = \"server.key\"

[agents.tokens]
{AGENT} = \"{AGENT_TOKEN}\"
"
                )
            }
            _ => String::new(),
        }
    }

    /// The command of the on-prem agent that leads to the upstreams.
    pub(crate) fn agent(&self, executable: &Path) -> Result<Vec<String>> {
        let token = self.file("token", AGENT_TOKEN)?;
        let words = [
            &executable.display().to_string(),
            "agent",
            "--server",
            &self.agents.to_string(),
            "--server-name",
            SERVER_NAME,
            "--name",
            AGENT,
            "--token-file",
            &token,
            "--ca",
            &self.authority(),
            "--allow",
            "127.0.0.1:*",
            "--log-level",
            "warn",
        ];
        Ok(words.map(str::to_owned).into())
    }

    fn authority(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path.display().to_string())
    }
}
