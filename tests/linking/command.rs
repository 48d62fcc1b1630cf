//! `keybearer link` and `keybearer status`.

use serde_json::Value;

use super::{World, drive, setup};
use crate::harness::{Keybearer, Person, Process, eventually};

/// `keybearer link drive`, and the line that it has printed.
async fn begun(keybearer: &Keybearer) -> (Process, String) {
    let command = keybearer.spawn(&["link", "drive"]);
    let line = eventually("a URL", async || {
        let stdout = command.stdout();
        stdout.split_once('\n').map(|(line, _)| line.to_owned())
    });
    let line = line.await;
    (command, line)
}

#[tokio::test]
async fn it_prints_the_url_and_waits_for_the_person() {
    let World { server, keybearer } = World::start("").await;
    let status = keybearer.spawn(&["status"]).exit().await;
    assert_eq!(status.code, Some(1), "{}", status.stdout);
    assert!(status.stdout.contains("not_linked"), "{}", status.stdout);

    let (mut command, url) = begun(&keybearer).await;
    assert!(url.starts_with(&server.authorization_url()), "{url}");
    let waiting = async || command.stderr().contains("waiting").then_some(());
    eventually("it to wait", waiting).await;
    assert!(command.ended().is_none());
    Person::new("jane").consent(&url).await;
    let exit = command.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(exit.stdout, format!("{url}\n"));
    assert!(exit.stderr.contains("drive is linked"), "{}", exit.stderr);

    let status = keybearer.spawn(&["status"]).exit().await;
    assert_eq!(status.code, Some(0), "{}", status.stdout);
    assert!(status.stdout.contains("ready"), "{}", status.stdout);
}

/// A line when it has begun, and one when it has ended, for programs.
#[tokio::test]
async fn json_is_a_line_for_the_beginning_and_one_for_the_end() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    for (consents, outcome) in [(false, "failed"), (true, "linked")] {
        let mut command = keybearer.spawn(&["link", "drive", "--json"]);
        let line = eventually("a line", async || {
            let stdout = command.stdout();
            stdout.split_once('\n').map(|(line, _)| line.to_owned())
        });
        let begun: Value = serde_json::from_str(&line.await).unwrap();
        assert_eq!(begun["connection"], "drive");
        let url = begun["authorization_url"].as_str().unwrap();
        let mut person = Person::new("jane");
        match consents {
            true => person.consent(url).await,
            false => person.decline(url).await,
        };
        let exit = command.exit().await;
        assert_eq!(exit.code, Some(i32::from(!consents)), "{}", exit.stderr);
        let ended: Value = serde_json::from_str(exit.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&ended["connection"], &ended["outcome"]),
            (&"drive".into(), &outcome.into())
        );
        assert_eq!(ended["detail"].is_string(), !consents, "{ended}");
        assert_eq!(exit.stdout.lines().count(), 2, "{}", exit.stdout);
    }
}

#[tokio::test]
async fn a_decline_ends_it_with_the_reason() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    let (mut command, url) = begun(&keybearer).await;
    Person::new("jane").decline(&url).await;
    let exit = command.exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    for text in [
        "drive was not linked",
        "the provider refused",
        "access_denied",
    ] {
        assert!(exit.stderr.contains(text), "{}", exit.stderr);
    }
}

#[tokio::test]
async fn two_at_a_time_do_not_mix() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    let ((mut first, url), (mut second, other)) =
        (begun(&keybearer).await, begun(&keybearer).await);
    Person::new("jane").decline(&other).await;
    assert_eq!(second.exit().await.code, Some(1));
    assert!(first.ended().is_none());
    Person::new("jane").consent(&url).await;
    assert_eq!(first.exit().await.code, Some(0));
}

#[tokio::test]
async fn what_it_cannot_link_it_says() {
    let World { server, keybearer } = World::start("").await;
    let exit = keybearer.spawn(&["link", "absent"]).exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("no connection `absent`"),
        "{}",
        exit.stderr
    );
    let exit = keybearer.spawn(&["link", "drive", "--device"]).exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("device_authorization_url"),
        "{}",
        exit.stderr
    );
    assert_eq!(exit.stdout, "");

    // A configuration with which nothing runs.
    let exit = setup()
        .tables(&drive(&server, ""))
        .run(&["link", "drive"])
        .await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("nobody listens at 127.0.0.1"),
        "{}",
        exit.stderr
    );
}

#[tokio::test]
async fn a_reload_during_a_consent_keeps_it_unless_the_connection_changed() {
    let World { server, keybearer } = World::start("").await;
    let (mut command, url) = begun(&keybearer).await;
    let other = drive(&server, "") + "\n[log]\nlevel = \"debug\"\n";
    keybearer.reconfigure(&other).await;
    Person::new("jane").consent(&url).await;
    assert_eq!(command.exit().await.code, Some(0));

    let (mut command, url) = begun(&keybearer).await;
    let changed = drive(&server, ", audience = \"another\"");
    keybearer.reconfigure(&changed).await;
    let landed = Person::new("jane").consent(&url).await;
    assert_eq!(landed.status, 502, "{landed:?}");
    let exit = command.exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("changed or removed"),
        "{}",
        exit.stderr
    );
}
