//! The proxy's end: [`serve`] takes agents' connections, lets in those that prove who they are, and
//! keeps their tunnels.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::header::{CONNECTION, UPGRADE};
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::door::{Door, Place, Refused, Why};
use super::heartbeat::Heard;
use super::registry::Agents;
use super::tunnel::{Proof, Tunnel};
use super::{FRAME, MAX_RESET, RESET_MEMORY, SEND_BUFFER, STREAM_WINDOW, TUNNEL_WINDOW};
use super::{certificate, heartbeat, hello, socket};
use crate::connection::agents::{Access, is_name};
use crate::secret::{Origin, Secret};

/// For TLS and the hello together.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait after an accept that failed, as it does while descriptors are out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes agents' connections for as long as it is polled.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(agents: Arc<Agents>, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let door = Arc::new(Door::default());
    loop {
        let room = door.room().await;
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "Agent's connection not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = door.enter(peer.ip(), room) else {
            debug!(%peer, "Connection closed: too many of its address prove nothing");
            continue;
        };
        let (agents, door) = (Arc::clone(&agents), Arc::clone(&door));
        tokio::spawn(async move {
            if let Err(error) = take(&agents, stream, peer, place, &door).await {
                debug!(%peer, %error, "Agent's connection ended early");
            }
        });
    }
}

/// Lets an agent in, and keeps its tunnel until that ends.
async fn take(
    agents: &Arc<Agents>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    door: &Door,
) -> io::Result<()> {
    socket::prepare(&stream);
    let introduced = timeout(HELLO_DEADLINE, introduce(agents, stream, peer, door)).await??;
    let Some((agent, stream)) = introduced else {
        return Ok(());
    };
    drop(place);
    let heard = Heard::default();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(TUNNEL_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(MAX_RESET)
        .reset_stream_duration(RESET_MEMORY)
        // Late frames of streams that were reset are no attack: the other end has proved who it is.
        .max_local_error_reset_streams(None)
        .enable_push(false)
        .handshake(heard.on(TokioIo::new(stream)))
        .await
        .map_err(io::Error::other)?;
    keep(agents, agent, peer, sender, connection, &heard).await;
    Ok(())
}

/// An agent that has proved who it is.
#[derive(Debug)]
struct Agent {
    name: Arc<str>,
    version: Box<str>,
    proof: Proof,
    /// What it was judged by.
    access: Arc<Access>,
}

/// TLS and the hello; none if the agent was refused and told so.
async fn introduce(
    agents: &Arc<Agents>,
    stream: TcpStream,
    peer: SocketAddr,
    door: &Door,
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
            door.refused(peer, &refused);
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
    access: &Arc<Access>,
    request: &Request<Incoming>,
    certified: Option<&[String]>,
) -> Result<Agent, Refused> {
    let headers = request.headers();
    let name = headers.get(hello::NAME).and_then(|name| name.to_str().ok());
    let (true, Some(name)) = (hello::is_hello(request), name.filter(|name| is_name(name))) else {
        return Err(Refused::unknown(Why::NoHello, ""));
    };
    let token = hello::token(headers);
    // Before the name is looked up, which would tell whether there is such an agent.
    if token.is_none() && certified.is_none() {
        return Err(Refused::unknown(Why::NoProof, name));
    }
    let Some(name) = access.names.get(name) else {
        return Err(Refused::unknown(Why::for_unknown(certified), name));
    };
    let refuse = |why| Refused {
        why,
        name: name.to_string(),
        known: Some(Arc::clone(name)),
    };
    let proof = match (token, certified) {
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
        (None, _) => return Err(refuse(Why::OtherCertificate)),
    };
    Ok(Agent {
        name: Arc::clone(name),
        version: hello::version(headers),
        proof,
        access: Arc::clone(access),
    })
}

/// In a time that tells nothing but the length.
fn is_equal(token: &[u8], known: &Secret) -> bool {
    token.ct_eq(known.expose().as_bytes()).into()
}

fn switching() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(hello::PROTOCOL));
    response
}

/// Drives a tunnel until it ends.
async fn keep<T: AsyncRead + AsyncWrite + Unpin>(
    agents: &Arc<Agents>,
    agent: Agent,
    peer: SocketAddr,
    sender: SendRequest<Bytes>,
    mut connection: Connection<T, Bytes>,
    heard: &Heard,
) {
    let Agent {
        name,
        version,
        proof,
        access,
    } = agent;
    let ping = connection.ping_pong();
    let metrics = agents.metrics(&name);
    let probe = sender.clone();
    let tunnel = Tunnel::new(name, peer, version, proof, sender, metrics);
    let admitted = agents.admit(Arc::new(tunnel), &access);
    let tunnel = &admitted.tunnel;
    info!(agent = %tunnel.name, %peer, version = tunnel.version, "Agent connected");
    let why = tokio::select! {
        why = drive(connection, probe, tunnel) => why,
        silence = heartbeat::watch(ping, heard, |took| tunnel.seen(took)) => silence.to_string(),
        () = tunnel.end.cancelled() => "it is no longer let in".to_owned(),
    };
    let was_leaving = !tunnel.is_staying();
    match was_leaving {
        true => info!(agent = %tunnel.name, %peer, why, "Agent left"),
        false => warn!(agent = %tunnel.name, %peer, why, "Agent lost"),
    }
}

/// Drives a tunnel's HTTP/2, and sees when the agent takes no more streams (GOAWAY).
async fn drive<T: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<T, Bytes>,
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
