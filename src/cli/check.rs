//! `keybearer check`: the configuration as `run` would read it, told without its secrets.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::{Global, UNUSABLE, complain, load, print};
use crate::auth::credentials::Credentials;
use crate::config::Config;
use crate::config::diagnostic::Diagnostics;
use crate::connection::Connection;
use crate::live::{Parts, Publisher};
use crate::metrics::Metrics;
use crate::upstream::Upstreams;

pub(super) fn check(global: &Global, json: bool) -> anyhow::Result<ExitCode> {
    let found = match load(global)? {
        Ok(found) => found,
        Err(diagnostics) => return reject(&diagnostics, json),
    };
    // What compiles must be buildable, too: `run` would find out next.
    let upstreams = Arc::new(Upstreams::default());
    let metrics = Metrics::new()?;
    let credentials = Credentials::rehearsed(Arc::clone(&upstreams), metrics.clone());
    Publisher::new(
        &found.config,
        Parts {
            upstreams,
            credentials: Arc::new(credentials),
            metrics,
        },
    )?;
    let lines: Vec<_> = found
        .config
        .connections
        .iter()
        .map(|connection| Line::of(connection))
        .collect();
    if json {
        print(&json_line(&Report {
            valid: true,
            connections: &lines,
            errors: None,
        })?)?;
    } else {
        let table: String = lines.iter().map(Line::text).collect();
        print(table.as_bytes())?;
        complain(&summary(&found.config, &found.location.to_string()));
    }
    Ok(ExitCode::SUCCESS)
}

fn reject(diagnostics: &Diagnostics, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        let report = Report {
            valid: false,
            connections: &[],
            errors: Some(diagnostics),
        };
        print(&json_line(&report)?)?;
    } else {
        complain(&diagnostics.to_string());
    }
    Ok(ExitCode::from(UNUSABLE))
}

fn summary(config: &Config, location: &str) -> String {
    let count = config.connections.len();
    let plural = if count == 1 { "" } else { "s" };
    format!("{location} is valid: {count} connection{plural}")
}

fn json_line(report: &Report<'_>) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec_pretty(report)?;
    line.push(b'\n');
    Ok(line)
}

#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    connections: &'a [Line<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a Diagnostics>,
}

/// What is told of a connection.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    prefix: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hosts: &'a [Box<str>],
    base_url: String,
    auth: &'static str,
    secrets: Vec<SecretLine>,
}

/// Where a secret comes from.
#[derive(Serialize)]
struct SecretLine {
    key: String,
    from: String,
}

impl<'a> Line<'a> {
    fn of(connection: &'a Connection) -> Self {
        let secrets = connection.auth.secrets().into_iter();
        Self {
            name: &connection.name,
            prefix: connection.prefix.to_string(),
            hosts: &connection.hosts,
            base_url: connection.base_url.to_string(),
            auth: connection.auth.kind(),
            secrets: secrets
                .map(|(key, secret)| SecretLine {
                    key,
                    from: secret.origin().to_string(),
                })
                .collect(),
        }
    }

    fn text(&self) -> String {
        let Self {
            name,
            prefix,
            base_url,
            auth,
            ..
        } = self;
        let secrets: Vec<_> = self
            .secrets
            .iter()
            .map(|secret| format!("{} from {}", secret.key, secret.from))
            .collect();
        let secrets = if secrets.is_empty() {
            String::new()
        } else {
            format!(" ({})", secrets.join(", "))
        };
        let hosts = if self.hosts.is_empty() {
            String::new()
        } else {
            format!(" and {}", self.hosts.join(", "))
        };
        format!("{name}: {prefix}{hosts} -> {base_url}, {auth}{secrets}\n")
    }
}
