//! Secrets that programs tell: [`run`] runs a [`Command`] and takes what it writes.
//!
//! Neither what a program writes to its standard output nor its arguments are ever told in a fault.

mod output;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use zeroize::Zeroizing;

pub use self::output::OutputFault;
use crate::secret::{Command, Origin, Secret};

/// How long a program may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much it may write, in bytes.
const LONGEST: usize = 64 << 10;
/// How much is told of what it complains about, in characters.
const LONGEST_COMPLAINT: usize = 1 << 10;
/// A shorter text is no secret worth hiding in a complaint: it would hide common words.
const SHORTEST_SECRET: usize = 6;

/// What a program told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The secret, in its format.
    pub value: Secret,
    /// When it is to be had again; never before the `now` of the call.
    pub expires_at: SystemTime,
}

/// Why a program told no secret.
#[derive(Debug, thiserror::Error)]
pub enum CommandFault {
    /// It ended with an exit code that is not 0.
    #[error("command `{program}` failed with exit code {code}{}", told(complaint))]
    Failed {
        /// The program.
        program: Box<str>,
        /// Its exit code.
        code: i32,
        /// The beginning of what it wrote to its standard error, in one line.
        complaint: String,
    },
    /// A signal ended it.
    #[error("command `{program}` was killed by signal {signal}{}", told(complaint))]
    Killed {
        /// The program.
        program: Box<str>,
        /// The signal's number.
        signal: i32,
        /// The beginning of what it wrote to its standard error, in one line.
        complaint: String,
    },
    /// It was not run.
    #[error("command `{program}` cannot be run{}: {source}{hint}", place(folder))]
    NotRun {
        /// The program.
        program: Box<str>,
        /// Where it was to run.
        folder: PathBuf,
        /// What to do.
        hint: &'static str,
        /// What the system says; part of the text.
        source: io::Error,
    },
    /// What it wrote is no secret.
    #[error("command `{program}` {fault}")]
    Output {
        /// The program.
        program: Box<str>,
        /// What is wrong with it.
        fault: OutputFault,
    },
    /// It did not end in time, and was killed with all that it started.
    #[error(
        "command `{program}` did not end within {}; run it by hand: it must ask for nothing, and \
         leave nothing running that holds its output",
        humantime::format_duration(*timeout)
    )]
    TimedOut {
        /// The program.
        program: Box<str>,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// What it wrote could not be read.
    #[error("what command `{program}` writes cannot be read: {source}")]
    Unreadable {
        /// The program.
        program: Box<str>,
        /// What the system says; part of the text.
        source: io::Error,
    },
}

/// Runs a command and takes its secret, which is as old as `now`.
///
/// The program runs in the command's folder, with keybearer's environment and no input. It and all
/// that it started are killed when they take too long, write too much, or when this is dropped.
///
/// # Errors
/// Whatever keeps it from telling a secret that is still of use.
pub async fn run(command: &Arc<Command>, now: SystemTime) -> Result<Told, CommandFault> {
    run_within(command, now, TIMEOUT).await
}

async fn run_within(
    command: &Arc<Command>,
    now: SystemTime,
    timeout: Duration,
) -> Result<Told, CommandFault> {
    let program = &command.words[0];
    let mut running = spawn(command)?;
    let finished = tokio::time::timeout(timeout, running.finish()).await;
    let finished = finished.map_err(|_| CommandFault::TimedOut {
        program: program.clone(),
        timeout,
    })?;
    let finished = finished.map_err(|stop| stop.fault(program))?;
    if !finished.status.success() {
        return Err(finished.failure(&command.words));
    }
    let told = output::parse(&finished.output, now, command.ttl);
    let told = told.map_err(|fault| CommandFault::Output {
        program: program.clone(),
        fault,
    })?;
    Ok(Told {
        value: formatted(command, &told.value),
        expires_at: told.expires_at,
    })
}

/// A program with the process group that it leads; killed, if it has not ended, when this is dropped.
struct Running(Child);

struct Finished {
    status: ExitStatus,
    output: Zeroizing<Vec<u8>>,
    errors: Zeroizing<Vec<u8>>,
}

enum Stop {
    TooLong,
    Unreadable(io::Error),
}

fn spawn(command: &Command) -> Result<Running, CommandFault> {
    let program = &command.words[0];
    let not_run = |source: io::Error| CommandFault::NotRun {
        program: program.clone(),
        folder: command.folder.clone(),
        hint: hint(program, &source),
        source,
    };
    // Absolute, as it is the program's working directory by the time a relative one is looked for.
    let folder = match command.folder.as_os_str().is_empty() {
        true => std::env::current_dir(),
        false => std::path::absolute(&command.folder),
    };
    let folder = folder.map_err(not_run)?;
    let path = match program.contains('/') {
        true => folder.join(&**program).into_os_string(),
        false => program.to_string().into(),
    };
    let child = tokio::process::Command::new(path)
        .args(command.words[1..].iter().map(|word| &**word))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    child.map(Running).map_err(not_run)
}

