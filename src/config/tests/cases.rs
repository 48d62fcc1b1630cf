//! The cases of `tests/data/config`.

use std::fs;
use std::path::{Path, PathBuf};

use super::world::{CANARY, World};
use crate::config::file::{ROOT, SECRET};
use crate::config::load;
use crate::config::shape::{Kind, Shape};
use crate::config::source::{Location, Process};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/config")
        .join(name)
}

/// Every `*.toml` of a folder with its name, in order.
fn cases(name: &str) -> Vec<(String, String)> {
    let mut cases: Vec<_> = fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    cases.sort();
    cases
}

#[test]
fn valid_files_compile() {
    let cases = cases("valid");
    assert!(cases.len() >= 5, "only {} cases", cases.len());
    for (name, text) in cases {
        let loaded = World::new().file(&name, text).load(&name);
        if let Err(wrong) = loaded.result {
            panic!("{wrong}");
        }
    }
}

#[test]
fn valid_files_use_every_key() {
    let texts: String = cases("valid").into_iter().map(|(_, text)| text).collect();
    let mut keys = Vec::new();
    collect_keys(&Kind::Table(&ROOT), &mut keys);
    collect_keys(&Kind::Table(&SECRET), &mut keys);
    assert!(keys.len() > 50);
    for key in keys {
        assert!(texts.contains(key), "no valid file has `{key}`");
    }
}

fn collect_keys(kind: &Kind, keys: &mut Vec<&'static str>) {
    let shapes: Vec<&Shape> = match kind {
        Kind::Map(kind) => return collect_keys(kind, keys),
        Kind::Table(shape) => vec![shape],
        Kind::Variants(variants) => variants.now.iter().map(|(_, shape)| shape).collect(),
        _ => return,
    };
    for (key, kind) in shapes.into_iter().flat_map(|shape| shape.0) {
        if !matches!(kind, Kind::Later) {
            keys.push(key);
            collect_keys(kind, keys);
        }
    }
}

#[test]
fn invalid_files_give_exactly_the_diagnostics_beside_them() {
    let cases = cases("invalid");
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let bless = std::env::var_os("KEYBEARER_BLESS").is_some();
    for (name, text) in cases {
        let loaded = World::new().file(&name, text).load(&name);
        let wrong = loaded.result.expect_err(&name);
        let shown = format!("{wrong}\n");
        let everything = format!("{shown}{wrong:?}{}", serde_json::to_string(&wrong).unwrap());
        assert!(
            !everything.contains(CANARY),
            "{name} tells a secret: {everything}"
        );
        let expected = folder("invalid").join(&name).with_extension("txt");
        if bless {
            fs::write(&expected, &shown).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(shown, expected, "{name}");
    }
}

#[test]
fn files_of_config_are_good() {
    let embedded = load(&Location::Embedded, &Process).result.unwrap();
    assert_eq!(&*embedded.connections[0].name, "echo");
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/keybearer.toml"));
    World::default().config(&text.unwrap());
}
