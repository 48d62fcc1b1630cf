//! Where the contestants' executables are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arguments::Arguments;
use crate::contestant::Kind;

/// A contestant that can run here.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    pub(crate) kind: Kind,
    /// Empty for `direct`.
    pub(crate) path: PathBuf,
}

/// Those of the wanted contestants that are here. What is missing is said, and an error if it was
/// asked for by name.
pub(crate) fn find(arguments: &Arguments) -> Result<Vec<Executable>> {
    let mut found = Vec::new();
    for &kind in &arguments.contestants {
        let located = match kind {
            Kind::Direct => Ok(PathBuf::new()),
            Kind::Haproxy => program("haproxy"),
            Kind::KeybearerOther => other(),
            Kind::Keybearer
            | Kind::KeybearerAgent
            | Kind::KeybearerAws
            | Kind::KeybearerBare
            | Kind::KeybearerConnect
            | Kind::KeybearerH2
            | Kind::KeybearerH2c
            | Kind::KeybearerLog
            | Kind::KeybearerOauth
            | Kind::KeybearerTraces => Ok(keybearer()),
            Kind::Nginx | Kind::NginxTuned => program("nginx"),
            Kind::PingoraProxy => pingora_proxy(arguments.install),
        };
        match located {
            Ok(path) => found.push(Executable { kind, path }),
            Err(error) if arguments.named => return Err(error),
            Err(error) => println!("Without {}: {error:#}.\n", kind.name()),
        }
    }
    Ok(found)
}

/// A program of a Debian package, `/usr/sbin` being on few people's `PATH`.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed (apt-get install {name})"))
}

/// `$KEYBEARER`, to compare another build, or the one that cargo built for this bench.
fn keybearer() -> PathBuf {
    env::var_os("KEYBEARER").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_keybearer")),
        PathBuf::from,
    )
}

fn other() -> Result<PathBuf> {
    env::var_os("KEYBEARER_OTHER")
        .map(PathBuf::from)
        .context("KEYBEARER_OTHER names no other build of keybearer")
}

/// The peer is a package of its own, in `target/peers`.
fn pingora_proxy(build: bool) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/peers");
    let executable = target.join("release/pingora-proxy-peer");
    if build {
        eprintln!("building the pingora-proxy peer, the first time for some minutes");
        let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--locked", "--quiet"])
            .arg("--manifest-path")
            .arg(root.join("benches/peers/pingora-proxy/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status()
            .context("cargo")?;
        if !status.success() {
            bail!("the peer does not build");
        }
    }
    if !executable.is_file() {
        bail!("the peer is not built, and `--no-install` forbids it");
    }
    Ok(executable)
}