impl Running {
    /// Reads to the end of all that it writes, then waits for it. In this order, as its process group
    /// is known to be its own only until it was waited for.
    async fn finish(&mut self) -> Result<Finished, Stop> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let (output, errors) = tokio::try_join!(
            async {
                let (output, rest) = read(stdout).await?;
                if rest { Err(Stop::TooLong) } else { Ok(output) }
            },
            async { Ok(read_and_drain(stderr).await?) },
        )?;
        Ok(Finished {
            status: self.0.wait().await?,
            output,
            errors,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // No id once it was waited for: the number may be another's by then.
        let id = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = id {
            // It has ended, or it may not be killed: neither can be helped.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Finished {
    fn failure(&self, words: &[Box<str>]) -> CommandFault {
        let complaint = complaint(&self.errors, &self.output, &words[1..]);
        let program = words[0].clone();
        match (self.status.code(), self.status.signal()) {
            (None, Some(signal)) => CommandFault::Killed {
                program,
                signal,
                complaint,
            },
            (code, _) => CommandFault::Failed {
                program,
                code: code.unwrap_or_default(),
                complaint,
            },
        }
    }
}

impl Stop {
    fn fault(self, program: &str) -> CommandFault {
        let program = program.into();
        match self {
            Self::TooLong => CommandFault::Output {
                program,
                fault: OutputFault::TooLong,
            },
            Self::Unreadable(source) => CommandFault::Unreadable { program, source },
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Reads up to the longest output; and whether there is more.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> io::Result<(Zeroizing<Vec<u8>>, bool)> {
    // Room for all and a byte, as a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0; LONGEST + 1]);
    let mut length = 0;
    if let Some(mut stream) = stream {
        while length <= LONGEST {
            match stream.read(&mut bytes[length..]).await? {
                0 => break,
                more => length += more,
            }
        }
    }
    bytes.truncate(length);
    Ok((bytes, length > LONGEST))
}

/// Keeps the beginning, and takes the rest, so that the program does not wait.
async fn read_and_drain(
    mut stream: Option<impl AsyncRead + Unpin>,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let (bytes, rest) = read(stream.as_mut()).await?;
    if let Some(mut stream) = stream
        && rest
    {
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

/// The value before and after which stands what the configuration says.
fn formatted(command: &Arc<Command>, value: &str) -> Secret {
    let (before, after) = &command.format;
    // Room for all, as a text that grows leaves copies behind.
    let mut text = String::with_capacity(before.len() + value.len() + after.len());
    text.extend([before, value, after]);
    Secret::new(text, Origin::Command(Arc::clone(command)))
}

/// The beginning of a complaint, in one line without control characters. What the output tells is taken
/// out, as a shell that traces its commands shows what they say; and so are the program's arguments, as
/// many programs repeat what they were given.
fn complaint(errors: &[u8], output: &[u8], arguments: &[Box<str>]) -> String {
    let mut text = Zeroizing::new(String::from_utf8_lossy(errors).into_owned());
    let value = output::parse(output, SystemTime::UNIX_EPOCH, Duration::ZERO);
    let value = value.map_or_else(|_| Zeroizing::default(), |told| told.value);
    let output = Zeroizing::new(String::from_utf8_lossy(output).into_owned());
    let lines = output.lines().map(str::trim);
    let given = arguments.iter().flat_map(|argument| given(argument));
    let mut secrets: Vec<_> = lines.chain([value.as_str()]).chain(given).collect();
    // A line that is part of another must not keep that one from being found.
    secrets.sort_by_key(|line| std::cmp::Reverse(line.len()));
    for secret in secrets
        .into_iter()
        .filter(|line| line.len() >= SHORTEST_SECRET)
    {
        if text.contains(secret) {
            text = Zeroizing::new(text.replace(secret, "[redacted]"));
        }
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let shown = lines.collect::<Vec<_>>().join("; ");
    let shown = shown.chars().take(LONGEST_COMPLAINT);
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// What a program may repeat of an argument: all of it, a line of a script, the value of an option.
fn given(argument: &str) -> impl Iterator<Item = &str> {
    let value = argument.split_once('=').map(|(_, value)| value);
    let lines = argument.lines().map(str::trim);
    lines.chain([argument]).chain(value)
}

impl CommandFault {
    /// The same without what the program complained of, which may say more of the machine than
    /// whoever sends requests is to know.
    pub fn brief(&self) -> String {
        let told = match self {
            Self::Failed { program, code, .. } => {
                format!("command `{program}` failed with exit code {code}")
            }
            Self::Killed {
                program, signal, ..
            } => format!("command `{program}` was killed by signal {signal}"),
            other => return other.to_string(),
        };
        format!("{told}; the log and `keybearer status` have what it complained of")
    }
}

fn told(complaint: &str) -> String {
    match complaint {
        "" => "; it does not say why".to_owned(),
        _ => format!(": {complaint}"),
    }
}

fn place(folder: &Path) -> String {
    match folder.as_os_str().is_empty() {
        true => String::new(),
        false => format!(" in `{}`", folder.display()),
    }
}

/// What to do about a program that was not run.
fn hint(program: &str, error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS) => "; make it executable with `chmod +x`",
        Some(Errno::NOENT) if program.contains('/') => {
            "; the path starts at the configuration's folder, and a script's first line must name a \
             program that is there"
        }
        Some(Errno::NOENT) => "; install it, or give its path, or add its folder to `PATH`",
        Some(Errno::NOEXEC) => "; a script's first line must name its program: `#!/bin/sh`",
        _ => "",
    }
}
