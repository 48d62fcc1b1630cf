//! HTTP/2, for a contestant that speaks it to the upstream, and for callers that speak it to a
//! contestant.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use std::net::SocketAddr;
use tokio::net::TcpStream;

use crate::head;

/// Answers the requests of one connection, each as HTTP/1.1 would be answered: `answer` is given a
/// head of that and gives such an answer.
pub(crate) async fn serve(
    stream: TcpStream,
    answer: fn(&[u8]) -> std::borrow::Cow<'static, [u8]>,
) -> Result<()> {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(250)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20);
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        tokio::spawn(async move {
            let (parts, mut content) = request.into_parts();
            let mut length = 0;
            while let Some(data) = content.data().await {
                let data = data?;
                content.flow_control().release_capacity(data.len())?;
                length += data.len();
            }
            let answer = answer(&told(&parts, length));
            let end = head::end(&answer).context("an answer without an end")?;
            let mut response = Response::builder();
            for line in std::str::from_utf8(&answer[..end])?.split("\r\n").skip(1) {
                if let Some((name, value)) = line.split_once(": ") {
                    response = response.header(name, value);
                }
            }
            let body = Bytes::copy_from_slice(&answer[end..]);
            let mut stream = respond.send_response(response.body(())?, body.is_empty())?;
            if !body.is_empty() {
                send(&mut stream, body).await?;
            }
            anyhow::Ok(())
        });
    }
    Ok(())
}

/// A request as it would be on HTTP/1.1.
fn told(parts: &http::request::Parts, length: usize) -> Vec<u8> {
    let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let host = parts.uri.authority().map_or("", |it| it.as_str());
    let mut told = format!("{} {path} HTTP/1.1\r\nhost: {host}\r\n", parts.method).into_bytes();
    for (name, value) in &parts.headers {
        told.extend_from_slice(name.as_str().as_bytes());
        told.extend_from_slice(b": ");
        told.extend_from_slice(value.as_bytes());
        told.extend_from_slice(b"\r\n");
    }
    if length > 0 && !parts.headers.contains_key("content-length") {
        told.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
    }
    told.extend_from_slice(b"\r\n");
    told
}

/// Callers that share a connection, as those of gRPC do.
#[derive(Clone)]
pub(crate) struct Callers(SendRequest<Bytes>);

impl Callers {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends what is a request of HTTP/1.1, and reads its answer, which must be a 200; hands over the
    /// body as it comes, and returns its length.
    pub(crate) async fn exchange(
        &self,
        message: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<usize> {
        let end = head::end(message).context("a message without an end")?;
        let request = request(&message[..end])?;
        let content = Bytes::copy_from_slice(&message[end..]);
        let mut sender = self.0.clone().ready().await?;
        let (answer, mut stream) = sender.send_request(request, content.is_empty())?;
        if !content.is_empty() {
            send(&mut stream, content).await?;
        }
        let answer = answer.await?;
        if answer.status() != 200 {
            bail!("answered {}", answer.status());
        }
        let mut content: RecvStream = answer.into_body();
        let mut length = 0;
        while let Some(data) = content.data().await {
            let data = data?;
            content.flow_control().release_capacity(data.len())?;
            body(&data);
            length += data.len();
        }
        Ok(length)
    }
}

fn request(head: &[u8]) -> Result<Request<()>> {
    let mut lines = std::str::from_utf8(head)?.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or("GET"), words.next().unwrap_or("/"));
    let mut request = Request::builder().method(method);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "host" => request = request.uri(format!("http://{value}{path}")),
            "connection" => {}
            _ => request = request.header(name, value),
        }
    }
    Ok(request.body(())?)
}

async fn send(stream: &mut SendStream<Bytes>, mut content: Bytes) -> Result<()> {
    while !content.is_empty() {
        stream.reserve_capacity(content.len());
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let capacity = capacity.context("the stream was closed")??;
        let piece = content.split_to(capacity.min(content.len()));
        stream.send_data(piece, content.is_empty())?;
    }
    Ok(())
}
