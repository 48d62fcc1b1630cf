//! `keybearer test NAME`: one request through a connection, told step by step.

use std::process::ExitCode;

use anyhow::{Result, bail};
use http::Method;
use serde_json::json;

use super::connect::Here;
use super::output::{BAD, FAINT, GOOD, complain, painted, print_json, show, warn};
use super::progress::Progress;
use super::remote::{Patience, Remote, Unasked, run, unknown};
use super::table::{hanging, width};
use super::{Global, UNUSABLE, load, reject};
use crate::config::diagnostic::printable;
use crate::proxy::trial::{Ask, Trial};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// The connection's name
    name: String,
    /// The path after the connection's prefix, with its query
    #[arg(long, value_name = "PATH", default_value = "")]
    path: String,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) fn test(global: &Global, wanted: &Wanted) -> Result<ExitCode> {
    let ask = Ask::new(&wanted.method, &wanted.path)?;
    run(async {
        let progress = Progress::new("Looking for the running instance");
        let trial = match reached(global, &wanted.patience, &progress).await? {
            Ok(remote) => {
                progress.say(sending(&wanted.name, &ask));
                asked(&remote, &wanted.name, &ask).await?
            }
            Err(unasked) => {
                progress.aside(|| complain(&format!("Tried from here: {unasked:#}.")));
                progress.say(sending(&wanted.name, &ask));
                match tried_here(global, &wanted.name, &ask).await? {
                    Some(trial) => trial,
                    None => return Ok(ExitCode::from(UNUSABLE)),
                }
            }
        };
        drop(progress);
        if wanted.json {
            print_json(&trial)?;
        } else {
            let title = format!("{}: {} {}\n", trial.connection, trial.method, trial.url);
            show(&(title + &table(&trial)))?;
            tell(&trial);
        }
        Ok(if trial.is_success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

fn sending(name: &str, ask: &Ask) -> String {
    let (method, path) = ask.parts();
    format!("{method} {path} through {name}")
}

/// The running instance, or why this process does the work in its place.
///
/// The instance has the store, the tunnels and the pools. Where it has been asked, it may have sent a
/// request: nobody else sends it then.
///
/// # Errors
/// An instance is there, and refuses to be asked.
pub(super) async fn reached(
    global: &Global,
    patience: &Patience,
    progress: &Progress,
) -> Result<Result<Remote, anyhow::Error>> {
    let remote = match Remote::find(global, patience) {
        Ok(remote) => remote,
        Err(unasked) => return Ok(Err(unasked)),
    };
    let instance = match remote.instance().await {
        Ok(instance) => instance,
        Err(error) if Unasked::is_refusal(&error) => return Err(error),
        Err(unasked) => return Ok(Err(unasked)),
    };
    if let Some(rejection) = instance.and_then(|instance| instance.rejection()) {
        progress.aside(|| warn(&rejected(&rejection)));
    }
    Ok(Ok(remote))
}

/// That an instance does not have what its files say.
pub(super) fn rejected(rejection: &str) -> String {
    format!(
        "the instance goes on with an older configuration, as its last reload was rejected at {rejection}; mend what `keybearer check` lists"
    )
}

/// What the running instance says of a request through a connection.
pub(super) async fn asked(remote: &Remote, name: &str, ask: &Ask) -> Result<Trial> {
    let (method, path) = ask.parts();
    let content = json!({ "method": method, "path": path, "send": ask.sends });
    let told = remote
        .ask_about(name, Method::POST, "/test", Some(&content))
        .await?;
    Ok(serde_json::from_value(told)?)
}

/// None if the configuration is invalid, which was told.
async fn tried_here(global: &Global, name: &str, ask: &Ask) -> Result<Option<Trial>> {
    let found = match load(global)? {
        Ok(found) => found,
        Err(diagnostics) => {
            reject(&diagnostics);
            return Ok(None);
        }
    };
    let here = Here::new(&found.config)?;
    let Some(live) = here.live(name) else {
        let connections = &found.config.connections;
        let there: Vec<_> = connections.iter().map(|one| &*one.name).collect();
        let what = format!("{} has no connection", found.location);
        bail!(unknown(&what, name, &there));
    };
    let trial = here.run(&live, ask).await;
    here.settle().await;
    Ok(Some(trial))
}

/// The phases, each with its time, and what was added.
pub(super) fn table(trial: &Trial) -> String {
    let width = width();
    let mut text = String::new();
    for step in &trial.phases {
        let time = format!("{:>9.2} ms", step.milliseconds);
        let lead = format!("  {:<12}{}  ", step.phase, painted(FAINT, time));
        text += &hanging(&lead, &outcome(&step.phase, &step.outcome), width);
    }
    if !trial.injected.is_empty() {
        text += &hanging("  injected    ", &trial.injected.join(", "), width);
    }
    if let Some(offset) = trial.clock_offset {
        let told = format!("the upstream's is {offset:+} s from this machine's");
        text += &hanging("  clock       ", &told, width);
    }
    text
}

/// What came of a phase; that of the request is a status.
fn outcome(phase: &str, outcome: &str) -> String {
    let outcome = printable(outcome);
    let style = match (phase, outcome.as_bytes().first()) {
        ("request", Some(b'2' | b'3')) => GOOD,
        ("request", _) => BAD,
        _ => return outcome,
    };
    painted(style, outcome)
}

fn tell(trial: &Trial) {
    if let Some(failure) = &trial.failure {
        super::output::error(&anyhow::anyhow!(printable(failure)));
    }
    if let Some(link) = &trial.link {
        complain(&format!(
            "Link it with `keybearer link {}`, or open {link}",
            trial.connection
        ));
    }
}
