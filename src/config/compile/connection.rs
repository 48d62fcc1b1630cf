//! `[connections.NAME]` and `[defaults]`.

use std::sync::Arc;

use http::Method;

use super::agents::Declared;
use super::auth::{Target, auth, field_name};
use super::host;
use super::network::Network;
use super::secret::Secrets;
use super::server::Listeners;
use super::signal::refresh_on;
use super::tls::{Authorities, refuse_without_certificate, refuse_without_tls, shows_certificate};
use crate::config::Store;
use crate::config::document::Document;
use crate::config::fault::Fault;
use crate::config::section::{Context, Entry, Section, Taken};
use crate::connection::allow::Allow;
use crate::connection::network::Road;
use crate::connection::url::{BaseUrl, Destination, Prefix, Scheme};
use crate::connection::{
    Connection, Cookies, HeaderCase, HttpVersion, Limits, Strip, Timeouts, Tls,
};

/// What the connections of a configuration have in common.
pub(super) struct Shared<'a, 's> {
    pub(super) secrets: &'s Secrets<'a>,
    pub(super) listeners: &'s Listeners,
    pub(super) store: &'s Store,
    pub(super) defaults: Option<Section<'a>>,
    pub(super) agents: &'s Declared<'a>,
    pub(super) header_case: HeaderCase,
}

/// The connections of all files, in the order of their names; those with faults are left out.
pub(super) fn connections<'a>(
    context: &'a Context<'a>,
    roots: &[Section<'a>],
    shared: &Shared<'a, '_>,
) -> Vec<Arc<Connection>> {
    let authorities = Authorities::new(context, shared.secrets);
    let defaults = shared.defaults.as_ref();
    let section = |key: &str| defaults.and_then(|defaults| defaults.section(key));
    let compiler = Compiler {
        context,
        shared,
        timeouts: timeouts(section("timeouts").as_ref(), Timeouts::default()),
        limits: limits(section("limits").as_ref(), Limits::default()),
        tls: authorities.tls(section("tls").as_ref(), &Tls::default()),
        network: Network::of(
            section("network").as_ref(),
            &Network::default(),
            shared.secrets,
            shared.agents,
        ),
        authorities,
        names: Taken::new(),
        prefixes: Taken::new(),
        hosts: Taken::new(),
    };
    let mut all = Vec::new();
    for root in roots {
        let Some(tables) = root.section("connections") else {
            continue;
        };
        let entries = tables.entries();
        all.extend(
            entries
                .iter()
                .filter_map(|entry| compiler.connection(&tables, entry))
                .map(Arc::new),
        );
    }
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Whether a text can name a connection, or an endpoint: a segment of a path that leads nowhere else.
pub(super) fn is_connection_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    text.bytes().all(fits) && !text.trim_matches('.').is_empty()
}

struct Compiler<'a, 's> {
    context: &'a Context<'a>,
    shared: &'s Shared<'a, 's>,
    timeouts: Timeouts,
    limits: Limits,
    tls: Tls,
    network: Network,
    authorities: Authorities<'a, 's>,
    names: Taken<&'a str>,
    prefixes: Taken<Prefix>,
    hosts: Taken<Box<str>>,
}

