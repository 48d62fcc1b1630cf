//! Which files make up a configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::world::World;
use crate::config::load;
use crate::config::source::{Contents, FileKind, Location, Outside, Process, locate};

const JIRA: &str = "[connections.jira]\nbase_url = \"https://jira.example\"\n";
const GIT: &str = "[connections.git]\nbase_url = \"https://git.example\"\n";

fn names(world: &World, location: &Location) -> Vec<String> {
    let config = load(location, world)
        .result
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    config
        .connections
        .iter()
        .map(|c| c.name.to_string())
        .collect()
}

fn file(path: &str) -> Location {
    Location::File(path.into())
}

#[test]
fn search_order_is_as_documented() {
    let places = [
        "named.toml",
        "by-variable.toml",
        "keybearer.toml",
        "config/keybearer.toml",
        "/etc/keybearer/keybearer.toml",
    ];
    for (index, expected) in places.iter().enumerate() {
        let mut world = World::default();
        for place in &places[index..] {
            world = world.file(place, "");
        }
        if index <= 1 {
            world = world.variable("KEYBEARER_CONFIG", "by-variable.toml");
        }
        let explicit = (index == 0).then_some(Path::new("named.toml"));
        assert_eq!(locate(explicit, &world), Ok(file(expected)));
    }
    assert_eq!(locate(None, &World::default()), Ok(Location::Embedded));
}

#[test]
fn a_named_configuration_must_be_there() {
    let world = World::default().file("keybearer.toml", "");
    let missing = locate(Some(Path::new("a.toml")), &world).unwrap_err();
    assert_eq!(missing.to_string(), "no configuration at `a.toml`");
    let world = world.variable("KEYBEARER_CONFIG", "b.toml");
    assert_eq!(
        locate(None, &world).unwrap_err().to_string(),
        "no configuration at `b.toml`, which `$KEYBEARER_CONFIG` names"
    );
    let world = world.variable("KEYBEARER_CONFIG", "");
    assert_eq!(
        locate(None, &world),
        Ok(file("keybearer.toml")),
        "empty is not set"
    );
}

#[test]
fn a_folder_is_merged_and_watched() {
    let world = World::default()
        .file("conf/b.toml", JIRA)
        .file("conf/a.toml", GIT)
        .file("conf/deep/c.toml", "broken")
        .file("conf/a.txt", "broken");
    let location = locate(Some(Path::new("conf")), &world).unwrap();
    assert_eq!(names(&world, &location), ["git", "jira"]);
    let sources = load(&location, &world).sources;
    assert_eq!(
        sources.files,
        ["conf/a.toml", "conf/b.toml"].map(PathBuf::from)
    );
    assert_eq!(sources.folders, ["conf"].map(PathBuf::from));
}

#[test]
fn includes_are_relative_nested_and_read_once() {
    let world = World::default()
        .file(
            "etc/main.toml",
            "include = [\"more/*.toml\", \"more/jira.toml\", \"none/*.toml\"]\n",
        )
        .file("etc/more/jira.toml", JIRA)
        .file("etc/more/nested.toml", "include = [\"../git.toml\"]")
        .file(
            "etc/git.toml",
            format!("{GIT}auth = {{ type = \"bearer\", token = {{ file = \"key\" }} }}"),
        )
        .file("etc/key", "hunter2");
    let main = file("etc/main.toml");
    // The map knows no `..`, as a file system does.
    let world = world
        .file(
            "etc/more/../git.toml",
            format!("{GIT}auth = {{ type = \"bearer\", token = {{ file = \"key\" }} }}"),
        )
        .file("etc/more/../key", "hunter2");
    assert_eq!(names(&world, &main), ["git", "jira"]);
    let sources = load(&main, &world).sources;
    assert!(
        sources.files.contains(&"etc/more/../key".into()),
        "{sources:?}"
    );
    assert_eq!(sources.folders, ["etc/more", "etc/none"].map(PathBuf::from));
}

#[test]
fn includes_in_a_ring_are_refused() {
    let world = World::default()
        .file("a.toml", "include = [\"b.toml\"]")
        .file("b.toml", "\ninclude = [\"a.toml\"]");
    let wrong = load(&file("a.toml"), &world).result.unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "b.toml:2:12: `a.toml` includes itself\n    2 | include = [\"a.toml\"]"
    );
}

