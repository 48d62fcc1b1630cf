//! `keybearer agent`: the private end of the way into a private network.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::HeaderValue;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::sync::watch;
use tracing::info;
use tracing::level_filters::LevelFilter;
use zeroize::Zeroizing;

use super::run::{Signals, set_limits};
use super::{Global, logging};
use crate::agent::allow::Allow;
use crate::agent::client::{self, Identity, Phase, Settings};
use crate::config::source::{Outside, Process};
use crate::config::{Log, LogFormat};
use crate::connection::agents::is_name;
use crate::secret::{Origin, Secret};
use crate::upstream::tls::system_roots;

/// The environment variable that can hold the token.
const TOKEN: &str = "KEYBEARER_AGENT_TOKEN";

/// Where an agent dials, who it is, and what it opens.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the proxy listens for agents (its agents.listen), as the agent reaches it
    #[arg(long, value_name = "HOST:PORT", env = "KEYBEARER_AGENT_SERVER")]
    server: String,
    /// The agent's name, which connections give as network.agent
    #[arg(long, value_name = "NAME", env = "KEYBEARER_AGENT_NAME")]
    name: String,
    /// A file with the token that [agents.tokens] of the proxy has for this name; read anew whenever
    /// the agent connects [default: the token in $KEYBEARER_AGENT_TOKEN]
    #[arg(long, value_name = "FILE", env = "KEYBEARER_AGENT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// A certificate in place of a token: a PEM chain for the agent's name, by agents.client_ca
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYBEARER_AGENT_CERTIFICATE",
        requires = "key"
    )]
    certificate: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYBEARER_AGENT_KEY",
        requires = "certificate"
    )]
    key: Option<PathBuf>,
    /// The authorities that the proxy's certificate is trusted by, PEM [default: the system's]
    #[arg(long, value_name = "FILE", env = "KEYBEARER_AGENT_CA")]
    ca: Option<PathBuf>,
    /// The name that the proxy's certificate must have [default: the host of --server]
    #[arg(long, value_name = "NAME", env = "KEYBEARER_AGENT_SERVER_NAME")]
    server_name: Option<String>,
    /// A destination that the agent opens: host:port, *.suffix:port, host:8000-8100, host:*,
    /// 10.1.0.0/16:443 or [fd00::/8]:443; any number of times, or with commas between
    #[arg(
        long,
        value_name = "RULE",
        env = "KEYBEARER_AGENT_ALLOW",
        value_delimiter = ','
    )]
    allow: Vec<String>,
    /// A file with more of them, one a line; # begins a comment
    #[arg(long, value_name = "FILE", env = "KEYBEARER_AGENT_ALLOW_FILE")]
    allow_file: Option<PathBuf>,
    /// How long connections may go on once the agent is asked to end
    #[arg(long, value_name = "DURATION", default_value = "30s", env = "KEYBEARER_AGENT_SHUTDOWN_GRACE", value_parser = humantime::parse_duration)]
    shutdown_grace: Duration,
}

/// The files that prove who is who, and the token where no file has it.
struct Files {
    token_file: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    ca: Option<PathBuf>,
}

pub(super) fn agent(global: &Global, arguments: Arguments) -> Result<ExitCode> {
    let allow = arguments.allow()?;
    let settings = arguments.settings(allow)?;
    let files = Files {
        token_file: arguments.token_file,
        certificate: arguments.certificate.zip(arguments.key),
        ca: arguments.ca,
    };
    // What is wrong here is told at once; later it may be mended while the agent tries again.
    files.identity()?;
    set_limits();
    let log = Log {
        level: LevelFilter::INFO,
        format: LogFormat::Text,
        access: false,
    };
    let _set_level = logging::start(&log, global)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        agent = arguments.name,
        server = arguments.server,
        rules = settings.allow.len(),
        "Starting"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(serve(settings, files))?;
    // A name that is still being resolved is of no use any more.
    runtime.shutdown_background();
    Ok(code)
}

async fn serve(settings: Settings, files: Files) -> Result<ExitCode> {
    let mut signals = Signals::new().context("signals cannot be listened for")?;
    let (phase, phases) = watch::channel(Phase::Running);
    let identify = move || files.identity().map_err(|error| format!("{error:#}"));
    let mut running = tokio::spawn(async move { client::run(&settings, &identify, phases).await });
    let mut code = ExitCode::SUCCESS;
    for next in [Phase::Draining, Phase::Ended] {
        tokio::select! {
            ended = &mut running => {
                ended?;
                info!("Stopped");
                return Ok(code);
            }
            signal = signals.next() => {
                info!(signal, "Ending");
                if next == Phase::Ended {
                    code = ExitCode::FAILURE;
                }
                // Nobody waits for it only if it has ended, which is seen next.
                let _ = phase.send(next);
            }
        }
    }
    running.await?;
    info!("Stopped");
    Ok(code)
}

