//! The store's files: where they are made, who may use them, and what is said when that fails.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{World, call, drive, link, settings, setup, wait_for_state};
use crate::harness::{AuthorizationServer, Keybearer, Setup, connection};

/// What is in a file, and which file it is.
fn content(path: &Path) -> (Vec<u8>, u64) {
    (fs::read(path).unwrap(), fs::metadata(path).unwrap().ino())
}

/// `[store]` in the folder of a setup.
fn store(more: &str) -> String {
    format!("\n[store]\npath = \"store\"\n{more}\n")
}

/// A linked connection whose tokens are in `store`, and then the end of it.
async fn kept(more: &str) -> (AuthorizationServer, Setup) {
    let server = AuthorizationServer::start(settings()).await;
    let tables = drive(&server, "") + &store(more);
    let setup = setup().env("STORE_KEY", KEY).tables(&tables);
    let keybearer = setup.start().await;
    link(&keybearer, "drive").await;
    let (setup, _) = keybearer.stop().await;
    (server, setup)
}

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Asserts that it does not start with these tables, and gives what it says.
async fn refused(setup: &Setup) -> String {
    let exit = setup.run(&["run"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert_eq!(exit.stdout, "");
    let error = exit.stderr.lines().last().unwrap_or_default();
    assert!(error.contains("connection `drive`"), "{}", exit.stderr);
    error.to_owned()
}

#[tokio::test]
async fn the_default_folder_is_made_for_the_owner_alone() {
    let server = AuthorizationServer::start(settings()).await;
    for variable in ["HOME", "XDG_STATE_HOME"] {
        let setup = setup().tables(&drive(&server, ""));
        let state = setup.path("state/of/mine");
        let (setup, folder) = match variable {
            "HOME" => {
                let folder = setup.path(".local/state/keybearer");
                (setup, folder)
            }
            _ => (setup.env(variable, &state), state.join("keybearer")),
        };
        assert!(!folder.exists());
        let keybearer = setup.start().await;
        link(&keybearer, "drive").await;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for made in folder.ancestors().take(2) {
            assert_eq!(mode(made), 0o700, "{}", made.display());
        }
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        assert!(files.len() >= 3, "{files:?}");
        for file in files {
            assert_eq!(mode(&file.path()), 0o600, "{file:?}");
        }
    }
}

#[tokio::test]
async fn without_linked_connections_there_is_no_store() {
    let server = AuthorizationServer::start(settings()).await;
    let robot = format!(
        "auth = {{ type = \"oauth2_client_credentials\", token_url = \"{}\", client_id = \"id\", client_secret = \"x\" }}",
        server.token_url()
    );
    let tables = connection("robot", server.resource_url(), &robot);
    // A folder that could not be used.
    let setup = setup()
        .file("store", "a file")
        .tables(&(tables + &store("")));
    let keybearer = setup.start().await;
    assert_eq!(call(&keybearer, "/robot/x").await.status, 503);
    assert!(!keybearer.setup().path(".local").exists());
    let check = keybearer.spawn(&["check"]).exit().await;
    assert_eq!(check.code, Some(0), "{}", check.stderr);
}

#[tokio::test]
async fn check_opens_no_store() {
    let server = AuthorizationServer::start(settings()).await;
    let setup = setup().tables(&(drive(&server, "") + &store("")));
    let check = setup.run(&["check"]).await;
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    assert!(!setup.path("store").exists());
}

#[tokio::test]
async fn a_second_process_leaves_the_store_to_the_first() {
    let World { server, keybearer } = World::linked(settings()).await;
    let folder = keybearer.setup().path(".local/state");
    let second = setup().env("XDG_STATE_HOME", &folder);
    let said = refused(&second.tables(&drive(&server, ""))).await;
    assert!(said.contains("another keybearer uses the store"), "{said}");
    assert!(said.contains("`store.path`"), "{said}");
    assert_eq!(call(&keybearer, "/drive/x").await.status, 200);
    World { server, keybearer }
        .restart()
        .await
        .assert_works()
        .await;
}

#[tokio::test]
async fn a_wrong_key_leaves_the_store_as_it_is() {
    let (server, setup) = kept("key = { env = \"STORE_KEY\" }").await;
    let path = setup.path("store/store.redb");
    let before = content(&path);
    let setup = setup.env("STORE_KEY", KEY.replace("AAEC", "BBEC"));
    let said = refused(&setup).await;
    assert!(said.contains("does not fit the store"), "{said}");
    assert!(
        said.contains("$STORE_KEY") || said.contains("STORE_KEY"),
        "{said}"
    );
    assert!(said.contains("put the right key back"), "{said}");
    assert!(content(&path) == before, "the store was changed");
    let keybearer = setup.env("STORE_KEY", KEY).start().await;
    World { server, keybearer }.assert_works().await;
}

#[tokio::test]
async fn a_damaged_store_is_left_as_it_is() {
    let (server, setup) = kept("").await;
    let path = setup.path("store/store.redb");
    let (whole, _) = content(&path);
    for damage in [
        Vec::new(),
        b"not a store".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..64], &vec![0xaa; whole.len() - 64][..]].concat(),
    ] {
        fs::write(&path, &damage).unwrap();
        let before = content(&path);
        let said = refused(&setup).await;
        assert!(said.contains("is damaged"), "{said}");
        assert!(said.contains("put a backup in its place"), "{said}");
        assert!(content(&path) == before, "the store was changed");
    }
    fs::write(&path, &whole).unwrap();
    let key = setup.path("store/store.key");
    let aside = setup.path("aside");
    fs::rename(&key, &aside).unwrap();
    let said = refused(&setup).await;
    assert!(said.contains("put the key file back"), "{said}");
    assert!(!key.exists(), "no other key is made");
    fs::rename(&aside, &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&setup).await;
    assert!(said.contains("chmod"), "{said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let keybearer = setup.start().await;
    World { server, keybearer }.assert_works().await;
}

/// A first linked connection needs a store, and there is no room for one.
#[tokio::test]
async fn a_reload_that_needs_a_store_in_vain_changes_nothing() {
    let server = AuthorizationServer::start(settings()).await;
    let before = connection(
        "before",
        server.resource_url(),
        "auth = { type = \"none\" }",
    );
    let setup = setup()
        .file("store", "a file")
        .tables(&(before.clone() + &store("")));
    let keybearer = setup.start().await;
    let tables = before.replace("before", "after") + &drive(&server, "") + &store("");
    let write = |keybearer: &Keybearer, tables: &str| {
        let text = keybearer.setup().text_with(tables);
        keybearer.setup().replace("keybearer.toml", &text);
    };
    write(&keybearer, &tables);
    let response = keybearer.reload().await;
    response.problem(422, "config-rejected", "proxy_configuration_error");
    let errors = response.json()["errors"].to_string();
    for text in ["connection `drive`", "cannot be stored", "`store.path`"] {
        assert!(errors.contains(text), "{errors}");
    }
    assert_eq!(
        call(&keybearer, "/before/x").await.status,
        401,
        "still in force"
    );
    assert_eq!(call(&keybearer, "/after/x").await.status, 404);
    assert_eq!(call(&keybearer, "/drive/x").await.status, 404);
    let success = "keybearer_config_last_reload_success";
    assert_eq!(keybearer.metrics().await.value(success, &[]), Some(0.0));

    // Once there is room, the same configuration is taken.
    fs::remove_file(keybearer.setup().path("store")).unwrap();
    assert_eq!(keybearer.reload().await.status, 200);
    wait_for_state(&keybearer, "drive", "not_linked").await;
    link(&keybearer, "drive").await;
    assert_eq!(call(&keybearer, "/drive/x").await.status, 200);
    let gone = keybearer.ask("GET", "/api/connections/before").send().await;
    assert_eq!(gone.status, 404);
}
