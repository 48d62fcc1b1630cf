//! The proxy's end: [`serve`] takes agents' connections, lets in those that prove who they are, and
//! keeps their tunnels.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::registry::Agents;
use super::tunnel::{Proof, Tunnel};
use super::{FRAME, MAX_RESET, SEND_BUFFER, STREAM_WINDOW, TUNNEL_WINDOW};
use super::{certificate, heartbeat, hello, socket};
use crate::connection::agents::{Access, is_name};
use crate::secret::{Origin, Secret};

/// For TLS and the hello together.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// How long the answer to a wrong proof waits: so many guesses are made at a time, and no more.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);

/// Connections at a time that have not proved anything; others wait to be accepted.
const MAX_UNPROVED: usize = 128;

/// How long to wait after an accept that failed, as it does while descriptors are out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// At most one line in so long tells of refusals: whoever reaches the port could fill the disk.
const TOLD: Duration = Duration::from_secs(1);

/// Takes agents' connections for as long as it is polled.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(agents: Arc<Agents>, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_UNPROVED));
    let told = Arc::new(Told::default());
    // It is never closed.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "Agent's connection not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (agents, told) = (Arc::clone(&agents), Arc::clone(&told));
        tokio::spawn(async move {
            if let Err(error) = take(&agents, stream, peer, place, &told).await {
                debug!(%peer, %error, "Agent's connection ended early");
            }
        });
    }
    Ok(())
}

/// Lets an agent in, and keeps its tunnel until that ends.
async fn take(
    agents: &Arc<Agents>,
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    told: &Told,
) -> io::Result<()> {
    socket::prepare(&stream);
    let introduced = timeout(HELLO_DEADLINE, introduce(agents, stream, peer, told)).await??;
    let Some((agent, stream)) = introduced else {
        return Ok(());
    };
    drop(place);
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(TUNNEL_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(MAX_RESET)
        .enable_push(false)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    keep(agents, agent, peer, sender, connection).await;
    Ok(())
}

/// An agent that has proved who it is.
#[derive(Debug)]
struct Agent {
    name: Arc<str>,
    version: Box<str>,
    proof: Proof,
}

/// TLS and the hello; none if the agent was refused and told so.
async fn introduce(
    agents: &Arc<Agents>,
    stream: TcpStream,
    peer: SocketAddr,
    told: &Told,
) -> io::Result<Option<(Agent, Upgraded)>> {
    let Some(access) = agents.access() else {
        return Err(io::Error::other("there are to be no agents any more"));
    };
    let stream = TlsAcceptor::from(Arc::clone(&access.tls))
        .accept(stream)
        .await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let names = certificates.and_then(<[_]>::first).map(names_of);
    let let_in: Mutex<Option<(Agent, OnUpgrade)>> = Mutex::new(None);
    let service = service_fn(|mut request: Request<Incoming>| {
        let judged = judge(&access, &request, names.as_deref());
        let refused = match judged {
            Ok(agent) => {
                *let_in.lock() = Some((agent, hyper::upgrade::on(&mut request)));
                None
            }
            Err(refused) => Some(refused),
        };
        async {
            let Some(refused) = refused else {
                return Ok::<_, Infallible>(switching());
            };
            agents.refused(refused.known.as_deref());
            told.refusal(peer, &refused);
            sleep(refused.why.delay()).await;
            Ok(refused.why.to_response())
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HELLO_DEADLINE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .map_err(io::Error::other)?;
    let Some((agent, upgrade)) = let_in.into_inner() else {
        return Ok(None);
    };
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    Ok(Some((agent, upgraded)))
}

fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    certificate::names(certificate).unwrap_or_default()
}

/// Who an agent is, if it can prove that.
fn judge(
    access: &Access,
    request: &Request<Incoming>,
    certified: Option<&[String]>,
) -> Result<Agent, Refused> {
    let headers = request.headers();
    let name = headers.get(hello::NAME).and_then(|name| name.to_str().ok());
    let (true, Some(name)) = (hello::is_hello(request), name.filter(|name| is_name(name))) else {
        return Err(Refused::unknown(Why::NoHello, ""));
    };
    let Some(name) = access.names.get(name) else {
        return Err(Refused::unknown(Why::for_unknown(certified), name));
    };
    let refuse = |why| Refused {
        why,
        name: name.to_string(),
        known: Some(Arc::clone(name)),
    };
    let proof = match (hello::token(headers), certified) {
        (Some(token), _) => {
            let known = access.tokens.get(name);
            if !known.is_some_and(|known| is_equal(token, known)) {
                return Err(refuse(Why::WrongToken));
            }
            // Cannot fail, as it is equal to a text.
            let token = str::from_utf8(token).map_err(|_| refuse(Why::WrongToken))?;
            Proof::Token(Secret::new(token, Origin::Issued))
        }
        (None, Some(names)) if names.iter().any(|own| own.eq_ignore_ascii_case(name)) => {
            Proof::Certificate
        }
        (None, Some(_)) => return Err(refuse(Why::OtherCertificate)),
        (None, None) => return Err(refuse(Why::NoProof)),
    };
    Ok(Agent {
        name: Arc::clone(name),
        version: hello::version(headers),
        proof,
    })
}

/// In a time that tells nothing but the length.
fn is_equal(token: &[u8], known: &Secret) -> bool {
    token.ct_eq(known.expose().as_bytes()).into()
}

/// Why an agent is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoHello,
    NoProof,
    OtherCertificate,
    UnknownName,
    WrongToken,
}

/// An agent that is not let in.
#[derive(Debug)]
struct Refused {
    why: Why,
    /// The name it says it has, which can be a name at least.
    name: String,
    /// The same, if it is that of an agent there may be.
    known: Option<Arc<str>>,
}

impl Refused {
    fn unknown(why: Why, name: &str) -> Self {
        Self {
            why,
            name: name.to_owned(),
            known: None,
        }
    }
}

impl Why {
    /// Whoever has no certificate learns no names: an unknown one is refused as a wrong token is.
    fn for_unknown(certified: Option<&[String]>) -> Self {
        match certified {
            Some(_) => Self::UnknownName,
            None => Self::WrongToken,
        }
    }

    fn delay(self) -> Duration {
        match self {
            Self::NoHello => Duration::ZERO,
            Self::NoProof | Self::OtherCertificate | Self::UnknownName | Self::WrongToken => {
                REFUSAL_DELAY
            }
        }
    }

    fn to_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{self}\n")));
        *response.status_mut() = match self {
            Self::NoHello => StatusCode::NOT_FOUND,
            Self::OtherCertificate | Self::UnknownName => StatusCode::FORBIDDEN,
            Self::NoProof | Self::WrongToken => StatusCode::UNAUTHORIZED,
        };
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        response
    }
}

/// For the person who runs the agent.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHello => "only agents of keybearer are answered here",
            Self::NoProof => "there is neither a token nor a certificate; give the agent the token that `[agents.tokens]` of the proxy has for its name",
            Self::OtherCertificate => "the certificate has not the agent's name, neither as a DNS name nor as its common name; give `--name` as the certificate has it",
            Self::UnknownName => "no agent of this name is expected; name it in `[agents.tokens]`, or in `network.agent` of a connection",
            Self::WrongToken => "the token is not the one that `[agents.tokens]` of the proxy has for this name; compare both, and `--name`",
        })
    }
}