impl<'a> Compiler<'a, '_> {
    fn connection(&self, tables: &Section<'a>, entry: &Entry<'a>) -> Option<Connection> {
        let is_named = self.check_name(tables, entry);
        let section = tables.below(entry)?;
        let prefix = self.prefix(&section, entry, is_named);
        let hosts = self.hosts(&section);
        let road = self.road(&section);
        let base_url = self.base_url(&section, &road);
        let target = Target {
            connection: entry.key,
            base_url: base_url.as_ref(),
            store: self.shared.store,
        };
        let auth = auth(&section, self.shared.secrets, &target);
        let refresh_on = refresh_on(&section, auth.as_ref());
        let allow = allow(&section);
        let below = |key: &str| section.section(key);
        let http = match section.text("http").map(|text| text.text) {
            Some("1.1") => HttpVersion::Http11,
            Some("2") => HttpVersion::Http2,
            _ => HttpVersion::Auto,
        };
        let cookies = match section.text("cookies").map(|text| text.text) {
            Some("pass") => Cookies::Pass,
            _ => Cookies::Strip,
        };
        let retries = section.number("retries", 10).unwrap_or(1);
        let strip = strip(below("strip").as_ref());
        let timeouts = timeouts(below("timeouts").as_ref(), self.timeouts);
        let limits = limits(below("limits").as_ref(), self.limits);
        let tls = self.tls(&section, base_url.as_ref(), &road);
        Some(Connection {
            name: Arc::from(entry.key),
            prefix: prefix?,
            hosts,
            base_url: base_url?,
            auth: auth?,
            refresh_on,
            http,
            cookies,
            retries,
            allow: allow?,
            strip,
            timeouts,
            limits,
            tls,
            road,
            header_case: self.shared.header_case,
        })
    }

    fn road(&self, section: &Section<'a>) -> Road {
        let Shared {
            secrets, agents, ..
        } = self.shared;
        let network = section.section("network");
        Network::of(network.as_ref(), &self.network, secrets, agents).road()
    }

    /// Whether the name is good, and no other connection's.
    fn check_name(&self, tables: &Section<'a>, entry: &Entry<'a>) -> bool {
        let is_name = is_connection_name(entry.key);
        if !is_name {
            let message = format!("`{}` is no name for a connection", entry.key);
            let fault = Fault::at(entry.key_place, message);
            let hint = "a name has letters, digits, `_`, `-`, and `.` between them";
            tables.report(entry.key, fault.hint(hint));
        }
        if let Some(other) = self.names.take(entry.key, entry.key_place) {
            let message = format!(
                "connection `{}` is set in two files; the other is {}",
                entry.key,
                self.context.tell(other)
            );
            tables.report(entry.key, Fault::at(entry.key_place, message));
            return false;
        }
        is_name
    }

    fn prefix(&self, section: &Section<'a>, name: &Entry<'a>, is_named: bool) -> Option<Prefix> {
        let (place, written) = match section.entry("prefix") {
            Some(entry) => (entry.place, entry.text()?.text.to_owned()),
            None if is_named => (name.key_place, format!("/{}", name.key)),
            None => return None,
        };
        let report = |message| section.report("prefix", Fault::at(place, message));
        let prefix = Prefix::parse(&written)
            .map_err(|error| report(error.to_string()))
            .ok()?;
        if let Some(other) = self.prefixes.take(prefix.clone(), place) {
            let other = self.context.tell(other);
            report(format!(
                "prefix `{prefix}` is used twice; the other is {other}"
            ));
        }
        Some(prefix)
    }

    fn hosts(&self, section: &Section<'a>) -> Vec<Box<str>> {
        let mut hosts = Vec::new();
        for text in section.texts("hosts").unwrap_or_default() {
            let host = match host::name(text.text) {
                Ok(host) => host,
                Err(error) => {
                    section.refuse(text, error.to_string());
                    continue;
                }
            };
            if let Some(other) = self.hosts.take(host.clone(), text.place) {
                let other = self.context.tell(other);
                let message = format!("host `{host}` is used twice; the other is {other}");
                section.refuse(text, message);
            }
            hosts.push(host);
        }
        hosts
    }

    fn base_url(&self, section: &Section<'a>, road: &Road) -> Option<BaseUrl> {
        let Some(entry) = section.entry("base_url") else {
            section.missing(
                "base_url",
                format!("`[{}]` has no `base_url`", section.name()),
            );
            return None;
        };
        let base_url = section.parse("base_url", BaseUrl::parse)?;
        // Behind an agent, names and addresses are those of its network. And where keybearer listens
        // may stand in what could not be read.
        if road.agent().is_some() || self.context.documents.iter().any(Document::is_broken) {
            return Some(base_url);
        }
        let mut listeners = self.shared.listeners.iter();
        if let Some(own) = listeners.find(|listen| host::leads_back(&base_url, listen)) {
            let message = format!(
                "`base_url` leads back to keybearer itself, which listens at `{}`",
                host::tell(own)
            );
            section.report("base_url", Fault::at(entry.place, message));
        }
        Some(base_url)
    }

    fn tls(&self, section: &Section<'a>, base_url: Option<&BaseUrl>, road: &Road) -> Tls {
        let own = section.section("tls");
        let tls = self.authorities.tls(own.as_ref(), &self.tls);
        let shows_certificate = shows_certificate(section);
        if shows_certificate && tls.client.is_none() {
            let defaults = self.shared.defaults.as_ref();
            let defaults = defaults.and_then(|defaults| defaults.section("tls"));
            refuse_without_certificate(section, [own.as_ref(), defaults.as_ref()]);
        }
        if base_url.is_none_or(is_tls) || road.is_tls() {
            return tls;
        }
        if let Some(own) = own {
            refuse_without_tls(&own, shows_certificate);
        }
        match shows_certificate {
            true => tls.without_server_name(),
            false => Tls::default(),
        }
    }
}

