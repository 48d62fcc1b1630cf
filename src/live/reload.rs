//! From a changed file to a published snapshot, or to a report that changes nothing.

mod last;
mod watcher;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};

pub use self::last::{LastLoad, Rejected};
use self::watcher::Watcher;
use super::Publisher;
use crate::config::diagnostic::Diagnostic;
use crate::config::source::{Location, Outside, Sources};
use crate::config::{self, Config, Listen, LogFormat, Store};
use crate::metrics::Metrics;

/// How long files must be quiet before they are read: an editor's burst is one reload.
const QUIET: Duration = Duration::from_millis(300);

/// How long a burst that does not end may put off the reload.
const LONGEST_BURST: Duration = Duration::from_secs(2);

/// How often files are read without being told, for file systems that tell nothing.
const FALLBACK: Duration = Duration::from_secs(30);

/// Loads again what was loaded first, and publishes it.
pub struct Reloader {
    location: Location,
    outside: Box<dyn Outside + Send + Sync>,
    publisher: Publisher,
    metrics: Metrics,
    set_level: Box<dyn Fn(LevelFilter) + Send + Sync>,
    state: Mutex<State>,
    started: SystemTime,
    last: ArcSwap<LastLoad>,
}

/// What was read last, whether it was published or not.
struct State {
    sources: Sources,
    started: Fixed,
}

/// Settings that only a start reads.
#[derive(Clone, PartialEq)]
struct Fixed {
    listen: Vec<Listen>,
    threads: usize,
    admin: Option<Listen>,
    store: Store,
    log_format: LogFormat,
    agents: Option<Listen>,
    webhooks: Option<Listen>,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        Self {
            listen: config.server.listen.clone(),
            threads: config.server.threads,
            admin: config.admin.as_ref().map(|admin| admin.listen.clone()),
            store: config.store.clone(),
            log_format: config.log.format,
            agents: config.agents.as_ref().map(|agents| agents.listen.clone()),
            webhooks: (config.webhooks.as_ref()).map(|webhooks| webhooks.listen.clone()),
        }
    }

    /// The keys in which `other` differs.
    fn changed_keys(&self, other: &Self) -> Vec<&'static str> {
        let keys = [
            ("server.listen", self.listen != other.listen),
            ("server.threads", self.threads != other.threads),
            ("admin.listen", self.admin != other.admin),
            ("store", self.store != other.store),
            ("log.format", self.log_format != other.log_format),
            ("agents.listen", self.agents != other.agents),
            ("webhooks.listen", self.webhooks != other.webhooks),
        ];
        keys.into_iter()
            .filter_map(|(key, changed)| changed.then_some(key))
            .collect()
    }
}

/// Why a reload was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `POST /api/reload`.
    Api,
    /// A watched file changed, perhaps.
    Files,
    /// SIGHUP.
    Signal,
}

impl Reloader {
    /// Reloads from where `config` was loaded; `set_level` changes the log's level.
    pub fn new(
        location: Location,
        outside: Box<dyn Outside + Send + Sync>,
        sources: Sources,
        config: &Config,
        publisher: Publisher,
        metrics: Metrics,
        set_level: Box<dyn Fn(LevelFilter) + Send + Sync>,
    ) -> Self {
        let state = Mutex::new(State {
            sources,
            started: Fixed::of(config),
        });
        point_out(config);
        let last = LastLoad::now(None);
        Self {
            location,
            outside,
            publisher,
            metrics,
            set_level,
            state,
            started: last.at,
            last: ArcSwap::from_pointee(last),
        }
    }

