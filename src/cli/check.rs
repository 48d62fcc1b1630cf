//! `keybearer check`: the configuration as `run` would read it, told without its secrets.

mod endpoint;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::endpoint::EndpointLine;
use super::connect::{Here, Tester};
use super::output::{BAD, DOUBTFUL, GOOD, STRONG, complain, painted, print_json, show, warn};
use super::progress::Progress;
use super::remote::{Patience, wait_for};
use super::table::{hanging, width};
use super::trial::{reached, table};
use super::{Global, UNUSABLE, load};
use crate::auth::credentials::Credentials;
use crate::config::Config;
use crate::config::diagnostic::{Diagnostics, printable};
use crate::connection::Connection;
use crate::live::{Parts, Publisher, expiry};
use crate::metrics::Metrics;
use crate::proxy::trial::Trial;
use crate::traces::Traces;
use crate::upstream::Upstreams;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Try each connection, too: name, proxy or agent, TLS, clock, credential
    ///
    /// Sends one harmless request (HEAD, or what `allow` leaves of GET and OPTIONS) to the base
    /// URL of each. The running instance sends it, if one answers on admin.listen; else this
    /// process does, with the configured store. Ends with 1 if a connection fails.
    #[arg(long)]
    connect: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

/// Connections that are tried at the same time.
const AT_ONCE: usize = 16;

/// Certificates that end within so many days are pointed out.
const SOON: i64 = 30;

pub(super) fn check(global: &Global, wanted: &Wanted) -> anyhow::Result<ExitCode> {
    let json = wanted.json;
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
    if wanted.connect {
        let tried = wait_for(tried(global, &wanted.patience, &found.config))?;
        for (line, trial) in lines.iter_mut().zip(tried) {
            line.trial = Some(trial);
        }
    }
    let webhooks = found.config.webhooks.iter();
    let endpoints = webhooks.flat_map(|webhooks| &webhooks.endpoints);
    let endpoints: Vec<_> = endpoints.map(|one| EndpointLine::of(one)).collect();
    if json {
        print_json(&Report {
            valid: true,
            connections: &lines,
            webhooks: &endpoints,
            warnings: &warnings,
            errors: None,
        })?;
    } else {
        let width = width();
        let connections = lines.iter().map(|line| line.text(width));
        let endpoints = endpoints.iter().map(|line| line.text(width));
        show(&connections.chain(endpoints).collect::<String>())?;
        warnings.iter().for_each(|text| warn(text));
        complain(&summary(&found.config, &found.location.to_string()));
    }
    if !json {
        for (line, doubt) in lines
            .iter()
            .filter_map(|line| Some((line, line.doubt.as_ref()?)))
        {
            warn(&format!("connections.{}.auth: {doubt}", line.name));
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
async fn tried(
    global: &Global,
    patience: &Patience,
    config: &Config,
) -> anyhow::Result<Vec<Trial>> {
    let progress = Progress::new("Looking for the running instance");
    let tester = match reached(global, patience, &progress).await? {
        Ok(remote) => Tester::Instance(Box::new(remote)),
        Err(unasked) => {
            progress.aside(|| complain(&format!("Tried from here: {unasked:#}.")));
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
    let mut waited: BTreeSet<_> = config.connections.iter().map(|one| &*one.name).collect();
    let mut trials = Vec::new();
    progress.say(waiting(&waited));
    while let Some(tried) = tasks.join_next().await {
        let (index, trial) = tried?;
        waited.remove(&*trial.connection);
        progress.say(waiting(&waited));
        trials.push((index, trial));
    }
    tester.settle().await;
    trials.sort_unstable_by_key(|(index, _)| *index);
    Ok(trials.into_iter().map(|(_, trial)| trial).collect())
}

/// Whom the command waits for.
fn waiting(names: &BTreeSet<&str>) -> String {
    let names: Vec<_> = names.iter().copied().collect();
    format!("Trying {}", names.join(", "))
}

fn reject(diagnostics: &Diagnostics, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        let report = Report {
            valid: false,
            connections: &[],
            webhooks: &[],
            warnings: &[],
            errors: Some(diagnostics),
        };
        print_json(&report)?;
    } else {
        super::reject(diagnostics);
    }
    Ok(ExitCode::from(UNUSABLE))
}

fn summary(config: &Config, location: &str) -> String {
    let count = config.connections.len();
    let plural = |count| if count == 1 { "" } else { "s" };
    let hooks = config.webhooks.as_ref().map(|hooks| hooks.endpoints.len());
    let hooks = hooks.map_or_else(String::new, |hooks| {
        format!(", {hooks} endpoint{} for webhooks", plural(hooks))
    });
    format!(
        "{location} is valid: {count} connection{}{hooks}",
        plural(count)
    )
}

#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    connections: &'a [Line<'a>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    webhooks: &'a [EndpointLine<'a>],
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

    fn text(&self, width: Option<usize>) -> String {
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
        let secrets = listed(&self.secrets);
        let hosts = if self.hosts.is_empty() {
            String::new()
        } else {
            format!(" and {}", self.hosts.join(", "))
        };
        let certificate = self.client_certificate.as_ref();
        let certificate = certificate.map_or_else(String::new, |certificate| {
            format!(", client certificate until {}", certificate.not_after)
        });
        let trial = self.trial.as_ref();
        let trial = trial.map_or_else(String::new, |trial| tried_text(trial, width));
        let way = format!("{prefix}{hosts} -> {base_url}{proxy}, {auth}{secrets}{certificate}");
        let lead = format!("{}: ", painted(STRONG, name));
        hanging(&lead, &way, width) + &trial
    }
}

/// Where secrets come from, in brackets; nothing if there are none.
fn listed(secrets: &[SecretLine]) -> String {
    if secrets.is_empty() {
        return String::new();
    }
    let secrets = secrets.iter();
    let secrets: Vec<_> = secrets
        .map(|secret| format!("{} from {}", secret.key, secret.from))
        .collect();
    format!(" ({})", secrets.join(", "))
}

/// What came of a try, below the connection's line.
fn tried_text(trial: &Trial, width: Option<usize>) -> String {
    let mut text = table(trial);
    let failure = trial.failure.as_deref().map(printable);
    text += &match (failure, trial.is_answered()) {
        (None, _) => format!("  {}\n", painted(GOOD, "ok")),
        (Some(failure), true) => {
            let lead = format!("  {}, but ", painted(DOUBTFUL, "ok"));
            hanging(&lead, &failure, width)
        }
        (Some(failure), false) => {
            let lead = format!("  {}: ", painted(BAD, "failed"));
            hanging(&lead, &failure, width)
        }
    };
    if let Some(days) = trial.certificate_days_left.filter(|days| *days <= SOON) {
        let told =
            format!("the upstream's certificate has {days} days left; it must be renewed there");
        text += &hanging("  ", &told, width);
    }
    if let Some(link) = &trial.link {
        text += &format!(
            "  link it with `keybearer link {}`, or open {link}\n",
            trial.connection
        );
    }
    text
}
