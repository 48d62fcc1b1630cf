//! One CONNECT, at the agent's end: the list is asked, the name resolved, the connection made, and then
//! bytes are relayed until both sides have ended.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::allow::{Allow, Destination, Host};
use super::refusal::{Reason, Refusal};
use super::socket;
use super::stream::{Incoming, Outgoing};

/// How long the proxy waits for the connection, in milliseconds.
pub(super) const LIMIT: HeaderName = HeaderName::from_static("keybearer-connect-timeout");

/// For a connection, whatever the proxy says.
const LONGEST: Duration = Duration::from_secs(60);

/// What is read at once in each direction, in bytes.
const PIECE: usize = 32 << 10;

/// Answers one CONNECT and relays what follows.
pub(super) async fn carry(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    allow: &Allow,
) {
    let (head, recv) = request.into_parts();
    let asked = head.uri.authority().map(http::uri::Authority::as_str);
    let asked = asked.unwrap_or_default().to_owned();
    let opened = match (head.method == Method::CONNECT, Destination::parse(&asked)) {
        (true, Some(destination)) => {
            let opening = open(&destination, allow, patience(&head.headers));
            match unless_reset(&mut respond, opening).await {
                Some(opened) => opened,
                None => return,
            }
        }
        _ => Err(Refusal::new(
            Reason::NotListed,
            format!("`{asked}` is no host and port"),
        )),
    };
    let socket = match opened {
        Ok(socket) => socket,
        Err(refusal) => {
            let error = refusal.reason.error();
            info!(
                destination = asked,
                error,
                detail = refusal.detail,
                "Destination not opened"
            );
            // The proxy may have gone meanwhile.
            let _ = respond.send_response(refusal.to_response(), true);
            return;
        }
    };
    debug!(destination = asked, "Connected");
    let Ok(send) = respond.send_response(Response::new(()), false) else {
        return;
    };
    relay(Incoming::new(recv), Outgoing::new(send), socket).await;
}

/// Gives up when the proxy does.
async fn unless_reset<T>(
    respond: &mut SendResponse<Bytes>,
    opening: impl Future<Output = T>,
) -> Option<T> {
    let mut opening = pin!(opening);
    poll_fn(|cx| match opening.as_mut().poll(cx) {
        Poll::Ready(opened) => Poll::Ready(Some(opened)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    })
    .await
}

/// A little less than the proxy waits, so that it is told why.
fn patience(headers: &HeaderMap) -> Duration {
    let limit = headers.get(LIMIT).and_then(|limit| limit.to_str().ok());
    let limit = limit.and_then(|limit| limit.parse().ok());
    limit
        .map_or(LONGEST, Duration::from_millis)
        .min(LONGEST)
        .mul_f64(0.9)
}

/// Connects to exactly an address that was checked: a name could have another when it is asked again.
async fn open(
    destination: &Destination,
    allow: &Allow,
    limit: Duration,
) -> Result<TcpStream, Refusal> {
    if !allow.lists(destination) {
        let detail = format!("add `--allow '{destination}'` there");
        return Err(Refusal::new(Reason::NotListed, detail));
    }
    let until = Instant::now() + limit;
    let addresses = resolve(destination, until).await?;
    let mut permitted = Vec::new();
    let mut prohibited = None;
    for address in addresses {
        match allow.check(destination, address) {
            Ok(()) => permitted.push(address),
            Err(special) => prohibited = Some((address, special)),
        }
    }
    if let (true, Some((address, special))) = (permitted.is_empty(), prohibited) {
        let listed = Destination {
            host: Host::Address(address.to_canonical()),
            port: destination.port,
        };
        let detail = format!(
            "its address there is {address} ({special}), which no name leads to; if it is meant, add `--allow '{listed}'` there"
        );
        return Err(Refusal::new(Reason::AddressProhibited, detail));
    }
    first_of(&permitted, destination.port, until).await
}

async fn resolve(destination: &Destination, until: Instant) -> Result<Vec<IpAddr>, Refusal> {
    let name = match &destination.host {
        Host::Address(address) => return Ok(vec![*address]),
        Host::Name(name) => name,
    };
    let not_resolved = |why: &str| {
        let detail = format!(
            "its name is not resolved there ({why}); check the DNS settings of the agent's machine"
        );
        Refusal::new(Reason::NotResolved, detail)
    };
    match timeout_at(until, lookup_host((&**name, destination.port))).await {
        Ok(Ok(found)) => {
            let addresses: Vec<_> = found.map(|address| address.ip()).collect();
            match addresses.is_empty() {
                true => Err(not_resolved("it has no address")),
                false => Ok(addresses),
            }
        }
        Ok(Err(error)) => Err(not_resolved(&error.to_string())),
        Err(_) => Err(not_resolved("nobody answered in time")),
    }
}

/// Tries the addresses in turn, each for its share of the time.
async fn first_of(addresses: &[IpAddr], port: u16, until: Instant) -> Result<TcpStream, Refusal> {
    let mut last = Refusal::new(Reason::NotResolved, "its name has no address there");
    for (index, &address) in addresses.iter().enumerate() {
        let address = SocketAddr::new(address, port);
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Heads leave at once; without it they may wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                socket::keep_alive(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => last = failed(address, &error),
            Err(_) => {
                let detail = format!(
                    "{address} took no connection in time; check firewalls between the agent and it"
                );
                last = Refusal::new(Reason::TimedOut, detail);
            }
        }
    }
    Err(last)
}

fn failed(address: SocketAddr, error: &io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            let detail =
                format!("{address} refused the connection; check that it runs, and the port");
            Refusal::new(Reason::ConnectionRefused, detail)
        }
        ErrorKind::TimedOut => Refusal::new(
            Reason::TimedOut,
            format!("{address} did not answer; check firewalls between the agent and it"),
        ),
        _ => Refusal::new(
            Reason::Unreachable,
            format!("{address} cannot be reached ({error}); check the agent's network"),
        ),
    }
}

