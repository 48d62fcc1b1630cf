//! Exchanges that outlive this process: [`Courier`], which has each made by a process of its own.
//!
//! A provider that rotates refresh tokens takes the one that it is shown, and withdraws the whole grant
//! when it sees that one again. So the answer to a refresh must reach the disk even if this process is
//! killed in between. It is therefore not this process that asks, but a child that the kill does not
//! meet: it leads a process group of its own, and does not heed what ends sessions and services
//! (SIGTERM, SIGINT, SIGHUP, SIGQUIT). It ends by itself, within the time of one exchange.
//!
//! ```text
//! parent   lock the spool ▸ note ▸ start the child ▸ hand it the job ▸ wait for its end ▸ store ▸ remove the spool
//! child                                             read the job whole ▸ mark ▸ exchange ▸ answer
//! ```
//!
//! Each of these is on disk before the next begins. What a kill leaves:
//!
//! | killed | what is there | what the next start does |
//! |---|---|---|
//! | before the note | perhaps a spool without a note | removes it |
//! | before the job is handed over whole | a note, a spool with a head | refreshes as if nothing had been: the child makes no exchange for half a job |
//! | then, until the child has ended | a note, a spool that is locked | waits for the lock, which the child holds until its end, then reads on in this table |
//! | before the answer is stored | a note, a spool with the answer | stores that, and uses it |
//! | before the spool is removed | the new tokens, a spool without a note | removes it |
//! | both of them, before the mark | a note, a spool with a head | refreshes as if nothing had been |
//! | both of them, between mark and answer | a note, a spool with a mark | what became of the refresh token, nobody knows: it is shown once more, and if it is refused, that is said |
//! | and the connection is removed | the same, whatever it is | nothing while the value is stored that it belongs to, as the connection may come back; else, and after three months, removes the spool unless it is locked |
//!
//! The lock is that of the open file, which the child has as its standard output: between the death of
//! one and the end of the other there is no moment in which it is free. Two starts in a row wait alike.
//!
//! The answer lies sealed in the spool. Its key is made for one exchange; it is in the note, and the job
//! brings it to the child, which never has the key of the store. The job goes through a pipe: of neither
//! is anything in arguments, in the environment, or in a log.
//!
//! Where an on-prem agent leads to the endpoint, this process asks: the agent's tunnels end with it.
//!
//! A code is exchanged, and a device polled, in this process: whoever consents is there, and does it again.

pub mod errand;
mod job;
mod proxy;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use self::job::Job;
pub(super) use self::job::read;
use super::fetch::{Answer, EXCHANGE, Endpoint, FetchFault};
use crate::store::{Found, Spool};

/// The argument with which the executable is a courier.
pub const COMMAND: &str = "exchange";

/// After so long a courier has ended: an exchange's own time, and some for the disk.
pub const LIFETIME: Duration = EXCHANGE.saturating_add(Duration::from_secs(10));

/// The executable as it is mapped here, even if it was replaced on disk meanwhile.
const ITSELF: &str = "/proc/self/exe";

/// Starts couriers.
#[derive(Debug, Default)]
pub struct Courier {
    /// Whether it was said that there are none.
    warned: AtomicBool,
}

impl Courier {
    /// Sends a form as [`Endpoint::post`] does, by a process that outlives this one. Where there can be
    /// none, this process does it.
    ///
    /// # Errors
    /// Why there is no answer; whether the form was sent, the spool tells.
    pub(super) async fn carry(
        &self,
        endpoint: &Endpoint,
        form: Zeroizing<Vec<u8>>,
        authorization: Option<HeaderValue>,
        spool: &Arc<Spool>,
    ) -> Result<Answer, FetchFault> {
        if endpoint.way().road.agent().is_some() {
            // Its tunnels are this process' own: another has none of them.
            mark(spool)
                .await
                .map_err(|error| endpoint.unreachable(&not_noted(&error)))?;
            let outcome = endpoint.post(form, authorization).await;
            // What the store does not take waits there.
            let _ = keep(spool, job::write(&outcome)).await;
            return outcome;
        }
        let job = Job::new(endpoint, &form, authorization.as_ref(), spool).to_bytes();
        let why = match start(spool) {
            Ok(mut child) => match timeout(LIFETIME, finish(&mut child, &job, spool)).await {
                Ok(Ok((Found::Answer(answer), _))) => {
                    self.warned.store(false, Ordering::Relaxed);
                    let unread = || Err(endpoint.unreachable("its answer was not kept whole"));
                    return read(&answer).unwrap_or_else(unread);
                }
                Ok(Ok((Found::Mark | Found::Unknown, ended))) => {
                    return Err(endpoint.unreachable(&lost(ended)));
                }
                // Whoever ended it may be about to end this process, too: nothing was sent, so it waits.
                Ok(Ok((Found::Nothing, ended))) if was_stopped(ended) => {
                    return Err(endpoint.unreachable(&format!("nothing was sent: {}", told(ended))));
                }
                // It has ended, and has sent nothing.
                Ok(Ok((Found::Nothing, ended))) => told(ended),
                Ok(Err(error)) => return Err(endpoint.unreachable(&unknown(&error))),
                Err(_) => return Err(endpoint.unreachable(&late(&child))),
            },
            Err(error) => error.to_string(),
        };
        self.warn(&format!("no process can be started for it: {why}"));
        mark(spool)
            .await
            .map_err(|error| endpoint.unreachable(&not_noted(&error)))?;
        let outcome = endpoint.post(form, authorization).await;
        // What this process lives to see was not cut off. Its answer is stored by whoever asked.
        if let Err(error) = keep(spool, job::write(&outcome)).await {
            tracing::debug!(%error, "Outcome not spooled");
        }
        outcome
    }

