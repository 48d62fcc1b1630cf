//! An HTTP/2 upstream that does what the path of a request says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Certificate, eventually};

/// A running upstream.
pub struct Http2Upstream {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// How it behaves.
#[derive(Clone, Copy)]
pub struct Manners {
    /// So many requests at once a connection takes.
    pub streams: u32,
    /// After so many requests a connection says goodbye.
    pub requests: usize,
}

/// A request that has come whole.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: Request<()>,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

#[derive(Default)]
pub struct Shared {
    pub connections: AtomicUsize,
    pub begun: AtomicUsize,
    pub resets: Mutex<Vec<Reason>>,
    pub sent: AtomicUsize,
    pub received: AtomicUsize,
    refusals: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    open: tokio::sync::Notify,
}

impl Http2Upstream {
    pub async fn start() -> Self {
        let manners = Manners {
            streams: 100,
            requests: usize::MAX,
        };
        Self::mannered(manners, None).await
    }

    pub async fn mannered(manners: Manners, certificate: Option<&Certificate>) -> Self {
        Self::at("127.0.0.1:0", manners, certificate).await
    }

    pub async fn at(address: &str, manners: Manners, certificate: Option<&Certificate>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let shared = Arc::<Shared>::default();
        let tls = certificate.map(Certificate::http2_acceptor);
        Self {
            address: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            accepting: tokio::spawn(accept(listener, tls, manners, Arc::clone(&shared))),
            shared,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    pub fn last(&self) -> Seen {
        self.shared.seen.lock().unwrap().last().unwrap().clone()
    }

    /// Answers all that wait on `/hold`, now that there are so many.
    pub async fn release(&self, count: usize) {
        let enough = async || (self.shared.begun.load(SeqCst) >= count).then_some(());
        eventually("held requests", enough).await;
        self.shared.open.notify_waiters();
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    manners: Manners,
    shared: Arc<Shared>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        shared.connections.fetch_add(1, SeqCst);
        connections.spawn(carry(stream, tls.clone(), manners, Arc::clone(&shared)));
    }
}

async fn carry(stream: TcpStream, tls: Option<TlsAcceptor>, manners: Manners, shared: Arc<Shared>) {
    let Some(tls) = tls else {
        return serve(stream, manners, shared).await;
    };
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return serve(stream, manners, shared).await;
    }
    super::upstreams::websocket(stream).await;
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, manners: Manners, shared: Arc<Shared>) {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(manners.streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let mut answering = JoinSet::new();
    let mut count = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        count += 1;
        if count == manners.requests {
            connection.graceful_shutdown();
        }
        answering.spawn(answer(request, respond, Arc::clone(&shared)));
        while answering.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
) -> Option<()> {
    let (head, mut content) = request.into_parts();
    let path = head.uri.path().to_owned();
    match &*path {
        "/refuse" if shared.refusals.fetch_add(1, SeqCst) == 0 => {
            respond.send_reset(Reason::REFUSED_STREAM);
            return None;
        }
        "/reset" => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return None;
        }
        "/hold" => {
            let opened = shared.open.notified();
            shared.begun.fetch_add(1, SeqCst);
            opened.await;
        }
        "/wait" => {
            shared.begun.fetch_add(1, SeqCst);
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            shared.resets.lock().unwrap().extend(reason);
            return None;
        }
        "/broken" => {
            let mut stream = respond.send_response(Response::new(()), false).ok()?;
            stream.send_data(Bytes::from_static(b"begun"), false).ok()?;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            stream.send_reset(Reason::ENHANCE_YOUR_CALM);
            return None;
        }
        "/late" => {
            let opened = shared.open.notified();
            shared.begun.fetch_add(1, SeqCst);
            let head = Response::builder().header("content-length", "2");
            let mut stream = respond.send_response(head.body(()).unwrap(), false).ok()?;
            stream.send_data(Bytes::from_static(b"ok"), false).ok()?;
            tokio::select! {
                reason = std::future::poll_fn(|cx| stream.poll_reset(cx)) => {
                    shared.resets.lock().unwrap().extend(reason);
                }
                () = opened => stream.send_data(Bytes::new(), true).ok()?,
            }
            return None;
        }
        "/fill" => return fill(respond, &shared).await,
        _ => {}
    }
    let mut body = Vec::new();
    while let Some(Ok(data)) = content.data().await {
        let _ = content.flow_control().release_capacity(data.len());
        shared.received.fetch_add(data.len(), SeqCst);
        if path != "/forget" {
            body.extend_from_slice(&data);
        }
    }
    let trailers = content.trailers().await.ok().flatten().unwrap_or_default();
    let is_refused = path == "/second" && head.headers["authorization"] != "Bearer two";
    shared.seen.lock().unwrap().push(Seen {
        head: Request::from_parts(head, ()),
        body,
        trailers,
    });
    if path == "/trailed" {
        let response = Response::builder().header("trailer", "x-sum, set-cookie");
        let mut stream = respond
            .send_response(response.body(()).unwrap(), false)
            .ok()?;
        stream.send_data(Bytes::from_static(b"ok"), false).ok()?;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        trailers.insert("set-cookie", HeaderValue::from_static("a=b"));
        trailers.insert("proxy-authenticate", HeaderValue::from_static("Basic"));
        return stream.send_trailers(trailers).ok();
    }
    let mut response = Response::new(());
    if is_refused {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    let mut stream = respond.send_response(response, false).ok()?;
    stream.send_data(Bytes::from_static(b"ok"), true).ok()
}

/// Sends 256 MiB, as fast as they are taken.
async fn fill(mut respond: SendResponse<Bytes>, shared: &Shared) -> Option<()> {
    const WHOLE: usize = 256 << 20;
    let block = Bytes::from(vec![b'x'; 64 << 10]);
    let mut stream = respond.send_response(Response::new(()), false).ok()?;
    let mut left = WHOLE;
    while left > 0 {
        stream.reserve_capacity(block.len());
        let count = std::future::poll_fn(|cx| stream.poll_capacity(cx))
            .await?
            .ok()?;
        let count = count.min(left).min(block.len());
        left -= count;
        stream.send_data(block.slice(..count), left == 0).ok()?;
        shared.sent.fetch_add(count, SeqCst);
    }
    Some(())
}
