//! Connections that are tried: by the running instance, or without one, [`Here`].

use std::sync::Arc;

use tokio::runtime::Handle;

use super::remote::Remote;
use super::trial::asked;
use crate::auth::courier::Courier;
use crate::auth::credentials::Credentials;
use crate::config::Config;
use crate::connection::Connection;
use crate::live::{Live, Parts, Publisher, Reader};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::proxy::trial::{Ask, Trial};
use crate::traces::Traces;
use crate::upstream::Upstreams;

/// Who tries connections.
pub(super) enum Tester {
    /// This process.
    Here(Here),
    /// The instance that runs, with its store, pools and tunnels.
    Instance(Box<Remote>),
}

impl Tester {
    /// Sends a harmless request through a connection.
    pub(super) async fn run(&self, connection: &Connection) -> Trial {
        let ask = Ask::harmless(connection);
        let name = &connection.name;
        match self {
            Self::Here(here) => match here.live(name) {
                Some(live) => here.run(&live, &ask).await,
                None => Trial::failed(connection, &ask, "it is not in force".to_owned()),
            },
            Self::Instance(remote) => match asked(remote, name, &ask).await {
                Ok(trial) => trial,
                Err(error) => Trial::failed(connection, &ask, format!("{error:#}")),
            },
        }
    }

    /// Lets what was begun end well.
    pub(super) async fn settle(&self) {
        if let Self::Here(here) = self {
            here.settle().await;
        }
    }
}

/// A configuration that is in force for this process alone, without listeners.
pub(super) struct Here {
    reader: Reader,
    proxy: Arc<Proxy>,
    credentials: Arc<Credentials>,
}

impl Here {
    /// Builds all that requests need, on the runtime that this is called on.
    ///
    /// # Errors
    /// What `run` would be refused with, too: the store among it, which an instance has to itself.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let metrics = Metrics::new()?;
        let upstreams = Arc::new(Upstreams::default());
        let credentials = Arc::new(Credentials::new(
            Handle::current(),
            Arc::clone(&upstreams),
            metrics.clone(),
            config.store.clone(),
            Courier::default(),
        ));
        let parts = Parts {
            upstreams,
            credentials: Arc::clone(&credentials),
            metrics: metrics.clone(),
            // Nobody runs that could export.
            traces: Traces::default(),
        };
        let reader = Publisher::new(config, parts)?.reader();
        let proxy = Proxy::new(reader.clone(), &metrics);
        Ok(Self {
            reader,
            proxy,
            credentials,
        })
    }

    /// The connection of a name.
    pub(super) fn live(&self, name: &str) -> Option<Arc<Live>> {
        self.reader.take().live(name).cloned()
    }

    /// Sends a request through a connection, whose credential is fetched first.
    pub(super) async fn run(&self, live: &Arc<Live>, ask: &Ask) -> Trial {
        if let Some(agent) = live.connection.road.agent() {
            let text = format!(
                "it goes through the agent `{agent}`, which connects to a running instance only; start keybearer, and try again"
            );
            return Trial::failed(&live.connection, ask, text);
        }
        if let Some(credential) = live.authenticator.credential() {
            credential.begin();
        }
        Trial::run(&self.proxy, live, ask).await
    }

    /// Lets tokens that were asked for arrive, and be stored.
    pub(super) async fn settle(&self) {
        self.credentials.exchanges().close();
        self.credentials.exchanges().wait().await;
    }
}
