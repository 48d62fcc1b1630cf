//! `keybearer link NAME`: a person's consent, begun at the running instance and waited for.

use std::io::IsTerminal;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::remote::{Remote, encoded, run};
use super::{Global, complain, print};

/// How often the instance is asked what came of it.
const INTERVAL: Duration = Duration::from_millis(500);

/// As long as the instance itself waits for a person who has no code with a time of its own.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

pub(super) fn link(global: &Global, name: &str, device: bool) -> Result<ExitCode> {
    let remote = Remote::find(global)?;
    run(async {
        let flow = if device { "device" } else { "browser" };
        let path = format!("/api/connections/{}/link", encoded(name));
        let begun = remote
            .ask(Method::POST, &path, Some(&json!({ "flow": flow })))
            .await?;
        tell(&begun)?;
        let consent = begun["consent"]
            .as_str()
            .context("the instance named no consent")?;
        let patience = begun["expires_in"]
            .as_u64()
            // The instance is to tell first what came of it.
            .map_or(PATIENCE, |seconds| Duration::from_secs(seconds + 30));
        wait(&remote, &format!("{path}/{consent}"), name, patience).await
    })
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
    let text = |key: &str| begun[key].as_str().unwrap_or_default();
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

async fn wait(remote: &Remote, path: &str, name: &str, patience: Duration) -> Result<ExitCode> {
    let until = Instant::now() + patience;
    loop {
        let told = remote.ask(Method::GET, path, None).await?;
        match told["outcome"].as_str() {
            Some("linked") => {
                complain(&format!("{name} is linked."));
                return Ok(ExitCode::SUCCESS);
            }
            Some("failed") => {
                let why = told["detail"].as_str().unwrap_or_default();
                complain(&format!("error: {name} was not linked: {why}"));
                return Ok(ExitCode::FAILURE);
            }
            _ if Instant::now() >= until => {
                complain(&format!(
                    "error: {name} was not linked: nobody came back in time"
                ));
                return Ok(ExitCode::FAILURE);
            }
            _ => sleep(INTERVAL).await,
        }
    }
}
