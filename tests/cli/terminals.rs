//! How commands look: colours and widths of the terminal, and what is waited for.

use std::process::Command;

use crate::harness::{
    Answer, Gate, Keybearer, Process, Setup, Terminal, Upstream, connection, free_address,
};
use crate::linking::World;

const NONE: &str = "auth = { type = \"none\" }";

/// A credential that cannot be had, and so an error that is longer than a line.
const FAILING: &str =
    "auth = { type = \"bearer\", token = { command = [\"/absent/program/with/a/long/name\"] } }";

/// One that nobody has linked.
const UNLINKED: &str = "auth = { type = \"oauth2_authorization_code\", authorization_url = \"https://login.invalid/a\", token_url = \"https://login.invalid/t\", client_id = \"me\", client_secret = \"x\" }";

async fn instance(tables: &str) -> Keybearer {
    Setup::new()
        .admin(&format!("listen = \"{}\"", free_address()))
        .tables(tables)
        .start()
        .await
}

/// A command on the configuration of an instance.
fn command(keybearer: &Keybearer, args: &[&str]) -> Command {
    let mut command = keybearer.setup().command(args);
    command
        .arg("--config")
        .arg(keybearer.setup().path("keybearer.toml"));
    command
}

#[tokio::test]
async fn colours_are_for_terminals_and_for_those_who_ask() {
    let tables = connection("good", "http://127.0.0.1:1", NONE)
        + &connection("bad", "http://127.0.0.1:1", FAILING)
        + &connection("new", "http://127.0.0.1:1", UNLINKED);
    let keybearer = instance(&tables).await;
    let failed = async || {
        let exit = Process::run(&mut command(&keybearer, &["status"])).await;
        exit.stdout.contains("retrying").then_some(exit)
    };
    let exit = crate::harness::eventually("the failure", failed).await;
    assert!(
        !exit.stdout.contains('\u{1b}'),
        "no terminal: {}",
        exit.stdout
    );
    for (variables, is_coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
        (&[("CLICOLOR", "0")], false),
    ] {
        let mut command = command(&keybearer, &["status"]);
        command.envs(variables.iter().copied());
        let mut terminal = Terminal::start(&mut command, 300, 24);
        assert_eq!(terminal.exit().await, Some(1));
        terminal.shows("not_linked").await;
        let written = terminal.written();
        assert_eq!(
            written.contains('\u{1b}'),
            is_coloured,
            "{variables:?}: {written}"
        );
        let coloured = [
            "\u{1b}[32mready",
            "\u{1b}[33mretrying",
            "\u{1b}[31mnot_linked",
        ];
        let has = coloured.iter().all(|text| written.contains(text));
        assert_eq!(has, is_coloured, "{variables:?}: {written}");
    }
    // Where a program reads, but colours are asked for.
    let mut forced = command(&keybearer, &["status"]);
    let exit = Process::run(forced.env("CLICOLOR_FORCE", "1")).await;
    assert!(exit.stdout.contains("\u{1b}[32mready"), "{}", exit.stdout);
    // Each stream by itself: stdout is read by a program, stderr is a terminal.
    let mut absent = command(&keybearer, &["test", "absent"]);
    let mut terminal = Terminal::piped(&mut absent);
    assert_eq!(terminal.exit().await, Some(1));
    terminal
        .shows("error: the running instance has no connection")
        .await;
    assert!(
        terminal.written().contains("\u{1b}[31m"),
        "{}",
        terminal.written()
    );
    let mut checked = Terminal::piped(&mut command(&keybearer, &["check"]));
    assert_eq!(checked.exit().await, Some(0));
    assert!(!checked.stdout().contains('\u{1b}'));
    // JSON is for programs, wherever it goes.
    let mut json = Terminal::start(&mut command(&keybearer, &["status", "--json"]), 200, 99);
    json.exit().await;
    json.shows("\"connections\"").await;
    assert!(!json.written().contains('\u{1b}'), "{}", json.written());
}

