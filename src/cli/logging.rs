//! Log lines on stderr, as text or JSON, with a level that a reload can change.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::Global;
use crate::config::{Log, LogFormat};

/// Changes the level of what is logged.
pub(super) type SetLevel = Box<dyn Fn(LevelFilter) + Send + Sync>;

/// Starts logging; gives what changes the level.
///
/// # Errors
/// Logging was started before.
pub(super) fn start(log: &Log, global: &Global) -> anyhow::Result<SetLevel> {
    let fixed = global.log_level;
    let (filter, handle) = reload::Layer::new(targets(fixed.unwrap_or(log.level)));
    let lines: Box<dyn Layer<Registry> + Send + Sync> =
        match global.log_format.unwrap_or(log.format) {
            LogFormat::Json => fmt::layer()
                .json()
                .flatten_event(true)
                .with_target(false)
                .with_writer(io::stderr)
                .boxed(),
            LogFormat::Text => fmt::layer()
                .with_ansi(colours())
                .with_target(false)
                .with_writer(io::stderr)
                .boxed(),
        };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    Ok(Box::new(move |level| {
        // It fails only when the subscriber is gone, and with it all lines.
        let _ = handle.reload(targets(fixed.unwrap_or(level)));
    }))
}

/// The level for our own lines. Libraries stay at what concerns a person: below that they print
/// heads and bytes, and so credentials.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("keybearer", level)
        .with_target("pingora_core", level.min(LevelFilter::WARN))
}

fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
