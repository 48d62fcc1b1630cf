//! A world of a map: what a configuration sees in tests.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::source::{Contents, FileKind, Location, Outside};
use crate::config::{Config, Loaded, load};

/// Stands wherever a secret stands, and nowhere else.
pub(super) const CANARY: &str = "hunter2";

#[derive(Clone, Default)]
pub(super) struct World {
    variables: BTreeMap<String, OsString>,
    files: BTreeMap<PathBuf, (Vec<u8>, u32)>,
}

impl World {
    /// The variables and files that the cases in `tests/data/config` refer to.
    pub(super) fn new() -> Self {
        let authority = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        let key = authority.signing_key.serialize_pem();
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let rsa = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keys/rsa.pem");
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/client");
        let client = std::fs::read_dir(client).unwrap();
        let client = client.map(|entry| entry.unwrap().path());
        client
            .fold(Self::default(), |world, path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                world.file(&format!("client/{name}"), std::fs::read(&path).unwrap())
            })
            .variable("TOKEN", CANARY)
            .variable("EMPTY", "")
            .variable("TWO_LINES", "hunter2\nhunter2")
            .variable("COLON", "hunter2:hunter2")
            .file("secrets/token", "hunter2\n")
            .file("secrets/crlf", "hunter2\r\n")
            .file("secrets/two-newlines", "hunter2\n\n")
            .file("secrets/empty", "\n")
            .file("secrets/binary", b"hunter2\xff")
            .file_of("secrets/writable", "hunter2", 0o100_664)
            .file("ca.pem", authority.cert.pem())
            .variable("STORE_KEY", "hunter2hunter2hunter2hunter2hunter2hunter2A=")
            .variable("PEM_IN_ONE_LINE", &key.replace('\n', "\\n"))
            .variable("XDG_STATE_HOME", "/state")
            .file("key.pem", key)
            .file("keys/ed25519.pem", ed25519.serialize_pem())
            .file("keys/p384.pem", p384.serialize_pem())
            .file("keys/rsa.pem", std::fs::read(rsa).unwrap())
            .file("half.pem", "-----BEGIN CERTIFICATE-----\nhunter2\n")
            .file("no-certificate.pem", "hunter2")
            .file(
                "bad-certificate.pem",
                "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
            )
            .file("folder/file", "x")
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.file_of(path, bytes, 0o100_644)
    }

    pub(super) fn file_of(mut self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Self {
        let bytes = bytes.as_ref().to_owned();
        self.files.insert(path.into(), (bytes, mode));
        self
    }

    pub(super) fn load(&self, path: &str) -> Loaded {
        load(&Location::File(path.into()), self)
    }

    /// The configuration of a text, which must be a good one.
    pub(super) fn config(&self, text: &str) -> Config {
        let loaded = self
            .clone()
            .file("keybearer.toml", text)
            .load("keybearer.toml");
        loaded.result.unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    /// The diagnostics of a text, which must have some.
    pub(super) fn wrong(&self, text: &str) -> String {
        let loaded = self
            .clone()
            .file("keybearer.toml", text)
            .load("keybearer.toml");
        loaded.result.expect_err(text).to_string()
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.files
            .keys()
            .any(|file| file != path && file.starts_with(path))
    }
}

impl Outside for World {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        match self.files.contains_key(path) {
            true => Ok(FileKind::File),
            false if self.is_folder(path) => Ok(FileKind::Folder),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Contents> {
        if self.is_folder(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (bytes, mode) = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Contents {
            bytes: bytes.clone().into(),
            mode: *mode,
            identity: path.to_owned(),
        })
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let pattern = glob::Pattern::new(pattern)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.msg))?;
        let options = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        let matches = |path: &&PathBuf| pattern.matches_path_with(path, options);
        Ok(self.files.keys().filter(matches).cloned().collect())
    }
}
