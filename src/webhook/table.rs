//! What the listener looks at for each request: [`Table`], the endpoints that are in force.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::clock::Clock;
use super::ids::{self, Ids};
use super::queue::{Gauge, Queue};
use super::room::Part;
use crate::connection::webhook::Endpoint;
use crate::live::Reader;
use crate::metrics::{Metrics, WebhookMetrics};

/// What the listener looks at.
pub(crate) struct Door {
    pub(super) table: ArcSwap<Table>,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Metrics,
    pub(super) reader: Reader,
    pub(super) clock: Arc<dyn Clock>,
}

/// The endpoints that are in force.
#[derive(Default)]
pub(crate) struct Table {
    pub(super) origin: String,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) entries: BTreeMap<Arc<str>, Arc<Entry>>,
    by_id: HashMap<Box<str>, (Arc<Entry>, Option<ids::Earlier>)>,
}

/// An endpoint that is in force.
pub struct Entry {
    /// Its settings.
    pub endpoint: Arc<Endpoint>,
    /// What its URL has.
    pub ids: Ids,
    /// What it has in the queue.
    pub gauge: Arc<Gauge>,
    pub(super) metrics: WebhookMetrics,
    /// Its part of the memory for content.
    pub(super) part: Part,
}

// === impl Door ===

impl Door {
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.table.load().tls.clone()
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }
}

// === impl Table ===

impl Table {
    pub(super) fn new(
        origin: String,
        tls: Option<Arc<ServerConfig>>,
        entries: BTreeMap<Arc<str>, Arc<Entry>>,
    ) -> Self {
        let mut by_id = HashMap::new();
        for entry in entries.values() {
            for earlier in &entry.ids.earlier {
                let known = (Arc::clone(entry), Some(earlier.clone()));
                by_id.insert(earlier.id.clone(), known);
            }
            by_id.insert(entry.ids.current.clone(), (Arc::clone(entry), None));
        }
        Self {
            origin,
            tls,
            entries,
            by_id,
        }
    }

    pub(super) fn by_id(&self, id: &str, now: SystemTime) -> Option<&Arc<Entry>> {
        let (entry, earlier) = self.by_id.get(id)?;
        let holds = earlier.as_ref().is_none_or(|earlier| earlier.holds(now));
        holds.then_some(entry)
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}
