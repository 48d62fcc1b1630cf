//! The console's listener: health, metrics and the API, behind guards that stand before routing.
//!
//! | path | what |
//! |---|---|
//! | `GET /healthz` | 200 while the process lives |
//! | `GET /readyz` | 200 when the listeners are bound, 503 while draining |
//! | `GET /metrics` | the metrics in Prometheus' text format |
//! | `GET /api/connections`, `GET /api/connections/NAME` | the connections, and where they stand |
//! | `GET /api/agents` | the on-prem agents, and which are connected |
//! | `GET /api/webhooks`, `GET /api/webhooks/NAME` | the endpoints for webhooks, their URLs and what waits |
//! | `GET /api/webhooks/NAME/deliveries` | what has arrived at one |
//! | `POST /api/webhooks/NAME/rotate` | gives it another URL |
//! | `GET /api/deliveries/ID` | a delivery, with fields and content |
//! | `POST /api/deliveries/ID/replay` | has it delivered again |
//! | `POST /api/connections/NAME/link` | begins a consent; `DELETE` forgets the tokens |
//! | `GET /api/connections/NAME/link/ID` | what came of a consent |
//! | `POST /api/connections/NAME/test` | sends a request through a connection, and tells its phases |
//! | `POST /api/external-id` | an AWS external ID, made if it never was |
//! | `GET /`, `/connections/NAME`, `/agents`, `/webhooks`, `/webhooks/NAME`, `/deliveries/ID` | the web page |
//! | `GET /events` | what changes on it, as server-sent events |
//! | `GET /assets/NAME` | its style and script |
//! | `GET /login`, `POST /login`, `POST /logout` | a session for whoever has `admin.token` |
//! | `GET /new`, `POST /api/drafts`, `POST /api/connections` | new connections: a form, what it makes, and its place in the configuration |
//! | `GET /link/NAME` | a page from which a person can consent |
//! | `GET /oauth/callback` | where providers send people back to |
//! | `GET /api/status` | the instance itself, and what came of its last reload |
//! | `GET /api/openapi.json` | the API's description (OpenAPI 3.1) |
//! | `POST /api/reload` | reloads the configuration; 422 with all errors if it is invalid |
//!
//! A web page that somebody was lured to can reach this port, too: so only our own host names are
//! answered, nothing of another origin is, and what changes state needs the proof that one of our own pages
//! asks for it, or a client that is no browser.

mod agents;
mod api;
mod assets;
mod connections;
mod delivery;
mod events;
mod external_id;
mod form;
mod gate;
mod guard;
mod history;
mod linking;
mod login;
mod pages;
mod session;
mod status;
mod trial;
mod webhooks;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::middleware;
use axum::routing::{get, post};
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use self::gate::Gate;
use self::guard::Exposure;
pub use self::history::Histories;
pub use self::session::Sessions;
use crate::agent::registry::Agents;
use crate::auth::credentials::Credentials;
use crate::auth::oauth2::consent::Consents;
use crate::live::Reader;
use crate::live::reload::Reloader;
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::proxy::serve::Bound;
use crate::upstream::fault::chain;
use crate::webhook::Webhooks;

/// For a request's head, from the opening or the end of the answer before it: there are few places, and
/// probes want one.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// After so long a connection ends with its next answer, and a [`GRACE`] later in any case: whoever takes
/// nothing of an answer is no longer waited for.
const LIFETIME: Duration = Duration::from_secs(600);

const GRACE: Duration = Duration::from_secs(75);

/// Connections at a time; others wait to be accepted. The descriptors belong to callers.
const MAX_CONNECTIONS: usize = 256;

/// Connections of one address at a time; more are closed at once.
const MAX_PER_ADDRESS: usize = 192;