fn is_tls(base_url: &BaseUrl) -> bool {
    match base_url.destination() {
        Destination::Server { scheme, .. } => *scheme == Scheme::Https,
        Destination::Echo => false,
    }
}

fn allow(section: &Section<'_>) -> Option<Allow> {
    let Some(section) = section.section("allow") else {
        return Some(Allow::default());
    };
    for key in ["methods", "paths"] {
        refuse_empty(&section, key);
    }
    let methods = section.parse_each("methods", method);
    let paths = section.parse_each("paths", path_glob);
    Allow::new(methods, paths).ok()
}

fn refuse_empty(section: &Section<'_>, key: &str) {
    if let (Some([]), Some(entry)) = (section.texts(key).as_deref(), section.entry(key)) {
        let message = format!("`{key}` is empty, so no request would pass");
        let fault = Fault::at(entry.place, message);
        section.report(key, fault.hint(format!("leave `{key}` out to allow all")));
    }
}

fn method(text: &str) -> Result<Method, String> {
    const STANDARD: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    let method = Method::from_bytes(text.as_bytes());
    let upper = text.to_ascii_uppercase();
    match method {
        Err(_) => Err(format!("`{text}` is not a method")),
        Ok(_) if upper == "CONNECT" || upper == "TRACE" => {
            Err(format!("`{text}` is never passed on"))
        }
        Ok(_) if upper != text && STANDARD.contains(&&*upper) => Err(format!(
            "methods are case-sensitive: `{upper}`, not `{text}`"
        )),
        Ok(method) => Ok(method),
    }
}

fn path_glob(text: &str) -> Result<Box<str>, String> {
    if !text.starts_with(['/', '*', '{', '[']) {
        return Err(format!(
            "`{text}` matches nothing, as a path starts with `/`"
        ));
    }
    match Allow::new(None, Some(vec![text.into()])) {
        Ok(_) => Ok(text.into()),
        Err((_, error)) => Err(format!("`{text}` is not a glob: {}", error.kind())),
    }
}

fn strip(section: Option<&Section<'_>>) -> Strip {
    let Some(section) = section else {
        return Strip::default();
    };
    let query = section.parse_each("query", |text| match text {
        "" => Err("a parameter needs a name"),
        name => Ok(Box::from(name)),
    });
    Strip {
        headers: section
            .parse_each("headers", field_name)
            .unwrap_or_default(),
        query: query.unwrap_or_default(),
    }
}

fn timeouts(section: Option<&Section<'_>>, defaults: Timeouts) -> Timeouts {
    let of = |key: &str, default| {
        section
            .and_then(|section| section.duration(key))
            .unwrap_or(default)
    };
    Timeouts {
        connect: of("connect", defaults.connect),
        read: of("read", defaults.read),
        write: of("write", defaults.write),
        idle: of("idle", defaults.idle),
    }
}

fn limits(section: Option<&Section<'_>>, defaults: Limits) -> Limits {
    let of = |key: &str, default| {
        section
            .and_then(|section| section.size(key))
            .unwrap_or(default)
    };
    Limits {
        request_body: of("request_body", defaults.request_body),
        signed_body: of("signed_body", defaults.signed_body),
    }
}
