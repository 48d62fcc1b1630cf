//! `[agents]`: where on-prem agents connect, and what lets them in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::certificate::identity;
use super::host;
use super::secret::{Secrets, field_value};
use super::tls::Authorities;
use crate::config::fault::Fault;
use crate::config::section::{Context, Section};
use crate::config::{Agents, Listen};
use crate::connection::Connection;
use crate::connection::agents::{Access, is_name};
use crate::secret::Secret;

/// What `[agents]` says before it is known which agents connections name.
pub(super) struct Declared<'a> {
    section: Option<Section<'a>>,
    tokens: BTreeMap<Arc<str>, Secret>,
}

impl<'a> Declared<'a> {
    /// Reads the tokens, whose names are those of agents.
    pub(super) fn new(section: Option<Section<'a>>, secrets: &Secrets<'a>) -> Self {
        let mut tokens = BTreeMap::new();
        let table = section
            .as_ref()
            .and_then(|section| section.section("tokens"));
        for (table, entry) in table
            .iter()
            .flat_map(|table| table.entries().into_iter().map(move |entry| (table, entry)))
        {
            if !is_name(entry.key) {
                let fault = Fault::at(
                    entry.key_place,
                    format!("`{}` is no name for an agent", entry.key),
                );
                table.report(entry.key, fault.hint(NAME));
            }
            let Some(token) = secrets.take_at_load(table, entry.key) else {
                continue;
            };
            if let Err(error) = field_value(&token) {
                let message = format!("the token of `{}` {error}", entry.key);
                table.report(entry.key, Fault::at(entry.place, message));
            }
            tokens.insert(Arc::from(entry.key), token);
        }
        Self { section, tokens }
    }

    /// The agent that `network.agent` names.
    pub(super) fn agent(&self, network: &Section<'_>) -> Option<Arc<str>> {
        let text = network.text("agent")?;
        let name: Arc<str> = text.text.into();
        if !is_name(text.text) {
            let fault = Fault::at(text.place, format!("`{name}` is no name for an agent"));
            network.report(text.key, fault.hint(NAME));
            return None;
        }
        let refuse = |message: String, hint: &str| {
            network.report(text.key, Fault::at(text.place, message).hint(hint));
        };
        match &self.section {
            None => refuse(
                format!("there is no `[agents]`, so no agent `{name}` can connect"),
                "add `[agents]` with `certificate`, `key`, and the agent's token in `[agents.tokens]`",
            ),
            // What is there may be wrong, which is told there.
            Some(section) if section.has("client_ca") || self.has_token(section, &name) => {}
            Some(_) => refuse(
                format!(
                    "agent `{name}` has no token in `[agents.tokens]`, and there is no `agents.client_ca` for its certificate"
                ),
                &format!("add it there: `{name} = {{ env = \"NAME\" }}`"),
            ),
        }
        Some(name)
    }

    fn has_token(&self, section: &Section<'_>, name: &str) -> bool {
        section
            .section("tokens")
            .is_some_and(|tokens| tokens.has(name))
    }

    /// `[agents]`, with all names that there are.
    pub(super) fn agents(
        self,
        context: &'a Context<'a>,
        secrets: &Secrets<'a>,
        connections: &[Arc<Connection>],
    ) -> Option<Agents> {
        let Self { section, tokens } = self;
        let section = section?;
        let listen = listen(&section);
        let authorities = Authorities::new(context, secrets);
        let client_ca = authorities.certificates(&section, "client_ca");
        let identity = identity(&section, "agents connect with TLS");
        let named = connections
            .iter()
            .filter_map(|connection| connection.road.agent().cloned());
        let names: BTreeSet<_> = tokens.keys().cloned().chain(named).collect();
        let access = Access::new(identity?, client_ca, tokens, names)
            .map_err(|error| {
                let message = format!("`[agents]` cannot be used: {error}");
                section.report("certificate", Fault::at(section.header(), message));
            })
            .ok()?;
        Some(Agents {
            listen: listen?,
            access: Arc::new(access),
        })
    }
}

const NAME: &str =
    "a name starts with a letter or digit and has letters, digits, `_`, `-` and `.`, 64 at most";

fn listen(section: &Section<'_>) -> Option<Listen> {
    let Some(text) = section.text("listen") else {
        return Some(Listen::Tcp {
            host: "0.0.0.0".into(),
            port: 7443,
        });
    };
    match host::listen(text.text) {
        Ok(Listen::Unix(_)) => {
            section.refuse(
                text,
                "agents connect over a network: `HOST:PORT`, such as `0.0.0.0:7443`",
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