fn switching() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(hello::PROTOCOL));
    response
}

/// Tells of refusals, not of each.
#[derive(Debug, Default)]
struct Told {
    last: Mutex<(Option<Instant>, u64)>,
}

impl Told {
    fn refusal(&self, peer: SocketAddr, refused: &Refused) {
        let mut last = self.last.lock();
        if last.0.is_some_and(|at| at.elapsed() < TOLD) {
            last.1 += 1;
            return;
        }
        let untold = std::mem::take(&mut last.1);
        last.0 = Some(Instant::now());
        drop(last);
        warn!(agent = refused.name, %peer, problem = %refused.why, untold, "Agent refused");
    }
}

/// Drives a tunnel until it ends.
async fn keep(
    agents: &Arc<Agents>,
    agent: Agent,
    peer: SocketAddr,
    sender: SendRequest<Bytes>,
    mut connection: Connection<TokioIo<Upgraded>, Bytes>,
) {
    let Agent {
        name,
        version,
        proof,
    } = agent;
    let ping = connection.ping_pong();
    let metrics = agents.metrics(&name);
    let probe = sender.clone();
    let tunnel = Tunnel::new(name, peer, version, proof, sender, metrics);
    let admitted = agents.admit(Arc::new(tunnel));
    let tunnel = &admitted.tunnel;
    info!(agent = %tunnel.name, %peer, version = tunnel.version, "Agent connected");
    let why = tokio::select! {
        why = drive(connection, probe, tunnel) => why,
        silence = heartbeat::watch(ping, |took| tunnel.seen(took)) => silence.to_string(),
        () = tunnel.end.cancelled() => "it is no longer let in".to_owned(),
    };
    let was_leaving = !tunnel.is_staying();
    match was_leaving {
        true => info!(agent = %tunnel.name, %peer, why, "Agent left"),
        false => warn!(agent = %tunnel.name, %peer, why, "Agent lost"),
    }
}

/// Drives a tunnel's HTTP/2, and sees when the agent takes no more streams (GOAWAY).
async fn drive(
    mut connection: Connection<TokioIo<Upgraded>, Bytes>,
    mut probe: SendRequest<Bytes>,
    tunnel: &Tunnel,
) -> String {
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(ended);
        }
        // What comes from the agent wakes this task, GOAWAY among it.
        if tunnel.is_staying() && matches!(probe.poll_ready(cx), Poll::Ready(Err(_))) {
            info!(agent = %tunnel.name, peer = %tunnel.peer, "Agent takes no more connections");
            tunnel.leave();
        }
        Poll::Pending
    });
    match ended.await {
        Ok(()) => "it closed the connection".to_owned(),
        Err(error) => error.to_string(),
    }
}
