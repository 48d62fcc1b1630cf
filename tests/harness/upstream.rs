//! An HTTP/1.1 server that records every byte of what it is asked and answers as its test says.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::certificates::Certificate;
use super::eventually;
use super::message::{Framing, Head, Stream, Wire};
use super::script::{Answer, Step};

/// A running upstream.
pub struct Upstream {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its head, byte for byte.
    pub head: Head,
    /// Its content without framing.
    pub body: Vec<u8>,
    /// Its trailer fields.
    pub trailers: Vec<(String, String)>,
    /// Whether the content arrived whole.
    pub complete: bool,
    /// The name asked for in the TLS handshake.
    pub server_name: Option<String>,
}

impl Recorded {
    /// The method.
    pub fn method(&self) -> &str {
        self.head.part(0)
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.head.part(1)
    }

    /// The value of a field that stands there once or not at all.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.one(name)
    }

    /// The content as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Shared {
    recorded: Mutex<Vec<Recorded>>,
    scripts: Mutex<HashMap<String, VecDeque<Answer>>>,
    accepted: AtomicUsize,
    ended: AtomicUsize,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Upstream {
    /// Starts one in cleartext.
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    /// Starts one in cleartext at this address.
    pub async fn at(address: &str) -> Self {
        Self::listen(address, None).await
    }

    /// Starts one behind TLS.
    pub async fn tls(certificate: &Certificate) -> Self {
        Self::listen("127.0.0.1:0", Some(certificate.acceptor())).await
    }

    /// Starts one in cleartext on a listener of the test's own.
    pub fn on_listener(listener: std::net::TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self::serve(TcpListener::from_std(listener).unwrap(), None)
    }

    async fn listen(address: &str, tls: Option<TlsAcceptor>) -> Self {
        Self::serve(TcpListener::bind(address).await.unwrap(), tls)
    }

    fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let shared = Arc::<Shared>::default();
        Self {
            address: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            accepting: tokio::spawn(accept(listener, tls, Arc::clone(&shared))),
            shared,
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Answers every request for this path so.
    pub fn on(&self, path: &str, answer: Answer) {
        self.on_each(path, [answer]);
    }

    /// Answers requests for this path so, in turn; the last one stays.
    pub fn on_each(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut scripts = self.shared.scripts.lock().unwrap();
        scripts.insert(path.to_owned(), answers.into_iter().collect());
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.recorded.lock().unwrap().clone()
    }

    /// The requests so far, forgotten here.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.shared.recorded.lock().unwrap())
    }

    /// The newest request.
    pub fn last(&self) -> Recorded {
        let recorded = self.shared.recorded.lock().unwrap();
        recorded.last().expect("a request upstream").clone()
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.shared.recorded.lock().unwrap().len()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    /// How many of them have ended.
    pub fn ended(&self) -> usize {
        self.shared.ended.load(SeqCst)
    }

    /// How many bytes [`Step::Fill`] has written.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(SeqCst)
    }

    /// How many bytes of content were read.
    pub fn received(&self) -> u64 {
        self.shared.received.load(SeqCst)
    }

    /// Waits until that many connections have ended.
    pub async fn wait_for_ended(&self, count: usize) {
        let enough = async || (self.ended() >= count).then_some(());
        eventually("end of upstream connections", enough).await;
    }

    /// Waits until that many requests have come.
    pub async fn wait_for_requests(&self, count: usize) {
        let enough = async || (self.count() >= count).then_some(());
        eventually("requests upstream", enough).await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.accepted.fetch_add(1, SeqCst);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            // Broken connections are part of what is tested: the test looks at what was recorded.
            let _ = carry(stream, tls, &shared).await;
            shared.ended.fetch_add(1, SeqCst);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(stream: TcpStream, tls: Option<TlsAcceptor>, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return serve(stream, None, shared).await;
    };
    let stream = tls.accept(stream).await?;
    let server_name = stream.get_ref().1.server_name().map(str::to_owned);
    serve(stream, server_name, shared).await
}

async fn serve<S: Stream>(
    stream: S,
    server_name: Option<String>,
    shared: &Shared,
) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await? {
        let path = head.part(1).split('?').next().unwrap_or_default();
        let answer = shared.next_answer(path);
        let index = shared.record(Recorded {
            head: head.clone(),
            body: Vec::new(),
            trailers: Vec::new(),
            complete: false,
            server_name: server_name.clone(),
        });
        let mut left = Some(head.request_framing());
        for step in answer.0 {
            match step {
                Step::Answer(make) => {
                    let request = shared.recorded.lock().unwrap()[index].clone();
                    wire.write(make(&request).as_bytes()).await?;
                }
                Step::Close => return Ok(()),
                Step::Exchange(bytes) => {
                    let framing = left.take();
                    shared.exchange(&mut wire, bytes, framing, index).await?;
                }
                Step::Fill(bytes) => shared.fill(&mut wire, bytes).await?,
                Step::Read => shared.read(&mut wire, left.take(), index, true).await?,
                Step::ReadAndForget => shared.read(&mut wire, left.take(), index, false).await?,
                Step::Send(bytes) => wire.write(&bytes).await?,
                Step::Take(bytes) => {
                    let Some(Framing::Length(length)) = &mut left else {
                        panic!("only sized content is taken in pieces: {left:?}");
                    };
                    *length -= bytes;
                    let framing = Framing::Length(bytes);
                    wire.content(framing, &mut |bytes| shared.count(bytes))
                        .await?;
                }
                Step::Wait(gate) => gate.pass().await,
                Step::WaitForClose => {
                    while wire.fill().await? {
                        wire.ahead.clear();
                    }
                    return Ok(());
                }
                Step::WebSocket => return echo(wire, &head).await,
            }
        }
        if left.is_some_and(|framing| framing != Framing::None) {
            return Ok(());
        }
    }
    Ok(())
}

