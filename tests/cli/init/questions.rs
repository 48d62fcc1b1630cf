//! `keybearer init` at a terminal.

use std::fs;

use super::key;
use crate::harness::{Setup, Terminal, eventually};

#[tokio::test]
async fn questions_are_asked_at_a_terminal() {
    let setup = Setup::new();
    let mut terminal = Terminal::start(&mut setup.command(&["init"]), 100, 40);
    terminal.shows("Name of the connection").await;
    terminal.keys("no name\r");
    terminal.shows("is no name for a connection").await;
    terminal.keys("jira\r");
    terminal.shows("Base URL").await;
    terminal.keys("https://example.atlassian.net/rest/api/3\r");
    terminal.shows("How does the API authenticate?").await;
    terminal.shows("aws_iam_role").await;
    // Down to the second: basic.
    terminal.keys("\u{1b}[B");
    terminal.keys("\r");
    terminal.shows("User name").await;
    terminal.keys("me@example.com\r");
    terminal.shows("Where is the password?").await;
    terminal.keys("\r");
    terminal.shows("JIRA_PASSWORD").await;
    terminal.keys("ghp-secret\r");
    terminal.shows("takes the name of an environment").await;
    terminal.keys("\r");
    terminal.shows("Prefix").await;
    terminal.keys("/tickets\r");
    assert_eq!(terminal.exit().await, Some(0), "{}", terminal.screen());
    terminal.shows("export JIRA_PASSWORD=…").await;
    terminal.shows("curl http://127.0.0.1:8080/tickets").await;
    let setup = setup.env("JIRA_PASSWORD", "x");
    let exit = setup.run_bare(&["check"]).await;
    assert_eq!(
        exit.stdout,
        "jira: /tickets -> https://example.atlassian.net/rest/api/3, basic (username from the configuration, password from env JIRA_PASSWORD)\n",
        "{}",
        exit.stderr
    );
}

/// What options say is not asked for; a file for the secret is checked for, too.
#[tokio::test]
async fn only_what_is_missing_is_asked_for() {
    let setup = Setup::new();
    let args = [
        "init",
        "--name",
        "g",
        "--base-url",
        "https://a.example",
        "--auth",
        "oauth2_jwt_bearer",
        "--token-url",
        "https://login.example/t",
    ];
    let mut terminal = Terminal::start(&mut setup.command(&args), 100, 40);
    terminal.shows("Issuer").await;
    assert!(
        !terminal.screen().contains("Base URL"),
        "{}",
        terminal.screen()
    );
    terminal.keys("me@example.com\r");
    terminal.shows("Subject").await;
    terminal.keys("\r");
    terminal.shows("Scopes").await;
    terminal.keys("a b\r");
    terminal.shows("Where is the private key, in PEM?").await;
    // A file is usual for it.
    terminal.keys("\r");
    terminal.shows("Path of the file").await;
    terminal.keys("key.pem\r");
    terminal.shows("Prefix").await;
    terminal.keys("\r");
    assert_eq!(terminal.exit().await, Some(0), "{}", terminal.screen());
    setup.write("key.pem", &key());
    let exit = setup.run_bare(&["check"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.starts_with("g: /g -> "), "{}", exit.stdout);
}

/// Wherever it comes, the terminal is as before, and nothing is left.
#[tokio::test]
async fn ctrl_c_leaves_everything_as_it_was() {
    for (args, question) in [
        (&["init"][..], "Name of the connection"),
        (
            &["init", "--name", "a", "--base-url", "https://a.example"],
            "aws_iam_role",
        ),
    ] {
        let setup = Setup::new();
        let mut terminal = Terminal::start(&mut setup.command(args), 100, 40);
        terminal.shows(question).await;
        // Between two keys the terminal keeps it for itself, as no session is there to be told.
        let ended = async || {
            terminal.keys("\u{3}");
            terminal.ended()
        };
        assert_eq!(eventually("an end", ended).await.code(), Some(130));
        terminal.shows("stopped; nothing was written").await;
        assert!(
            !terminal.look(vt100::Screen::hide_cursor),
            "{}",
            terminal.written()
        );
        assert_eq!(fs::read_dir(setup.path("")).unwrap().count(), 0);
    }
}
