//! `keybearer status`: where the running instance's connections stand, once or again and again.

mod watch;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use super::Global;
use super::output::{BAD, DOUBTFUL, FAINT, GOOD, print_json, show, warn};
use super::remote::{Instance, Patience, Remote, run};
use super::table::{self, Align, Cell, Overflow, Table};
use super::trial::rejected as rejected_text;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Show it again and again, until Ctrl-C
    ///
    /// On a terminal in place; elsewhere one table after the other, each below its time; with --json
    /// one document a line. It goes on while the instance is away, as during a restart.
    #[arg(long, short)]
    watch: bool,
    /// How long to wait before it is shown again
    #[arg(long, value_name = "DURATION", default_value = "2s", requires = "watch", value_parser = interval)]
    interval: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) fn status(global: &Global, wanted: &Wanted) -> Result<ExitCode> {
    if wanted.watch {
        return run(watch::watch(global, wanted));
    }
    let remote = Remote::find(global, &wanted.patience)?;
    run(async {
        let seen = Snapshot::take(&remote).await?;
        if wanted.json {
            print_json(&seen.json())?;
        } else {
            show(&seen.text(table::width(), Overflow::Wrap))?;
        }
        seen.warnings().iter().for_each(|text| warn(text));
        Ok(if seen.is_ready() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

/// An interval that lets the instance do something else, too.
fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= LEAST => Ok(interval),
        Ok(_) => Err(format!(
            "it is {} at least",
            humantime::format_duration(LEAST)
        )),
        Err(error) => Err(format!("{error}, such as `5s`")),
    }
}

/// What an instance said of itself at one time.
struct Snapshot {
    at: SystemTime,
    instance: Option<Instance>,
    connections: Vec<Value>,
    agents: Vec<Value>,
}

impl Snapshot {
    async fn take(remote: &Remote) -> Result<Self> {
        let list = async |path: &str, key: &str| {
            let mut answer = remote.ask(Method::GET, path, None).await?;
            Ok::<_, anyhow::Error>(match answer[key].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            })
        };
        Ok(Self {
            connections: list("/api/connections", "connections").await?,
            agents: list("/api/agents", "agents").await?,
            instance: remote.instance().await?,
            at: SystemTime::now(),
        })
    }

    fn json(&self) -> Value {
        json!({
            "connections": self.connections,
            "agents": self.agents,
            "instance": self.instance.as_ref().map(Instance::json),
        })
    }

    /// The table, and the agents that are not there.
    fn text(&self, width: Option<usize>, overflow: Overflow) -> String {
        let table = table(&self.connections, self.at).render(width, overflow);
        table + &absent(&self.agents)
    }

    /// What a person should know of the instance as a whole.
    fn warnings(&self) -> Vec<String> {
        let Some(instance) = &self.instance else {
            return Vec::new();
        };
        let draining = "the instance is ending: it takes no more requests".to_owned();
        let rejected = instance.rejection();
        let rejected = rejected.map(|rejection| rejected_text(&rejection));
        let draining = (!instance.is_ready()).then_some(draining);
        draining.into_iter().chain(rejected).collect()
    }

    fn is_ready(&self) -> bool {
        self.instance.as_ref().is_none_or(Instance::is_ready)
            && self.connections.iter().all(is_ready)
    }
}

/// Whether a request could go through now: with a credential, and an agent if one leads there.
fn is_ready(connection: &Value) -> bool {
    connection["state"] == "ready" && connection["agent"]["connected"] != 0
}

/// A line per agent that is not connected.
fn absent(agents: &[Value]) -> String {
    let absent = agents.iter().filter(|agent| agent["connected"] == 0);
    let line = |agent: &Value| {
        let name = agent["name"].as_str().unwrap_or_default();
        format!("agent {name} is not connected\n")
    };
    absent.map(line).collect()
}

/// A row per connection. The column of client certificates is left out where there are none.
fn table(connections: &[Value], now: SystemTime) -> Table {
    let certificates = |shown: &Value| !shown["client_certificate"].is_null();
    let has_certificates = connections.iter().any(certificates);
    let mut columns = vec![
        ("CONNECTION", Align::Left),
        ("STATE", Align::Left),
        ("EXPIRES", Align::Left),
        ("CERTIFICATE", Align::Left),
        ("REQUESTS", Align::Right),
        ("ERRORS", Align::Right),
        ("LAST ERROR", Align::Left),
    ];
    if !has_certificates {
        columns.retain(|(name, _)| *name != "CERTIFICATE");
    }
    let mut table = Table::new(columns);
    for shown in connections {
        let text = |key: &str| shown[key].as_str().unwrap_or_default();
        let errors = shown["errors"].as_u64().unwrap_or_default();
        let certificate = expiry(shown["client_certificate"]["not_after"].as_str(), now);
        let cells = [
            Some(Cell::plain(text("name"))),
            Some(Cell::new(text("state"), state_style(text("state")))),
            Some(expiry(shown["credential_expires_at"].as_str(), now)),
            has_certificates.then_some(certificate),
            Some(Cell::plain(&shown["requests"].to_string())),
            Some(match errors {
                0 => Cell::plain("0"),
                count => Cell::new(&count.to_string(), BAD),
            }),
            Some(Cell::plain(text("last_error"))),
        ];
        table.row(cells.into_iter().flatten().collect());
    }
    table
}

fn state_style(state: &str) -> anstyle::Style {
    match state {
        "ready" => GOOD,
        // It gets on by itself.
        "stale" | "refreshing" | "retrying" => DOUBTFUL,
        _ => BAD,
    }
}

/// How long a credential lasts from now on.
fn expiry(at: Option<&str>, now: SystemTime) -> Cell {
    let Some(at) = at.and_then(|at| humantime::parse_rfc3339(at).ok()) else {
        return Cell::new("-", FAINT);
    };
    match at.duration_since(now) {
        Ok(left) => Cell::plain(&format!("in {}", rounded(left.as_secs()))),
        Err(past) => Cell::new(&format!("{} ago", rounded(past.duration().as_secs())), BAD),
    }
}

/// Seconds in their largest unit that leaves two digits or so.
pub(super) fn rounded(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, UNIX_EPOCH};

    fn shown(connections: &[Value], now: SystemTime) -> String {
        let text = table(connections, now).render(None, Overflow::Wrap);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn an_absent_agent_is_told_and_its_connections_are_not_ready() {
        let agents = json!([{"name": "a", "connected": 0}, {"name": "b", "connected": 2}]);
        let agents = agents.as_array().unwrap();
        assert_eq!(absent(agents), "agent a is not connected\n");
        let through =
            |connected| json!({"state": "ready", "agent": {"name": "a", "connected": connected}});
        assert!(is_ready(&json!({"state": "ready"})) && is_ready(&through(1)));
        assert!(!is_ready(&through(0)) && !is_ready(&json!({"state": "stale"})));
    }

    #[test]
    fn a_table_has_a_line_per_connection() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let connections = [
            json!({"name": "jira", "state": "ready", "requests": 12, "errors": 0,
                "credential_expires_at": "2001-09-09T02:46:40Z"}),
            json!({"name": "drive", "state": "not_linked", "requests": 0, "errors": 3,
                "last_error": "nobody has consented yet"}),
        ];
        assert_eq!(
            shown(&connections, now),
            "CONNECTION  STATE       EXPIRES  REQUESTS  ERRORS  LAST ERROR\n\
             jira        ready       in 60m         12       0\n\
             drive       not_linked  -               0       3  nobody has consented yet\n"
        );
    }

    #[test]
    fn client_certificates_have_a_column_where_there_are_some() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let connections = [
            json!({"name": "a", "state": "ready", "requests": 0, "errors": 0,
                "client_certificate": {"not_after": "2001-09-19T01:46:40Z"}}),
            json!({"name": "b", "state": "ready", "requests": 0, "errors": 0,
                "client_certificate": {"not_after": "2001-09-08T01:46:39Z"}}),
            json!({"name": "c", "state": "ready", "requests": 0, "errors": 0}),
        ];
        assert_eq!(
            shown(&connections, now),
            "CONNECTION  STATE  EXPIRES  CERTIFICATE  REQUESTS  ERRORS  LAST ERROR\n\
             a           ready  -        in 10d              0       0\n\
             b           ready  -        24h ago             0       0\n\
             c           ready  -        -                   0       0\n"
        );
    }
}
