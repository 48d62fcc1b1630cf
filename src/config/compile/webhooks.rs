//! `[webhooks]`: the listener for webhooks, and its endpoints.

mod verify;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use self::verify::verify;
use super::certificate::identity;
use super::connection::is_connection_name;
use super::host;
use super::secret::Secrets;
use super::server::public_url;
use super::tls::Authorities;
use crate::config::fault::Fault;
use crate::config::mask::without_userinfo_and_query;
use crate::config::section::{Context, Entry, Section, Taken};
use crate::config::shape::nearest;
use crate::config::{Store, Webhooks};
use crate::connection::url::{BaseUrl, Destination, Prefix};
use crate::connection::webhook::{Endpoint, Limits, Order, Target, server_tls};
use crate::connection::{Connection, Tls};

const RETAIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// About a day of them, see [`crate::webhook::deliver`].
const MAX_ATTEMPTS: u32 = 100;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Content is held in memory until its signature is known to be good.
const LONGEST_BODY: u64 = 256 << 20;

/// The keys of the listener, which stand in one file.
const LISTENER: [&str; 3] = ["listen", "public_url", "tls"];

/// `[webhooks]` of all files; none if nothing listens.
pub(super) fn webhooks<'a>(
    roots: &[Section<'a>],
    context: &'a Context<'a>,
    secrets: &Secrets<'a>,
    store: &Store,
    connections: &[Arc<Connection>],
) -> Option<Webhooks> {
    let sections: Vec<_> = roots
        .iter()
        .filter_map(|root| root.section("webhooks"))
        .collect();
    let first = sections.first()?;
    let compiler = Compiler {
        secrets,
        authorities: Authorities::new(context, secrets),
        connections,
        names: Taken::new(),
    };
    let mut endpoints: Vec<_> = sections
        .iter()
        .flat_map(|section| compiler.endpoints(section))
        .collect();
    endpoints.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let listener = listener(context, &sections);
    let Some(section) = listener.get("listen") else {
        if first.has("endpoints") {
            let message = "nothing listens for webhooks, as there is no `webhooks.listen`";
            first.missing("listen", message);
        }
        return None;
    };
    let text = section.text("listen")?;
    if text.text == "off" {
        return None;
    }
    let listen = section.parse("listen", host::listen);
    refuse_memory(section, store);
    let public = listener.get("public_url");
    let public = public.and_then(|section| section.parse("public_url", public_url));
    let tls = listener
        .get("tls")
        .and_then(|section| section.section("tls"));
    let tls = match tls {
        Some(tls) => Some(listener_tls(&tls)?),
        None => None,
    };
    Some(Webhooks {
        listen: listen?,
        public_url: public,
        tls,
        endpoints,
    })
}

fn listener_tls(section: &Section<'_>) -> Option<Arc<ServerConfig>> {
    let identity = identity(section, "senders connect with TLS")?;
    server_tls(identity)
        .map_err(|error| {
            let message = format!("`[webhooks.tls]` cannot be used: {error}");
            section.report("certificate", Fault::at(section.header(), message));
        })
        .ok()
}

/// The table that has each of the listener's keys.
fn listener<'a, 's>(
    context: &'a Context<'a>,
    sections: &'s [Section<'a>],
) -> BTreeMap<&'static str, &'s Section<'a>> {
    let taken = Taken::new();
    let mut found = BTreeMap::new();
    for section in sections {
        for entry in LISTENER.into_iter().filter_map(|key| section.entry(key)) {
            match taken.take(entry.key, entry.key_place) {
                None => {
                    let key = LISTENER.into_iter().find(|key| *key == entry.key);
                    found.extend(key.map(|key| (key, section)));
                }
                Some(other) => {
                    let other = context.tell(other);
                    let message = format!(
                        "`webhooks.{}` is set in two files; the other is {other}",
                        entry.key
                    );
                    section.report(entry.key, Fault::at(entry.key_place, message));
                }
            }
        }
    }
    found
}

/// What was answered 202 must outlive a restart.
fn refuse_memory(section: &Section<'_>, store: &Store) {
    let (what, hint) = match store {
        Store::File {
            folder: Some(_), ..
        } => return,
        Store::File { folder: None, .. } => (
            "no folder for the store is known",
            "set `store.path` to a folder on a disk",
        ),
        Store::Memory => (
            "`store.type` is `memory`",
            "set it to `file`, and `store.path` to a folder on a disk",
        ),
    };
    let place = section.entry("listen").map(|entry| entry.place);
    let message = format!("webhooks are kept until they are delivered, but {what}");
    let fault = Fault::at(place.unwrap_or_else(|| section.header()), message);
    section.report("listen", fault.hint(hint));
}

struct Compiler<'a, 's> {
    secrets: &'s Secrets<'a>,
    authorities: Authorities<'a, 's>,
    connections: &'s [Arc<Connection>],
    names: Taken<&'a str>,
}