impl Arguments {
    fn allow(&self) -> Result<Allow> {
        let listed = match &self.allow_file {
            Some(path) => String::from_utf8(read(path)?.to_vec())
                .map_err(|_| anyhow::anyhow!("`{}` is not UTF-8 text", path.display()))?,
            None => String::new(),
        };
        let of_file = listed
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty());
        let of_arguments = self.allow.iter().map(String::as_str);
        let allow = Allow::parse(of_arguments.filter(|rule| !rule.is_empty()).chain(of_file))?;
        if allow.is_empty() {
            bail!(
                "nothing is allowed, so this agent would open nothing; give `--allow` each destination, such as `--allow erp.internal:443`"
            );
        }
        Ok(allow)
    }

    fn settings(&self, allow: Allow) -> Result<Settings> {
        if !is_name(&self.name) {
            bail!(
                "`{}` is no name for an agent; it starts with a letter or digit and has letters, digits, `_`, `-` and `.`, 64 at most",
                self.name
            );
        }
        let (host, port) = host_and_port(&self.server).with_context(|| {
            format!(
                "`--server {}` is no host and port, such as `keybearer.example.com:7443`",
                self.server
            )
        })?;
        let server_name = self.server_name.as_deref().unwrap_or(host);
        Ok(Settings {
            host: host.into(),
            port,
            server_name: ServerName::try_from(server_name.to_owned())
                .with_context(|| format!("`{server_name}` is no host name; set `--server-name`"))?,
            name: HeaderValue::from_str(&self.name)?,
            allow: Arc::new(allow),
            grace: self.shutdown_grace,
        })
    }
}

fn host_and_port(server: &str) -> Option<(&str, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_clear = bare.is_some() || !host.contains(':');
    let host = bare.unwrap_or(host);
    let port = port.parse().ok().filter(|&port| port != 0)?;
    (is_clear && !host.is_empty()).then_some((host, port))
}

impl Files {
    /// Reads them, as they are now.
    fn identity(&self) -> Result<Identity> {
        let token = self.token()?;
        if token.is_none() && self.certificate.is_none() {
            bail!(
                "there is neither a token nor a certificate; give `--token-file`, set `${TOKEN}`, or give `--certificate` and `--key`"
            );
        }
        Ok(Identity {
            tls: Arc::new(self.tls()?),
            token,
        })
    }

    fn token(&self) -> Result<Option<Secret>> {
        let Some(path) = &self.token_file else {
            let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
            return Ok(token.map(|token| Secret::new(token, Origin::Env(TOKEN.into()))));
        };
        let bytes = read(path)?;
        let Ok(text) = str::from_utf8(&bytes) else {
            bail!("token file `{}` is not UTF-8 text", path.display());
        };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            bail!("token file `{}` is empty", path.display());
        }
        if text.chars().any(char::is_control) {
            bail!("token file `{}` has more than one line", path.display());
        }
        let origin = Origin::File(Arc::new(path.clone()));
        Ok(Some(Secret::new(text, origin)))
    }

    fn tls(&self) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.ca {
            None => builder.with_root_certificates(system_roots()),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).with_context(|| {
                        format!(
                            "`{}` has a certificate that cannot be trusted",
                            path.display()
                        )
                    })?;
                }
                builder.with_root_certificates(roots)
            }
        };
        let mut tls = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .with_context(|| {
                    let (certificate, key) = (certificate.display(), key.display());
                    format!("`{certificate}` and `{key}` do not belong together")
                })?,
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(tls)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => bail!(
            "`{}` has no certificate; it needs PEM, `-----BEGIN CERTIFICATE-----`",
            path.display()
        ),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| {
        anyhow::anyhow!(
            "`{}` has no private key; it needs PEM, such as `-----BEGIN PRIVATE KEY-----`",
            path.display()
        )
    })
}

/// A file that nobody but its owner can change: what stands in it opens the private network.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let contents = Process
        .read(path)
        .with_context(|| format!("`{}` cannot be read", path.display()))?;
    if contents.mode & 0o022 != 0 {
        let mode = contents.mode & 0o7777;
        let path = path.display();
        bail!("`{path}` is writable by other users (mode {mode:04o}); run `chmod go-w '{path}'`");
    }
    Ok(contents.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, split) in [
            ("kb.example:7443", Some(("kb.example", 7443))),
            ("10.0.0.1:1", Some(("10.0.0.1", 1))),
            ("[fd00::1]:7443", Some(("fd00::1", 7443))),
            ("fd00::1:7443", None),
            ("kb.example", None),
            ("kb.example:0", None),
            (":7443", None),
            ("kb.example:https", None),
        ] {
            assert_eq!(host_and_port(text), split, "{text}");
        }
    }
}