    /// Says, once, that refreshes do not outlive this process.
    pub(super) fn warn(&self, problem: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                problem,
                "Refreshing in this process: if it is killed before the answer is stored, the grant may be lost"
            );
        }
    }
}

/// What to do about couriers that hang.
pub(super) const HUNG: &str = "it ends by itself unless the disk or the system hangs; if it does not, end it by `kill -9`, and what became of the refresh token is not known";

fn start(spool: &Spool) -> io::Result<Child> {
    match spawn(ITSELF.into(), spool) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            spawn(std::env::current_exe()?, spool)
        }
        started => started,
    }
}

fn spawn(program: PathBuf, spool: &Spool) -> io::Result<Child> {
    let outside = std::env::vars_os().filter(|(name, _)| is_needed(name));
    Command::new(program)
        .arg0("keybearer")
        .arg(COMMAND)
        .env_clear()
        .envs(outside)
        .stdin(Stdio::piped())
        .stdout(spool.hand()?)
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// What the loader, the resolver and the system's certificates are found by. Anything else could be a
/// secret.
fn is_needed(name: &OsString) -> bool {
    let names = [
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "LOCALDOMAIN",
        "RES_OPTIONS",
    ];
    let name = name.to_string_lossy();
    names.contains(&&*name) || name.starts_with("LD_") || name.starts_with("DYLD_")
}

/// Hands the job over, waits for the end, and sees what there is.
async fn finish(
    child: &mut Child,
    job: &[u8],
    spool: &Arc<Spool>,
) -> io::Result<(Found, ExitStatus)> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let hand_over = async {
        if let Some(mut stdin) = stdin {
            // Half a job is none: why it did not take all of it, its end tells.
            let _ = stdin.write_all(job).await;
        }
    };
    let ((), instead) = tokio::join!(hand_over, job::read_to_end(stderr));
    let status = child.wait().await?;
    let found = match spool.read().await.map_err(io::Error::other)? {
        // What could not be written was told instead.
        Found::Answer(answer) => Found::Answer(answer),
        found => spool.open(&instead).map_or(found, Found::Answer),
    };
    Ok((found, status))
}

async fn mark(spool: &Arc<Spool>) -> io::Result<()> {
    on_disk(spool, Spool::mark).await
}

async fn keep(spool: &Arc<Spool>, outcome: Zeroizing<Vec<u8>>) -> io::Result<()> {
    on_disk(spool, move |spool| spool.put(&spool.seal(&outcome)?)).await
}

async fn on_disk<F>(spool: &Arc<Spool>, work: F) -> io::Result<()>
where
    F: FnOnce(&Spool) -> io::Result<()> + Send + 'static,
{
    let spool = Arc::clone(spool);
    let done = tokio::task::spawn_blocking(move || work(&spool)).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Whether a signal ended it that ends whole groups: SIGHUP, SIGINT or SIGTERM.
fn was_stopped(status: ExitStatus) -> bool {
    matches!(status.signal(), Some(1 | 2 | 15))
}

fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(signal)) => format!("signal {signal} ended it"),
        (code, None) => format!("it ended with exit code {}", code.unwrap_or_default()),
    }
}

fn lost(status: ExitStatus) -> String {
    format!(
        "the process that asked it was ended before it had stored an answer ({})",
        told(status)
    )
}

fn late(child: &Child) -> String {
    let id = child.id().unwrap_or_default();
    format!(
        "the process that asks it (`keybearer {COMMAND}`, {id}) has not ended within {LIFETIME:?}, and nothing else is refreshed until it has; {HUNG}"
    )
}

fn unknown(error: &io::Error) -> String {
    format!("what became of the process that asked it cannot be seen: {error}")
}

fn not_noted(error: &io::Error) -> String {
    format!("nothing is sent to it, as that could not be noted on disk: {error}")
}
