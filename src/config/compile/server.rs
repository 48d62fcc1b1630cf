//! `[server]`, `[admin]` and `[log]`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use url::Url;

use super::host;
use super::secret::{Secrets, field_value};
use crate::config::fault::Fault;
use crate::config::mask::without_userinfo_and_query;
use crate::config::section::{Section, Text};
use crate::config::{Admin, AllowedHosts, Edit, Listen, Log, LogFormat, Server};
use crate::connection::HeaderCase;
use crate::secret::Secret;

/// Every place that keybearer listens at.
pub(super) struct Listeners {
    pub(super) server: Vec<Listen>,
    pub(super) admin: Option<Listen>,
}

impl Listeners {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Listen> {
        self.server.iter().chain(&self.admin)
    }
}

/// `server.listen` and `admin.listen`, which may not overlap.
pub(super) fn listeners(server: Option<&Section<'_>>, admin: Option<&Section<'_>>) -> Listeners {
    let mut taken = Vec::new();
    let listeners = Listeners {
        server: server
            .and_then(|section| server_listen(section, &mut taken))
            .unwrap_or_else(|| vec![loopback(8080)]),
        admin: match admin.and_then(|section| section.text("listen")) {
            Some(text) if text.text == "off" => None,
            Some(text) => admin.and_then(|section| admin_listen(section, text, &taken)),
            None => Some(loopback(9080)),
        },
    };
    if let (Some(section), Some(own)) = (server, &listeners.admin)
        && admin.is_none_or(|admin| !admin.has("listen"))
        && let Some((_, text)) = taken.iter().find(|(listen, _)| listen == own)
    {
        section.refuse(*text, "`admin.listen` is here already, by default");
    }
    listeners
}

fn server_listen<'a>(
    section: &Section<'a>,
    taken: &mut Vec<(Listen, Text<'a>)>,
) -> Option<Vec<Listen>> {
    let texts = section.texts("listen")?;
    if let (true, Some(entry)) = (texts.is_empty(), section.entry("listen")) {
        let message = "`listen` is empty: nobody could call";
        section.report("listen", Fault::at(entry.place, message));
    }
    let mut all = Vec::new();
    for text in texts {
        match host::listen(text.text) {
            Ok(listen) if is_taken(&listen, taken) => {
                section.refuse(text, format!("`{}` is listened at twice", text.text));
            }
            Ok(listen) => {
                taken.push((listen.clone(), text));
                all.push(listen);
            }
            Err(error) => section.refuse(text, error.to_string()),
        }
    }
    Some(all)
}

