//! A caller, what is between, and an upstream, over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::connection::network::Road;
use crate::connection::{HttpVersion, Timeouts};
use crate::problem::Problem;
use crate::upstream::aws_chunked::encode::tests::Recording;
use crate::upstream::aws_chunked::encode::{Coverage, Encoder, Layout};
use crate::upstream::aws_chunked::framing::{Coding, Framing};
use crate::upstream::content::Content;
use crate::upstream::dial::Dialer;
use crate::upstream::fault::content_problem;
use crate::upstream::pool::Pool;
use crate::upstream::{Attempt, Upstream};

/// Nothing here takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is made of framed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is read whole first.
    Collect,
    /// It is framed anew.
    Frame,
    /// It is sent as it is in the frames.
    Stream,
}

/// A request as the upstream saw it; without a head where its connection was closed before.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) complete: bool,
}

pub(super) struct Relay {
    address: SocketAddr,
    seen: Mutex<mpsc::UnboundedReceiver<Seen>>,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(super) async fn start(way: Way) -> Self {
        Self::between(way, u64::MAX, false).await
    }

    /// One for content of at most this many bytes.
    pub(super) async fn limited(way: Way, limit: u64) -> Self {
        Self::between(way, limit, false).await
    }

    /// One whose upstream answers the head.
    pub(super) async fn answering_at_once(way: Way) -> Self {
        Self::between(way, u64::MAX, true).await
    }

