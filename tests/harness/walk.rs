//! Real people's ways through the console's pages: Debian's Chromium, led by playwright.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::keybearer::Keybearer;
use super::node::{program, script};
use super::process::Process;

/// How long a step may take where the machine is busy: a browser is many processes.
const PATIENCE: Duration = Duration::from_secs(180);

/// A way through the console's pages: a function of `tests/oauth/console.js`.
pub struct Walk(Process);

impl Walk {
    /// Begins one, with what it needs to know.
    pub fn begin(keybearer: &Keybearer, walk: &str, mut settings: Value) -> Self {
        settings["executable"] = json!(program("chromium"));
        settings["walk"] = json!(walk);
        settings["console"] = json!(format!("http://{}/", keybearer.console()));
        Self(Process::spawn(&mut script(
            "oauth",
            "console.js",
            &settings.to_string(),
        )))
    }

    fn met(&self) -> Vec<Value> {
        let text = self.0.stdout();
        let lines = text.lines().map(serde_json::from_str);
        lines.filter_map(Result::ok).collect()
    }

    /// What was met with this key, once it was.
    pub async fn meet(&mut self, key: &str, value: Option<&str>) -> Value {
        let what = format!("{key} {value:?} in the browser");
        let begun = Instant::now();
        loop {
            let has_ended = self.0.ended().is_some();
            let met = self.met().into_iter().find(|met| match value {
                Some(value) => met[key] == value,
                None => !met[key].is_null(),
            });
            match met {
                Some(met) => return met,
                None if has_ended => panic!("no {what}: {}", self.0.stderr()),
                None => {}
            }
            assert!(begun.elapsed() < PATIENCE, "no {what}: {:?}", self.met());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last line, and all before it. No error was shown, and nobody else was asked.
    pub async fn done(mut self) -> (Value, Vec<Value>) {
        self.meet("done", None).await;
        let exit = self.0.exit().await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let mut met = self.met();
        let last = met.pop().unwrap();
        assert_eq!(last["errors"], json!([]), "{met:?}");
        assert_eq!(last["strangers"], json!([]), "{met:?}");
        (last["done"].clone(), met)
    }
}
