//! The world around with some of it in another way: [`Overlay`].

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::source::{Contents, FileKind, Outside};

/// The message of files that are withheld, by which it is known again.
pub(super) const WITHHELD: &str = "withheld from a draft";

/// A world in which some variables and files are others than they are.
pub(super) struct Overlay<'a> {
    outside: &'a dyn Outside,
    variables: HashMap<String, Instead>,
    files: HashMap<PathBuf, Instead>,
    /// Files that are not there yet.
    new: Vec<PathBuf>,
}

/// What is there instead.
enum Instead {
    Bytes(Zeroizing<Vec<u8>>),
    Withheld,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(outside: &'a dyn Outside) -> Self {
        Self {
            outside,
            variables: HashMap::new(),
            files: HashMap::new(),
            new: Vec::new(),
        }
    }

    pub(super) fn set_variable(&mut self, name: &str, value: Zeroizing<Vec<u8>>) {
        let instead = Instead::Bytes(value);
        self.variables.insert(name.to_owned(), instead);
    }

    pub(super) fn set_file(&mut self, path: PathBuf, content: Zeroizing<Vec<u8>>) {
        self.files.insert(path, Instead::Bytes(content));
    }

    /// Adds a file that globs match, too.
    pub(super) fn add_file(&mut self, path: PathBuf, content: Zeroizing<Vec<u8>>) {
        self.new.push(path.clone());
        self.set_file(path, content);
    }

    /// Unless there is a value for it.
    pub(super) fn withhold_variable(&mut self, name: &str) {
        self.variables
            .entry(name.to_owned())
            .or_insert(Instead::Withheld);
    }

    /// Unless there is content for it.
    pub(super) fn withhold_file(&mut self, path: PathBuf) {
        self.files.entry(path).or_insert(Instead::Withheld);
    }
}

impl Outside for Overlay<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        match self.variables.get(name) {
            None => self.outside.variable(name),
            Some(Instead::Withheld) => None,
            Some(Instead::Bytes(bytes)) => str::from_utf8(bytes).ok().map(OsString::from),
        }
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        match self.files.contains_key(path) {
            true => Ok(FileKind::File),
            false => self.outside.kind(path),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Contents> {
        match self.files.get(path) {
            None => self.outside.read(path),
            Some(Instead::Withheld) => Err(io::Error::other(WITHHELD)),
            Some(Instead::Bytes(bytes)) => {
                // Where there is a file, what is asked of it besides its bytes stays.
                let there = self.outside.read(path).ok();
                Ok(Contents {
                    bytes: bytes.clone(),
                    mode: there.as_ref().map_or(0o100_600, |there| there.mode),
                    identity: there.map_or_else(|| path.to_owned(), |there| there.identity),
                })
            }
        }
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let mut found = self.outside.glob(pattern)?;
        let compiled = glob::Pattern::new(pattern)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.msg))?;
        let options = glob::MatchOptions {
            require_literal_leading_dot: true,
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        let new = (self.new.iter()).filter(|path| compiled.matches_path_with(path, options));
        found.extend(new.cloned());
        found.sort();
        found.dedup();
        Ok(found)
    }
}
