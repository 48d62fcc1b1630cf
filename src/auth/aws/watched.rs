//! Work of a library that starts processes and would leave them running: [`run`] bounds it in time, and
//! ends with it what it has started.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot::{self, Sender};
use tokio::time::timeout;

/// Why work was not finished.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// It took too long, and was given up.
    Late,
    /// There is no thread for it.
    NotBegun(io::Error),
}

/// Does work within a time. If it is over, or this is dropped, the work is given up; processes that it
/// has started are killed, with those that they have started (on Linux; elsewhere they stay).
///
/// The work has a thread of its own, as the system knows of each process which thread has started it:
/// so nothing is killed that something else has started meanwhile.
///
/// # Errors
/// It was not finished.
pub(super) async fn run<T, F>(work: F, limit: Duration) -> Result<T, Unfinished>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    let thread = thread::Builder::new().name("watched".to_owned());
    thread
        .spawn(move || runtime.block_on(watch(work, limit, tell)))
        .map_err(Unfinished::NotBegun)?;
    told.await.ok().flatten().ok_or(Unfinished::Late)
}

async fn watch<T>(work: impl Future<Output = T>, limit: Duration, mut tell: Sender<Option<T>>) {
    let mut work = pin!(work);
    let done = tokio::select! {
        // First, as timers cannot be asked any more when the runtime ends.
        biased;
        () = tell.closed() => None,
        done = timeout(limit, &mut work) => done.ok(),
    };
    if done.is_none() {
        // While the work is there: until it is dropped, nobody else waits for its processes, so their
        // numbers are theirs.
        end_started();
    }
    let _ = tell.send(done);
}

/// Kills what this thread has started.
#[cfg(target_os = "linux")]
fn end_started() {
    use std::fs;
    use std::path::Path;

    use rustix::process::{Pid, Signal, kill_process};

    fn started_by(thread: &Path) -> Vec<Pid> {
        let ids = fs::read_to_string(thread.join("children")).unwrap_or_default();
        let ids = ids.split_whitespace().map(str::parse);
        ids.filter_map(|id| Pid::from_raw(id.ok()?)).collect()
    }

    fn end(process: Pid) {
        // A process that stands still starts no other, and waits for none that has ended. One that is
        // gone, or is another user's, cannot be helped.
        let _ = kill_process(process, Signal::STOP);
        let threads = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()));
        for thread in threads.into_iter().flatten().flatten() {
            started_by(&thread.path()).into_iter().for_each(end);
        }
        let _ = kill_process(process, Signal::KILL);
    }

    let this = Path::new("/proc/thread-self");
    started_by(this).into_iter().for_each(end);
}

#[cfg(not(target_os = "linux"))]
fn end_started() {}