#[test]
fn all_errors_of_all_files_are_told_by_file_and_position() {
    let world = World::default()
        .file("main.toml", "include = [\"b.toml\", \"a.toml\", \"c.toml\"]\n[server]\nthreads = \"x\"\n[connections.jira]\nbase_ulr = \"x\"\n")
        .file("a.toml", "[server]\nthreads = 1\n[connections.git]\nbase_url = \"ftp://x\"\nprefix = \"/jira\"\n")
        .file("b.toml", JIRA)
        .file("c.toml", "[connections.x]\nbase_url = \"http://localhost:8080\"\nretries = \n");
    let wrong = load(&file("main.toml"), &world)
        .result
        .unwrap_err()
        .to_string();
    assert_eq!(
        wrong,
        "\
a.toml:1:2: `[server]` is set in two files; the other is main.toml:2
    1 | [server]
a.toml:4:12: a base URL starts with `https://` or `http://` (or is `builtin:echo`)
    4 | base_url = \"ftp://x\"
a.toml:5:10: prefix `/jira` is used twice; the other is main.toml:4
    5 | prefix = \"/jira\"
b.toml:1:14: connection `jira` is set in two files; the other is main.toml:4
    1 | [connections.jira]
c.toml:3:11: not valid TOML: string values must be quoted, expected literal string
    3 | retries = …
main.toml:3:11: `threads` takes a whole number, not a string
    3 | threads = \"x\"
main.toml:5:1: unknown key `base_ulr` in `[connections.jira]`
    5 | base_ulr = \"x\"
hint: did you mean `base_url`?"
    );
}

#[test]
fn files_that_others_can_change_are_refused() {
    for (mode, refused) in [(0o600, false), (0o644, false), (0o664, true), (0o646, true)] {
        let world = World::default().file_of("a.toml", "", 0o100_000 | mode);
        let result = load(&file("a.toml"), &world).result;
        assert_eq!(result.is_err(), refused, "{mode:o}");
        if let Err(wrong) = result {
            assert_eq!(
                wrong.to_string(),
                format!(
                    "a.toml: is writable by other users (mode {mode:04o})\nhint: run `chmod go-w 'a.toml'`"
                )
            );
        }
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_reason() {
    let world = World::default()
        .file("latin1.toml", b"# \xe4")
        .file("folder/x", "");
    for (path, expected) in [
        ("none.toml", "none.toml: does not exist"),
        ("folder", "folder: is a folder, where a file is needed"),
        ("latin1.toml", "latin1.toml: is not UTF-8 text"),
    ] {
        let loaded = load(&file(path), &world);
        assert_eq!(loaded.result.unwrap_err().to_string(), expected);
        assert_eq!(
            loaded.sources.files,
            [PathBuf::from(path)],
            "watched all the same"
        );
    }
}

#[test]
fn the_fingerprint_changes_with_what_was_read_and_nothing_else() {
    let text = format!("{JIRA}auth = {{ type = \"bearer\", token = {{ file = \"key\" }} }}");
    let world = World::default()
        .file("a.toml", &text)
        .file("key", "hunter2");
    let of = |world: &World| load(&file("a.toml"), world).sources.fingerprint;
    let first = of(&world);
    assert_eq!(
        first,
        of(&world.clone().variable("X", "y").file("other", "z"))
    );
    for (changed, why) in [
        (world.clone().file("key", "hunter3"), "a secret"),
        (
            world.clone().file("a.toml", text.clone() + "\n"),
            "the file",
        ),
        (
            world.clone().file_of("key", "hunter2", 0o666),
            "who may write",
        ),
    ] {
        assert_ne!(first, of(&changed), "{why}");
    }
}

#[test]
fn the_process_reads_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, text) in [
        ("b.toml", JIRA),
        ("a.toml", GIT),
        (".hidden.toml", "broken"),
        ("c.txt", ""),
    ] {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    std::os::unix::fs::symlink(path("a.toml"), path("z.toml")).unwrap();
    let location = locate(Some(folder.path()), &Process).unwrap();
    assert_eq!(location, Location::Folder(folder.path().into()));
    let loaded = load(&location, &Process);
    assert_eq!(
        loaded.result.unwrap().connections.len(),
        2,
        "a link is the file that it leads to"
    );
    assert_eq!(
        loaded.sources.files,
        ["a.toml", "b.toml", "z.toml"].map(path)
    );

    fs::set_permissions(path("a.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    let wrong = load(&Location::File(path("z.toml")), &Process)
        .result
        .unwrap_err();
    assert!(
        wrong.to_string().contains("chmod go-w"),
        "through the link: {wrong}"
    );
    let wrong = load(&Location::File(folder.path().into()), &Process)
        .result
        .unwrap_err();
    assert!(
        wrong
            .to_string()
            .ends_with("is a folder, where a file is needed")
    );
}

/// A world in which nothing may be looked at.
struct Forbidden;

impl Outside for Forbidden {
    fn variable(&self, _: &str) -> Option<std::ffi::OsString> {
        None
    }

    fn kind(&self, _: &Path) -> std::io::Result<FileKind> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }

    fn read(&self, _: &Path) -> std::io::Result<Contents> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }

    fn glob(&self, _: &str) -> std::io::Result<Vec<PathBuf>> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }
}

#[test]
fn what_may_not_be_looked_at_is_never_passed_over() {
    let location = locate(None, &Forbidden).unwrap();
    assert_eq!(location, file("keybearer.toml"), "not the embedded default");
    for location in [location, Location::Folder("conf".into())] {
        let wrong = load(&location, &Forbidden).result.unwrap_err();
        assert!(wrong.to_string().contains("permission denied"), "{wrong}");
    }
}
