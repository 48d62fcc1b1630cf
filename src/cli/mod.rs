//! Commands: arguments, help, dispatch. What a command was asked for goes to stdout, everything
//! else to stderr.

mod agent;
mod check;
mod connect;
mod examples;
mod exchange;
mod external_id;
mod health;
mod init;
mod link;
mod listeners;
mod logging;
mod output;
mod progress;
mod remote;
mod run;
mod status;
mod table;
mod trial;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tracing::level_filters::LevelFilter;

use self::output::{complain, print};
use crate::auth::courier;
use crate::config::diagnostic::Diagnostics;
use crate::config::source::{Location, Process, locate};
use crate::config::{self, Config, LogFormat, source::Sources};

/// A credential-injecting reverse proxy: apps call localhost, keybearer adds the keys
///
/// Apps call http://127.0.0.1:8080/PREFIX/… in plain HTTP. keybearer maps the prefix to a
/// connection's base URL, takes out whatever credential the caller sent, adds the connection's
/// own, and forwards.
#[derive(Debug, Parser)]
#[command(name = "keybearer", version, styles = STYLES, after_help = examples::SHORT, after_long_help = examples::LONG)]
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
    #[arg(long, value_name = "PATH", global = true, help_heading = GLOBAL)]
    config: Option<PathBuf>,
    /// How log lines look; overrides log.format
    #[arg(long, value_enum, value_name = "FORMAT", global = true, help_heading = GLOBAL)]
    log_format: Option<LogFormat>,
    /// Least level of log lines: error, warn, info, debug, trace or off; overrides log.level
    #[arg(long, value_name = "LEVEL", global = true, help_heading = GLOBAL)]
    log_level: Option<LevelFilter>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start proxy and console in the foreground (what happens without a command, too)
    ///
    /// Ends with 0 when SIGTERM or SIGINT arrives and all running requests were answered, at most
    /// server.shutdown_grace later; a second signal ends it at once. Ends with 2 if the
    /// configuration is invalid or a listener cannot be bound.
    #[command(after_help = examples::RUN)]
    Run,
    /// Write a first configuration, with one connection
    ///
    /// Asks on a terminal for what no option gives: the connection's name, its base URL, how the API
    /// behind it authenticates, and where the secret is. The secret itself is neither asked for nor
    /// written. The file is validated before it is kept, readable by its owner only, and replaces none
    /// without --force. Ends with 2, and nothing written, if it cannot be.
    #[command(after_help = examples::INIT)]
    Init(Box<init::Arguments>),
    /// Read and validate the whole configuration as `run` would
    ///
    /// Prints one line per connection: name, prefix, base URL, auth type, and where each secret
    /// comes from, never its value. Ends with 2, and every error, if the configuration is invalid.
    #[command(after_help = examples::CHECK)]
    Check(check::Wanted),
    /// Send one request through a connection, and show what each phase of it took
    ///
    /// The running instance sends it; where none answers on admin.listen, this process does. Prints
    /// how the upstream was reached, the status, and the names of what was injected, never a value.
    /// Ends with 0 if the answer is 2xx or 3xx, with 1 otherwise.
    #[command(after_help = examples::TEST)]
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
    #[command(after_help = examples::LINK)]
    Link(link::Wanted),
    /// Print the external ID that AWS roles are assumed with, and their trust policy
    ///
    /// Asks the running instance, or opens the store itself while none runs: then run it as the user
    /// that keybearer runs as. The ID is made once and stays the same. On stdout, the ID stands on the
    /// first line and the policy, to be pasted into IAM, from the third on.
    #[command(after_help = examples::EXTERNAL_ID)]
    ExternalId(external_id::Wanted),
    /// Show where the running instance's connections stand
    ///
    /// State, credential expiry, requests, errors and last error of each. Ends with 1 if any
    /// connection is not ready.
    #[command(after_help = examples::STATUS)]
    Status(status::Wanted),
    /// List the endpoints for webhooks, show what has arrived, and have it delivered again
    ///
    /// Asks the running instance. Each endpoint has a URL to hand out to whoever sends webhooks; what
    /// arrives there and proves its sender is kept and delivered to the endpoint's target until that
    /// takes it.
    #[command(after_help = examples::WEBHOOKS)]
    Webhooks(webhooks::Wanted),
    /// Run the on-prem agent: let a proxy elsewhere reach upstreams of this network
    ///
    /// Dials out to the proxy's agents.listen and opens what --allow lists, nothing else; nothing
    /// listens here. Needs no configuration file. Ends with 0 on SIGTERM or SIGINT when its connections
    /// have ended, at most --shutdown-grace later; with 2 if it cannot be started as it is asked to.
    #[command(after_help = examples::AGENT)]
    Agent(#[command(flatten)] Box<agent::Arguments>),
    /// Print shell completions
    ///
    /// For bash: keybearer completions bash > /etc/bash_completion.d/keybearer
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
}

/// Above the options that every command has.
const GLOBAL: &str = "Options of every command";

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
        output::error(&error);
        ExitCode::from(UNUSABLE)
    })
}

fn command() -> anyhow::Result<ExitCode> {
    let Arguments { global, command } = Arguments::parse();
    match command {
        None | Some(Command::Run) => run::run(&global),
        Some(Command::Init(arguments)) => init::init(&global, &arguments),
        Some(Command::Check(wanted)) => check::check(&global, &wanted),
        Some(Command::Test(wanted)) => trial::test(&global, &wanted),
        Some(Command::Health) => health::health(&global),
        Some(Command::Link(wanted)) => link::link(&global, &wanted),
        Some(Command::ExternalId(wanted)) => external_id::external_id(&global, &wanted),
        Some(Command::Status(wanted)) => status::status(&global, &wanted),
        Some(Command::Webhooks(wanted)) => webhooks::webhooks(&global, &wanted),
        Some(Command::Agent(arguments)) => agent::agent(&global, *arguments),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "keybearer", &mut script);
            print(&script).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// A configuration that was loaded, and where from.
struct Found {
    location: Location,
    sources: Sources,
    config: Config,
}

/// Finds and loads the configuration as every command does.
fn load(global: &Global) -> anyhow::Result<Result<Found, Diagnostics>> {
    let location = locate(global.config.as_deref(), &Process)?;
    let loaded = config::load(&location, &Process);
    Ok(loaded.result.map(|config| Found {
        location,
        sources: loaded.sources,
        config,
    }))
}

/// Tells all that is wrong with a configuration.
fn reject(diagnostics: &Diagnostics) {
    complain(&diagnostics.to_string());
}
