//! `keybearer status --watch`: again and again, through restarts.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Keybearer, Setup, Terminal, connection, eventually, free_address};

const NONE: &str = "auth = { type = \"none\" }";

async fn instance() -> Keybearer {
    Setup::new()
        .admin(&format!("listen = \"{}\"", free_address()))
        .tables(&connection("p", "http://127.0.0.1:1", NONE))
        .start()
        .await
}

const WATCH: [&str; 4] = ["status", "--watch", "--interval", "100ms"];

fn terminal(keybearer: &Keybearer, columns: u16, rows: u16) -> Terminal {
    let mut command = keybearer.setup().command(&WATCH);
    command
        .arg("--config")
        .arg(keybearer.setup().path("keybearer.toml"));
    Terminal::start(&mut command, columns, rows)
}

/// The row of the connection, as it stands on the screen.
fn row(terminal: &Terminal) -> String {
    let screen = terminal.screen();
    let row = screen.lines().find(|line| line.starts_with("p "));
    row.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_terminal_is_redrawn_in_place_and_restored() {
    let keybearer = instance().await;
    let mut terminal = terminal(&keybearer, 100, 20);
    terminal.shows("CONNECTION").await;
    assert!(terminal.look(vt100::Screen::alternate_screen));
    assert!(terminal.look(vt100::Screen::hide_cursor));
    terminal
        .shows(concat!(
            "keybearer ",
            env!("CARGO_PKG_VERSION"),
            " at 127.0.0.1"
        ))
        .await;
    keybearer.get("/p/x").send().await;
    let counted = async || {
        row(&terminal)
            .contains("ready  -               1       1")
            .then_some(())
    };
    eventually("a counted request", counted).await;
    let screen = terminal.screen();
    assert_eq!(screen.matches("CONNECTION").count(), 1, "{screen}");

    terminal.signal(Signal::INT);
    assert_eq!(terminal.exit().await, Some(0));
    let restored = async || {
        let is_back = terminal.look(|screen| !screen.alternate_screen() && !screen.hide_cursor());
        is_back.then_some(())
    };
    eventually("the screen from before", restored).await;
    assert_eq!(terminal.screen().trim(), "");
}

#[tokio::test]
async fn a_restart_is_waited_for() {
    let keybearer = instance().await;
    let mut terminal = terminal(&keybearer, 100, 20);
    terminal.shows("p           ready").await;
    let (setup, _) = keybearer.stop().await;
    terminal
        .shows("not reachable, trying again: nobody listens at")
        .await;
    // What was seen last stays in sight.
    terminal.shows("p           ready").await;
    let keybearer = setup.start().await;
    let back = async || (!terminal.screen().contains("not reachable")).then_some(());
    eventually("the instance", back).await;
    terminal.shows("p           ready").await;
    // A reload that is rejected is told above the table.
    let text = keybearer
        .setup()
        .text_with("[connections.p]\nbase_ulr = 1\n");
    keybearer.setup().replace("keybearer.toml", &text);
    keybearer.reload().await;
    terminal.shows("its last reload was rejected at").await;
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.exit().await, Some(0));
}

#[tokio::test]
async fn a_small_terminal_shows_what_fits() {
    let tables: String = (0..30)
        .map(|n| connection(&format!("conn-{n:02}"), "http://127.0.0.1:1", NONE))
        .collect();
    let keybearer = Setup::new()
        .admin(&format!("listen = \"{}\"", free_address()))
        .tables(&tables)
        .start()
        .await;
    let mut terminal = terminal(&keybearer, 40, 10);
    terminal.shows("conn-05").await;
    terminal.shows("… 24 more lines").await;
    let wrapped = terminal.look(|screen| (0..10).any(|row| screen.row_wrapped(row)));
    assert!(!wrapped, "{}", terminal.screen());
    assert!(
        terminal.screen().contains("CONNECTION"),
        "{}",
        terminal.screen()
    );
    terminal.resize(40, 40);
    terminal.shows("conn-29").await;
    assert!(
        !terminal.screen().contains("more lines"),
        "{}",
        terminal.screen()
    );
    terminal.signal(Signal::INT);
    assert_eq!(terminal.exit().await, Some(0));
}

/// Where a program reads: tables with an empty line between, or a JSON document a line.
#[tokio::test]
async fn a_program_gets_one_snapshot_after_the_other() {
    let keybearer = instance().await;
    let mut text = keybearer.spawn(&WATCH);
    let mut json = keybearer.spawn(&[&WATCH[..], &["--json"]].concat());
    let more = async || {
        let (text, json) = (text.stdout(), json.stdout());
        (text.matches("CONNECTION").count() > 1 && json.lines().count() > 1).then_some(())
    };
    eventually("two of each", more).await;
    let (setup, _) = keybearer.stop().await;
    let told = async || {
        let away = |process: &crate::harness::Process| {
            process.stderr().contains("not reachable, trying again: ")
        };
        (away(&text) && away(&json)).then_some(())
    };
    eventually("an outage", told).await;
    let before = json.stdout().lines().count();
    let keybearer = setup.start().await;
    let back = async || (json.stdout().lines().count() > before).then_some(());
    eventually("the instance", back).await;
    for process in [&text, &json] {
        process.signal(Signal::INT);
    }
    let (text, json) = (text.exit().await, json.exit().await);
    assert_eq!((text.code, json.code), (Some(0), Some(0)));
    for exit in [&text, &json] {
        let outage = exit.stderr.matches("not reachable").count();
        assert!(
            (1..=3).contains(&outage),
            "it is told once, and not each time: {}",
            exit.stderr
        );
        assert!(!exit.stdout.contains('\u{1b}'), "{}", exit.stdout);
    }
    for part in text.stdout.trim_end().split("\n\n") {
        let mut lines = part.lines();
        let time = lines.next().unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{part}");
        assert!(lines.next().unwrap().starts_with("CONNECTION"), "{part}");
        assert!(lines.next().unwrap().starts_with("p "), "{part}");
    }
    for line in json.stdout.lines() {
        let document: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(document["connections"][0]["name"], "p");
        assert_eq!(document["instance"]["ready"], true);
        assert!(humantime::parse_rfc3339(document["at"].as_str().unwrap()).is_ok());
    }
    drop(keybearer);
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_it() {
    let keybearer = instance().await;
    let program = crate::harness::executable();
    let script = format!(
        "{} status --watch --interval 100ms --json --config {} | head -n 1",
        program.display(),
        keybearer.setup().path("keybearer.toml").display()
    );
    let mut command = std::process::Command::new("sh");
    let exit = crate::harness::Process::run(command.args(["-c", &script])).await;
    assert_eq!(
        (exit.code, exit.stdout.lines().count()),
        (Some(0), 1),
        "{}",
        exit.stderr
    );
}

#[tokio::test]
async fn what_is_wrong_with_the_question_is_not_waited_for() {
    let setup = Setup::new()
        .file("off.toml", "[admin]\nlisten = \"off\"\n")
        .config("off.toml");
    let exit = setup.run(&["status", "--watch"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    for args in [
        &["status", "--interval", "5s"][..],
        &["status", "--watch", "--interval", "1ms"],
        &["status", "--watch", "--interval", "soon"],
        &["status", "--timeout", "soon"],
    ] {
        let exit = setup.run(args).await;
        assert_eq!(
            (exit.code, &*exit.stdout),
            (Some(2), ""),
            "{args:?}: {}",
            exit.stderr
        );
    }
}