#[tokio::test]
async fn lines_are_as_long_as_the_terminal_is_wide() {
    let tables = connection("good", "http://127.0.0.1:1", NONE)
        + &connection("bad", "http://127.0.0.1:1", FAILING);
    let keybearer = instance(&tables).await;
    let failed = async || {
        let exit = Process::run(&mut command(&keybearer, &["status"])).await;
        exit.stdout
            .contains("/absent/program")
            .then_some(exit.stdout)
    };
    let whole = crate::harness::eventually("the failure", failed).await;
    assert_eq!(
        whole.lines().count(),
        3,
        "a line each where nothing limits it: {whole}"
    );
    assert!(
        whole.lines().any(|line| line.chars().count() > 100),
        "{whole}"
    );
    for args in [&["status"][..], &["check"], &["test", "bad"]] {
        for width in [60, 80] {
            let mut terminal = Terminal::start(&mut command(&keybearer, args), width, 60);
            terminal.exit().await;
            terminal.shows("bad").await;
            // Lines that the terminal itself had to break would go on without an end of line.
            let wrapped = terminal.look(|screen| (0..60).any(|row| screen.row_wrapped(row)));
            let stderr = args[0] == "test";
            assert!(
                !wrapped || stderr,
                "{args:?} {width}:\n{}",
                terminal.screen()
            );
        }
    }
    let mut terminal = Terminal::start(&mut command(&keybearer, &["status"]), 80, 60);
    terminal.exit().await;
    terminal.shows("No such file").await;
    for line in [
        "CONNECTION  STATE     EXPIRES  REQUESTS  ERRORS  LAST ERROR",
        "good        ready     -               0       0",
    ] {
        let screen = terminal.screen();
        assert!(screen.lines().any(|shown| shown == line), "{screen}");
    }
}

#[tokio::test]
async fn what_is_waited_for_is_shown_to_a_person_alone() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let held = || Answer::fields("").behind(&gate);
    upstream.on("/slow", held());
    let keybearer = instance(&connection("p", &upstream.url(""), NONE)).await;
    let args = ["test", "p", "--path", "/slow"];
    let mut terminal = Terminal::piped(&mut command(&keybearer, &args));
    terminal.shows("GET /slow through p").await;
    let mut silent = keybearer.spawn(&args);
    upstream.wait_for_requests(2).await;
    gate.open();
    gate.open();
    assert_eq!(terminal.exit().await, Some(0), "{}", terminal.screen());
    assert!(terminal.stdout().contains("200 OK"));
    let gone = async || terminal.screen().trim().is_empty().then_some(());
    crate::harness::eventually("an empty line", gone).await;
    assert!(!terminal.look(vt100::Screen::hide_cursor));
    assert_eq!(silent.exit().await.stderr, "", "nobody watches");

    // A terminal that cannot draw is told nothing, either.
    let mut dumb = command(&keybearer, &["test", "p"]);
    let mut terminal = Terminal::piped(dumb.env("TERM", "dumb"));
    assert_eq!(terminal.exit().await, Some(0));
    assert_eq!(terminal.written(), "");
}

#[tokio::test]
async fn check_shows_whom_it_waits_for() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let held = Answer::fields("").behind(&gate);
    upstream.on("/slow", held);
    let tables = connection("fast", &upstream.url("/fast"), NONE)
        + &connection("slow", &upstream.url("/slow"), NONE);
    let keybearer = instance(&tables).await;
    let mut terminal = Terminal::piped(&mut command(&keybearer, &["check", "--connect"]));
    terminal.shows("Trying slow").await;
    assert!(!terminal.screen().contains("fast"), "{}", terminal.screen());
    gate.open();
    assert_eq!(terminal.exit().await, Some(0), "{}", terminal.screen());
    assert_eq!(terminal.stdout().matches("  ok\n").count(), 2);
}

#[tokio::test]
async fn link_waits_for_the_person_in_sight() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    let mut terminal = Terminal::piped(&mut command(&keybearer, &["link", "drive", "--json"]));
    terminal.shows("Waiting for the consent").await;
    let (_, exit) = keybearer.stop().await;
    assert_eq!(exit.code, Some(0));
    assert_eq!(terminal.exit().await, Some(2), "{}", terminal.screen());
    terminal
        .shows("nobody knows what came of the consent")
        .await;
    assert_eq!(
        terminal.stdout().lines().count(),
        1,
        "it has begun, and no more"
    );
}
