//! The console's listener: health, metrics and the API, behind guards that stand before routing.
//!
//! | path | what |
//! |---|---|
//! | `GET /healthz` | 200 while the process lives |
//! | `GET /readyz` | 200 when the listeners are bound, 503 while draining |
//! | `GET /metrics` | the metrics in Prometheus' text format |
//! | `POST /api/reload` | reloads the configuration; 422 with all errors if it is invalid |
//!
//! A web page that somebody was lured to can reach this port, too: so only our own host names are
//! answered, nothing of another origin is, and what changes state needs a client that is no browser.

mod api;
mod guard;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::middleware;
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, UnixListener};

use self::guard::Exposure;
use crate::live::Reader;
use crate::live::reload::Reloader;
use crate::metrics::Metrics;
use crate::proxy::serve::Bound;

/// What the console shows and does.
pub struct Console {
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/api/reload` calls.
    pub reloader: Arc<Reloader>,
    /// What is in force: the console's own settings among it.
    pub reader: Reader,
    /// Whether requests are taken.
    pub ready: Readiness,
}

/// Whether requests are taken: from the moment that listeners are bound until the drain.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether requests are taken.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// Whether requests are taken.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a client's connection arrived; none on a Unix socket.
#[derive(Clone, Copy, Debug)]
struct Local(Option<SocketAddr>);

impl Connected<IncomingStream<'_, TcpListener>> for Local {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(stream.io().local_addr().ok())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Local {
    fn connect_info(_: IncomingStream<'_, UnixListener>) -> Self {
        Self(None)
    }
}

/// Serves the console until the process ends.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(console: Console, listener: Bound) -> io::Result<()> {
    let exposure = Exposure::of(&listener);
    let router = router(console, exposure).into_make_service_with_connect_info::<Local>();
    match listener {
        Bound::Tcp(listener, _) => axum::serve(TcpListener::from_std(listener)?, router).await,
        Bound::Unix(listener, _) => axum::serve(UnixListener::from_std(listener)?, router).await,
    }
}

fn router(console: Console, exposure: Exposure) -> Router {
    let reader = console.reader.clone();
    Router::new()
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz))
        .route("/metrics", get(api::metrics))
        .route("/api/reload", post(api::reload))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::method_refused)
        .with_state(Arc::new(console))
        .layer(middleware::from_fn_with_state(
            (reader, exposure),
            guard::check,
        ))
}
