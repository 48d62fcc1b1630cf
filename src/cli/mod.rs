//! Commands: arguments, help, dispatch. What a command was asked for goes to stdout, everything
//! else to stderr.

mod agent;
mod check;
mod connect;
mod exchange;
mod external_id;
mod health;
mod link;
mod listeners;
mod logging;
mod remote;
mod run;
mod status;
mod trial;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tracing::level_filters::LevelFilter;

use crate::auth::courier;
use crate::config::source::{Location, Process, locate};
use crate::config::{self, Config, LogFormat, source::Sources};
use crate::connection::aws::{ExternalId, InvalidExternalId};

/// A credential-injecting reverse proxy: apps call localhost, keybearer adds the keys
///
/// Apps call http://127.0.0.1:8080/PREFIX/… in plain HTTP. keybearer maps the prefix to a
/// connection's base URL, takes out whatever credential the caller sent, adds the connection's
/// own, and forwards.
#[derive(Debug, Parser)]
#[command(name = "keybearer", version, styles = STYLES, after_help = EXAMPLES, after_long_help = CONFIGURATION)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Configuration: a TOML file, or a folder whose *.toml files are merged [default:
    /// $KEYBEARER_CONFIG, or the first there is of the usual files]
    ///
    /// Without it: $KEYBEARER_CONFIG, ./keybearer.toml, ./config/keybearer.toml,
    /// /etc/keybearer/keybearer.toml, or else the embedded default, which serves an echo on
    /// http://127.0.0.1:8080/echo.
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
    /// How log lines look; overrides log.format
    #[arg(long, value_enum, value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,
    /// Least level of log lines: error, warn, info, debug, trace or off; overrides log.level
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<LevelFilter>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start proxy and console in the foreground (what happens without a command, too)
    ///
    /// Ends with 0 when SIGTERM or SIGINT arrives and all running requests were answered, at most
    /// server.shutdown_grace later; a second signal ends it at once. Ends with 2 if the
    /// configuration is invalid or a listener cannot be bound.
    Run,
    /// Read and validate the whole configuration as `run` would
    ///
    /// Prints one line per connection: name, prefix, base URL, auth type, and where each secret
    /// comes from, never its value. Ends with 2, and every error, if the configuration is invalid.
    Check {
        /// Try each connection, too: name, proxy or agent, TLS, clock, credential
        ///
        /// Sends one harmless request (HEAD, or what `allow` leaves of GET and OPTIONS) to the base
        /// URL of each. The running instance sends it, if one answers on admin.listen; else this
        /// process does, with the configured store. Ends with 1 if a connection fails.
        #[arg(long)]
        connect: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send one request through a connection, and show what each phase of it took
    ///
    /// The running instance sends it; where none answers on admin.listen, this process does. Prints
    /// how the upstream was reached, the status, and the names of what was injected, never a value.
    /// Ends with 0 if the answer is 2xx or 3xx, with 1 otherwise.
    Test(trial::Wanted),
    /// Ask the running instance whether it lives: exit code 0 or 1
    ///
    /// For the health check of a container: the image has no curl.
    #[command(hide = true)]
    Health,
    /// Link a connection to an account: a person's OAuth 2.0 consent
    ///
    /// Asks the running instance to begin, prints the URL to open (and opens it on a terminal),
    /// waits until the person came back, and reports. Ends with 0 when the connection is linked,
    /// with 1 when it is not.
    Link {
        /// The connection's name
        name: String,
        /// For machines without a browser: print a code to enter on another device (RFC 8628)
        #[arg(long)]
        device: bool,
    },
    /// Print the external ID that AWS roles are assumed with, and their trust policy
    ///
    /// Asks the running instance, or opens the store itself while none runs: then run it as the user
    /// that keybearer runs as. The ID is made once and stays the same. On stdout, the ID stands on the
    /// first line and the policy, to be pasted into IAM, from the third on.
    ExternalId {
        /// The ID of this scope (external_id = { scope = "NAME" }), not the whole deployment's
        #[arg(long, value_name = "NAME", value_parser = scope)]
        scope: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show where the running instance's connections stand
    ///
    /// State, credential expiry, requests, errors and last error of each. Ends with 1 if any
    /// connection is not ready.
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the on-prem agent: let a proxy elsewhere reach upstreams of this network
    ///
    /// Dials out to the proxy's agents.listen and opens what --allow lists, nothing else; nothing
    /// listens here. Needs no configuration file. Ends with 0 on SIGTERM or SIGINT when its connections
    /// have ended, at most --shutdown-grace later; with 2 if it cannot be started as it is asked to.
    Agent(#[command(flatten)] Box<agent::Arguments>),
    /// Print shell completions
    ///
    /// For bash: keybearer completions bash > /etc/bash_completion.d/keybearer
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
}

const EXAMPLES: &str = "\
Examples:
  keybearer                                   start with the embedded default
  curl http://127.0.0.1:8080/echo/hello       see what it adds
  keybearer check --config keybearer.toml     validate before you start
  keybearer test jira --path /myself          try a connection
  keybearer --config /etc/keybearer run       merge a folder of TOML files";

const CONFIGURATION: &str = "\
A first configuration:
  [connections.jira]
  base_url = \"https://example.atlassian.net/rest/api/3\"
  auth = { type = \"basic\", username = \"me@example.com\", password = { env = \"JIRA_TOKEN\" } }

Then http://127.0.0.1:8080/jira/issue/1 is
https://example.atlassian.net/rest/api/3/issue/1 with the credential added.";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Bad configuration, or one that cannot be started with.
const UNUSABLE: u8 = 2;

/// Runs the command that the process' arguments name.
pub fn main() -> ExitCode {
    // For nobody's use by hand, so it stands in no help, and completions offer it to nobody.
    let outcome = if std::env::args_os().skip(1).eq([courier::COMMAND]) {
        exchange::exchange()
    } else {
        command()
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::from(UNUSABLE)
    })
}

fn command() -> anyhow::Result<ExitCode> {
    let Arguments { global, command } = Arguments::parse();
    match command {
        None | Some(Command::Run) => run::run(&global),
        Some(Command::Check { connect, json }) => check::check(&global, connect, json),
        Some(Command::Test(wanted)) => trial::test(&global, &wanted),
        Some(Command::Health) => health::health(&global),
        Some(Command::Link { name, device }) => link::link(&global, &name, device),
        Some(Command::ExternalId { scope, json }) => {
            external_id::external_id(&global, scope.as_deref(), json)
        }
        Some(Command::Status { json }) => status::status(&global, json),
        Some(Command::Agent(arguments)) => agent::agent(&global, *arguments),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "keybearer", &mut script);
            print(&script).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// The name of a scope.
fn scope(text: &str) -> Result<String, InvalidExternalId> {
    ExternalId::of_scope(text).map(|_| text.to_owned())
}

/// A configuration that was loaded, and where from.
struct Found {
    location: Location,
    sources: Sources,
    config: Config,
}

/// Finds and loads the configuration as every command does.
fn load(global: &Global) -> anyhow::Result<Result<Found, config::diagnostic::Diagnostics>> {
    let location = locate(global.config.as_deref(), &Process)?;
    let loaded = config::load(&location, &Process);
    Ok(loaded.result.map(|config| Found {
        location,
        sources: loaded.sources,
        config,
    }))
}

/// Writes to stdout; a reader that went away is no fault of ours.
fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Tells the person at the terminal; stdout is for what was asked for.
#[allow(clippy::print_stderr)]
fn complain(text: &str) {
    eprintln!("{text}");
}