/// What the console shows and does.
pub struct Console {
    /// What `/api/agents` shows.
    pub agents: Arc<Agents>,
    /// What `/api/webhooks` shows; none if none are listened for.
    pub webhooks: Option<Arc<Webhooks>>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/api/reload` calls.
    pub reloader: Arc<Reloader>,
    /// What is in force: the console's own settings among it.
    pub reader: Reader,
    /// Consents that were begun.
    pub consents: Arc<Consents>,
    /// What keeps external IDs.
    pub credentials: Arc<Credentials>,
    /// What sends requests of our own.
    pub proxy: Arc<Proxy>,
    /// Whether requests are taken.
    pub ready: Readiness,
    /// Where the proxy listens, as a configuration has it.
    pub listeners: Vec<String>,
    /// Who may come in.
    pub sessions: Arc<Sessions>,
    /// What the pages plot.
    pub histories: Arc<Histories>,
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

/// The ends of a client's connection; none on a Unix socket.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// Where it arrived.
    local: Option<SocketAddr>,
    /// Where it came from.
    peer: Option<IpAddr>,
}

/// Serves the console until the process ends.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(console: Console, listener: Bound) -> io::Result<()> {
    let histories = Arc::clone(&console.histories);
    tokio::spawn(histories.follow(console.reader.clone()));
    let router = router(console, Exposure::of(&listener));
    match listener {
        Bound::Tcp(listener, _) => {
            let listener = TcpListener::from_std(listener)?;
            let ends = |stream: &TcpStream| Ends {
                local: stream.local_addr().ok(),
                peer: stream.peer_addr().ok().map(|peer| peer.ip()),
            };
            accept(listener, router, ends).await;
        }
        Bound::Unix(listener, _) => {
            let listener = UnixListener::from_std(listener)?;
            accept(listener, router, |_| Ends::default()).await;
        }
    }
    Ok(())
}

async fn accept<L: Listener>(mut listener: L, router: Router, ends: fn(&L::Io) -> Ends) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let guests = Guests::default();
    // It is never closed.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let (stream, _) = listener.accept().await;
        let ends = ends(&stream);
        let Some(guest) = guests.admit(ends.peer) else {
            continue;
        };
        let speaking = speak(ends, stream, router.clone());
        tokio::spawn(async move {
            speaking.await;
            drop((guest, place));
        });
    }
}

/// How many connections each address has, so that none has all of them.
#[derive(Clone, Default)]
struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// The place of a connection; none is counted on a Unix socket.
struct Guest(Guests, Option<IpAddr>);

impl Guests {
    fn admit(&self, peer: Option<IpAddr>) -> Option<Guest> {
        if let Some(peer) = peer {
            let mut guests = self.0.lock();
            let count = guests.entry(peer).or_default();
            if *count >= MAX_PER_ADDRESS {
                return None;
            }
            *count += 1;
        }
        Some(Guest(self.clone(), peer))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Self(guests, Some(peer)) = self else {
            return;
        };
        if let Entry::Occupied(mut count) = guests.0.lock().entry(*peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Speaks HTTP/1.1 on a client's stream until it ends.
async fn speak<S>(ends: Ends, stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(|mut request| {
        request.extensions_mut().insert(ConnectInfo(ends));
        router.call(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut ended = timeout(LIFETIME, connection.as_mut()).await;
    if ended.is_err() {
        connection.as_mut().graceful_shutdown();
        ended = timeout(GRACE, connection).await;
    }
    if let Ok(Err(error)) = ended {
        debug!(error = chain(&error), "Console's connection ended");
    }
}

fn router(console: Console, exposure: Exposure) -> Router {
    let gate = Gate {
        reader: console.reader.clone(),
        exposure,
        sessions: Arc::clone(&console.sessions),
    };
    let console = Arc::new(console);
    Router::new()
        .route("/", get(pages::list::page))
        .route("/agents", get(pages::agents::page))
        .route("/assets/{name}", get(assets::asset))
        .route("/connections/{name}", get(pages::detail::page))
        .route("/deliveries/{delivery}", get(pages::delivery::page))
        .route("/events", get(events::follow))
        .route("/login", get(login::page).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/webhooks", get(pages::webhooks::page))
        .route("/webhooks/{name}", get(pages::webhook::page))
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz))
        .route("/metrics", get(api::metrics))
        .route("/api/agents", get(agents::list))
        .route("/api/connections", get(connections::list))
        .route("/api/connections/{name}", get(connections::one))
        .route(
            "/api/connections/{name}/link",
            post(linking::begin).delete(linking::forget),
        )
        .route("/api/connections/{name}/link/{id}", get(linking::outcome))
        .route("/api/connections/{name}/test", post(trial::run))
        .route("/api/deliveries/{delivery}", get(webhooks::delivery))
        .route("/api/deliveries/{delivery}/replay", post(webhooks::replay))
        .route("/api/external-id", post(external_id::external_id))
        .route("/api/openapi.json", get(api::description))
        .route("/api/reload", post(api::reload))
        .route("/api/status", get(status::status))
        .route("/api/webhooks", get(webhooks::list))
        .route("/api/webhooks/{name}", get(webhooks::one))
        .route("/api/webhooks/{name}/deliveries", get(webhooks::deliveries))
        .route("/api/webhooks/{name}/rotate", post(webhooks::rotate))
        .route("/link/{name}", get(linking::page))
        .route("/oauth/callback", get(linking::callback))
        .merge(form::routes(Arc::clone(&console)))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::method_refused)
        .with_state(console)
        .layer(middleware::from_fn_with_state(gate, gate::check))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    /// A client's end of a connection to a console of one path.
    fn connect() -> DuplexStream {
        let (client, stream) = tokio::io::duplex(4096);
        let long = || async { "x".repeat(1 << 20) };
        let router = Router::new().route("/long", get(long));
        tokio::spawn(speak(Ends::default(), stream, router));
        client
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_ends_the_connection() {
        for start in ["", "GET /long HTTP/1.1\r\n"] {
            let begun = Instant::now();
            let mut client = connect();
            client.write_all(start.as_bytes()).await.unwrap();
            // A byte every two seconds is no progress.
            let dripping = async {
                while client.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            };
            timeout(2 * HEAD_DEADLINE, dripping).await.expect("a close");
            assert!(begun.elapsed() >= HEAD_DEADLINE, "{start}");
        }
    }

    #[test]
    fn no_address_has_all_places() {
        let guests = Guests::default();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|peer| peer.parse().ok());
        let mut all: Vec<_> = (0..MAX_PER_ADDRESS)
            .map(|_| guests.admit(one).unwrap())
            .collect();
        assert!(guests.admit(one).is_none());
        assert!(guests.admit(other).is_some() && guests.admit(None).is_some());
        all.pop();
        assert!(guests.admit(one).is_some());
        all.clear();
        assert!(guests.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let mut client = connect();
        let request = b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write_all(request).await.unwrap();
        tokio::time::sleep(LIFETIME + 2 * GRACE).await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() < 1 << 20, "what was not taken was dropped");
    }
}
