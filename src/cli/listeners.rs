//! What keybearer listens at: bound here, or by a service manager beforehand.

use std::path::PathBuf;

use anyhow::Context;

use crate::config::{Config, Listen};
use crate::proxy::inherited::Inherited;
use crate::proxy::serve::Bound;

/// What is listened at.
pub(super) struct Listeners {
    pub(super) proxy: Vec<Bound>,
    pub(super) console: Option<Bound>,
    pub(super) agents: Option<Bound>,
    pub(super) webhooks: Option<Bound>,
    /// Files of Unix sockets that were made here.
    pub(super) sockets: Sockets,
}

impl Listeners {
    /// Binds everything that a service manager has not bound before, or nothing stays bound.
    ///
    /// # Errors
    /// A place cannot be listened at, or nothing is configured to listen at one that was passed.
    pub(super) fn bind(config: &Config) -> anyhow::Result<Self> {
        let mut inherited = Inherited::from_environment()
            .context("LISTEN_FDS names what is no listener of streams")?;
        let mut sockets = Sockets(Vec::new());
        let mut bind = |listen: &Listen, is_kept: bool| -> anyhow::Result<Bound> {
            let passed = inherited.take(listen);
            if let Some(bound) =
                passed.with_context(|| format!("{listen} was passed, but cannot be used"))?
            {
                return Ok(bound);
            }
            let bound = Bound::bind(listen)?;
            // Not before it is ours: another instance's is not to be removed.
            if let (Listen::Unix(path), false) = (listen, is_kept) {
                sockets.0.push(path.clone());
            }
            Ok(bound)
        };
        let listen = config.server.listen.iter();
        let proxy = listen
            .map(|listen| bind(listen, false))
            .collect::<Result<Vec<_>, _>>()?;
        let console = config
            .admin
            .as_ref()
            .map(|admin| bind(&admin.listen, true))
            .transpose()?;
        let agents = config
            .agents
            .as_ref()
            .map(|agents| bind(&agents.listen, true))
            .transpose()?;
        let webhooks = config
            .webhooks
            .as_ref()
            .map(|webhooks| bind(&webhooks.listen, false))
            .transpose()?;
        let left = inherited.left();
        anyhow::ensure!(
            left.is_empty(),
            "the service manager passes listeners at {}, which none of server.listen, admin.listen, agents.listen and webhooks.listen names; add them there, or take them out of the socket unit",
            left.join(", ")
        );
        Ok(Self {
            proxy,
            console,
            agents,
            webhooks,
            sockets,
        })
    }
}

/// Files of Unix sockets, removed when the process ends.
pub(super) struct Sockets(Vec<PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.0 {
            // One that stays is taken over by the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}
