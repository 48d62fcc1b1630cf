//! `keybearer health`: asks the running instance whether it lives, for images that have no curl.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Global, complain};
use crate::config::source::{Process, locate};
use crate::config::{self, Admin, Listen};

/// For the whole question; a container's health check has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(3);

const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

pub(super) fn health(global: &Global) -> anyhow::Result<ExitCode> {
    // Only the address is asked for: a file that was spoilt meanwhile says nothing of the instance,
    // which goes on with what it had.
    let location = locate(global.config.as_deref(), &Process)?;
    let Some(Admin { listen, .. }) = config::console(&location, &Process).admin else {
        bail!("admin.listen is \"off\": nothing can be asked");
    };
    match ask(&listen) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Ok(ExitCode::SUCCESS),
        Ok(answer) => {
            complain(&format!(
                "{listen} answers: {}",
                answer.lines().next().unwrap_or_default()
            ));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            complain(&format!("{error:#}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn ask(listen: &Listen) -> anyhow::Result<String> {
    let answer = match listen {
        Listen::Tcp { host, port } => {
            let host = match &**host {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            let address = (host, *port)
                .to_socket_addrs()?
                .next()
                .context("the name has no address")?;
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream)
        }
    };
    answer.with_context(|| format!("{listen} does not answer"))
}

fn exchange(mut stream: impl Read + Write) -> anyhow::Result<String> {
    stream.write_all(QUESTION)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
