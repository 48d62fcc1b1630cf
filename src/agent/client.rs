//! The private end: [`run`] dials the proxy, introduces the agent, and serves what the proxy asks.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::server::Connection;
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::allow::Allow;
use super::heartbeat::Heard;
use super::hello::{self, Unsendable};
use super::{
    FRAME, MAX_RESET, MAX_STREAMS, RESET_MEMORY, SEND_BUFFER, STREAM_WINDOW, TUNNEL_WINDOW,
};
use super::{heartbeat, relay, socket};
use crate::secret::Secret;

/// For TCP with one address of the proxy.
const CONNECT: Duration = Duration::from_secs(5);

/// For TLS and the hello; the proxy lets a wrong token wait.
const HELLO: Duration = Duration::from_secs(15);

/// The longest pause before the proxy is dialed again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The first pause, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// A tunnel that lasted so long was a good one: pauses start anew.
const STABLE: Duration = Duration::from_secs(10);

/// The most that is shown of what the proxy says, in bytes.
const LONGEST_WORDS: usize = 1024;

/// What an agent is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The proxy's name or address; IPv6 without brackets.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// The name that its certificate must have.
    pub server_name: ServerName<'static>,
    /// The agent's name.
    pub name: HeaderValue,
    /// What it opens.
    pub allow: Arc<Allow>,
    /// How long streams may go on once the agent is asked to end.
    pub grace: Duration,
}

/// What proves who the agent is, and who the proxy: read anew for each attempt, as files change.
pub struct Identity {
    /// TLS, with the agent's certificate if it has one.
    pub tls: Arc<ClientConfig>,
    /// Its token; none where a certificate takes its place.
    pub token: Option<Secret>,
}

/// Reads what proves who the agent is.
pub type Identify = dyn Fn() -> Result<Identity, String> + Send + Sync;

/// Whether the agent is to end: how far along that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It goes on.
    #[default]
    Running,
    /// It takes no more streams.
    Draining,
    /// It ends now.
    Ended,
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
enum NotConnected {
    #[error("{address} broke off the hello ({error}); {HELLO_HINT}")]
    Hello { address: SocketAddr, error: String },
    #[error("{0}")]
    Identity(String),
    #[error("the proxy refused this agent ({status}): {words}")]
    Refused { status: StatusCode, words: String },
    #[error("{0} did not say a word in time; check that it is the proxy's `agents.listen`")]
    Silent(SocketAddr),
    #[error("TLS with {address} failed: {error}; {hint}")]
    Tls {
        address: SocketAddr,
        error: io::Error,
        hint: &'static str,
    },
    #[error("{0}; write the token anew")]
    Token(#[from] Unsendable),
    #[error("the proxy cannot be reached: {0}")]
    Unreachable(String),
    #[error(
        "what answers is no keybearer ({status}): {words}; check that `--server` is the proxy's `agents.listen`"
    )]
    Unknown { status: StatusCode, words: String },
}

/// Keeps a tunnel to the proxy until `phase` says otherwise.
pub async fn run(settings: &Settings, identify: &Identify, mut phase: watch::Receiver<Phase>) {
    let mut pauses = Pauses::default();
    loop {
        let dialing = dial(settings, identify);
        let dialed = tokio::select! {
            dialed = dialing => dialed,
            () = reached(&mut phase, Phase::Draining) => return,
        };
        match dialed {
            Ok((stream, address)) => {
                let began = Instant::now();
                let why = serve(settings, stream, address, &mut phase).await;
                if *phase.borrow() != Phase::Running {
                    return;
                }
                warn!(%address, why, "Disconnected");
                if began.elapsed() >= STABLE {
                    pauses = Pauses::default();
                }
            }
            Err(error) => warn!(problem = %error, "Not connected"),
        }
        let pause = pauses.next();
        tokio::select! {
            () = sleep(pause) => {}
            () = reached(&mut phase, Phase::Draining) => return,
        }
    }
}

/// Waits until the end is as near as `wanted`, or nobody is left to say so.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let is_reached = |phase: &Phase| match wanted {
        Phase::Running => true,
        Phase::Draining => *phase != Phase::Running,
        Phase::Ended => *phase == Phase::Ended,
    };
    let _ = phase.wait_for(is_reached).await;
}

/// Steps that double, each shorter by chance: agents that lost the same proxy do not return at once.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let step = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let mut bytes = [0; 4];
        // Without randomness all pauses are as long as they can be.
        let _ = SystemRandom::new().fill(&mut bytes);
        let share = f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX);
        step.mul_f64(1.0 - share / 2.0)
    }
}

