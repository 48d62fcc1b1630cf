//! Questions to the running instance, over its console.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Global;
use crate::config::source::{Process, locate};
use crate::config::{self, Admin, Listen};

/// For one question.
const PATIENCE: Duration = Duration::from_secs(60);

/// No answer of the console is longer.
const LONGEST: usize = 64 << 20;

/// The console of the instance that runs with a configuration.
pub(super) struct Remote {
    admin: Admin,
}

/// An answer that is not the one that was hoped for, in the instance's own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

impl Remote {
    /// The instance's console, by the configuration that this command finds.
    pub(super) fn find(global: &Global) -> Result<Self> {
        // Only the console is asked for: whoever asks need not have the secrets of the instance.
        let location = locate(global.config.as_deref(), &Process)?;
        match config::console(&location, &Process) {
            Some(admin) => Ok(Self { admin }),
            None => bail!("admin.listen is \"off\": the running instance cannot be asked"),
        }
    }

    /// Whether an instance is there.
    pub(super) async fn answers(&self) -> bool {
        let asked = timeout(PATIENCE, self.exchange(Method::GET, "/healthz", None)).await;
        matches!(asked, Ok(Ok(_)))
    }

    /// Asks, and reads the JSON answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        content: Option<&Value>,
    ) -> Result<Value> {
        let listen = &self.admin.listen;
        let answer = timeout(PATIENCE, self.exchange(method, path, content))
            .await
            .with_context(|| format!("{listen} does not answer"))?;
        let (status, content) = answer.with_context(|| {
            format!("{listen} cannot be asked; is keybearer running with this configuration?")
        })?;
        let json: Value = serde_json::from_slice(&content).unwrap_or_default();
        if status.is_success() {
            return Ok(json);
        }
        let detail = json.get("detail").and_then(Value::as_str);
        let detail = detail.map_or_else(|| format!("{listen} answers {status}"), str::to_owned);
        Err(Refused(detail).into())
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content: Option<&Value>,
    ) -> Result<(StatusCode, Bytes)> {
        match &self.admin.listen {
            Listen::Tcp { host, port } => {
                let host = match &**host {
                    "0.0.0.0" => "127.0.0.1",
                    "::" => "::1",
                    host => host,
                };
                let stream = TcpStream::connect((host, *port)).await?;
                self.speak(stream, method, path, content).await
            }
            Listen::Unix(path_of_socket) => {
                let stream = UnixStream::connect(path_of_socket).await?;
                self.speak(stream, method, path, content).await
            }
        }
    }

    async fn speak<S>(
        &self,
        stream: S,
        method: Method,
        path: &str,
        content: Option<&Value>,
    ) -> Result<(StatusCode, Bytes)>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(driver);
        let content = content.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.admin.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let response = sender
            .send_request(request.body(Full::new(Bytes::from(content)))?)
            .await?;
        let status = response.status();
        let content = Limited::new(response.into_body(), LONGEST).collect().await;
        let content = content.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        driving.abort();
        Ok((status, content))
    }
}

/// A connection's name as a segment of a path.
pub(super) fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Waits for work that needs a runtime.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Runs a command that asks the running instance; what that refuses is no fault of the arguments.
pub(super) fn run<F>(work: F) -> Result<ExitCode>
where
    F: Future<Output = Result<ExitCode>>,
{
    match wait_for(work) {
        Err(error) if error.is::<Refused>() => {
            super::complain(&format!("error: {error:#}"));
            Ok(ExitCode::FAILURE)
        }
        outcome => outcome,
    }
}
