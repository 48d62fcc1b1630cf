//! A caller: [`RawClient`] writes any bytes, [`Request`] writes a well-formed request.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::message::{Framing, Head, Stream, Wire};
use super::within;

/// A caller's connection.
pub struct RawClient {
    wire: Wire<Box<dyn Stream>>,
}

/// A whole answer.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Its head, byte for byte.
    pub head: Head,
    /// Its content without framing.
    pub body: Vec<u8>,
    /// Its trailer fields.
    pub trailers: Vec<(String, String)>,
    /// Whether the content ended as its framing says.
    pub complete: bool,
    /// Status codes of the interim answers before it.
    pub interim: Vec<u16>,
}

impl RawClient {
    /// Connects by TCP.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("connect", TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        Self {
            wire: Wire::new(Box::new(stream)),
        }
    }

    /// Connects by TCP as one whose system takes next to nothing that it has not read.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = within("connect", socket.connect(address)).await.unwrap();
        Self {
            wire: Wire::new(Box::new(stream)),
        }
    }

    /// Connects to a Unix socket.
    pub async fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).await.unwrap();
        Self {
            wire: Wire::new(Box::new(stream)),
        }
    }

    /// Writes these bytes; a peer that has closed already is no failure here, its answer is read next.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("write", self.wire.write(bytes.as_ref())).await;
    }

    /// Reads the head of the next answer; `None` if the peer closes instead.
    pub async fn head(&mut self) -> Option<Head> {
        within("head of an answer", self.wire.head())
            .await
            .ok()
            .flatten()
    }

    /// Reads the next answer to anything but a HEAD request.
    pub async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// Reads the next answer to a request with `method`.
    pub async fn response_to(&mut self, method: &str) -> Response {
        self.try_response_to(method)
            .await
            .expect("an answer instead of a close")
    }

    /// The next answer; `None` if the peer closes instead.
    pub async fn try_response_to(&mut self, method: &str) -> Option<Response> {
        let mut interim = Vec::new();
        let (status, head) = loop {
            let head = self.head().await?;
            let status = head.part(1).parse().expect("a status code");
            if !(100..200).contains(&status) || status == 101 {
                break (status, head);
            }
            interim.push(status);
        };
        let mut body = Vec::new();
        let framing = head.response_framing(method);
        let mut keep = |bytes: &[u8]| body.extend_from_slice(bytes);
        let end = within(
            "content of an answer",
            self.wire.content(framing, &mut keep),
        )
        .await;
        let complete = end.is_ok();
        Some(Response {
            status,
            head,
            body,
            trailers: end.unwrap_or_default(),
            complete,
            interim,
        })
    }

    /// Reads until these bytes have come, and gives all up to there.
    pub async fn until(&mut self, end: &str) -> String {
        let bytes = within(end, self.wire.until(end.as_bytes())).await.unwrap();
        String::from_utf8(bytes.expect("more bytes")).unwrap()
    }

    /// Reads exactly so many bytes without keeping them.
    pub async fn skip(&mut self, bytes: u64) -> std::io::Result<()> {
        self.wire
            .content(Framing::Length(bytes), &mut |_| {})
            .await
            .map(drop)
    }

    /// Waits until the peer closes, and gives what it still sent.
    pub async fn closed(&mut self) -> Vec<u8> {
        // A reset is a close too.
        let end = async { while let Ok(true) = self.wire.fill().await {} };
        within("close by the peer", end).await;
        std::mem::take(&mut self.wire.ahead)
    }

    /// The stream itself, for another protocol.
    pub fn into_stream(self) -> Box<dyn Stream> {
        assert!(self.wire.ahead.is_empty(), "bytes read ahead would be lost");
        self.wire.stream
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.head, self.text())
    }
}

impl Response {
    /// The value of a field that stands there once or not at all.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.one(name)
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that keybearer itself gave this answer, well formed; gives the problem's `detail`.
    pub fn problem(&self, status: u16, slug: &str, error: &str) -> String {
        let detail = self.own();
        let problem = self.json();
        assert_eq!(self.status, status, "{problem}");
        assert_eq!(problem["type"], format!("urn:keybearer:problem:{slug}"));
        let said = self.header("proxy-status").unwrap();
        assert_eq!(said, format!("keybearer; error={error}"), "{problem}");
        detail
    }

    /// Asserts that keybearer itself gave this answer, well formed; gives the problem's `detail`.
    pub fn own(&self) -> String {
        let content_type = self.header("content-type");
        assert_eq!(content_type, Some("application/problem+json"), "{self:?}");
        let said = self.header("proxy-status").expect("Proxy-Status");
        assert!(said.starts_with("keybearer; error="), "{said}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for member in ["type", "title", "detail"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no `{member}` in {problem}");
        }
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    host: String,
    lines: String,
    body: Vec<u8>,
}

impl Request {
    /// A request to this listener.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            method: method.to_owned(),
            target: target.to_owned(),
            host: address.to_string(),
            lines: String::new(),
            body: Vec::new(),
        }
    }

    /// With one more field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.lines.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// With another Host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// With a sized content of this type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        self.header("Content-Type", content_type).content(body)
    }

    /// With a sized content, of which no type is told.
    #[must_use]
    pub fn content(self, content: impl AsRef<[u8]>) -> Self {
        let length = content.as_ref().len().to_string();
        let mut request = self.header("Content-Length", &length);
        request.body = content.as_ref().to_vec();
        request
    }

    /// With a chunked content of this type, in these chunks.
    #[must_use]
    pub fn chunks(self, content_type: &str, chunks: &[&str]) -> Self {
        let mut request = self
            .header("Content-Type", content_type)
            .header("Transfer-Encoding", "chunked");
        for chunk in chunks {
            let line = format!("{:x}\r\n{chunk}\r\n", chunk.len());
            request.body.extend_from_slice(line.as_bytes());
        }
        request.body.extend_from_slice(b"0\r\n\r\n");
        request
    }

    /// With a content of any bytes in chunks of this length.
    #[must_use]
    pub fn raw_chunks(self, content: &[u8], length: usize) -> Self {
        let mut request = self.header("Transfer-Encoding", "chunked");
        for chunk in content.chunks(length) {
            let line = format!("{:x}\r\n", chunk.len());
            request.body.extend_from_slice(line.as_bytes());
            request.body.extend_from_slice(chunk);
            request.body.extend_from_slice(b"\r\n");
        }
        request.body.extend_from_slice(b"0\r\n\r\n");
        request
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let Self {
            method,
            target,
            host,
            lines,
            ..
        } = self;
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends it on a connection of its own and reads the answer.
    pub async fn send(&self) -> Response {
        let mut client = RawClient::connect(self.address).await;
        self.send_on(&mut client).await
    }

    /// Sends it on this connection and reads the answer.
    pub async fn send_on(&self, client: &mut RawClient) -> Response {
        client.send(self.bytes()).await;
        client.response_to(&self.method).await
    }
}
