//! The scripts of the tests that are in Python, and the packages that `make test` prepares for them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Exit, Process};

/// The Python that `make test` prepares.
pub fn interpreter() -> PathBuf {
    let python = std::env::var_os("KEYBEARER_TEST_PYTHON");
    python
        .expect("KEYBEARER_TEST_PYTHON is not set: run `make test`, which prepares a Python with what the tests need")
        .into()
}

/// A command that runs this script, a path under `tests`.
pub fn script(path: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(path);
    let mut command = Command::new(interpreter());
    // The scripts import packages only, never each other.
    command.arg("-I").arg(script);
    command
}

/// Runs this script, which has to succeed.
pub async fn run(path: &str, args: &[&str]) -> Exit {
    let exit = Process::run(script(path).args(args)).await;
    assert_eq!(exit.code, Some(0), "{path}: {}{}", exit.stdout, exit.stderr);
    exit
}
