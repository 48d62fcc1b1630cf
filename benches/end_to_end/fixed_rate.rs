//! Load that asks when a request is due, whether or not the earlier ones were answered: what a
//! slow answer delays counts as latency, too.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinSet;

use crate::arguments::Stretch;
use crate::contestant::Contestant;
use crate::cores::{Awake, Cores};
use crate::exchange::Caller;
use crate::rounds::{Latency, Sample};
use crate::scenario::{Message, Scenario};
use crate::tally::Tally;

/// The timer of tokio is as coarse as a millisecond: the rest of the wait is polled.
const POLLED: Duration = Duration::from_millis(2);

/// The moments at which one connection's requests are due.
#[derive(Clone, Copy)]
struct Timetable {
    first: Instant,
    every: Duration,
    measured_from: Instant,
    end: Instant,
}

pub(crate) async fn stretch(
    contestant: &Contestant,
    scenario: Scenario,
    rate: u32,
    stretch: Stretch,
    cores: Cores,
) -> Result<Sample> {
    let message = Arc::new(scenario.message(&contestant.site));
    let connections = u32::try_from(scenario.connections())?;
    let _awake = Awake::keep(cores);
    let tally = Arc::new(Tally::default());
    let latencies = Arc::new(Mutex::new(Vec::new()));

    let start = Instant::now() + Duration::from_millis(50);
    let measured_from = start + stretch.warm_up;
    let mut callers = JoinSet::new();
    for connection in 0..connections {
        let timetable = Timetable {
            first: start + Duration::from_secs(1) * connection / rate,
            every: Duration::from_secs(1) * connections / rate,
            measured_from,
            end: measured_from + stretch.measured,
        };
        let (message, tally, latencies) = (message.clone(), tally.clone(), latencies.clone());
        let address = contestant.site.address;
        callers.spawn(async move {
            let own = keep_time(address, &message, timetable, &tally).await;
            latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(own);
        });
    }
    tokio::time::sleep_until(measured_from.into()).await;
    let watch = contestant.watch();
    let (cpu, counts, started) = (watch.read()?, tally.counts(), Instant::now());
    tokio::time::sleep(stretch.measured).await;
    let (cpu, counts, took) = (
        watch.read()?.since(cpu),
        tally.counts().since(counts),
        started.elapsed(),
    );
    let all = async { while callers.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .context("answers did not come")?;

    if counts.answers == 0 {
        bail!("no answer in {took:?}{}", tally.reason());
    }
    let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Sample {
        cpu: contestant
            .measurable()
            .then(|| cpu.per(counts.answers as f64)),
        rate: counts.answers as f64 / took.as_secs_f64(),
        failures: tally.failures(),
        first_failure: tally.first_failure(),
        latency: Latency::of(&mut latencies),
    })
}

/// One connection's requests; the time from when each was due to its answer's end.
async fn keep_time(
    address: SocketAddr,
    message: &Message,
    timetable: Timetable,
    tally: &Tally,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut caller = Caller::connect(address).await;
    let mut due = timetable.first;
    while due < timetable.end {
        if let Some(early) = due.checked_sub(POLLED) {
            tokio::time::sleep_until(early.into()).await;
        }
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        match ask(&mut caller, message).await {
            Ok(()) => {
                tally.answered();
                if due >= timetable.measured_from {
                    latencies.push(due.elapsed());
                }
            }
            Err(error) => {
                tally.failed(&error);
                caller = Caller::connect(address).await;
            }
        }
        due += timetable.every;
    }
    latencies
}

async fn ask(caller: &mut Result<Caller>, message: &Message) -> Result<()> {
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => bail!("{error:#}"),
    };
    let length = caller.exchange(&message.bytes, |_| ()).await?;
    if length != message.answer {
        bail!("{length} bytes answered, not {}", message.answer);
    }
    Ok(())
}
