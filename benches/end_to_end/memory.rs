//! Resident memory: idle, and with idle keep-alive connections.

use std::fs;
use std::iter;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use crate::Rig;
use crate::contestant::{Conditions, Contestant};
use crate::exchange::Caller;
use crate::scenario::Scenario;
use crate::table::Table;

const COUNTS: [usize; 3] = [0, 64, 1000];

/// Each contestant started afresh, its connections opened and used once.
pub(crate) async fn run(rig: &Rig<'_>) -> Result<()> {
    let mut table = Table::new([
        "MiB, RSS (PSS)",
        "idle",
        "64 connections",
        "1,000 connections",
    ]);
    for executable in &rig.executables {
        if !executable.kind.runs(Scenario::Get1k) {
            continue;
        }
        let conditions = Conditions::plain(rig.cores);
        let contestant = Contestant::start(executable, &rig.upstream, &conditions).await?;
        let mut cells = [const { String::new() }; COUNTS.len()];
        let mut callers = Vec::new();
        for (count, cell) in iter::zip(COUNTS, &mut cells) {
            open(&contestant, count, &mut callers)
                .await
                .with_context(|| format!("{}, {count} connections", executable.kind.name()))?;
            *cell = resident(contestant.watch().processes())?;
        }
        let [idle, some, many] = cells;
        table.row([executable.kind.name().to_owned(), idle, some, many]);
    }
    println!("## rss: resident memory\n\n{table}");
    Ok(())
}

/// Opens connections up to `count`, 64 at a time, with one GET on each.
async fn open(contestant: &Contestant, count: usize, callers: &mut Vec<Caller>) -> Result<()> {
    while callers.len() < count {
        let mut opening = JoinSet::new();
        for _ in 0..(count - callers.len()).min(64) {
            let (site, message) = (
                contestant.site,
                Scenario::Get1k.message(&contestant.site).bytes,
            );
            opening.spawn(async move {
                let mut caller = Caller::connect(site.address).await?;
                caller.exchange(&message, |_| ()).await?;
                anyhow::Ok(caller)
            });
        }
        while let Some(caller) = opening.join_next().await {
            callers.push(caller??);
        }
    }
    Ok(())
}

/// RSS counts what master and worker share twice, PSS once.
fn resident(processes: &[u32]) -> Result<String> {
    let (mut rss, mut pss) = (0, 0);
    for pid in processes {
        let file = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&file).context(file)?;
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (name, kib) = (words.next(), words.next());
            let kib: u64 = kib.and_then(|kib| kib.parse().ok()).unwrap_or(0);
            match name {
                Some("Rss:") => rss += kib,
                Some("Pss:") => pss += kib,
                _ => {}
            }
        }
    }
    Ok(format!(
        "{:.1} ({:.1})",
        rss as f64 / 1024.0,
        pss as f64 / 1024.0
    ))
}
