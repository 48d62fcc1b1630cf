//! Which endpoints are in force, as the configuration is published: each with its ID, its deliveries on
//! their way, and its past swept up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, warn};

use super::deliver::Courier;
use super::ids::{self, NoId};
use super::room::Part;
use super::table::{Entry, Table};
use super::{Webhooks, told};
use crate::config;

/// How long a delivery of an endpoint is kept that is no longer configured.
const RETAIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often what is over is removed.
const SWEEP: Duration = Duration::from_secs(30);

/// How long it takes until a store that could not be used is tried again.
const PAUSE: Duration = Duration::from_secs(5);

impl Webhooks {
    /// Puts in force whatever is published.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut published = self.door.reader.published();
        let mut stop = self.stop.subscribe();
        loop {
            published.mark_unchanged();
            let wanted = self.door.reader.take().webhooks.clone();
            let again = async {
                if self.put_in_force(wanted.as_ref()).await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                } else if published.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = again => {}
                () = told(&mut stop) => return,
            }
        }
    }

    pub(super) async fn put_in_force(&self, wanted: Option<&config::Webhooks>) -> Result<(), NoId> {
        let _one_at_a_time = self.changing.lock().await;
        let before = self.door.table.load_full();
        let endpoints = wanted.map_or(&[][..], |wanted| &wanted.endpoints);
        let mut all = BTreeMap::new();
        let mut failed = Ok(());
        for endpoint in endpoints {
            let known = before.entries.get(&endpoint.name);
            let entry = match known {
                Some(entry) if entry.endpoint == *endpoint => Arc::clone(entry),
                Some(entry) => Arc::new(Entry {
                    endpoint: Arc::clone(endpoint),
                    ids: entry.ids.clone(),
                    gauge: Arc::clone(&entry.gauge),
                    metrics: entry.metrics.clone(),
                    part: entry.part.clone(),
                }),
                None => {
                    let ids = match ids::of(&self.store, &endpoint.name).await {
                        Ok(ids) => ids,
                        Err(fault) => {
                            // The others are none the worse for it.
                            error!(endpoint = %endpoint.name, error = %fault, "Endpoint for webhooks is not in force");
                            failed = Err(fault);
                            continue;
                        }
                    };
                    Arc::new(Entry {
                        ids,
                        gauge: self.door.queue.gauge(&endpoint.name),
                        metrics: self.door.metrics.webhooks(&endpoint.name),
                        endpoint: Arc::clone(endpoint),
                        part: Part::default(),
                    })
                }
            };
            all.insert(Arc::clone(&endpoint.name), entry);
        }
        let tls = wanted.and_then(|wanted| wanted.tls.clone());
        let origin = match wanted.and_then(|wanted| wanted.public_url.as_ref()) {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None if tls.is_some() => format!("https://{}", self.address),
            None => format!("http://{}", self.address),
        };
        let table = Table::new(origin, tls, all);
        self.deliver(&table);
        for (name, entry) in &before.entries {
            if !table.entries.contains_key(name) {
                entry.metrics.forget();
            }
        }
        self.retain.lock().extend(
            endpoints
                .iter()
                .map(|endpoint| (Arc::clone(&endpoint.name), endpoint.retain)),
        );
        self.door.table.store(Arc::new(table));
        failed
    }

    /// Has each endpoint's deliveries brought by its own settings.
    fn deliver(&self, table: &Table) {
        let mut couriers = self.couriers.lock();
        couriers.retain(|name, _| table.entries.contains_key(name));
        for (name, entry) in &table.entries {
            match couriers.get(name) {
                Some(courier) => {
                    courier.send_if_modified(|known| {
                        let changed = *known != entry.endpoint;
                        *known = Arc::clone(&entry.endpoint);
                        changed
                    });
                }
                None => {
                    let (sender, settings) = watch::channel(Arc::clone(&entry.endpoint));
                    let courier = Courier::new(
                        Arc::clone(&self.means),
                        entry.metrics.clone(),
                        settings,
                        self.stop.subscribe(),
                    );
                    self.running.spawn(courier.run());
                    couriers.insert(Arc::clone(name), sender);
                }
            }
        }
    }

    pub(super) async fn sweep(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        // Before they are in force, nobody knows for how long their deliveries are kept.
        tokio::select! {
            () = self.prepared() => {}
            () = told(&mut stop) => return,
        }
        loop {
            let retain = self.retain.lock().clone();
            let now = self.door.now();
            let swept = self.door.queue.sweep(&retain, RETAIN, now).await;
            if let Err(error) = swept {
                warn!(%error, "Old webhooks are not removed");
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = told(&mut stop) => return,
            }
        }
    }
}
