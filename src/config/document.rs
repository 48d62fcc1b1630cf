//! One configuration file's text, and places in it.

use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use std::iter;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::diagnostic::Position;
use super::mask;

/// A table as parsed, with the place of every key and value.
pub(crate) type Table<'a> = DeTable<'a>;

/// A value as parsed, with its place.
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// A configuration file.
pub(crate) struct Document {
    path: PathBuf,
    text: Zeroizing<String>,
    is_broken: Cell<bool>,
    lines: OnceCell<Lines>,
}

/// A byte of a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The index of the document.
    pub(crate) document: usize,
    /// The byte in its text.
    pub(crate) offset: usize,
}

/// Where a text is no TOML, and why.
pub(crate) struct Flaw {
    /// The byte in the text.
    pub(crate) offset: usize,
    pub(crate) message: String,
}

/// What only an error needs: where lines start, and what may be shown of them.
struct Lines {
    starts: Vec<usize>,
    masked: Vec<Box<str>>,
}

impl Document {
    /// Takes a file's text.
    pub(crate) fn new(path: PathBuf, text: Zeroizing<String>) -> Self {
        Self {
            path,
            text,
            is_broken: Cell::new(false),
            lines: OnceCell::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a relative path of this file leads.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.folder().join(path)
    }

    /// The folder that it lies in; empty for the working folder.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Whether the text turned out to be no TOML.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Parses the text as far as it goes, and tells where it is no TOML.
    pub(crate) fn parse(&self) -> (Table<'_>, Vec<Flaw>) {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        let mut lines = HashSet::new();
        let mut flaws = Vec::new();
        for error in &errors {
            let span = error.span().unwrap_or(self.text.len()..self.text.len());
            let message = if error.message() == TWICE {
                let key = self.text.get(span.clone()).unwrap_or_default();
                format!("key `{key}` is in this table twice")
            } else {
                self.is_broken.set(true);
                format!("not valid TOML: {}", error.message())
            };
            // What follows an error in its line is most often its consequence.
            if lines.insert(self.line_start(span.start)) {
                let offset = span.start;
                flaws.push(Flaw { offset, message });
            }
        }
        (root.into_inner(), flaws)
    }

    fn line_start(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1)
    }

    /// Line and column of a byte, and the line with its secrets masked.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let lines = self
            .lines
            .get_or_init(|| Lines::new(&self.text, self.is_broken()));
        let line = lines.starts.partition_point(|&start| start <= offset);
        let start = lines.starts[line - 1];
        let before = &self.text.as_bytes()[start..offset.clamp(start, self.text.len())];
        Position {
            line,
            column: String::from_utf8_lossy(before).chars().count() + 1,
            excerpt: lines.masked.get(line - 1).cloned().unwrap_or_default(),
        }
    }
}

impl Lines {
    fn new(text: &str, is_broken: bool) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        let masked = if is_broken {
            mask::broken(text)
        } else {
            mask::valid(text)
        };
        Self {
            starts,
            masked: masked.lines().map(|line| line.trim_end().into()).collect(),
        }
    }
}

/// The one error of the parser after which the rest of the text still means what it says.
const TWICE: &str = "duplicate key";
