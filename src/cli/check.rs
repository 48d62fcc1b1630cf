//! `keybearer check`: the configuration as `run` would read it, told without its secrets.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connect::{Here, Tester};
use super::remote::{Remote, wait_for};
use super::trial::table;
use super::{Global, UNUSABLE, complain, load, print};
use crate::auth::credentials::Credentials;
use crate::config::Config;
use crate::config::diagnostic::Diagnostics;
use crate::connection::Connection;
use crate::live::{Parts, Publisher, expiry};
use crate::metrics::Metrics;
use crate::proxy::trial::Trial;
use crate::traces::Traces;
use crate::upstream::Upstreams;

/// Connections that are tried at the same time.
const AT_ONCE: usize = 16;

/// Certificates that end within so many days are pointed out.
const SOON: i64 = 30;

pub(super) fn check(global: &Global, connect: bool, json: bool) -> anyhow::Result<ExitCode> {
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
            traces: Traces::default(),
        },
    )?;
    let now = SystemTime::now();
    let connections = found.config.connections.iter();
    let notices = expiry::notices(connections.clone(), now);
    let warnings: Vec<_> = notices.iter().map(ToString::to_string).collect();
    let mut lines: Vec<_> = connections
        .map(|connection| Line::of(connection, now))
        .collect();
    if connect {
        let tried = wait_for(tried(global, &found.config))?;
        for (line, trial) in lines.iter_mut().zip(tried) {
            line.trial = Some(trial);
        }
    }
    if json {
        print(&json_line(&Report {
            valid: true,
            connections: &lines,
            warnings: &warnings,
            errors: None,
        })?)?;
    } else {
        let table: String = lines.iter().map(Line::text).collect();
        print(table.as_bytes())?;
        for warning in &warnings {
            complain(&format!("warning: {warning}"));
        }
        complain(&summary(&found.config, &found.location.to_string()));
    }
    if !json {
        for (line, doubt) in lines
            .iter()
            .filter_map(|line| Some((line, line.doubt.as_ref()?)))
        {
            complain(&format!("warning: connections.{}.auth: {doubt}", line.name));
        }
    }
    let failed = lines.iter().filter(|line| !line.is_good()).count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if !json {
        complain(&format!("{failed} of {} connections failed", lines.len()));
    }
    Ok(ExitCode::FAILURE)
}

/// Each connection, tried; in the order of the configuration.
async fn tried(global: &Global, config: &Config) -> anyhow::Result<Vec<Trial>> {
    let tester = match Remote::find(global) {
        Ok(remote) if remote.answers().await => Tester::Instance(remote),
        _ => {
            complain("No instance answers on admin.listen: connections are tried from here.");
            Tester::Here(Here::new(config)?)
        }
    };
    let tester = Arc::new(tester);
    let mut tasks = JoinSet::new();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    for (index, connection) in config.connections.iter().enumerate() {
        let (tester, places) = (Arc::clone(&tester), Arc::clone(&places));
        let connection = Arc::clone(connection);
        tasks.spawn(async move {
            // It is never closed.
            let _place = places.acquire_owned().await;
            (index, tester.run(&connection).await)
        });
    }
    let mut trials = tasks.join_all().await;
    tester.settle().await;
    trials.sort_unstable_by_key(|(index, _)| *index);
    Ok(trials.into_iter().map(|(_, trial)| trial).collect())
}

fn reject(diagnostics: &Diagnostics, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        let report = Report {
            valid: false,
            connections: &[],
            warnings: &[],
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
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
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
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    auth: &'static str,
    secrets: Vec<SecretLine>,
    /// What may be wrong with its credential.
    #[serde(rename = "warning", skip_serializing_if = "Option::is_none")]
    doubt: Option<String>,
    /// What came of a try.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<expiry::Shown<'a>>,
}

/// Where a secret comes from.
#[derive(Serialize)]
struct SecretLine {
    key: String,
    from: String,
}

impl<'a> Line<'a> {
    fn of(connection: &'a Connection, now: SystemTime) -> Self {
        let on_the_way = connection.road.secrets().into_iter();
        let on_the_way = on_the_way.map(|(key, secret)| (key.to_owned(), secret));
        let secrets = connection.auth.secrets().into_iter().chain(on_the_way);
        let secrets = secrets.map(|(key, secret)| (key, secret.origin()));
        let identity = connection.tls.client.iter();
        let key = identity.map(|identity| ("tls.client_key".to_owned(), identity.origin()));
        Self {
            name: &connection.name,
            prefix: connection.prefix.to_string(),
            hosts: &connection.hosts,
            base_url: connection.base_url.to_string(),
            proxy: connection.proxy().map(ToString::to_string),
            auth: connection.auth.kind(),
            secrets: secrets
                .chain(key)
                .map(|(key, origin)| SecretLine {
                    key,
                    from: origin.to_string(),
                })
                .collect(),
            doubt: connection.auth.doubt(),
            trial: None,
            client_certificate: expiry::Shown::of(connection, now),
        }
    }

    /// Whether nothing is known to be wrong with it.
    fn is_good(&self) -> bool {
        self.trial.as_ref().is_none_or(Trial::is_answered)
    }

    fn text(&self) -> String {
        let Self {
            name,
            prefix,
            base_url,
            proxy,
            auth,
            ..
        } = self;
        let proxy = match proxy {
            Some(proxy) => format!(" through {proxy}"),
            None => String::new(),
        };
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
        let certificate = self.client_certificate.as_ref();
        let certificate = certificate.map_or_else(String::new, |certificate| {
            format!(", client certificate until {}", certificate.not_after)
        });
        let trial = self.trial.as_ref().map_or_else(String::new, tried_text);
        format!(
            "{name}: {prefix}{hosts} -> {base_url}{proxy}, {auth}{secrets}{certificate}\n{trial}"
        )
    }
}

/// What came of a try, below the connection's line.
fn tried_text(trial: &Trial) -> String {
    let mut text = table(trial);
    match (&trial.failure, trial.is_answered()) {
        (None, _) => text += "  ok\n",
        (Some(failure), true) => text += &format!("  ok, but {failure}\n"),
        (Some(failure), false) => text += &format!("  failed: {failure}\n"),
    }
    if let Some(days) = trial.certificate_days_left.filter(|days| *days <= SOON) {
        text += &format!(
            "  the upstream's certificate has {days} days left; it must be renewed there\n"
        );
    }
    if let Some(link) = &trial.link {
        text += &format!(
            "  link it with `keybearer link {}`, or open {link}\n",
            trial.connection
        );
    }
    text
}