/// A stream on which the proxy asks, from whichever of its addresses answers first.
async fn dial(
    settings: &Settings,
    identify: &Identify,
) -> Result<(Upgraded, SocketAddr), NotConnected> {
    let identity = identify().map_err(NotConnected::Identity)?;
    let place = (&*settings.host, settings.port);
    let found = timeout(CONNECT, lookup_host(place)).await;
    let found = found.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    let addresses: Vec<_> = found
        .map_err(|error| {
            let host = &settings.host;
            NotConnected::Unreachable(format!(
                "`{host}` is not resolved ({error}); check `--server`"
            ))
        })?
        .collect();
    let mut last = NotConnected::Unreachable(format!("`{}` has no address", settings.host));
    for address in addresses {
        match introduce(settings, &identity, address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn introduce(
    settings: &Settings,
    identity: &Identity,
    address: SocketAddr,
) -> Result<Upgraded, NotConnected> {
    let unreachable = |error: io::Error| {
        let text = format!("{address}: {error}; check that the proxy runs, and firewalls between");
        NotConnected::Unreachable(text)
    };
    let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(unreachable)?,
        Err(_) => return Err(unreachable(ErrorKind::TimedOut.into())),
    };
    socket::prepare(&stream);
    match timeout(HELLO, say_hello(settings, identity, stream, address)).await {
        Ok(said) => said,
        Err(_) => Err(NotConnected::Silent(address)),
    }
}

async fn say_hello(
    settings: &Settings,
    identity: &Identity,
    stream: TcpStream,
    address: SocketAddr,
) -> Result<Upgraded, NotConnected> {
    let connector = TlsConnector::from(Arc::clone(&identity.tls));
    let stream = connector
        .connect(settings.server_name.clone(), stream)
        .await
        .map_err(|error| NotConnected::Tls {
            address,
            hint: hint(&error),
            error,
        })?;
    // Cannot fail: a host that is a name or an address is a field value.
    let host = HeaderValue::from_str(&settings.server_name.to_str());
    let host = host.unwrap_or_else(|_| HeaderValue::from_static("localhost"));
    let token = identity.token.as_ref().map(Secret::expose);
    let request = hello::request(&host, &settings.name, token)?;
    let broken = |error: hyper::Error| NotConnected::of_hello(address, &error);
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, driver) = shaken.map_err(broken)?;
    let _driving = AbortOnDropHandle::new(tokio::spawn(async move {
        // How it ends is told by the answer.
        let _ = driver.with_upgrades().await;
    }));
    let mut response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return hyper::upgrade::on(&mut response).await.map_err(broken);
    }
    let content = Limited::new(response.into_body(), LONGEST_WORDS)
        .collect()
        .await;
    let content = content.map(http_body_util::Collected::to_bytes);
    let words = String::from_utf8_lossy(&content.unwrap_or_default())
        .trim()
        .to_owned();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(NotConnected::Refused { status, words })
        }
        _ => Err(NotConnected::Unknown { status, words }),
    }
}

const HELLO_HINT: &str = "check that `--server` is the proxy's `agents.listen`, and that `agents.client_ca` trusts this agent's certificate if it has one";

impl NotConnected {
    /// With TLS 1.3, what the proxy thinks of a certificate is heard after the handshake.
    fn of_hello(address: SocketAddr, error: &hyper::Error) -> Self {
        let errors = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
        let texts: Vec<_> = errors.map(ToString::to_string).collect();
        Self::Hello {
            address,
            error: texts.join(": "),
        }
    }
}

/// What to do about a handshake that failed.
fn hint(error: &io::Error) -> &'static str {
    use rustls::CertificateError as Fault;
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(Fault::UnknownIssuer | Fault::BadSignature)) => {
            "give `--ca` the certificate of the authority that issued the proxy's"
        }
        Some(rustls::Error::InvalidCertificate(
            Fault::NotValidForName | Fault::NotValidForNameContext { .. },
        )) => "give `--server-name` a name that the proxy's certificate has",
        Some(rustls::Error::InvalidCertificate(Fault::Expired | Fault::ExpiredContext { .. })) => {
            "renew the proxy's certificate, or set this machine's clock"
        }
        Some(rustls::Error::AlertReceived(_)) => {
            "the proxy does not take this agent's certificate; check `--certificate` and `agents.client_ca`"
        }
        _ => "check that `--server` is the proxy's `agents.listen`",
    }
}

/// Serves what the proxy asks until the tunnel ends; tells why it did.
async fn serve(
    settings: &Settings,
    stream: Upgraded,
    address: SocketAddr,
    phase: &mut watch::Receiver<Phase>,
) -> String {
    let heard = Heard::default();
    let shaken = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(TUNNEL_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(MAX_STREAMS)
        .max_concurrent_reset_streams(MAX_RESET)
        .reset_stream_duration(RESET_MEMORY)
        // Late frames of streams that were reset are no attack: the other end has proved who it is.
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(MAX_RESET)
        .handshake(heard.on(TokioIo::new(stream)));
    let mut connection: Connection<_, bytes::Bytes> = match timeout(HELLO, shaken).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return error.to_string(),
        Err(_) => return "the proxy fell silent".to_owned(),
    };
    info!(%address, "Connected");
    let ping = connection.ping_pong();
    let heartbeat = heartbeat::watch(ping, &heard, |_| {});
    tokio::pin!(heartbeat);
    let mut cut_off = None;
    let mut drained = phase.clone();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let allow = Arc::clone(&settings.allow);
                    tokio::spawn(async move { relay::carry(request, respond, &allow).await });
                }
                Some(Err(error)) => return error.to_string(),
                None => return "the proxy closed the connection".to_owned(),
            },
            silence = &mut heartbeat => return silence.to_string(),
            () = reached(phase, Phase::Draining), if cut_off.is_none() => {
                info!("Draining");
                connection.graceful_shutdown();
                cut_off = Some(Instant::now() + settings.grace);
            }
            () = sleep_until(cut_off.unwrap_or_else(Instant::now)), if cut_off.is_some() => {
                warn!("Cutting off what still runs");
                return "it took too long to drain".to_owned();
            }
            () = reached(&mut drained, Phase::Ended) => {
                warn!("Cutting off what still runs, at once");
                return "it was asked to end at once".to_owned();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_differ() {
        let mut pauses = Pauses::default();
        for longest in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let pause = pauses.next().as_secs_f64();
            assert!(
                (longest / 2.0..=longest).contains(&pause),
                "{pause} for {longest}"
            );
        }
    }
}
