//! One request to a console, and its answer.

use std::io;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Listen;
use crate::secret::Secret;

/// No answer of the console is longer.
const LONGEST: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// There was no connection to ask on.
    Connect(io::Error),
    /// What answered speaks no HTTP.
    Garbled,
    /// The connection ended before the answer did.
    Ended(String),
}

pub(super) fn request(
    method: Method,
    path: &str,
    content: String,
    token: Option<&Secret>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Full::new(Bytes::from(content)))
}

pub(super) async fn exchange(
    listen: &Listen,
    request: Result<Request<Full<Bytes>>, http::Error>,
) -> Result<(StatusCode, Bytes), Failed> {
    let request = request.map_err(|error| Failed::Ended(error.to_string()))?;
    match listen {
        Listen::Tcp { host, port } => {
            let host = match &**host {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            let stream = TcpStream::connect((host, *port)).await;
            speak(stream.map_err(Failed::Connect)?, request).await
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            speak(stream.map_err(Failed::Connect)?, request).await
        }
    }
}

async fn speak<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(driver);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let content = Limited::new(response.into_body(), LONGEST).collect().await;
    let content = content.map_err(|error| Failed::Ended(error.to_string()))?;
    driving.abort();
    Ok((status, content.to_bytes()))
}

impl From<hyper::Error> for Failed {
    fn from(error: hyper::Error) -> Self {
        match error.is_parse() {
            true => Self::Garbled,
            false => Self::Ended(error.to_string()),
        }
    }
}