fn admin_listen(
    section: &Section<'_>,
    text: Text<'_>,
    taken: &[(Listen, Text<'_>)],
) -> Option<Listen> {
    match host::listen(text.text) {
        Ok(listen) if is_taken(&listen, taken) => {
            section.refuse(
                text,
                format!("`{}` is in `server.listen` already", text.text),
            );
            None
        }
        Ok(listen) => Some(listen),
        Err(error) => {
            section.refuse(text, error.to_string());
            None
        }
    }
}

fn is_taken(listen: &Listen, taken: &[(Listen, Text<'_>)]) -> bool {
    let is_chosen_by_system = matches!(listen, Listen::Tcp { port: 0, .. });
    !is_chosen_by_system && taken.iter().any(|(other, _)| other == listen)
}

fn loopback(port: u16) -> Listen {
    Listen::Tcp {
        host: "127.0.0.1".into(),
        port,
    }
}

/// `[server]`, but for its listeners.
pub(super) fn server(section: Option<&Section<'_>>, listen: Vec<Listen>) -> Server {
    let mut server = Server {
        listen,
        threads: 0,
        allowed_hosts: AllowedHosts::Names(
            ["localhost", "127.0.0.1", "::1"].map(Into::into).into(),
        ),
        allowed_origins: Vec::new(),
        shutdown_grace: Duration::from_secs(30),
        dns: Vec::new(),
    };
    let Some(section) = section else {
        return server;
    };
    if let Some(threads) = section.number("threads", 1024) {
        server.threads = threads as usize;
    }
    if let Some(hosts) = allowed_hosts(section) {
        server.allowed_hosts = hosts;
    }
    if let Some(origins) = section.parse_each("allowed_origins", origin) {
        server.allowed_origins = origins;
    }
    if let Some(grace) = section.duration("shutdown_grace") {
        server.shutdown_grace = grace;
    }
    if let Some(servers) = section.parse_each("dns", dns_server) {
        server.dns = servers;
    }
    server
}

/// `ADDRESS` or `ADDRESS:PORT`; a name would have to be resolved first.
fn dns_server(text: &str) -> Result<SocketAddr, String> {
    const PORT: u16 = 53;
    let address = text.parse::<IpAddr>().map(|address| (address, PORT).into());
    address.or_else(|_| text.parse()).map_err(|_| {
        let text = without_userinfo_and_query(text);
        format!("`{text}` is no DNS server; write its address, with its port if that is not {PORT}")
    })
}

/// `server.preserve_header_case`, which each connection carries.
pub(super) fn header_case(section: Option<&Section<'_>>) -> HeaderCase {
    match section.and_then(|section| section.boolean("preserve_header_case")) {
        Some(true) => HeaderCase::Preserve,
        Some(false) | None => HeaderCase::Lower,
    }
}

fn allowed_hosts(section: &Section<'_>) -> Option<AllowedHosts> {
    let texts = section.texts("allowed_hosts")?;
    if let [only] = &*texts
        && only.text == "*"
    {
        return Some(AllowedHosts::Any);
    }
    if let Some(any) = texts.iter().find(|text| text.text == "*") {
        section.refuse(*any, "`*` allows every host, so it stands alone");
    }
    let names = section.parse_each("allowed_hosts", |text| match text {
        "*" => Ok("*".into()),
        _ => host::name(text),
    });
    names.map(AllowedHosts::Names)
}

/// Why a text is no origin that could be allowed.
#[derive(Debug, thiserror::Error)]
enum InvalidOrigin {
    #[error("`*` would let every web page spend the credentials; name the origins")]
    Any,
    #[error("`null` is the origin of any sandboxed page; name the origins")]
    Null,
    #[error("an origin is `scheme://host` or `scheme://host:port`, without a path")]
    Syntax,
}

/// Parses an origin as a browser sends it (RFC 6454 section 6.2).
fn origin(text: &str) -> Result<Box<str>, InvalidOrigin> {
    match text {
        "*" => return Err(InvalidOrigin::Any),
        "null" => return Err(InvalidOrigin::Null),
        _ => {}
    }
    let (scheme, rest) = text.split_once("://").ok_or(InvalidOrigin::Syntax)?;
    let is_bare = !rest.is_empty() && !rest.contains(['/', '?', '#', '@', '*', '\\']);
    let url = Url::parse(text).map_err(|_| InvalidOrigin::Syntax)?;
    if !is_bare || !url.has_host() {
        return Err(InvalidOrigin::Syntax);
    }
    if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Ok(url.origin().ascii_serialization().into());
    }
    Ok(text.to_ascii_lowercase().into())
}

/// `[admin]`; none if it is switched off.
pub(super) fn admin<'a>(
    section: Option<&Section<'a>>,
    listeners: &Listeners,
    secrets: &Secrets<'a>,
) -> Option<Admin> {
    let token = section.and_then(|section| secrets.take_at_load(section, "token"));
    let public_url = section.and_then(|section| section.parse("public_url", public_url));
    if let Some(token) = &token {
        refuse_unsendable(section, token);
    }
    let edit = edit(section, listeners.admin.as_ref());
    let listen = listeners.admin.clone()?;
    if let Some(section) = section
        && !host::is_local(&listen)
        && !section.has("token")
    {
        let message = format!(
            "`[admin]` needs a `token`, as others can reach `{}`",
            host::tell(&listen)
        );
        section.missing("token", message);
    }
    Some(Admin {
        public_url: public_url.or_else(|| default_public_url(&listen))?,
        listen,
        token,
        edit,
    })
}

/// `admin.allow_edit`, which only a console can use.
fn edit(section: Option<&Section<'_>>, listen: Option<&Listen>) -> Edit {
    let written = section.and_then(|section| section.boolean("allow_edit"));
    if written != Some(true) {
        return Edit::Refused;
    }
    // A `listen` that is wrong was reported.
    if let (Some(section), None) = (section, listen)
        && section
            .text("listen")
            .is_some_and(|text| text.text == "off")
        && let Some(entry) = section.entry("allow_edit")
    {
        let message = "`allow_edit` has no use with `listen = \"off\"`, as there is no console";
        section.report("allow_edit", Fault::at(entry.key_place, message));
    }
    Edit::Allowed
}

fn refuse_unsendable(section: Option<&Section<'_>>, token: &Secret) {
    if let Some(section) = section
        && let Some(entry) = section.entry("token")
        && let Err(error) = field_value(token)
    {
        section.report("token", Fault::at(entry.place, format!("`token` {error}")));
    }
}

/// How a browser on this machine reaches `listen`.
fn default_public_url(listen: &Listen) -> Option<Url> {
    let host = match listen {
        Listen::Tcp { host, port } if matches!(&**host, "0.0.0.0" | "::") => {
            format!("localhost:{port}")
        }
        Listen::Tcp { .. } => host::tell(listen),
        Listen::Unix(_) => "localhost".to_owned(),
    };
    Url::parse(&format!("http://{host}")).ok()
}

pub(super) fn public_url(text: &str) -> Result<Url, &'static str> {
    const SYNTAX: &str =
        "`public_url` starts with `https://` or `http://` and has no user name, query or fragment";
    let url = Url::parse(text).map_err(|_| SYNTAX)?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match url.scheme() {
        "http" | "https" if is_plain => Ok(url),
        _ => Err(SYNTAX),
    }
}

/// `[log]`.
pub(super) fn log(section: Option<&Section<'_>>) -> Log {
    let text = |key: &str| section.and_then(|section| section.text(key));
    let level = text("level").and_then(|level| level.text.parse().ok());
    let access = section.and_then(|section| section.boolean("access"));
    Log {
        level: level.unwrap_or(LevelFilter::INFO),
        format: match text("format").map(|format| format.text) {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        },
        access: access.unwrap_or(true),
    }
}