impl<'a> Compiler<'a, '_> {
    fn endpoints(&self, section: &Section<'a>) -> Vec<Arc<Endpoint>> {
        let Some(tables) = section.section("endpoints") else {
            return Vec::new();
        };
        let entries = tables.entries();
        let endpoints = entries
            .iter()
            .filter_map(|entry| self.endpoint(&tables, entry));
        endpoints.map(Arc::new).collect()
    }

    fn endpoint(&self, tables: &Section<'a>, entry: &Entry<'a>) -> Option<Endpoint> {
        let is_named = self.check_name(tables, entry);
        let section = tables.below(entry)?;
        let target = self.target(&section);
        let verify = verify(&section, self.secrets);
        let verify_token = self.secrets.take_at_load(&section, "verify_token");
        let tls = section.section("tls");
        if let (Some(entry), Some(target)) = (section.entry("tls"), &target)
            && !matches!(target, Target::Url(url) if url.is_tls())
        {
            let message = "`tls` has no use, as `target` is not `https://`";
            section.report("tls", Fault::at(entry.key_place, message));
        }
        let limits = limits(&section);
        let retain = section.duration("retain").unwrap_or(RETAIN);
        let max_attempts = max_attempts(&section);
        let timeout = section.duration("timeout").unwrap_or(TIMEOUT);
        let tls = self.authorities.tls(tls.as_ref(), &Tls::default());
        Some(Endpoint {
            name: is_named.then(|| Arc::from(entry.key))?,
            target: target?,
            verify: verify?,
            verify_token,
            order: match section.boolean("ordered") {
                Some(false) => Order::Any,
                _ => Order::Arrival,
            },
            retain,
            max_attempts,
            timeout,
            limits,
            tls,
        })
    }

    fn check_name(&self, tables: &Section<'a>, entry: &Entry<'a>) -> bool {
        if !is_connection_name(entry.key) {
            let message = format!("`{}` is no name for an endpoint", entry.key);
            let fault = Fault::at(entry.key_place, message);
            let hint = "a name has letters, digits, `_`, `-`, and `.` between them";
            tables.report(entry.key, fault.hint(hint));
            return false;
        }
        let other = self.names.take(entry.key, entry.key_place);
        if let Some(other) = other {
            let message = format!(
                "endpoint `{}` is set in two files; the other is {}",
                entry.key,
                tables.context().tell(other)
            );
            tables.report(entry.key, Fault::at(entry.key_place, message));
        }
        other.is_none()
    }

    fn target(&self, section: &Section<'a>) -> Option<Target> {
        match (section.entry("target"), section.entry("connection")) {
            (Some(_), Some(other)) => {
                let message = "an endpoint has a `target` or a `connection`, not both";
                section.report("connection", Fault::at(other.key_place, message));
                None
            }
            (Some(_), None) => {
                if let Some(path) = section.entry("path") {
                    let message = "`path` goes with `connection`; append it to `target`";
                    section.report("path", Fault::at(path.key_place, message));
                }
                section.parse("target", target).map(Target::Url)
            }
            (None, Some(_)) => self.connection(section),
            (None, None) => {
                let message = "an endpoint needs a `target`, the URL that deliveries go to, or a `connection` that leads there";
                section.missing("target", message);
                None
            }
        }
    }

    fn connection(&self, section: &Section<'a>) -> Option<Target> {
        let path = match section.has("path") {
            // As a prefix is written: absolute, and of whole segments.
            true => section
                .parse("path", |text| {
                    Prefix::parse(text).map_err(|error| told(&error))
                })
                .map(|_| section.text("path").map_or("", |path| path.text).into()),
            false => Some(Box::default()),
        };
        let written = section.text("connection")?;
        let names = || self.connections.iter().map(|known| &*known.name);
        let Some(known) = self
            .connections
            .iter()
            .find(|known| *known.name == *written.text)
        else {
            let message = format!("there is no connection `{}`", written.text);
            let mut fault = Fault::at(written.place, message);
            if let Some(near) = nearest(written.text, names()) {
                fault = fault.hint(format!("did you mean `{near}`?"));
            }
            section.report(written.key, fault);
            return None;
        };
        Some(Target::Connection {
            name: Arc::clone(&known.name),
            path: path?,
        })
    }
}

fn target(text: &str) -> Result<BaseUrl, String> {
    let url = BaseUrl::parse(text).map_err(|_| {
        let text = without_userinfo_and_query(text);
        format!("`{text}` is no target; write `http://HOST:PORT/PATH` or `https://…`, without user name and query")
    })?;
    match url.destination() {
        Destination::Echo => Err(
            "`builtin:echo` keeps nothing; write `http://HOST:PORT/PATH`, or name a `connection`"
                .to_owned(),
        ),
        Destination::Server { .. } => Ok(url),
    }
}

fn told(error: &dyn fmt::Display) -> String {
    error.to_string().replace("a prefix", "a `path`")
}

fn max_attempts(section: &Section<'_>) -> u32 {
    let Some(number) = section.number("max_attempts", 1_000_000) else {
        return MAX_ATTEMPTS;
    };
    if number == 0
        && let Some(entry) = section.entry("max_attempts")
    {
        let message = "`max_attempts` is at least 1, or nothing is ever delivered";
        section.report("max_attempts", Fault::at(entry.place, message));
    }
    number
}

fn limits(section: &Section<'_>) -> Limits {
    let usual = Limits::default();
    let Some(section) = section.section("limits") else {
        return usual;
    };
    let limits = Limits {
        request_body: section.size("request_body").unwrap_or(usual.request_body),
        queue: section.size("queue").unwrap_or(usual.queue),
    };
    let refuse = |key: &str, message: &str| {
        if let Some(entry) = section.entry(key) {
            section.report(key, Fault::at(entry.place, format!("`{key}` {message}")));
        }
    };
    if limits.request_body > LONGEST_BODY {
        refuse("request_body", "is at most 256MiB, as it is held in memory");
    }
    if limits.queue < limits.request_body.min(LONGEST_BODY) {
        let key = match section.has("queue") {
            true => "queue",
            false => "request_body",
        };
        refuse(
            key,
            "does not fit: `queue` is at least as long as `request_body`",
        );
    }
    limits
}
