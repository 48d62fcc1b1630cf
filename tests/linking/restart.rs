//! What a restart keeps, and what it does not.

use std::time::{Duration, SystemTime};

use super::{World, call, drive, link, settings, setup, shown, wait_for_state};
use crate::harness::{AuthorizationServer, eventually};

#[tokio::test]
async fn a_linked_connection_works_after_a_restart() {
    let world = World::linked(settings()).await;
    let before = call(&world.keybearer, "/drive/x").await.json()["token_sha256"].clone();
    let world = world.restart().await;
    let after = call(&world.keybearer, "/drive/x").await.json()["token_sha256"].clone();
    assert_eq!(before, after, "the token itself is kept");
    assert_eq!(
        world.server.log().await.len(),
        1,
        "nothing was asked for anew"
    );
    let (setup, exit) = world.keybearer.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let keybearer = setup.start().await;
    World { keybearer, ..world }.assert_works().await;
}

#[tokio::test]
async fn an_expired_token_is_refreshed_after_a_restart() {
    let world = World::linked(settings().access_token_lifetime(2)).await;
    let shown = shown(&world.keybearer, "drive").await;
    let expires = shown["credential_expires_at"].as_str().unwrap();
    let expires = humantime::parse_rfc3339(expires).unwrap();
    let (setup, _) = world.keybearer.kill().await;
    let refreshed = world.server.token_requests("refresh_token").await.len();
    let ended = async || (SystemTime::now() > expires + Duration::from_secs(1)).then_some(());
    eventually("the token's end", ended).await;
    let world = World {
        keybearer: setup.start().await,
        ..world
    };
    world.assert_works().await;
    assert!(world.refreshed().await > refreshed);
}

#[tokio::test]
async fn a_store_in_memory_forgets() {
    let server = AuthorizationServer::start(settings()).await;
    let tables = drive(&server, "") + "\n[store]\ntype = \"memory\"\n";
    let keybearer = setup().tables(&tables).start().await;
    link(&keybearer, "drive").await;
    assert_eq!(call(&keybearer, "/drive/x").await.status, 200);
    let (setup, _) = keybearer.kill().await;
    assert!(!setup.path(".local").exists());
    let world = World {
        keybearer: setup.start().await,
        server,
    };
    wait_for_state(&world.keybearer, "drive", "not_linked").await;
    link(&world.keybearer, "drive").await;
    world.assert_works().await;
}

#[tokio::test]
async fn tokens_of_one_scope_are_never_used_for_another() {
    let world = World::linked(settings().scopes(&["read", "write"])).await;
    let (one, other) = (drive(&world.server, ""), "scopes = [\"write\"]");
    let changed = one.replace("scopes = [\"read\"]", other);
    world.keybearer.reconfigure(&changed).await;
    wait_for_state(&world.keybearer, "drive", "not_linked").await;
    // Another secret of the same client is another matter: it was replaced, perhaps.
    let secret = one.replace(
        "{ env = \"CLIENT_SECRET\" }",
        &format!("\"{}\"", super::SECRET),
    );
    world.keybearer.reconfigure(&secret).await;
    wait_for_state(&world.keybearer, "drive", "ready").await;
    world.assert_works().await;
}
