//! User instructions per request, counted by callgrind: where times drift, these repeat.
//!
//! A contestant runs under callgrind and is asked on one connection, one request after the other.
//! A dump resets the counters, so what lies between two dumps is the requests alone: start-up
//! never counts. The same over 16 connections shows what batching saves. Threads are counted apart: the
//! busiest is the one that serves.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::Rig;
use crate::arguments::Figure;
use crate::contestant::{Conditions, Contestant, Kind, Site};
use crate::exchange::Caller;
use crate::executable::{self, Executable};
use crate::report;
use crate::scenario::Scenario;
use crate::spread::Spread;
use crate::table::{Table, cell};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.toml");

/// How far keybearer may rise above the kept figure.
const TOLERANCE: f64 = 1.05;

const REPEATS: usize = 5;
const WARM_UP: usize = 320;
const REQUESTS: usize = 800;

/// Instructions per request of one contestant.
struct Count {
    one: Spread,
    sixteen: Spread,
    /// Of the busiest thread, on one connection.
    serving: Spread,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Of one GET, on one connection.
    keybearer: Option<f64>,
}

pub(crate) async fn run(rig: &Rig<'_>) -> Result<()> {
    if let Err(error) = executable::program("valgrind") {
        if rig.arguments.figure != Figure::Show {
            return Err(error);
        }
        println!("Without instructions: {error:#}.\n");
        return Ok(());
    }
    let mut counts = Vec::new();
    for executable in &rig.executables {
        if executable.kind.runs(Scenario::Get1k) {
            let name = executable.kind.name();
            let count = count(rig, executable).await;
            counts.push((executable.kind, count.with_context(|| name)?));
        }
    }
    println!("{}", table(&counts));
    let of = |wanted| {
        let count = counts.iter().find(|(kind, _)| *kind == wanted);
        count.map(|(_, count)| count.one.median)
    };
    let serving = |wanted| {
        let count = counts.iter().find(|(kind, _)| *kind == wanted);
        count.map(|(_, count)| count.serving.median)
    };
    for bound in &report::SERVED_INSTRUCTIONS {
        if let (Some(one), Some(other)) = (serving(bound.of), serving(bound.against)) {
            println!("{}\n", bound.verdict(one / other));
        }
    }
    let Some(keybearer) = of(Kind::Keybearer) else {
        return Ok(());
    };
    if let Some(nginx) = of(Kind::Nginx) {
        println!("{}\n", report::INSTRUCTIONS.verdict(keybearer / nginx));
    }
    match rig.arguments.figure {
        Figure::Bless => bless(keybearer),
        Figure::Check => check(keybearer),
        Figure::Show => Ok(()),
    }
}

async fn count(rig: &Rig<'_>, executable: &Executable) -> Result<Count> {
    let folder = TempDir::new()?;
    let dumps = folder.path().join("dump");
    let pipes = folder.path().join("vgdb");
    let conditions = Conditions {
        cores: rig.cores,
        under: vec![
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            "--separate-threads=yes".to_owned(),
            format!("--callgrind-out-file={}", dumps.display()),
            format!("--vgdb-prefix={}", pipes.display()),
        ],
        patience: Duration::from_secs(120),
    };
    let contestant = Contestant::start(executable, &rig.upstream, &conditions).await?;
    contestant.verify(Scenario::Get1k, &rig.upstream).await?;
    let counter = Counter {
        pid: contestant.process_id().context("no process")?,
        dumps: &dumps,
        pipes: &pipes,
    };
    let mut taken = 0;
    let mut measure = async |connections| {
        ask(contestant.site, connections, WARM_UP).await?;
        taken += 1;
        counter.dump(taken)?;
        let mut figures = Vec::new();
        for _ in 0..REPEATS {
            ask(contestant.site, connections, REQUESTS).await?;
            taken += 1;
            figures.push(counter.dump(taken)?.map(|of| of / REQUESTS as f64));
        }
        let spread = |which: usize| {
            let figures = figures.iter().map(|figure| figure[which]);
            Spread::of(figures).context("no figures")
        };
        anyhow::Ok([spread(0)?, spread(1)?])
    };
    let [one, serving] = measure(1).await?;
    let [sixteen, _] = measure(16).await?;
    Ok(Count {
        one,
        sixteen,
        serving,
    })
}

