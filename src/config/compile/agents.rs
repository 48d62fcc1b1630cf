//! `[agents]`: where on-prem agents connect, and what lets them in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::host;
use super::secret::{Secrets, field_value};
use super::tls::Authorities;
use crate::config::fault::Fault;
use crate::config::section::{Context, Section, Text};
use crate::config::source::{Contents, Unreadable};
use crate::config::{Agents, Listen};
use crate::connection::Connection;
use crate::connection::agents::{Access, is_name};
use crate::secret::Secret;

/// What `[agents]` says before it is known which agents connections name.
pub(super) struct Declared<'a> {
    section: Option<Section<'a>>,
    tokens: BTreeMap<Arc<str>, Secret>,
}

/// Why a file gives no certificate or no key.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("has no certificate; it needs PEM, `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    #[error("has no private key; it needs PEM, such as `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    #[error(
        "has a private key of a kind that is not supported; use RSA, ECDSA (P-256, P-384) or Ed25519"
    )]
    UnknownKey,
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
        let identity = identity(&section);
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

/// The listener's certificate and key, which belong together.
fn identity(section: &Section<'_>) -> Option<CertifiedKey> {
    for key in ["certificate", "key"] {
        if !section.has(key) {
            section.missing(
                key,
                format!("`[agents]` needs a `{key}`, a PEM file: agents connect with TLS"),
            );
        }
    }
    let chain = section
        .text("certificate")
        .and_then(|text| read(section, text, chain));
    let written = section.text("key")?;
    let key = read(section, written, |contents| {
        PrivateKeyDer::from_pem_slice(&contents.bytes).map_err(|_| Unusable::NoKey)
    });
    let key = any_supported_type(&key?)
        .map_err(|_| report(section, written, &Unusable::UnknownKey))
        .ok()?;
    let identity = CertifiedKey::new(chain?, key);
    match identity.keys_match() {
        // Where that cannot be known, a handshake tells.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Some(identity)
        }
        Err(_) => {
            section.refuse(
                written,
                "`key` is not the key of the first certificate in `certificate`",
            );
            None
        }
    }
}

fn chain(contents: &Contents) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&contents.bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| Unusable::NoCertificate)?;
    match chain.is_empty() {
        true => Err(Unusable::NoCertificate),
        false => Ok(chain),
    }
}

fn read<T>(
    section: &Section<'_>,
    written: Text<'_>,
    parse: impl Fn(&Contents) -> Result<T, Unusable>,
) -> Option<T> {
    let context = section.context();
    let path = context.document(written.place).resolve(written.text);
    let read = context.reader.read(&path).map_err(Unusable::from);
    read.and_then(|contents| parse(&contents))
        .map_err(|error| report(section, written, &error))
        .ok()
}

fn report(section: &Section<'_>, written: Text<'_>, error: &Unusable) {
    let path = section
        .context()
        .document(written.place)
        .resolve(written.text);
    let mut fault = Fault::at(written.place, format!("`{}` {error}", path.display()));
    if let Unusable::Unreadable(unreadable) = error
        && let Some(hint) = unreadable.hint()
    {
        fault = fault.hint(hint);
    }
    section.report(written.key, fault);
}
