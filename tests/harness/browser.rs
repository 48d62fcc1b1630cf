//! A person with a browser: Chromium, driven by playwright.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::node::{program, script};
use super::process::Process;

/// How long a browser may take to start and to walk through the pages: it is many processes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with a fresh profile.
pub struct Browser;

/// Where a way through pages has led.
#[derive(Debug, Deserialize)]
pub struct Shown {
    /// The URL of the last page.
    pub url: String,
    /// Its status code.
    pub status: u16,
    /// What a person reads on it.
    pub text: String,
    /// Errors that the browser's console shows on pages of the last one's origin.
    pub errors: Vec<String>,
}

impl Browser {
    /// Opens an authorization URL, signs in, consents, and follows the way back to its `redirect_uri`.
    pub async fn consent(authorization_url: &str, login: &str) -> Shown {
        Self::walk(json!({ "url": authorization_url, "login": login })).await
    }

    /// Opens a page, clicks what this selector finds, then signs in, consents, and comes back to the
    /// page's own origin.
    pub async fn click_and_consent(page: &str, selector: &str, login: &str) -> Shown {
        Self::clicks_and_consent(page, &[selector], page, login).await
    }

    /// Opens a page, clicks what these selectors find on it and on those that follow, then signs in,
    /// consents, and comes back to the origin of `home`.
    pub async fn clicks_and_consent(
        page: &str,
        selectors: &[&str],
        home: &str,
        login: &str,
    ) -> Shown {
        let origin = url::Url::parse(home)
            .unwrap()
            .origin()
            .ascii_serialization();
        let way = json!({ "url": page, "click": selectors, "login": login, "until": origin });
        Self::walk(way).await
    }

    async fn walk(mut way: serde_json::Value) -> Shown {
        way["executable"] = json!(program("chromium"));
        let mut process = Process::spawn(&mut script("oauth", "browser.js", &way.to_string()));
        let started = Instant::now();
        while process.ended().is_none() && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let exit = process.exit().await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        serde_json::from_str(&exit.stdout).unwrap_or_else(|error| panic!("{error}: {exit:?}"))
    }
}
