//! `keybearer webhooks`: endpoints, what has arrived at them, and another try.

mod text;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Global;
use super::examples;
use super::output::{complain, print_json, show};
use super::remote::{Patience, Refused, Remote, encoded, run, unknown};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// How long to wait for the running instance to answer [default: 10s, or 60s where it has to do
    /// something]
    #[arg(long, global = true, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the endpoints: their URLs, targets, and what waits (what happens without an action, too)
    #[command(after_help = examples::WEBHOOKS)]
    List,
    /// Show an endpoint with its latest deliveries, or a delivery with its fields and content
    ///
    /// What proves who sent a delivery is not shown. Of content, the first 256 KiB are; with --json
    /// in Base64 if it is no text.
    #[command(after_help = examples::WEBHOOKS_SHOW)]
    Show {
        /// The endpoint's name, or a delivery's ID
        #[arg(value_name = "NAME|ID")]
        what: String,
    },
    /// Have a delivery delivered again, at once, whatever came of it before
    ///
    /// The target gets it with the same Webhook-Id.
    #[command(after_help = examples::WEBHOOKS_REPLAY)]
    Replay {
        /// The delivery's ID, as `keybearer webhooks show NAME` lists it
        id: String,
    },
    /// Give an endpoint another URL, and print it
    ///
    /// The URL that it had stays good for the overlap, so that the sender can be changed meanwhile.
    #[command(after_help = examples::WEBHOOKS_ROTATE)]
    Rotate {
        /// The endpoint's name
        name: String,
        /// How long the earlier URL stays good, 365 days at most; 0s ends it at once
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = overlap)]
        overlap: Duration,
    },
}

pub(super) fn webhooks(global: &Global, wanted: &Wanted) -> Result<ExitCode> {
    let remote = Remote::find(global, &Patience::of(wanted.timeout))?;
    run(async {
        match wanted.action.as_ref().unwrap_or(&Action::List) {
            Action::List => list(&remote, wanted.json).await,
            Action::Show { what } if Uuid::try_parse(what).is_ok() => {
                delivery(&remote, what, wanted.json).await
            }
            Action::Show { what } => endpoint(&remote, what, wanted.json).await,
            Action::Replay { id } => replay(&remote, id, wanted.json).await,
            Action::Rotate { name, overlap } => rotate(&remote, name, *overlap, wanted.json).await,
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

fn overlap(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    match humantime::parse_duration(text) {
        Ok(overlap) if overlap <= LONGEST => Ok(overlap),
        Ok(_) => Err("it is 365days at most".to_owned()),
        Err(error) => Err(format!("{error}, such as `24h`")),
    }
}

async fn list(remote: &Remote, json: bool) -> Result<()> {
    let told = remote.ask(Method::GET, "/api/webhooks", None).await?;
    if json {
        return print_json(&told);
    }
    let endpoints = items(&told, "endpoints");
    if endpoints.is_empty() {
        complain(NONE);
    } else {
        show(&text::endpoints(endpoints))?;
    }
    Ok(())
}

/// What to do where there is nothing.
const NONE: &str = "The running instance has no endpoint for webhooks. One is configured like this:\n\n  [webhooks]\n  listen = \"127.0.0.1:8090\"\n\n  [webhooks.endpoints.github]\n  target = \"http://127.0.0.1:3000/github\"\n  verify = { type = \"github\", secret = { env = \"HOOK_SECRET\" } }";

async fn endpoint(remote: &Remote, name: &str, json: bool) -> Result<()> {
    const LATEST: usize = 20;
    let mut shown = ask_about(remote, name, Method::GET, "", None).await?;
    let rest = format!("/deliveries?limit={LATEST}");
    let mut listed = ask_about(remote, name, Method::GET, &rest, None).await?;
    let deliveries = listed["deliveries"].take();
    if json {
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("deliveries".to_owned(), deliveries);
        }
        return print_json(&shown);
    }
    let deliveries = deliveries.as_array().map_or(&[][..], Vec::as_slice);
    show(&text::endpoint(&shown, deliveries))?;
    Ok(())
}

async fn delivery(remote: &Remote, id: &str, json: bool) -> Result<()> {
    let path = format!("/api/deliveries/{}", encoded(id));
    let told = remote.ask(Method::GET, &path, None).await?;
    match json {
        true => print_json(&told),
        false => show(&text::delivery(&told)),
    }
}

async fn replay(remote: &Remote, id: &str, json: bool) -> Result<()> {
    if Uuid::try_parse(id).is_err() {
        bail!(
            "`{id}` is no delivery's ID; `keybearer webhooks show NAME` lists those of an endpoint"
        );
    }
    let path = format!("/api/deliveries/{}/replay", encoded(id));
    let told = remote.ask(Method::POST, &path, None).await?;
    if json {
        return print_json(&told);
    }
    let endpoint = text::word(&told, "endpoint");
    show(&format!(
        "{id} is delivered again to the target of {endpoint}\n"
    ))?;
    complain(&format!(
        "`keybearer webhooks show {id}` tells what came of it."
    ));
    Ok(())
}

async fn rotate(remote: &Remote, name: &str, overlap: Duration, json: bool) -> Result<()> {
    let overlap = humantime::format_duration(overlap).to_string();
    let content = json!({ "overlap": overlap });
    let told = ask_about(remote, name, Method::POST, "/rotate", Some(&content)).await?;
    if json {
        return print_json(&told);
    }
    // Alone, for scripts.
    show(&format!("{}\n", text::word(&told, "url")))?;
    complain(&match text::earlier(&told["earlier_ids"]) {
        Some(earlier) => format!("Give it to the sender: {earlier}."),
        None => "Give it to the sender: no earlier URL is good any more.".to_owned(),
    });
    Ok(())
}

/// Asks something about an endpoint; names another one if there is none of this name.
async fn ask_about(
    remote: &Remote,
    name: &str,
    method: Method,
    rest: &str,
    content: Option<&Value>,
) -> Result<Value> {
    let path = format!("/api/webhooks/{}{rest}", encoded(name));
    let error = match remote.ask(method, &path, content).await {
        Err(error) if Refused::is_absent(&error) => error,
        asked => return asked,
    };
    let listed = remote.ask(Method::GET, "/api/webhooks", None).await?;
    let there: Vec<_> = items(&listed, "endpoints")
        .iter()
        .filter_map(|endpoint| endpoint["name"].as_str())
        .collect();
    if there.contains(&name) {
        return Err(error);
    }
    let what = "the running instance has no endpoint";
    Err(Refused::unknown(match there.is_empty() {
        true => format!("{what} for webhooks; add `[webhooks]` and `[webhooks.endpoints.{name}]`"),
        false => unknown(what, name, &there),
    })
    .into())
}

fn items<'a>(told: &'a Value, key: &str) -> &'a [Value] {
    told[key].as_array().map_or(&[], Vec::as_slice)
}
