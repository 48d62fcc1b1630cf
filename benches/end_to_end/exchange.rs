//! One caller's connection, and the exchanges on it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::head;

pub(crate) struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        Ok(Self {
            stream,
            buffer: vec![0; 128 * 1024],
        })
    }

    /// Sends a request and reads its answer, which must be a 200 that leaves the connection open;
    /// hands over the body as it comes, and returns its length.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<usize> {
        self.stream.write_all(request).await.context("write")?;
        let mut filled = 0;
        let end = loop {
            filled += self.read(filled).await?;
            if let Some(end) = head::end(&self.buffer[..filled]) {
                break end;
            }
        };
        let head = &self.buffer[..end];
        if !head.starts_with(b"HTTP/1.1 200 ") {
            bail!("answered {}", first_line(head));
        }
        let Some(length) = head::content_length(head) else {
            bail!("answer without one Content-Length")
        };
        if head::values(head, "connection").any(|value| value.eq_ignore_ascii_case(b"close")) {
            bail!("the proxy closes the connection");
        }
        let mut have = filled - end;
        body(&self.buffer[end..filled]);
        while have < length {
            let read = self.read(0).await?;
            body(&self.buffer[..read]);
            have += read;
        }
        if have > length {
            bail!("{} bytes after the answer's end", have - length);
        }
        Ok(length)
    }

    async fn read(&mut self, at: usize) -> Result<usize> {
        let read = self.stream.read(&mut self.buffer[at..]).await;
        match read.context("read")? {
            0 => bail!("closed before the answer's end"),
            read => Ok(read),
        }
    }
}

fn first_line(head: &[u8]) -> String {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or(head);
    String::from_utf8_lossy(line).into_owned()
}
