//! Shape to values: every key of every file becomes a part of [`Config`], and every fault is
//! collected; nothing stops at the first.

mod agents;
mod auth;
mod aws;
mod azure;
mod certificate;
mod client;
mod command;
mod connection;
mod endpoint;
mod host;
mod identity;
mod network;
mod oauth2;
mod secret;
mod server;
mod signal;
mod store;
mod tls;
mod traces;
mod webhooks;

use super::Config;
use super::check::check;
use super::document::{Document, Place, Table};
use super::fault::{Fault, Faults};
use super::file::ROOT;
use super::section::{Context, Section, Taken};
use super::source::Reader;

/// Compiles all documents into one configuration, which holds only if no fault was reported.
pub(crate) fn compile(documents: &[Document], reader: &Reader<'_>, faults: &Faults) -> Config {
    let tables: Vec<Table<'_>> = documents
        .iter()
        .enumerate()
        .map(|(index, document)| parse(index, document, faults))
        .collect();
    for (index, table) in tables.iter().enumerate() {
        check(faults, index, table, &ROOT);
    }
    let context = Context {
        documents,
        faults,
        reader,
    };
    let roots: Vec<_> = tables
        .iter()
        .enumerate()
        .map(|(index, table)| Section::root(&context, index, table))
        .collect();
    values(&context, &roots)
}

/// The names of all connections, however wrong these are.
pub(crate) fn names(documents: &[Document]) -> Vec<String> {
    let of = |document: &Document| -> Vec<String> {
        let (table, _) = document.parse();
        let connections = table.get("connections");
        let connections = connections.and_then(|value| value.get_ref().as_table());
        let names = connections.into_iter().flat_map(|table| table.keys());
        names.map(|name| name.get_ref().to_string()).collect()
    };
    documents.iter().flat_map(of).collect()
}

fn parse<'a>(index: usize, document: &'a Document, faults: &Faults) -> Table<'a> {
    let (table, flaws) = document.parse();
    for flaw in flaws {
        let place = Place {
            document: index,
            offset: flaw.offset,
        };
        faults.add(Fault::at(place, flaw.message).syntax());
    }
    table
}

fn values<'a>(context: &'a Context<'a>, roots: &[Section<'a>]) -> Config {
    let server = only(roots, "server");
    let admin = only(roots, "admin");
    let secrets = secret::Secrets::new(context);
    let listeners = server::listeners(server.as_ref(), admin.as_ref());
    let store = store::store(only(roots, "store").as_ref(), context, &secrets);
    let agents = agents::Declared::new(only(roots, "agents"), &secrets);
    let shared = connection::Shared {
        secrets: &secrets,
        store: &store,
        listeners: &listeners,
        defaults: only(roots, "defaults"),
        agents: &agents,
        header_case: server::header_case(server.as_ref()),
    };
    let connections = connection::connections(context, roots, &shared);
    Config {
        agents: agents.agents(context, &secrets, &connections),
        webhooks: webhooks::webhooks(roots, context, &secrets, &store, &connections),
        connections,
        admin: server::admin(admin.as_ref(), &listeners, &secrets),
        store,
        server: server::server(server.as_ref(), listeners.server),
        log: server::log(only(roots, "log").as_ref()),
        traces: traces::traces(only(roots, "traces").as_ref(), context, &secrets),
    }
}

/// The table `key`, which may stand in one file only.
fn only<'a>(roots: &[Section<'a>], key: &str) -> Option<Section<'a>> {
    let taken = Taken::new();
    let mut found = roots
        .iter()
        .filter_map(|root| Some((root, root.entry(key)?)));
    let first = found.next()?;
    taken.take(key, first.1.key_place);
    for (root, entry) in found {
        if let Some(place) = taken.take(key, entry.key_place) {
            let other = root.context().tell(place);
            let message = format!("`[{key}]` is set in two files; the other is {other}");
            root.report(key, Fault::at(entry.key_place, message));
        }
    }
    first.0.below(&first.1)
}
