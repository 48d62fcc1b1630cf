//! Webhooks at a fixed rate, from their senders through the queue to their targets; beside it a loop
//! that writes as much to the same disk and syncs, one at a time. `benches/README.md` says how to read it.
//!
//! Senders and targets live in this process.

// What a bench measured is what was asked for, and belongs on standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

// Of the other bench, which reads more of a head than this one.
#[allow(dead_code)]
#[path = "end_to_end/head.rs"]
mod head;

/// What a webhook has to say, in bytes.
const CONTENT: usize = 2048;

/// Senders' connections.
const CONNECTIONS: u32 = 64;

/// How long everything may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

const HELP: &str = "\
Options:
  --rate N       webhooks a second [default: 2000]
  --seconds N    how long they are sent [default: 20]
  --endpoints N  how many endpoints share them [default: 4]
  --folder PATH  on whose disk the queue is [default: a temporary one]
  --smoke        a second of a tenth of the rate: does everything still work?
";

struct Arguments {
    rate: u32,
    seconds: u32,
    endpoints: u32,
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this program too, bare: it is no test.
    if given.is_empty() {
        println!("webhooks: nothing measured; run `cargo bench --bench webhooks`");
        return ExitCode::SUCCESS;
    }
    match parse(given).and_then(|arguments| arguments.map_or(Ok(()), |it| run(&it))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// None where help is all that is wanted.
fn parse(given: Vec<String>) -> Result<Option<Arguments>> {
    let mut arguments = Arguments {
        rate: 2000,
        seconds: 20,
        endpoints: 4,
        folder: None,
    };
    let mut words = given.into_iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--rate" => arguments.rate = value()?.parse()?,
            "--seconds" => arguments.seconds = value()?.parse()?,
            "--endpoints" => arguments.endpoints = value()?.parse()?,
            "--folder" => arguments.folder = Some(value()?.into()),
            "--smoke" => (arguments.rate, arguments.seconds) = (200, 1),
            // From cargo.
            "--bench" => {}
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(None);
            }
            other => bail!("{other} is no option\n{HELP}"),
        }
    }
    if arguments.rate == 0 || arguments.seconds == 0 || arguments.endpoints == 0 {
        bail!("nothing to measure");
    }
    Ok(Some(arguments))
}

fn run(arguments: &Arguments) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = arguments.folder.as_deref().unwrap_or(temporary.path());
    if cfg!(debug_assertions) {
        println!("**A debug build: these figures say nothing.**\n");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (sent, delivered) = runtime.block_on(deliver(arguments, folder))?;
    let loop_for = Duration::from_secs(u64::from(arguments.seconds)).min(Duration::from_secs(5));
    let synced = write_and_sync(folder, loop_for)?;
    let Arguments {
        rate, endpoints, ..
    } = arguments;
    println!(
        "| what | per second | p50 ms | p99 ms | most ms |\n|---|---|---|---|---|\n{}\n{}\n{}",
        row(
            &format!("202 answered, {rate}/s asked of {endpoints} endpoints"),
            &sent
        ),
        row("delivered, from when it was due to be sent", &delivered),
        row("write and sync, one after the other", &synced),
    );
    Ok(())
}

/// How long each took, and how long all did.
struct Timed {
    each: Vec<Duration>,
    all: Duration,
}

