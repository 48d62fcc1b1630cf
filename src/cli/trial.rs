//! `keybearer test NAME`: one request through a connection, told step by step.

use std::process::ExitCode;

use anyhow::{Result, bail};
use http::Method;
use serde_json::json;

use super::connect::Here;
use super::remote::{Remote, encoded, run};
use super::{Global, UNUSABLE, complain, load, print};
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
}

pub(super) fn test(global: &Global, wanted: &Wanted) -> Result<ExitCode> {
    let ask = Ask::new(&wanted.method, &wanted.path)?;
    run(async {
        // The instance has the store, the tunnels and the pools. Where it has been asked, it may have
        // sent the request: nobody else sends it then.
        let trial = match Remote::find(global) {
            Ok(remote) if remote.answers().await => asked(&remote, &wanted.name, &ask).await?,
            unasked => {
                complain(&match unasked {
                    Ok(_) => "No instance answers on admin.listen: tried from here.".to_owned(),
                    Err(error) => format!("Tried from here ({error:#})."),
                });
                match tried_here(global, &wanted.name, &ask).await? {
                    Some(trial) => trial,
                    None => return Ok(ExitCode::from(UNUSABLE)),
                }
            }
        };
        if wanted.json {
            let mut text = serde_json::to_vec_pretty(&trial)?;
            text.push(b'\n');
            print(&text)?;
        } else {
            let title = format!("{}: {} {}\n", trial.connection, trial.method, trial.url);
            print((title + &table(&trial)).as_bytes())?;
            tell(&trial);
        }
        Ok(if trial.is_success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

/// What the running instance says of a request through a connection.
pub(super) async fn asked(remote: &Remote, name: &str, ask: &Ask) -> Result<Trial> {
    let uri = format!("/api/connections/{}/test", encoded(name));
    let (method, path) = ask.parts();
    let content = json!({ "method": method, "path": path, "send": ask.sends });
    let told = remote.ask(Method::POST, &uri, Some(&content)).await?;
    Ok(serde_json::from_value(told)?)
}

/// None if the configuration is invalid, which was told.
async fn tried_here(global: &Global, name: &str, ask: &Ask) -> Result<Option<Trial>> {
    let found = match load(global)? {
        Ok(found) => found,
        Err(diagnostics) => {
            complain(&diagnostics.to_string());
            return Ok(None);
        }
    };
    let here = Here::new(&found.config)?;
    let Some(live) = here.live(name) else {
        bail!("there is no connection `{name}`; `keybearer check` lists those there are");
    };
    let trial = here.run(&live, ask).await;
    here.settle().await;
    Ok(Some(trial))
}

/// The phases, each with its time, and what was added.
pub(super) fn table(trial: &Trial) -> String {
    let mut text = String::new();
    for step in &trial.phases {
        text += &format!(
            "  {:<12}{:>9.2} ms  {}\n",
            step.phase, step.milliseconds, step.outcome
        );
    }
    if !trial.injected.is_empty() {
        text += &format!("  injected    {}\n", trial.injected.join(", "));
    }
    if let Some(offset) = trial.clock_offset {
        text += &format!("  clock       the upstream's is {offset:+} s from this machine's\n");
    }
    text
}

fn tell(trial: &Trial) {
    if let Some(failure) = &trial.failure {
        complain(&format!("error: {failure}"));
    }
    if let Some(link) = &trial.link {
        complain(&format!(
            "Link it with `keybearer link {}`, or open {link}",
            trial.connection
        ));
    }
}
