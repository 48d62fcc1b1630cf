//! `network`: how a connection's hosts are reached.

use std::fmt;
use std::sync::Arc;

use super::agents::Declared;
use super::secret::Secrets;
use crate::config::fault::Fault;
use crate::config::mask::without_userinfo_and_query;
use crate::config::section::{Entry, Section};
use crate::connection::network::{Exception, InvalidException, Proxies, Road};
use crate::connection::proxy::{InvalidProxy, Proxy, Written};
use crate::secret::Origin;

/// A `network` table, whose parts are each inherited by themselves.
#[derive(Clone, Default)]
pub(super) struct Network {
    /// Without `except`, which is a key of its own; those of the environment excepted.
    proxies: Proxies,
    except: Vec<Exception>,
    /// In place of proxies.
    agent: Option<Arc<str>>,
}

impl Network {
    /// A `network` table, what it leaves open taken from `defaults`; `agents` are those it may name.
    ///
    /// Proxy and agent are two answers to one question: the one that stands in the table counts.
    pub(super) fn of<'a>(
        section: Option<&Section<'a>>,
        defaults: &Self,
        secrets: &Secrets<'a>,
        agents: &Declared<'_>,
    ) -> Self {
        let Some(section) = section else {
            return defaults.clone();
        };
        if let (Some(agent), true) = (section.entry("agent"), section.has("proxy")) {
            let message = "`agent` and `proxy` exclude each other: a connection takes one road";
            section.report("agent", Fault::at(agent.key_place, message));
        }
        let except = section.parse_each("no_proxy", exception);
        let agent = agents.agent(section).or_else(|| {
            let inherited = defaults.agent.clone();
            inherited.filter(|_| !section.has("proxy"))
        });
        Self {
            proxies: proxies(section, secrets).unwrap_or_else(|| defaults.proxies.clone()),
            except: except.unwrap_or_else(|| defaults.except.clone()),
            agent,
        }
    }

    /// The road that it makes.
    pub(super) fn road(&self) -> Road {
        if let Some(agent) = &self.agent {
            return Road::Agent(Arc::clone(agent));
        }
        if self.proxies.http.is_none() && self.proxies.https.is_none() {
            return Road::Direct;
        }
        let mut proxies = self.proxies.clone();
        proxies.except.extend(self.except.iter().cloned());
        Road::Proxied(Arc::new(proxies))
    }
}

/// `proxy`; none if it is absent or was reported.
fn proxies<'a>(section: &Section<'a>, secrets: &Secrets<'a>) -> Option<Proxies> {
    const KEY: &str = "network.proxy";
    let entry = section.entry("proxy")?;
    let text = secrets.take_at_load(section, "proxy")?;
    match text.expose() {
        "env" => of_environment(section, &entry),
        "direct" | "off" => Some(Proxies::default()),
        written => match Proxy::parse(written, Written::Key, KEY, text.origin()) {
            Ok(proxy) => Some(Proxies {
                http: Some(proxy.clone()),
                https: Some(proxy),
                except: Vec::new(),
            }),
            Err(error) => {
                let message = format!("`proxy` {error}");
                section.report(entry.key, Fault::at(entry.place, message));
                None
            }
        },
    }
}

fn exception(text: &str) -> Result<Exception, String> {
    let shown = || without_userinfo_and_query(text);
    Exception::parse(text).map_err(|error| format!("`{}` {error}", shown()))
}

/// Why an environment variable cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("is not UTF-8 text")]
    Encoding,
    #[error("{0}")]
    Proxy(#[from] InvalidProxy),
    #[error("has an entry that {0}")]
    Exception(#[from] InvalidException),
}

/// What curl makes of the environment: the lower-case name first, an empty variable is none.
fn of_environment<'a>(section: &Section<'a>, entry: &Entry<'a>) -> Option<Proxies> {
    let first = |names: &[&'static str]| {
        let reader = section.context().reader;
        let mut found = names
            .iter()
            .filter_map(|name| Some((*name, reader.variable(name)?)));
        found.find(|(_, value)| !value.is_empty())
    };
    let refuse = |name: &str, why: &dyn fmt::Display| {
        let message =
            format!("environment variable `{name}`, which `proxy = \"env\"` reads, {why}");
        section.report(entry.key, Fault::at(entry.place, message));
    };
    let proxy = |names: &[&'static str]| {
        let Some((name, value)) = first(names) else {
            return Some(None);
        };
        let parsed = value.to_str().ok_or(Unusable::Encoding).and_then(|text| {
            let origin = Origin::Env(name.into());
            Ok(Proxy::parse(text, Written::Variable, name, &origin)?)
        });
        parsed.map_err(|why| refuse(name, &why)).ok().map(Some)
    };
    let except = match first(&["no_proxy", "NO_PROXY"]) {
        None => Some(Vec::new()),
        Some((name, value)) => {
            let parsed = value
                .to_str()
                .ok_or(Unusable::Encoding)
                .and_then(exceptions);
            parsed.map_err(|why| refuse(name, &why)).ok()
        }
    };
    let http = proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]);
    let https = proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    Some(Proxies {
        http: http?,
        https: https?,
        except: except?,
    })
}

/// The entries of `NO_PROXY`, separated by commas or blanks.
fn exceptions(text: &str) -> Result<Vec<Exception>, Unusable> {
    let entries = text
        .split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty());
    let parsed: Result<_, _> = entries.map(Exception::parse).collect();
    Ok(parsed?)
}