fn row(what: &str, timed: &Timed) -> String {
    let mut each = timed.each.clone();
    each.sort_unstable();
    let at = |share: f64| {
        let index = ((each.len() as f64 * share) as usize).min(each.len().saturating_sub(1));
        each.get(index)
            .map_or(f64::NAN, |it| it.as_secs_f64() * 1000.0)
    };
    let rate = each.len() as f64 / timed.all.as_secs_f64();
    format!(
        "| {what} | {rate:.0} | {:.1} | {:.1} | {:.1} |",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

/// The plainest way to keep something: append, sync, the next.
fn write_and_sync(folder: &Path, how_long: Duration) -> Result<Timed> {
    let path = folder.join("plain");
    let mut file = File::create(&path)?;
    let content = [b'x'; CONTENT];
    let (began, mut each) = (Instant::now(), Vec::new());
    while began.elapsed() < how_long {
        let before = Instant::now();
        file.write_all(&content)?;
        file.sync_data()?;
        each.push(before.elapsed());
    }
    let all = began.elapsed();
    fs::remove_file(path)?;
    Ok(Timed { each, all })
}

/// Sends webhooks at the rate, and waits until all are delivered.
async fn deliver(arguments: &Arguments, folder: &Path) -> Result<(Timed, Timed)> {
    let target = Arc::new(Target::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(listener, Arc::clone(&target)));
    let server = Server::start(folder, address, arguments.endpoints).await?;
    let mut paths = Vec::new();
    for at in 0..arguments.endpoints {
        paths.push(server.path(at).await?);
    }
    let start = Instant::now() + Duration::from_millis(100);
    *target.start.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
    let all = arguments.rate * arguments.seconds;
    let mut senders = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let path = paths[connection as usize % paths.len()].clone();
        let (rate, webhooks) = (arguments.rate, server.webhooks);
        senders.spawn(async move {
            let mut each = Vec::new();
            let mut stream = TcpStream::connect(webhooks).await?;
            stream.set_nodelay(true)?;
            let mut number = connection;
            while number < all {
                let due = start + Duration::from_secs(1) * number / rate;
                tokio::time::sleep_until(due.into()).await;
                // What is due says when, so that the target knows how old it is.
                let content = format!("{number:<CONTENT$}");
                let request = format!(
                    "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: {CONTENT}\r\n\r\n{content}"
                );
                stream.write_all(request.as_bytes()).await?;
                let status = answer(&mut stream).await?;
                if status != 202 {
                    bail!("answered {status}");
                }
                each.push(due.elapsed());
                number += CONNECTIONS;
            }
            Ok(each)
        });
    }
    let mut each = Vec::new();
    while let Some(sent) = senders.join_next().await {
        each.extend(sent??);
    }
    let sent = Timed {
        each,
        all: start.elapsed(),
    };
    let deadline = Instant::now() + PATIENCE;
    while target.count.load(Ordering::Relaxed) < u64::from(all) {
        if Instant::now() > deadline {
            let count = target.count.load(Ordering::Relaxed);
            bail!(
                "{count} of {all} delivered within {PATIENCE:?}; {}",
                server.words()
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let arrived = target
        .arrived
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let each = arrived.iter().map(|(number, at)| {
        let due = start + Duration::from_secs(1) * *number / arguments.rate;
        at.saturating_duration_since(due)
    });
    let delivered = Timed {
        each: each.collect(),
        all: start.elapsed(),
    };
    Ok((sent, delivered))
}

/// The status of the next answer, read whole.
async fn answer(stream: &mut TcpStream) -> Result<u16> {
    let (mut buffer, mut filled) = ([0; 4096], 0);
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => bail!("closed instead of an answer"),
            read => filled += read,
        }
        if let Some(end) = head::end(&buffer[..filled]) {
            let length = head::content_length(&buffer[..end]).context("no length")?;
            if filled >= end + length {
                let status = std::str::from_utf8(&buffer[9..12])?;
                return Ok(status.parse()?);
            }
        }
    }
}

/// What takes the deliveries.
#[derive(Default)]
struct Target {
    start: Mutex<Option<Instant>>,
    count: AtomicU64,
    arrived: Mutex<Vec<(u32, Instant)>>,
}

async fn accept(listener: TcpListener, target: Arc<Target>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Fails only for a stream that is gone already.
        let _ = stream.set_nodelay(true);
        tokio::spawn(take(stream, Arc::clone(&target)));
    }
}

async fn take(mut stream: TcpStream, target: Arc<Target>) -> Result<()> {
    let (mut buffer, mut filled) = (vec![0; 64 << 10], 0);
    loop {
        let end = loop {
            if let Some(end) = head::end(&buffer[..filled]) {
                let length = head::content_length(&buffer[..end]).unwrap_or(0);
                if filled >= end + length {
                    let text = std::str::from_utf8(&buffer[end..end + length])?;
                    let number = text.trim().parse()?;
                    let mut arrived = target
                        .arrived
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    arrived.push((number, Instant::now()));
                    break end + length;
                }
            }
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
        };
        target.count.fetch_add(1, Ordering::Relaxed);
        buffer.copy_within(end..filled, 0);
        filled -= end;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await?;
    }
}

/// A keybearer with a queue in a folder; ended with this value.
struct Server {
    child: Child,
    log: PathBuf,
    console: SocketAddr,
    webhooks: SocketAddr,
}

impl Server {
    async fn start(folder: &Path, target: SocketAddr, endpoints: u32) -> Result<Self> {
        let program = std::env::var_os("KEYBEARER")
            .map_or_else(|| env!("CARGO_BIN_EXE_keybearer").into(), PathBuf::from);
        let hooks = (0..endpoints).map(|at| {
            format!("[webhooks.endpoints.hook-{at}]\ntarget = \"http://{target}/{at}\"\nverify = {{ type = \"none\" }}\n")
        });
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = false\n[store]\npath = \"store\"\n[webhooks]\nlisten = \"127.0.0.1:0\"\n{}",
            hooks.collect::<String>()
        );
        let config = folder.join("keybearer.toml");
        fs::write(&config, text)?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&config, private)?;
        let log = folder.join("log");
        let file = File::create(&log)?;
        let child = Command::new(program)
            .args(["run", "--log-format", "json", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .context("keybearer")?;
        let mut server = Self {
            child,
            log,
            console: target,
            webhooks: target,
        };
        server.console = server.listener("console").await?;
        server.webhooks = server.listener("webhooks").await?;
        Ok(server)
    }

    async fn listener(&self, name: &str) -> Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for line in self.words().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                let mut fields = [&line, &line["fields"]].into_iter();
                if let Some(fields) = fields.find(|fields| fields["listener"] == name) {
                    let address = fields["address"].as_str();
                    return Ok(address.context("an address")?.parse()?);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("nothing listens for {name}: {}", self.words())
    }

    /// The path of an endpoint's URL.
    async fn path(&self, at: u32) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut stream = TcpStream::connect(self.console).await?;
            let request = format!(
                "GET /api/webhooks/hook-{at} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                self.console
            );
            stream.write_all(request.as_bytes()).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            if let Some((_, rest)) = text.split_once("/hooks/") {
                let id = rest.split('"').next().unwrap_or_default();
                return Ok(format!("/hooks/{id}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("endpoint {at} is not in force: {}", self.words())
    }

    fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
