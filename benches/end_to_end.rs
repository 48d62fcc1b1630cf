//! keybearer beside nginx, HAProxy and pingora-proxy on loopback: the same job, the same load, in
//! one run, as ratios. `benches/README.md` says how to run it and how to read it.
//!
//! Load and upstream live in this process, on one core; the proxies run on another.

// What a bench measured is what was asked for, and belongs on standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use arguments::{Arguments, Mode};
use contestant::{Conditions, Contestant};
use cores::Cores;
use executable::Executable;
use upstream::Upstream;

#[path = "end_to_end/arguments.rs"]
mod arguments;
#[path = "end_to_end/closed_loop.rs"]
mod closed_loop;
#[path = "end_to_end/configuration.rs"]
mod configuration;
#[path = "end_to_end/contestant.rs"]
mod contestant;
#[path = "end_to_end/cores.rs"]
mod cores;
#[path = "end_to_end/cpu.rs"]
mod cpu;
#[path = "end_to_end/exchange.rs"]
mod exchange;
#[path = "end_to_end/executable.rs"]
mod executable;
#[path = "end_to_end/fixed_rate.rs"]
mod fixed_rate;
#[path = "end_to_end/head.rs"]
mod head;
#[path = "end_to_end/http2.rs"]
mod http2;
#[path = "end_to_end/instructions.rs"]
mod instructions;
#[path = "end_to_end/memory.rs"]
mod memory;
#[path = "end_to_end/process.rs"]
mod process;
#[path = "end_to_end/report.rs"]
mod report;
#[path = "end_to_end/rounds.rs"]
mod rounds;
#[path = "end_to_end/scenario.rs"]
mod scenario;
#[path = "end_to_end/spread.rs"]
mod spread;
#[path = "end_to_end/table.rs"]
mod table;
#[path = "end_to_end/tally.rs"]
mod tally;
#[path = "end_to_end/upstream.rs"]
mod upstream;

/// What a measurement needs.
struct Rig<'a> {
    arguments: &'a Arguments,
    cores: Cores,
    executables: Vec<Executable>,
    upstream: Upstream,
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this program too, bare: it is no test.
    if given.is_empty() {
        println!("end_to_end: nothing measured; run `cargo bench --bench end_to_end`");
        return ExitCode::SUCCESS;
    }
    match run(given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(given: Vec<String>) -> Result<()> {
    let arguments = Arguments::parse(given)?;
    if arguments.mode == Mode::Help {
        print!("{}", arguments::HELP);
        return Ok(());
    }
    let executables = executable::find(&arguments)?;
    let cores = cores::claim()?;
    println!("{cores}\n");
    if cfg!(debug_assertions) {
        println!("**A debug build: these figures say nothing.**\n");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("tokio runtime")?;
    runtime.block_on(async {
        let rig = Rig {
            arguments: &arguments,
            cores,
            executables,
            upstream: Upstream::start().await?,
        };
        if matches!(arguments.mode, Mode::Everything | Mode::Smoke) {
            time(&rig).await?;
            memory::run(&rig).await?;
        }
        if matches!(arguments.mode, Mode::Everything | Mode::Instructions) {
            instructions::run(&rig).await?;
        }
        Ok(())
    })
}

/// The timed scenarios. All contestants stay up, one at a time is loaded.
async fn time(rig: &Rig<'_>) -> Result<()> {
    let mut contestants = Vec::new();
    for executable in &rig.executables {
        let conditions = Conditions::plain(rig.cores);
        contestants.push(Contestant::start(executable, &rig.upstream, &conditions).await?);
    }
    let mut failures = 0;
    for &scenario in &rig.arguments.scenarios {
        for contestant in &contestants {
            contestant.verify(scenario, &rig.upstream).await?;
        }
        let results = rounds::run(&contestants, scenario, rig.arguments, rig.cores).await?;
        println!("{}", report::scenario(scenario, &results));
        failures += results.failures();
    }
    if failures > 0 {
        bail!("{failures} requests failed");
    }
    Ok(())
}