/// A process under callgrind.
struct Counter<'a> {
    pid: u32,
    dumps: &'a Path,
    pipes: &'a Path,
}

impl Counter<'_> {
    /// The instructions since the dump before, this being the `index`th: of all threads, and of the
    /// busiest.
    fn dump(&self, index: usize) -> Result<[f64; 2]> {
        let output = Command::new("timeout")
            .args(["60", "vgdb"])
            .arg(format!("--pid={}", self.pid))
            .arg(format!("--vgdb-prefix={}", self.pipes.display()))
            .arg("dump")
            .output()
            .context("vgdb (Debian: valgrind)")?;
        ensure!(
            output.status.success(),
            "vgdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // A file for each thread: `dump.1-01`.
        let folder = self.dumps.parent().context("no folder of dumps")?;
        let begin = format!("dump.{index}-");
        let (mut all, mut busiest) = (0.0, 0.0);
        for file in fs::read_dir(folder)? {
            let file = file?;
            if !file.file_name().to_string_lossy().starts_with(&begin) {
                continue;
            }
            let total = total(&file.path())?;
            all += total;
            busiest = f64::max(busiest, total);
        }
        ensure!(all > 0.0, "a dump without totals");
        Ok([all, busiest])
    }
}

/// What callgrind says at the end of a file.
fn total(file: &Path) -> Result<f64> {
    let dump = fs::read(file).with_context(|| file.display().to_string())?;
    String::from_utf8_lossy(&dump)
        .lines()
        .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
        .with_context(|| format!("{}: no totals", file.display()))
}

/// Sends `requests` over `connections`, each with one on its way at a time.
async fn ask(site: Site, connections: usize, requests: usize) -> Result<()> {
    let mut callers = JoinSet::new();
    for _ in 0..connections {
        callers.spawn(async move {
            let message = Scenario::Get1k.message(&site);
            let mut caller = Caller::connect(site.address).await?;
            for _ in 0..requests / connections {
                let length = caller.exchange(&message.bytes, |_| ()).await?;
                ensure!(length == message.answer, "{length} bytes answered");
            }
            Ok(())
        });
    }
    while let Some(outcome) = callers.join_next().await {
        outcome??;
    }
    Ok(())
}

fn table(counts: &[(Kind, Count)]) -> String {
    let nginx = counts.iter().find(|(kind, _)| *kind == Kind::Nginx);
    let mut table = Table::new([
        "user instructions per GET",
        "1 connection",
        "16 connections",
        "/ nginx, 1",
        "/ nginx, 16",
        "busiest thread, 1",
    ]);
    for (kind, count) in counts {
        let ratio = |of: fn(&Count) -> Spread| {
            cell(
                nginx.map(|(_, nginx)| of(count).median / of(nginx).median),
                2,
            )
        };
        table.row([
            kind.name().to_owned(),
            format!("{:.0}", count.one),
            format!("{:.0}", count.sixteen),
            ratio(|count| count.one),
            ratio(|count| count.sixteen),
            format!("{:.0}", count.serving),
        ]);
    }
    format!("## instructions: counted by callgrind, get1k\n\n{table}")
}

fn bless(figure: f64) -> Result<()> {
    let text = format!(
        "# User instructions of keybearer per GET (benches/README.md): `--check` fails more than 5 % above.\n\
         # Written by `cargo bench --bench end_to_end -- --bless`.\n\
         keybearer = {figure:.0}\n"
    );
    fs::write(KEPT, text).context(KEPT)?;
    println!("Kept {figure:.0} in benches/instructions.toml.");
    Ok(())
}

fn check(figure: f64) -> Result<()> {
    let text = fs::read_to_string(KEPT).context(KEPT)?;
    let kept: Kept = toml::from_str(&text).context(KEPT)?;
    let Some(kept) = kept.keybearer else {
        bail!("no figure is kept yet in benches/instructions.toml: write it with `--bless`")
    };
    let change = (figure / kept - 1.0) * 100.0;
    println!("{figure:.0} instructions per GET, {kept:.0} kept: {change:+.1} %.");
    ensure!(
        figure <= kept * TOLERANCE,
        "keybearer uses {change:.1} % more instructions per GET than is kept; \
         if that is meant, keep the new figure with `--bless`"
    );
    Ok(())
}