impl Shared {
    fn next_answer(&self, path: &str) -> Answer {
        let mut scripts = self.scripts.lock().unwrap();
        match scripts.get_mut(path) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers.front().cloned().unwrap_or_default(),
            None => Answer::default(),
        }
    }

    /// Gives the place in the record, by which the content is added; stale after a `take`.
    fn record(&self, request: Recorded) -> usize {
        let mut recorded = self.recorded.lock().unwrap();
        recorded.push(request);
        recorded.len() - 1
    }

    async fn read<S: Stream>(
        &self,
        wire: &mut Wire<S>,
        framing: Option<Framing>,
        index: usize,
        keep: bool,
    ) -> io::Result<()> {
        let framing = framing.unwrap_or(Framing::None);
        let mut body = Vec::new();
        let trailers = wire
            .content(framing, &mut |bytes| {
                self.count(bytes);
                if keep {
                    body.extend_from_slice(bytes);
                }
            })
            .await?;
        if let Some(recorded) = self.recorded.lock().unwrap().get_mut(index) {
            recorded.body = body;
            recorded.trailers = trailers;
            recorded.complete = true;
        }
        Ok(())
    }

    fn count(&self, read: &[u8]) {
        self.received.fetch_add(read.len() as u64, SeqCst);
    }

    async fn exchange<S: Stream>(
        &self,
        wire: &mut Wire<S>,
        bytes: u64,
        framing: Option<Framing>,
        index: usize,
    ) -> io::Result<()> {
        let (reading, writing) = tokio::io::split(&mut wire.stream);
        let mut reading = Wire {
            stream: tokio::io::join(reading, tokio::io::sink()),
            ahead: std::mem::take(&mut wire.ahead),
        };
        let mut writing = Wire::new(tokio::io::join(tokio::io::empty(), writing));
        tokio::try_join!(
            self.read(&mut reading, framing, index, true),
            self.fill(&mut writing, bytes),
        )?;
        wire.ahead = reading.ahead;
        Ok(())
    }

    async fn fill<S: Stream>(&self, wire: &mut Wire<S>, bytes: u64) -> io::Result<()> {
        let block = [b'x'; 64 * 1024];
        let mut left = bytes;
        while left > 0 {
            let count = left.min(block.len() as u64);
            wire.write(&block[..usize::try_from(count).unwrap()])
                .await?;
            self.sent.fetch_add(count, SeqCst);
            left -= count;
        }
        Ok(())
    }
}

async fn echo<S: Stream>(mut wire: Wire<S>, head: &Head) -> io::Result<()> {
    let key = head.one("sec-websocket-key").unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    wire.write(answer.as_bytes()).await?;
    let Wire { stream, ahead } = wire;
    let mut socket = WebSocketStream::from_partially_read(stream, ahead, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}
