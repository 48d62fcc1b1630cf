//! HTTP/1.1 on the wire, read without a library, so that no library hides what was sent.

use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The head of a message, as it was sent.
#[derive(Clone, Default)]
pub struct Head {
    /// Every byte up to and including the empty line.
    pub raw: Vec<u8>,
    /// The request line or status line.
    pub start: String,
    /// Field names and values in order, names in their letter case.
    pub fields: Vec<(String, String)>,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.raw))
    }
}

impl Head {
    /// Takes a head apart at its line ends.
    pub fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(parse_field).collect();
        Self { raw, start, fields }
    }

    /// The values of a field, by name in any letter case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        let fields = self.fields.iter().filter(same);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that stands there once or not at all.
    pub fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} more than once: {all:?}");
        all.first().copied()
    }

    /// A part of the first line, counted from 0.
    pub fn part(&self, index: usize) -> &str {
        self.start.splitn(3, ' ').nth(index).unwrap_or_default()
    }

    fn framing(&self) -> Framing {
        if !self.all("transfer-encoding").is_empty() {
            return Framing::Chunked;
        }
        match self.one("content-length") {
            Some(length) => Framing::Length(length.parse().expect("a number")),
            None => Framing::None,
        }
    }

    /// How the content of this request is framed.
    pub fn request_framing(&self) -> Framing {
        self.framing()
    }

    /// How the content of this answer to a request with `method` is framed.
    pub fn response_framing(&self, method: &str) -> Framing {
        let bodiless = matches!(self.part(1), "204" | "304") || self.part(1).starts_with('1');
        if method == "HEAD" || bodiless {
            return Framing::None;
        }
        match self.framing() {
            Framing::None => Framing::UntilClose,
            framed => framed,
        }
    }
}

fn parse_field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

/// Where the content of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// With its last chunk.
    Chunked,
    /// After so many bytes.
    Length(u64),
    /// At once.
    None,
    /// When the connection closes.
    UntilClose,
}

/// One end of a connection with what was read ahead.
pub struct Wire<S> {
    pub stream: S,
    pub ahead: Vec<u8>,
}

impl<S: Stream> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads once; `false` at the end of the stream.
    pub async fn fill(&mut self) -> io::Result<bool> {
        self.ahead.reserve(16 * 1024);
        Ok(self.stream.read_buf(&mut self.ahead).await? > 0)
    }

    /// Reads up to and including `end`; `None` if the stream ends first with nothing before it.
    pub async fn until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let rest = &self.ahead[searched..];
            if let Some(at) = rest.windows(end.len()).position(|window| window == end) {
                let taken = self.ahead.drain(..searched + at + end.len());
                return Ok(Some(taken.collect()));
            }
            searched = self.ahead.len().saturating_sub(end.len() - 1);
            if !self.fill().await? {
                return match self.ahead.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Reads a head; `None` if the stream ends before one begins.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        Ok(self.until(b"\r\n\r\n").await?.map(Head::parse))
    }

    /// Reads the content into `sink`; gives the trailer fields.
    pub async fn content(
        &mut self,
        framing: Framing,
        sink: &mut (impl FnMut(&[u8]) + Send),
    ) -> io::Result<Vec<(String, String)>> {
        match framing {
            Framing::None => {}
            Framing::Length(length) => self.exactly(length, sink).await?,
            Framing::UntilClose => loop {
                sink(&std::mem::take(&mut self.ahead));
                if !self.fill().await? {
                    break;
                }
            },
            Framing::Chunked => return self.chunks(sink).await,
        }
        Ok(Vec::new())
    }

    async fn exactly(&mut self, length: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.ahead.is_empty() && !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let count = left.min(self.ahead.len() as u64);
            let end = usize::try_from(count).unwrap();
            sink(&self.ahead[..end]);
            self.ahead.drain(..end);
            left -= count;
        }
        Ok(())
    }

    async fn chunks(
        &mut self,
        sink: &mut (impl FnMut(&[u8]) + Send),
    ) -> io::Result<Vec<(String, String)>> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if size == 0 {
                break;
            }
            self.exactly(size, sink).await?;
            self.line().await?;
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            match parse_field(&line) {
                Some(field) => trailers.push(field),
                None => return Ok(trailers),
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let line = self.until(b"\r\n").await?;
        let mut line = line.ok_or(io::ErrorKind::UnexpectedEof)?;
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}
