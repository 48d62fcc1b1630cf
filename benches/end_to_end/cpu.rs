//! CPU time of a process tree, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What a process tree had used when it was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// From `/proc/PID/stat`: both in hundredths of a second.
    user_ticks: u64,
    system_ticks: u64,
    /// From the threads' `schedstat`: in nanoseconds, without the split.
    run_time: Duration,
    /// The part of it of keybearer's threads that serve requests.
    serving: Duration,
}

/// User and system time between two readings, or of one request, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// What of both the threads that serve requests took; 0 where no thread has their name.
    pub(crate) serving: f64,
}

impl Reading {
    pub(crate) fn take(tree: &[u32]) -> Result<Self> {
        let mut reading = Self::default();
        for &pid in tree {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("process {pid} is gone"))?;
            let mut fields = fields(&stat).skip(11);
            let mut ticks = || fields.next().and_then(|field| field.parse().ok());
            reading.user_ticks += ticks().unwrap_or(0);
            reading.system_ticks += ticks().unwrap_or(0);
            for (name, time) in threads(pid) {
                reading.run_time += time;
                if name == SERVING {
                    reading.serving += time;
                }
            }
        }
        Ok(reading)
    }

    pub(crate) fn since(self, before: Self) -> Cpu {
        let user = (self.user_ticks - before.user_ticks) as f64;
        let system = (self.system_ticks - before.system_ticks) as f64;
        // USER_HZ is 100 wherever Linux runs today.
        let ticks = (user + system) * 10_000.0;
        let run_time = self.run_time.saturating_sub(before.run_time).as_secs_f64() * 1e6;
        // `schedstat` is the finer clock, but is no longer there for a thread that ended, nor on
        // kernels built without it.
        let total = if (run_time - ticks).abs() <= 40_000.0 {
            run_time
        } else {
            ticks
        };
        let share = if user + system > 0.0 {
            user / (user + system)
        } else {
            0.5
        };
        Cpu {
            user: total * share,
            system: total * (1.0 - share),
            serving: self.serving.saturating_sub(before.serving).as_secs_f64() * 1e6,
        }
    }
}

impl Cpu {
    pub(crate) fn per(self, requests: f64) -> Self {
        Self {
            user: self.user / requests,
            system: self.system / requests,
            serving: self.serving / requests,
        }
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// The fields of `/proc/PID/stat` from the third, the state, on: a name may hold spaces.
pub(crate) fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(") ")
        .map_or("", |(_, rest)| rest)
        .split_ascii_whitespace()
}

/// What keybearer calls its threads that serve requests.
const SERVING: &str = "keybearer-data";

/// The threads of a process by name, and what they have run.
fn threads(pid: u32) -> Vec<(String, Duration)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let thread = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let run_time = stat.split_ascii_whitespace().next()?.parse().ok()?;
        Some((name.trim_end().to_owned(), Duration::from_nanos(run_time)))
    };
    tasks.filter_map(Result::ok).filter_map(thread).collect()
}
