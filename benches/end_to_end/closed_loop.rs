//! Load that asks again as soon as it was answered: as much as the contestant can take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

use crate::contestant::Contestant;
use crate::cores::{Awake, Cores};
use crate::exchange::Caller;
use crate::rounds::Sample;
use crate::scenario::{Message, Scenario};
use crate::tally::Tally;

/// How long an answer may take once no more are asked for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Callers on connections of their own, until they are told to stop.
pub(crate) struct Load {
    callers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    pub(crate) tally: Arc<Tally>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, message: Message, connections: usize) -> Self {
        let mut load = Self {
            callers: JoinSet::new(),
            stop: Arc::default(),
            tally: Arc::default(),
        };
        let message = Arc::new(message);
        for _ in 0..connections {
            let (message, stop, tally) = (message.clone(), load.stop.clone(), load.tally.clone());
            load.callers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = call(address, &message, &stop, &tally).await {
                        tally.failed(&error);
                        // A contestant that refuses everything must not be stormed.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            });
        }
        load
    }

    /// Lets each caller have its last answer.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let all = async { while self.callers.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            bail!("an answer did not come within {PATIENCE:?}");
        }
        Ok(())
    }
}

async fn call(
    address: SocketAddr,
    message: &Message,
    stop: &AtomicBool,
    tally: &Tally,
) -> Result<()> {
    let mut caller = Caller::connect(address).await?;
    while !stop.load(Ordering::Relaxed) {
        let length = caller
            .exchange(&message.bytes, |body| tally.read(body.len()))
            .await?;
        if length != message.answer {
            bail!("{length} bytes answered, not {}", message.answer);
        }
        tally.answered();
    }
    Ok(())
}

/// One contestant, loaded for one stretch.
pub(crate) async fn stretch(
    contestant: &Contestant,
    scenario: Scenario,
    stretch: crate::arguments::Stretch,
    cores: Cores,
) -> Result<Sample> {
    let message = scenario.message(&contestant.site);
    let answer = message.answer;
    let _awake = Awake::keep(cores);
    let load = Load::start(contestant.site.address, message, scenario.connections());
    tokio::time::sleep(stretch.warm_up).await;

    let watch = contestant.watch();
    let (cpu, counts, started) = (watch.read()?, load.tally.counts(), Instant::now());
    tokio::time::sleep(stretch.measured).await;
    let (cpu, counts, took) = (
        watch.read()?.since(cpu),
        load.tally.counts().since(counts),
        started.elapsed(),
    );

    let tally = load.tally.clone();
    load.finish().await?;
    let requests = if scenario.counts_bytes() {
        counts.bytes as f64 / answer as f64
    } else {
        counts.answers as f64
    };
    if requests == 0.0 {
        bail!("no answer in {took:?}{}", tally.reason());
    }
    Ok(Sample {
        cpu: contestant.measurable().then(|| cpu.per(requests)),
        rate: requests / took.as_secs_f64(),
        failures: tally.failures(),
        first_failure: tally.first_failure(),
        latency: None,
    })
}