    async fn between(way: Way, limit: u64, early: bool) -> Self {
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Arc::new(Upstream {
            absolute: None,
            dialer: Dialer {
                host: "127.0.0.1".into(),
                port: listener.local_addr().unwrap().port(),
                tls: None,
                road: Road::Direct,
                proxy_tls: None,
                resolver: Arc::default(),
                agents: Arc::default(),
            },
            spellings: None,
            pool: Pool::default(),
            trunks: None,
            upgradable: None,
            http: HttpVersion::Http11,
        });
        let (sender, seen) = mpsc::unbounded_channel();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(answer(stream, early, sender.clone()));
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let upstream = Arc::clone(&upstream);
                let service = service_fn(move |request| {
                    let upstream = Arc::clone(&upstream);
                    async move { Ok::<_, Infallible>(pass(way, limit, &upstream, request).await) }
                });
                connections.spawn(async move {
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        let seen = Mutex::new(seen);
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    pub(super) async fn caller(&self) -> Caller {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Caller {
            stream,
            read: Vec::new(),
        }
    }

    /// Sends framed content, and gives all that is answered.
    pub(super) async fn put(
        &self,
        hash: &str,
        length: &str,
        body: &str,
        http_chunked: bool,
    ) -> String {
        let mut caller = self.caller().await;
        let (field, body) = if http_chunked {
            // Cut where nothing in it ends.
            let pieces = body
                .as_bytes()
                .chunks(70_001)
                .map(|piece| http_chunk(std::str::from_utf8(piece).unwrap()));
            let body = pieces.collect::<String>() + "0\r\n\r\n";
            ("Transfer-Encoding: chunked".to_owned(), body)
        } else {
            (format!("Content-Length: {}", body.len()), body.to_owned())
        };
        let field = format!("{field}\r\nConnection: close");
        // Answers come before all was sent: whether that can be sent still is no matter.
        let (mut reading, mut writing) = caller.stream.split();
        let request = head(hash, length, &field) + &body;
        let mut answer = Vec::new();
        let both = async {
            tokio::join!(
                async { drop(writing.write_all(request.as_bytes()).await) },
                async { drop(reading.read_to_end(&mut answer).await) },
            )
        };
        timeout(PATIENCE, both).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// The next request that reached the upstream, whole or until its connection was closed.
    pub(super) async fn seen(&self) -> Seen {
        let next = async { self.seen.lock().await.recv().await };
        timeout(PATIENCE, next).await.unwrap().unwrap()
    }

    /// Whether nothing else reached the upstream so far.
    pub(super) async fn is_quiet(&self) -> bool {
        self.seen.lock().await.try_recv().is_err()
    }
}

/// A caller's connection.
pub(super) struct Caller {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Caller {
    pub(super) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// What arrives, up to `end`.
    pub(super) async fn receive(&mut self, end: &str) -> String {
        let arrived = async {
            while !self.read.ends_with(end.as_bytes()) {
                assert_ne!(self.stream.read_buf(&mut self.read).await.unwrap(), 0);
            }
        };
        timeout(PATIENCE, arrived).await.unwrap();
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// What arrives until the connection is closed.
    pub(super) async fn until_closed(mut self) -> String {
        // It may be closed with data unread, which is a reset.
        let arrived = self.stream.read_to_end(&mut self.read);
        let _ = timeout(PATIENCE, arrived).await.unwrap();
        String::from_utf8(self.read).unwrap()
    }
}

pub(super) fn head(hash: &str, length: &str, field: &str) -> String {
    format!(
        "PUT /object HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: aws-chunked\r\n\
         X-Amz-Content-SHA256: {hash}\r\nX-Amz-Decoded-Content-Length: {length}\r\n\
         X-Amz-Trailer: x-amz-checksum-crc32\r\n{field}\r\n\r\n"
    )
}

pub(super) fn http_chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

type Answer = Response<UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

/// What is between, in the order of a proxy's steps.
async fn pass(
    way: Way,
    limit: u64,
    upstream: &Arc<Upstream>,
    request: Request<Incoming>,
) -> Answer {
    match forward(way, limit, upstream, request).await {
        Ok(answer) => answer,
        Err(problem) => problem.to_response().map(|bytes| {
            Full::new(bytes)
                .map_err(|never: Infallible| match never {})
                .boxed_unsync()
        }),
    }
}

async fn forward(
    way: Way,
    limit: u64,
    upstream: &Arc<Upstream>,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let (mut head, incoming) = request.into_parts();
    let Coding::Framed(framing) = Coding::of(&head.headers)? else {
        panic!("{head:?}");
    };
    Framing::take_fields(&mut head.headers);
    head.headers.remove("transfer-encoding");
    head.headers.remove("connection");
    head.headers.remove("expect");
    let content = Content::unframed(Content::streamed(incoming, limit, None), &framing);
    let content = match way {
        Way::Collect => {
            let whole = content.collect_trailed(limit, PATIENCE).await;
            let (whole, trailers) = whole.map_err(|fault| content_problem(&fault))?;
            trailers.write_fields(&mut head.headers);
            Content::held(whole)
        }
        Way::Frame => {
            let decoded = framing.decoded_length().unwrap();
            let layout = Layout::new(Coverage::Signed, decoded, framing.trailers().clone());
            layout.write_fields(&mut head.headers);
            Content::framed(
                content,
                Encoder::new(layout, || Box::new(Recording::default())),
            )
        }
        Way::Stream => content,
    };
    let mut slot = Some(Request::from_parts(head, content));
    let attempt = Attempt {
        now: Instant::now(),
        fresh: false,
        repeatable: false,
    };
    let sent = upstream
        .send(&mut slot, &Timeouts::default(), attempt)
        .await;
    let answer = sent.map_err(|failure| failure.problem)?;
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// Answers requests of known length, one after the other, and tells of each.
async fn answer(mut stream: TcpStream, early: bool, seen: mpsc::UnboundedSender<Seen>) {
    let mut read = Vec::new();
    for requests in 0.. {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                if requests == 0 {
                    let _ = seen.send(Seen::default());
                }
                return;
            }
        };
        let mut body = read.split_off(end);
        let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().unwrap();
        if early {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        while body.len() < length && matches!(stream.read_buf(&mut body).await, Ok(1..)) {}
        let complete = body.len() >= length;
        assert!(body.len() <= length, "more than announced");
        let _ = seen.send(Seen {
            head,
            body,
            complete,
        });
        if !complete {
            return;
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}
