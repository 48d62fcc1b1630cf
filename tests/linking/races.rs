//! Grants that the provider no longer knows, answers that are lost, a store that takes nothing.

use std::fs;

use super::{World, call, link, settings, wait_for_state};
use crate::harness::{Mode, eventually};

/// Asserts that callers and people are told to link again, and that doing so heals.
async fn reauthorized(world: &World, reason: &str) {
    let World { server, keybearer } = world;
    let shown = wait_for_state(keybearer, "drive", "reauthorize").await;
    let error = shown["last_error"].as_str().unwrap();
    assert!(error.contains(reason), "{error}");
    assert!(error.contains("keybearer link drive"), "{error}");
    let before = server.log().await.len();
    for _ in 0..3 {
        let response = call(keybearer, "/drive/x").await;
        let detail = response.problem(503, "not-linked", "proxy_configuration_error");
        assert_eq!(detail, error);
        let problem = response.json();
        assert_eq!(problem["credential_state"], "reauthorize");
        assert_eq!(problem["link"], shown["link"]);
        assert_eq!(response.header("retry-after"), None);
    }
    assert_eq!(server.log().await.len(), before, "nobody is asked in vain");
    let status = keybearer.spawn(&["status"]).exit().await;
    assert_eq!(status.code, Some(1), "{}", status.stdout);
    assert!(status.stdout.contains("reauthorize"), "{}", status.stdout);
    assert!(status.stdout.contains(reason), "{}", status.stdout);
    let metrics = keybearer.metrics().await;
    let labels = [("connection", "drive"), ("state", "reauthorize")];
    assert_eq!(
        metrics.value("keybearer_credential_state", &labels),
        Some(1.0)
    );

    link(keybearer, "drive").await;
    let response = call(keybearer, "/drive/x").await;
    assert_eq!(response.status, 200, "{response:?}");
}

#[tokio::test]
async fn a_withdrawn_consent_is_told_and_healed_by_another() {
    let world = World::linked(settings()).await;
    assert_eq!(world.server.revoke_grants().await, 1);
    let response = call(&world.keybearer, "/drive/x").await;
    assert_eq!(response.status, 401, "the upstream's own: {response:?}");
    assert_eq!(response.json()["error"], "invalid_token");
    reauthorized(&world, "invalid_grant").await;
    world.assert_works().await;
}

#[tokio::test]
async fn a_consent_withdrawn_while_nobody_asks_is_told_in_time() {
    let world = World::linked(settings().access_token_lifetime(2)).await;
    world.server.revoke_grants().await;
    reauthorized(&world, "invalid_grant").await;
}

/// The server has taken the refresh token, and what it gave for it never came: with a server that
/// forgives no second use there is nothing to be done about it but to say so.
#[tokio::test]
async fn a_lost_answer_is_tried_again_and_told() {
    let world = World::linked(settings()).await;
    let World { server, keybearer } = &world;
    server.revoke_access_tokens().await;
    server
        .set_mode(Mode::lose().grant("refresh_token").times(1))
        .await;
    assert_eq!(call(keybearer, "/drive/x").await.status, 401);
    let tried = server.wait_for_token_requests("refresh_token", 2).await;
    assert!(tried[0].lost);
    // The exchange was made to its end, so nothing was cut off.
    reauthorized(&world, "brought no answer").await;
}

/// A server that does forgive it, or whose answer was no rotation, goes on.
#[tokio::test]
async fn a_lost_answer_costs_nothing_where_tokens_stay() {
    let world = World::linked(settings().without_rotation()).await;
    let World { server, keybearer } = &world;
    server.revoke_access_tokens().await;
    server
        .set_mode(Mode::lose().grant("refresh_token").times(1))
        .await;
    assert_eq!(call(keybearer, "/drive/x").await.status, 401);
    let healed = async || (call(keybearer, "/drive/x").await.status == 200).then_some(());
    eventually("the connection to work", healed).await;
    world.restart().await.assert_works().await;
}

/// What comes for a refresh token has to be stored, so none is spent while that is impossible.
#[tokio::test]
async fn nothing_is_refreshed_while_nothing_can_be_stored() {
    let world = World::linked(settings()).await;
    let World { server, keybearer } = &world;
    let store = keybearer.setup().path(".local/state/keybearer/store.redb");
    let aside = keybearer.setup().path("aside");
    fs::rename(&store, &aside).unwrap();
    server.revoke_access_tokens().await;
    for _ in 0..3 {
        assert_eq!(call(keybearer, "/drive/x").await.status, 401);
    }
    let stale = super::shown(keybearer, "drive").await;
    assert_eq!(stale["state"], "stale", "{stale}");
    let error = stale["last_error"].as_str().unwrap();
    assert!(error.contains("nothing is refreshed"), "{error}");
    assert!(error.contains("store.redb"), "{error}");
    assert_eq!(server.token_requests("refresh_token").await.len(), 0);

    fs::rename(&aside, &store).unwrap();
    let healed = async || (call(keybearer, "/drive/x").await.status == 200).then_some(());
    eventually("the connection to work", healed).await;
    world.restart().await.assert_works().await;
}

/// What came for a spent refresh token is held until it can be stored: nothing else is spent before.
#[tokio::test]
async fn an_answer_that_cannot_be_stored_is_not_lost() {
    let world = World::linked(settings()).await;
    let World { server, keybearer } = &world;
    let store = keybearer.setup().path(".local/state/keybearer/store.redb");
    let aside = keybearer.setup().path("aside");
    server.revoke_access_tokens().await;
    server.set_mode(Mode::hold()).await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/drive/x").bytes()).await;
    server.wait_for_token_requests("refresh_token", 1).await;
    // The request is under way, its note is written: from here on nothing can be.
    fs::rename(&store, &aside).unwrap();
    server.set_mode(Mode::up()).await;
    let failed = async || {
        let shown = super::shown(keybearer, "drive").await;
        shown["last_error"].as_str().map(str::to_owned)
    };
    let error = eventually("the store to be given up", failed).await;
    assert!(error.contains("store"), "{error}");
    assert_eq!(server.token_requests("refresh_token").await.len(), 1);
    fs::rename(&aside, &store).unwrap();
    let healed = async || (call(keybearer, "/drive/x").await.status == 200).then_some(());
    eventually("the connection to work", healed).await;
    assert_eq!(server.token_requests("refresh_token").await.len(), 1);
    assert_eq!(server.reuses().await, 0);
    world.restart().await.assert_works().await;
}
