//! `keybearer link NAME`: a person's consent, begun at the running instance and waited for.

use std::io::IsTerminal;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Global;
use super::output::{GOOD, complain, error, painted, print, print_json_line};
use super::progress::Progress;
use super::remote::{Patience, Remote, run};
use crate::config::diagnostic::printable;

/// How often the instance is asked what came of it.
const INTERVAL: Duration = Duration::from_millis(500);

/// As long as the instance itself waits for a person who has no code with a time of its own.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// The connection's name
    name: String,
    /// For machines without a browser: print a code to enter on another device (RFC 8628)
    #[arg(long)]
    device: bool,
    /// Print JSON: a line with the URL or the code when it has begun, and one with the outcome
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) fn link(global: &Global, wanted: &Wanted) -> Result<ExitCode> {
    let remote = Remote::find(global, &wanted.patience)?;
    let Wanted { name, json, .. } = wanted;
    run(async {
        let progress = Progress::new("Asking the running instance to begin");
        let flow = if wanted.device { "device" } else { "browser" };
        let mut begun = remote
            .ask_about(name, Method::POST, "/link", Some(&json!({ "flow": flow })))
            .await?;
        let consent = begun["consent"].as_str();
        let consent = consent.context("the instance named no consent")?.to_owned();
        let patience = begun["expires_in"]
            .as_u64()
            // The instance is to tell first what came of it.
            .map_or(PATIENCE, |seconds| Duration::from_secs(seconds + 30));
        begun["connection"] = json!(name);
        progress.aside(|| match json {
            true => print_json_line(&begun).map(|_| ()),
            false => tell(&begun),
        })?;
        progress.say("Waiting for the consent".to_owned());
        let waited = wait(&remote, name, &consent, patience).await;
        drop(progress);
        let outcome = waited.context(format!(
            "nobody knows what came of the consent for {name}; once the instance answers, `keybearer status` tells"
        ))?;
        report(name, *json, &outcome)
    })
}

/// What came of it, for whoever reads stdout, and in words for the person.
fn report(name: &str, json: bool, outcome: &Outcome) -> Result<ExitCode> {
    let (told, code) = match outcome {
        Outcome::Linked => {
            complain(&painted(GOOD, format!("{name} is linked.")));
            (
                json!({"connection": name, "outcome": "linked"}),
                ExitCode::SUCCESS,
            )
        }
        Outcome::Failed(why) => {
            error(&anyhow!("{name} was not linked: {why}"));
            let told = json!({"connection": name, "outcome": "failed", "detail": why});
            (told, ExitCode::FAILURE)
        }
    };
    if json {
        print_json_line(&told)?;
    }
    Ok(code)
}

fn tell(begun: &Value) -> Result<()> {
    if let Some(url) = begun["authorization_url"].as_str() {
        print(format!("{url}\n").as_bytes())?;
        complain(
            "Open this URL in a browser, log in and consent; waiting for it (Ctrl-C to stop).",
        );
        if std::io::stdout().is_terminal() {
            open(url);
        }
        return Ok(());
    }
    let text = |key: &str| printable(begun[key].as_str().unwrap_or_default());
    print(format!("{}\n{}\n", text("verification_uri"), text("user_code")).as_bytes())?;
    complain(&format!(
        "Open {} on any device, enter the code {} and consent; waiting for it (Ctrl-C to stop).",
        text("verification_uri"),
        text("user_code")
    ));
    Ok(())
}

/// Opens a browser where there is one; without, the person has the URL.
fn open(url: &str) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let _ = Command::new(opener)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

/// How a consent ended.
enum Outcome {
    /// For this reason without a token.
    Failed(String),
    Linked,
}

async fn wait(remote: &Remote, name: &str, consent: &str, patience: Duration) -> Result<Outcome> {
    let until = Instant::now() + patience;
    let rest = format!("/link/{consent}");
    loop {
        let told = remote.ask_about(name, Method::GET, &rest, None).await?;
        match told["outcome"].as_str() {
            Some("linked") => return Ok(Outcome::Linked),
            Some("failed") => {
                let why = told["detail"].as_str().unwrap_or_default();
                return Ok(Outcome::Failed(printable(why)));
            }
            _ if Instant::now() >= until => {
                let why = "nobody came back in time; begin again".to_owned();
                return Ok(Outcome::Failed(why));
            }
            _ => sleep(INTERVAL).await,
        }
    }
}
