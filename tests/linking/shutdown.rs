//! SIGTERM while a token is under way: the end waits until it is stored, for some seconds at most.

use std::time::Instant;

use rustix::process::Signal;

use super::consent::without;
use super::{World, authorization_url, settings};
use crate::harness::{AuthorizationServer, Mode, Person, eventually};

/// Waits until a request with this grant type is held up or hangs.
async fn stuck(server: &AuthorizationServer, grant: &str) {
    eventually("a token request that is stuck", async || {
        let log = server.token_requests(grant).await;
        let last = log.last()?;
        matches!(&*last.outcome, "held" | "hung").then_some(())
    })
    .await;
}

/// A linked connection that is being refreshed, without any request, by a server in this mode.
async fn refreshing(mode: Mode) -> World {
    let world = World::linked(settings().access_token_lifetime(2)).await;
    world.server.set_mode(mode.grant("refresh_token")).await;
    stuck(&world.server, "refresh_token").await;
    world
}

#[tokio::test]
async fn the_end_waits_for_a_rotated_token() {
    let World {
        server,
        mut keybearer,
    } = refreshing(Mode::hold()).await;
    keybearer.signal(Signal::TERM);
    keybearer.logged(&["Waiting for tokens"]).await;
    assert!(keybearer.running());
    server.set_mode(Mode::up()).await;
    let exit = keybearer.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("has not answered"), "{}", exit.stderr);
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    World { server, keybearer }.assert_works().await;
}

#[tokio::test]
async fn the_end_waits_for_a_consent() {
    let World {
        server,
        mut keybearer,
    } = World::start("").await;
    let url = authorization_url(&keybearer, "drive").await;
    let landed = Person::new("jane").authorize(url.as_str()).await;
    server.set_mode(Mode::hold()).await;
    let mut browser = crate::harness::RawClient::connect(keybearer.console()).await;
    let callback = keybearer.ask("GET", &without(&landed, ""));
    browser.send(callback.bytes()).await;
    stuck(&server, "authorization_code").await;
    keybearer.signal(Signal::TERM);
    keybearer.logged(&["Waiting for tokens"]).await;
    assert!(keybearer.running());
    server.set_mode(Mode::up()).await;
    let exit = keybearer.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    World { server, keybearer }.assert_works().await;
}

#[tokio::test]
async fn the_wait_has_an_end() {
    let World {
        server,
        mut keybearer,
    } = refreshing(Mode::hold()).await;
    keybearer.signal(Signal::TERM);
    let begun = Instant::now();
    let exit = keybearer.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("has not answered"), "{}", exit.stderr);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    // Whoever asked is not ended by that.
    server.set_mode(Mode::up()).await;
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    keybearer
        .logged(&["Answer of an earlier refresh taken"])
        .await;
    World { server, keybearer }.assert_works().await;
}

#[tokio::test]
async fn a_second_signal_ends_the_wait() {
    let World {
        mut keybearer,
        server: _server,
    } = refreshing(Mode::hang()).await;
    keybearer.signal(Signal::TERM);
    keybearer.logged(&["Waiting for tokens"]).await;
    let begun = Instant::now();
    keybearer.signal(Signal::TERM);
    keybearer.exit().await;
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
}
