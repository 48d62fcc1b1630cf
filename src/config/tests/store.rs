//! Where tokens are kept.

use std::path::PathBuf;

use super::world::World;
use crate::config::Store;

fn folder(world: &World, text: &str) -> Option<PathBuf> {
    match world.config(text).store {
        Store::File { folder, .. } => folder,
        Store::Memory => panic!("memory"),
    }
}

#[test]
fn tokens_are_kept_where_the_desktop_standard_says() {
    let world = World::default().variable("HOME", "/home/me");
    for (state, expected, why) in [
        (None, "/home/me/.local/state/keybearer", "not set"),
        (Some("/state"), "/state/keybearer", "set"),
        (Some(""), "/home/me/.local/state/keybearer", "empty"),
        (Some("state"), "/home/me/.local/state/keybearer", "relative"),
    ] {
        let world = match state {
            Some(state) => world.clone().variable("XDG_STATE_HOME", state),
            None => world.clone(),
        };
        for text in ["", "[store]", "store.type = \"file\""] {
            assert_eq!(folder(&world, text), Some(expected.into()), "{why}");
        }
    }
}

#[test]
fn without_a_place_only_those_who_ask_for_files_are_told() {
    assert_eq!(folder(&World::default(), ""), None);
    let wrong = World::default().wrong("[store]\ntype = \"file\"");
    assert_eq!(
        wrong,
        "keybearer.toml:1:1: `[store]` needs a `path`, as neither `$XDG_STATE_HOME` nor `$HOME` is set\n    1 | [store]"
    );
}

#[test]
fn a_path_is_relative_to_its_file() {
    for (path, expected) in [("state", "state"), ("/var/lib/x", "/var/lib/x")] {
        let text = format!("store.path = \"{path}\"");
        assert_eq!(folder(&World::default(), &text), Some(expected.into()));
    }
    let world = World::default()
        .file("main.toml", "include = [\"more/a.toml\"]")
        .file("more/a.toml", "store.path = \"state\"");
    let store = world.load("main.toml").result.unwrap().store;
    assert!(matches!(store, Store::File { folder: Some(folder), .. } if folder == *"more/state"));
}

#[test]
fn memory_forgets_and_a_key_is_kept_silent() {
    let config = World::default().config("store.type = \"memory\"");
    assert_eq!(config.store, Store::Memory);
    let text = "store.key = { env = \"STORE_KEY\" }";
    let Store::File { key, .. } = World::new().config(text).store else {
        panic!("a file store");
    };
    assert!(key.is_some());
    assert_eq!(
        format!("{key:?}"),
        "Some(StoreKey(Secret([redacted] from env STORE_KEY)))"
    );
}