/// Relays until both sides have ended. What breaks at the proxy's side is broken off at the other.
///
/// A destination that takes no more may have answered before (as one does that refuses an upload): all
/// that it said is passed on. Then the stream is dropped, by which h2 resets it with NO_ERROR, where the
/// destination has said all and more was still to come (RFC 9113 section 8.1).
async fn relay(mut incoming: Incoming, mut outgoing: Outgoing, mut socket: TcpStream) {
    let (mut from, mut to) = socket.split();
    let stopped = Stopped::default();
    let relayed = async {
        let mut inward = pin!(inward(&mut incoming, &mut to, &stopped));
        let mut has_ended = false;
        {
            let mut outward = pin!(outward(&mut from, &mut outgoing, &stopped));
            loop {
                tokio::select! {
                    ended = &mut outward => break ended?,
                    ended = &mut inward, if !has_ended => {
                        ended?;
                        has_ended = true;
                    }
                }
            }
        }
        if has_ended {
            return Ok(());
        }
        tokio::select! {
            ended = &mut inward => ended,
            () = stopped.told() => Ok(()),
            () = outgoing.reset() => Err(ErrorKind::ConnectionReset.into()),
        }
    };
    let relayed: io::Result<()> = relayed.await;
    if let Err(error) = relayed {
        debug!(%error, "Connection broke");
        // RFC 9113 section 8.5: either end's RST is the other's.
        outgoing.break_off();
        let _ = socket.set_zero_linger();
    }
}

/// Whether the destination takes no more.
#[derive(Default)]
struct Stopped {
    /// Whether it was more than its end that said so: the system tells of a break once, and lets what
    /// follows look like an end.
    is_break: AtomicBool,
    notify: Notify,
}

impl Stopped {
    async fn told(&self) {
        self.notify.notified().await;
    }
}

/// Carries what the proxy sends.
async fn inward(
    incoming: &mut Incoming,
    to: &mut WriteHalf<'_>,
    stopped: &Stopped,
) -> io::Result<()> {
    let mut buf = vec![0; PIECE];
    loop {
        let count = incoming.read(&mut buf).await?;
        if count == 0 {
            // Whoever has gone meanwhile need not be told.
            let _ = to.shutdown().await;
            return Ok(());
        }
        if let Err(error) = to.write_all(&buf[..count]).await {
            debug!(%error, "Destination takes no more");
            // After its end, that is a broken pipe.
            let is_break = error.kind() != ErrorKind::BrokenPipe;
            stopped.is_break.store(is_break, Ordering::Relaxed);
            stopped.notify.notify_one();
            break;
        }
    }
    // A caller that sends all before it reads is not kept from reading.
    while incoming.read(&mut buf).await? > 0 {}
    Ok(())
}

/// Carries what the destination says.
async fn outward(
    from: &mut ReadHalf<'_>,
    outgoing: &mut Outgoing,
    stopped: &Stopped,
) -> io::Result<()> {
    let mut buf = vec![0; PIECE];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buf) => read,
            // While the destination is silent, nothing else would tell.
            () = outgoing.reset() => return Err(ErrorKind::ConnectionReset.into()),
        };
        let ended = match read {
            Ok(0) if stopped.is_break.load(Ordering::Relaxed) => {
                Err(ErrorKind::ConnectionReset.into())
            }
            Ok(0) => Ok(()),
            Ok(count) => {
                outgoing.write_all(&buf[..count]).await?;
                continue;
            }
            Err(error) => Err(error),
        };
        // A reset goes ahead of what waits to be sent, and an end may have one behind it.
        outgoing.drained().await;
        ended?;
        return outgoing.shutdown().await;
    }
}
