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
use crate::http2::Callers;
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
    /// Callers on connections of their own, or on the one that is given.
    pub(crate) fn start(
        address: SocketAddr,
        message: Message,
        connections: usize,
        shared: Option<&Callers>,
    ) -> Self {
        let mut load = Self {
            callers: JoinSet::new(),
            stop: Arc::default(),
            tally: Arc::default(),
        };
        let message = Arc::new(message);
        for _ in 0..connections {
            let (message, stop, tally) = (message.clone(), load.stop.clone(), load.tally.clone());
            let shared = shared.cloned();
            load.callers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let called = match &shared {
                        Some(callers) => call_shared(callers, &message, &stop, &tally).await,
                        None => call(address, &message, &stop, &tally).await,
                    };
                    if let Err(error) = called {
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

async fn call_shared(
    callers: &Callers,
    message: &Message,
    stop: &AtomicBool,
    tally: &Tally,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let length = callers
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
    let address = contestant.site.address;
    let shared = match contestant.kind.is_asked_in_http2() {
        true => Some(Callers::connect(address).await?),
        false => None,
    };
    let load = Load::start(address, message, scenario.connections(), shared.as_ref());
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
