//! What an upstream does with a request, as steps: every good and bad manner is a list of them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::upstream::Recorded;

/// One thing that an upstream does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes what this makes of the request.
    Answer(fn(&Recorded) -> String),
    /// Ends the connection.
    Close,
    /// Writes that many bytes, and reads and records the content at the same time.
    Exchange(u64),
    /// Writes that many bytes as fast as the peer takes them.
    Fill(u64),
    /// Reads and records the content, whole.
    Read,
    /// Reads the content and only counts it.
    ReadAndForget,
    /// Writes these bytes.
    Send(Bytes),
    /// Reads that many bytes of sized content and only counts them.
    Take(u64),
    /// Stops reading and writing until the test opens the gate.
    Wait(Gate),
    /// Waits for the peer to close, discarding what it sends.
    WaitForClose,
    /// Accepts a WebSocket and echoes its messages.
    WebSocket,
}

/// The steps that answer one request; the connection stays open after them if they read the content.
#[derive(Clone, Debug)]
pub struct Answer(pub Vec<Step>);

impl Answer {
    /// Reads the request, then sends this text as it stands.
    pub fn raw(text: impl Into<Bytes>) -> Self {
        Self(vec![Step::Read, Step::Send(text.into())])
    }

    /// Reads the request, then answers with a sized body.
    pub fn sized(status: &str, fields: &str, body: &str) -> Self {
        let length = body.len();
        Self::raw(format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// 200 with a text.
    pub fn ok(body: &str) -> Self {
        Self::sized("200 OK", "Content-Type: text/plain\r\n", body)
    }

    /// 200 with these field lines, each ended by CRLF, and an empty body.
    pub fn fields(lines: &str) -> Self {
        Self::sized("200 OK", lines, "")
    }

    /// Reads the request, then answers with what this makes of it.
    pub fn of(make: fn(&Recorded) -> String) -> Self {
        Self(vec![Step::Read, Step::Answer(make)])
    }

    /// The same, once it has read the request and the gate is open.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        assert!(
            matches!(self.0.first(), Some(Step::Read)),
            "nothing is read"
        );
        self.0.insert(1, Step::Wait(gate.clone()));
        self
    }

    /// Reads the request and closes without a word.
    pub fn silence() -> Self {
        Self(vec![Step::Read, Step::Close])
    }

    /// Reads the request and never answers.
    pub fn stall() -> Self {
        Self(vec![Step::Read, Step::WaitForClose])
    }

    /// Reads the request, then sends that many bytes.
    pub fn download(bytes: u64) -> Self {
        Self::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\r\n"
        ))
        .then(Step::Fill(bytes))
    }

    /// Takes a WebSocket and echoes.
    pub fn web_socket() -> Self {
        Self(vec![Step::WebSocket])
    }

    /// With one more step.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self::ok("ok")
    }
}

/// A point at which an upstream waits for its test.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one waiting step go on.
    pub fn open(&self) {
        self.0.add_permits(1);
    }

    /// Waits for [`Gate::open`].
    pub async fn pass(&self) {
        self.0.acquire().await.unwrap().forget();
    }
}

/// A chunk of a chunked body.
pub fn chunk(text: &str) -> Step {
    Step::Send(format!("{:x}\r\n{text}\r\n", text.len()).into())
}
