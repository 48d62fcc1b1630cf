//! The Node scripts of the tests, with the packages that `make test` installs beside them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A command that runs this script, which stands in a folder of `tests`, with these settings.
pub fn script(folder: &str, name: &str, settings: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let node = program("node");
    assert!(
        folder.join("node_modules/.package-lock.json").is_file(),
        "no npm packages in {}: run `make test`, which installs them",
        folder.display()
    );
    let mut command = Command::new(node);
    command.arg(folder.join(name)).arg(settings);
    command
}

/// Where a program is that `make test` installs.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = places.find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("no `{name}` in PATH: run `make test`, which installs it"))
}
