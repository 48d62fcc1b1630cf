//! `keybearer status`: where the running instance's connections stand.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use http::Method;
use serde_json::Value;

use super::remote::{Remote, run};
use super::{Global, print};

pub(super) fn status(global: &Global, json: bool) -> Result<ExitCode> {
    let remote = Remote::find(global)?;
    run(async {
        let answer = remote.ask(Method::GET, "/api/connections", None).await?;
        let mut answer = answer;
        answer["agents"] = remote.ask(Method::GET, "/api/agents", None).await?["agents"].take();
        let connections = answer["connections"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if json {
            let mut text = serde_json::to_vec_pretty(&answer)?;
            text.push(b'\n');
            print(&text)?;
        } else {
            print(table(&connections, SystemTime::now()).as_bytes())?;
            print(absent(&answer["agents"]).as_bytes())?;
        }
        let ready = connections.iter().all(is_ready);
        Ok(if ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

/// Whether a request could go through now: with a credential, and an agent if one leads there.
fn is_ready(connection: &Value) -> bool {
    connection["state"] == "ready" && connection["agent"]["connected"] != 0
}

/// A line per agent that is not connected.
fn absent(agents: &Value) -> String {
    let agents = agents.as_array().into_iter().flatten();
    let absent = agents.filter(|agent| agent["connected"] == 0);
    let line = |agent: &Value| {
        let name = agent["name"].as_str().unwrap_or_default();
        format!("agent {name} is not connected\n")
    };
    absent.map(line).collect()
}

const HEAD: [&str; 7] = [
    "CONNECTION",
    "STATE",
    "EXPIRES",
    "CERTIFICATE",
    "REQUESTS",
    "ERRORS",
    "LAST ERROR",
];

/// Columns as wide as what stands in them; the last one runs on. That of client certificates is left out
/// where there are none.
fn table(connections: &[Value], now: SystemTime) -> String {
    const CERTIFICATE: usize = 3;
    let rows: Vec<[String; 7]> = connections.iter().map(|shown| row(shown, now)).collect();
    let has_certificates = rows.iter().any(|row| row[CERTIFICATE] != "-");
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; 7]| {
        let padded = cells
            .iter()
            .zip(widths)
            .enumerate()
            .filter(|(column, _)| has_certificates || *column != CERTIFICATE)
            .map(|(_, (cell, width))| format!("{cell:width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    std::iter::once(HEAD.map(str::to_owned))
        .chain(rows)
        .map(|cells| line(&cells))
        .collect()
}

fn row(shown: &Value, now: SystemTime) -> [String; 7] {
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    [
        text("name"),
        text("state"),
        expiry(shown["credential_expires_at"].as_str(), now),
        expiry(shown["client_certificate"]["not_after"].as_str(), now),
        shown["requests"].to_string(),
        shown["errors"].to_string(),
        text("last_error"),
    ]
}

/// How long a credential lasts from now on.
fn expiry(at: Option<&str>, now: SystemTime) -> String {
    let Some(at) = at.and_then(|at| humantime::parse_rfc3339(at).ok()) else {
        return "-".to_owned();
    };
    match at.duration_since(now) {
        Ok(left) => format!("in {}", rounded(left.as_secs())),
        Err(past) => format!("{} ago", rounded(past.duration().as_secs())),
    }
}

/// Seconds in their largest unit that leaves two digits or so.
fn rounded(seconds: u64) -> String {
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

    #[test]
    fn an_absent_agent_is_told_and_its_connections_are_not_ready() {
        let agents = json!([{"name": "a", "connected": 0}, {"name": "b", "connected": 2}]);
        assert_eq!(absent(&agents), "agent a is not connected\n");
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
            table(&connections, now),
            "CONNECTION  STATE       EXPIRES  REQUESTS  ERRORS  LAST ERROR\n\
             jira        ready       in 60m   12        0\n\
             drive       not_linked  -        0         3       nobody has consented yet\n"
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
            table(&connections, now),
            "CONNECTION  STATE  EXPIRES  CERTIFICATE  REQUESTS  ERRORS  LAST ERROR\n\
             a           ready  -        in 10d       0         0\n\
             b           ready  -        24h ago      0         0\n\
             c           ready  -        -            0         0\n"
        );
    }
}