    /// Loads and publishes; gives the generation in force afterwards, or none if no file differs
    /// from what was read last and nobody but the watcher asked.
    ///
    /// # Errors
    /// Everything that is wrong: nothing was changed.
    pub fn reload(&self, cause: Cause) -> Result<Option<u64>, Arc<Rejected>> {
        // Held throughout: one reload at a time, in the order of their reads.
        let mut state = self.state.lock();
        let loaded = config::load(&self.location, &*self.outside);
        let changed = loaded.sources.fingerprint != state.sources.fingerprint;
        state.sources = loaded.sources;
        if cause == Cause::Files && !changed {
            return Ok(None);
        }
        let published = loaded.result.map_err(Rejected::Config).and_then(|config| {
            let generation = self.publisher.publish(&config).map_err(Rejected::Build)?;
            Ok((config, generation))
        });
        match published {
            Ok((config, generation)) => {
                self.metrics.reloaded(Some(generation));
                self.last.store(Arc::new(LastLoad::now(None)));
                self.took_force(&config, generation, &state.started);
                Ok(Some(generation))
            }
            Err(rejected) => {
                self.metrics.reloaded(None);
                report(&rejected);
                let rejected = Arc::new(rejected);
                let last = LastLoad::now(Some(Arc::clone(&rejected)));
                self.last.store(Arc::new(last));
                Err(rejected)
            }
        }
    }

    fn took_force(&self, config: &Config, generation: u64, started: &Fixed) {
        (self.set_level)(config.log.level);
        info!(
            generation,
            connections = config.connections.len(),
            "Configuration published"
        );
        point_out(config);
        for key in started.changed_keys(&Fixed::of(config)) {
            warn!(key, "Setting changes with a restart only");
        }
    }

    /// What came of the last load; a look at files that had not changed is none.
    pub fn last(&self) -> Arc<LastLoad> {
        self.last.load_full()
    }

    /// When the first configuration was put in force.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Where the configuration is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What it is loaded through.
    pub fn outside(&self) -> &(dyn Outside + Send + Sync) {
        &*self.outside
    }

    /// What was read last.
    pub fn sources(&self) -> Sources {
        self.state.lock().sources.clone()
    }
}

/// What may be wrong, and is no mistake for sure.
fn point_out(config: &Config) {
    for connection in &config.connections {
        if let Some(doubt) = connection.auth.doubt() {
            warn!(connection = %connection.name, problem = doubt, "Configuration is doubtful");
        }
    }
}

fn report(rejected: &Rejected) {
    match rejected {
        Rejected::Build(error) => error!(problem = %error, "Configuration rejected"),
        Rejected::Config(diagnostics) => {
            for diagnostic in diagnostics.as_slice() {
                error!(
                    at = place(diagnostic),
                    problem = diagnostic.message(),
                    hint = diagnostic.hint(),
                    "Configuration rejected"
                );
            }
        }
    }
}

/// `file:line:column`, or the file alone where it is at fault as a whole.
pub fn place(diagnostic: &Diagnostic) -> String {
    let file = diagnostic.file().display();
    match diagnostic.position() {
        Some((line, column)) => format!("{file}:{line}:{column}"),
        None => file.to_string(),
    }
}

/// Reloads whenever a watched file changes, and on SIGHUP; never returns.
///
/// # Errors
/// The signal cannot be listened for.
pub async fn watch(reloader: Arc<Reloader>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (poke, mut poked) = mpsc::channel(1);
    let mut watcher = Watcher::new(poke);
    let mut fallback = tokio::time::interval(FALLBACK);
    loop {
        watcher.follow(&reloader.sources());
        // The first tick is at once: what changed before the watcher stood is seen, too.
        let cause = tokio::select! {
            _ = hangup.recv() => Cause::Signal,
            Some(()) = poked.recv() => {
                settle(&mut poked).await;
                Cause::Files
            }
            _ = fallback.tick() => Cause::Files,
        };
        let reloader = Arc::clone(&reloader);
        // Reading files blocks; the outcome was reported where it happened.
        let _ = tokio::task::spawn_blocking(move || reloader.reload(cause)).await;
    }
}

/// Waits until files are quiet.
async fn settle(poked: &mut mpsc::Receiver<()>) {
    let burst = async { while timeout(QUIET, poked.recv()).await.is_ok() {} };
    // A burst without end is read in the middle; what follows is one more reload.
    let _ = timeout(LONGEST_BURST, burst).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_store_is_told_to_need_a_restart() {
        let loaded = config::load(&Location::Embedded, &config::source::Process);
        let mut config = loaded.result.unwrap();
        let before = Fixed::of(&config);
        config.store = Store::Memory;
        assert_eq!(before.changed_keys(&Fixed::of(&config)), ["store"]);
    }
}
