//! A courier's own work: [`run`], what the executable does as the command [`COMMAND`](super::COMMAND).

use std::fs::File;
use std::io::{self, Read, Write};
use std::thread::sleep;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::job::{self, Job};
use crate::store::Spool;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no job, or no place for its answer.
    #[error(
        "`{}` is what keybearer starts by itself for the refresh of a token; by hand it does nothing",
        super::COMMAND
    )]
    ByHand,
    /// The system refuses.
    #[error("the exchange cannot be made: {0}")]
    Failed(#[from] io::Error),
}

/// Makes the exchange that `input` says, whose answer goes to the spool that `output` is; what that
/// does not take goes to `instead`, as sealed as it is.
///
/// # Errors
/// Nothing was sent.
pub fn run(input: impl Read, output: File, instead: impl Write) -> Result<(), Refused> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(exchange(input, output, instead));
    // A name that is still being resolved is of no use any more.
    runtime.shutdown_background();
    done
}

async fn exchange(
    mut input: impl Read,
    output: File,
    mut instead: impl Write,
) -> Result<(), Refused> {
    let _handled = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
    ]
    .map(signal);
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    input.read_to_end(&mut bytes)?;
    let job = Job::parse(&bytes).ok_or(Refused::ByHand)?;
    drop(bytes);
    // All that can fail is tried before the mark.
    let endpoint = job.endpoint().ok_or(Refused::ByHand)?;
    let (form, authorization) = job.message().ok_or(Refused::ByHand)?;
    let spool = Spool::handed(output, job.key(), job.place().to_owned());
    let spool = spool.ok_or(Refused::ByHand)?;
    drop(job);
    spool.mark()?;
    let outcome = endpoint.post(form, authorization).await;
    keep(&spool, &job::write(&outcome), &mut instead);
    Ok(())
}

/// Keeps an answer, wherever it can be kept: there is no other.
fn keep(spool: &Spool, answer: &[u8], instead: &mut impl Write) {
    let Ok(sealed) = spool.seal(answer) else {
        return;
    };
    let mut wait = Duration::from_millis(100);
    for _ in 0..4 {
        if spool.put(&sealed).is_ok() {
            return;
        }
        sleep(wait);
        wait *= 2;
    }
    // Nobody reads it if nobody is there any more.
    let _ = instead.write_all(&sealed);
}
