//! `keybearer status --watch`: one snapshot after the other, through the instance's restarts.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, Result};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::super::output::{
    BAD, DOUBTFUL, FAINT, complain, is_shown, painted, print_json_line, warn,
};
use super::{Snapshot, Wanted};
use crate::cli::Global;
use crate::cli::remote::{Instance, Remote};
use crate::cli::run::Signals;
use crate::cli::table::{self, Overflow, cut, hanging};

/// The whole screen, the cursor hidden; and back to what was there before.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

pub(super) async fn watch(global: &Global, wanted: &Wanted) -> Result<ExitCode> {
    // What is wrong with the question itself is not waited for.
    let at = Remote::find(global, &wanted.patience)?.at().to_string();
    let mut signals = Signals::new().context("signals cannot be listened for")?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut ticks = interval(wanted.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = View::new(wanted, at)?;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = resized.recv() => {
                view.redraw()?;
                continue;
            }
            _ = signals.next() => break,
        }
        let taken = tokio::select! {
            taken = take(global, wanted) => taken,
            _ = signals.next() => break,
        };
        if !view.show(taken)? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the instance says now. The configuration is read anew, as it may be what a restart waits for.
async fn take(global: &Global, wanted: &Wanted) -> Result<Snapshot> {
    Snapshot::take(&Remote::find(global, &wanted.patience)?).await
}

/// Where snapshots are shown.
enum View {
    /// One after the other, as text or as JSON.
    Stream(Stream),
    /// In place.
    Screen(Screen),
}

impl View {
    fn new(wanted: &Wanted, at: String) -> Result<Self> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if wanted.json || is_dumb || !io::stdout().is_terminal() {
            return Ok(Self::Stream(Stream {
                json: wanted.json,
                said: Vec::new(),
            }));
        }
        let every = humantime::format_duration(wanted.interval).to_string();
        Screen::enter(at, every).map(Self::Screen)
    }

    /// Shows what was told; false if nobody looks any more.
    fn show(&mut self, taken: Result<Snapshot>) -> Result<bool> {
        match self {
            Self::Stream(stream) => stream.show(taken),
            Self::Screen(screen) => {
                match taken {
                    Ok(seen) => (screen.seen, screen.fault) = (Some(seen), None),
                    Err(error) => screen.fault = Some(error),
                }
                screen.draw()?;
                Ok(true)
            }
        }
    }

    fn redraw(&self) -> Result<()> {
        match self {
            Self::Stream(_) => Ok(()),
            Self::Screen(screen) => screen.draw(),
        }
    }
}

struct Stream {
    json: bool,
    /// What stderr was told last: it is told again only once something else was.
    said: Vec<String>,
}

impl Stream {
    fn show(&mut self, taken: Result<Snapshot>) -> Result<bool> {
        let seen = match taken {
            Ok(seen) => seen,
            Err(error) => {
                self.say(vec![unreachable(&error)]);
                return Ok(true);
            }
        };
        self.say(seen.warnings());
        if self.json {
            let mut document = seen.json();
            document["at"] = json!(time(seen.at));
            return print_json_line(&document);
        }
        let text = seen.text(table::width(), Overflow::Wrap);
        is_shown(&format!("{}\n{text}\n", time(seen.at)))
    }

    fn say(&mut self, texts: Vec<String>) {
        if self.said != texts {
            texts.iter().for_each(|text| warn(text));
            if texts.is_empty() {
                complain("the instance is all right again");
            }
            self.said = texts;
        }
    }
}

/// The terminal, until it is dropped.
struct Screen {
    at: String,
    every: String,
    seen: Option<Snapshot>,
    /// Why nothing newer was seen.
    fault: Option<anyhow::Error>,
}

impl Screen {
    fn enter(at: String, every: String) -> Result<Self> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(ENTER.as_bytes())?;
        stdout.flush()?;
        Ok(Self {
            at,
            every,
            seen: None,
            fault: None,
        })
    }

    /// Writes every line over what stood there.
    fn draw(&self) -> Result<()> {
        let (width, height) = table::size().unwrap_or((80, 24));
        let mut lines: Vec<String> = self.text(width).lines().map(str::to_owned).collect();
        if lines.len() > height {
            let hidden = lines.len() - height + 1;
            lines.truncate(height - 1);
            lines.push(cut(&format!("… {hidden} more lines"), width));
        }
        let text = lines.join("\u{1b}[K\r\n");
        let text = match AutoStream::choice(&io::stdout()) {
            // Without colours, but in place all the same.
            ColorChoice::Never => plain(&lines),
            _ => text,
        };
        let mut stdout = io::stdout().lock();
        stdout.write_all(format!("\u{1b}[H{text}\u{1b}[K\u{1b}[J").as_bytes())?;
        stdout.flush()?;
        Ok(())
    }

    fn text(&self, width: usize) -> String {
        let Self {
            at,
            every,
            seen,
            fault,
        } = self;
        let instance = seen.as_ref().and_then(|seen| seen.instance.as_ref());
        let version = instance.map_or("keybearer".to_owned(), |instance: &Instance| {
            format!("keybearer {}", instance.version())
        });
        let now = time(SystemTime::now());
        let head = format!("{version} at {at}, {now}, every {every}; Ctrl-C ends it");
        let mut text = painted(FAINT, cut(&head, width)) + "\n";
        if let Some(error) = fault {
            let lead = painted(BAD, "warning") + ": ";
            text += &hanging(&lead, &unreachable(error).replace('\n', " "), Some(width));
        }
        let Some(seen) = seen else {
            return text;
        };
        if fault.is_none() {
            for warning in seen.warnings() {
                let lead = painted(DOUBTFUL, "warning") + ": ";
                text += &hanging(&lead, &warning, Some(width));
            }
        } else {
            text += &format!("\nAt {}:\n", time(seen.at));
        }
        text + "\n" + &seen.text(Some(width), Overflow::Cut)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut stdout = io::stdout().lock();
        // A terminal that is gone needs nothing any more.
        let _ = stdout.write_all(LEAVE.as_bytes());
        let _ = stdout.flush();
    }
}

fn plain(lines: &[String]) -> String {
    let plain = |line: &String| anstream::adapter::strip_str(line).to_string();
    let lines: Vec<_> = lines.iter().map(plain).collect();
    lines.join("\u{1b}[K\r\n")
}

fn unreachable(error: &anyhow::Error) -> String {
    format!("not reachable, trying again: {error:#}")
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
