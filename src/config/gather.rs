//! Which files make up a configuration: the first, or those of a folder, and all that they include.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use glob::Pattern;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::document::{Document, Place};
use super::fault::{Fault, Faults};
use super::source::{EMBEDDED, Location, Reader};

/// More includes within includes than this are taken for a mistake.
const DEEPEST: usize = 16;

/// Reads every file of a configuration, in the order in which they are merged.
pub(crate) fn gather(location: &Location, reader: &Reader<'_>, faults: &Faults) -> Vec<Document> {
    let mut gathering = Gathering {
        reader,
        faults,
        documents: Vec::new(),
        known: HashSet::new(),
        open: Vec::new(),
    };
    match location {
        Location::Embedded => {
            let text = Zeroizing::new(EMBEDDED.to_owned());
            gathering
                .documents
                .push(Document::new("(embedded default)".into(), text));
        }
        Location::File(path) => gathering.file(path, None),
        Location::Folder(path) => gathering.folder(path),
    }
    gathering.documents
}

struct Gathering<'a> {
    reader: &'a Reader<'a>,
    faults: &'a Faults,
    documents: Vec<Document>,
    /// What was read, by identity.
    known: HashSet<PathBuf>,
    /// The files that led here by including, outermost first.
    open: Vec<PathBuf>,
}

/// An entry of `include`.
struct Include {
    text: String,
    place: Place,
}

impl Gathering<'_> {
    fn folder(&mut self, folder: &Path) {
        match self.expand(folder, "*.toml", folder) {
            Ok(files) => files.iter().for_each(|file| self.file(file, None)),
            Err(error) => {
                let message = format!("cannot be listed: {error}");
                self.faults.add(Fault::of_file(folder, message));
            }
        }
    }

    fn file(&mut self, path: &Path, include: Option<&Include>) {
        let contents = match self.reader.read(path) {
            Ok(contents) => contents,
            Err(unreadable) => {
                let mut fault = match include {
                    Some(include) => {
                        let message = format!("`{}` {unreadable}", path.display());
                        Fault::at(include.place, message).key("include".to_owned())
                    }
                    None => Fault::of_file(path, unreadable.to_string()),
                };
                if let Some(hint) = unreadable.hint() {
                    fault = fault.hint(hint);
                }
                return self.faults.add(fault);
            }
        };
        if let (Some(include), true) = (include, self.open.contains(&contents.identity)) {
            return self.refuse(include, format!("`{}` includes itself", path.display()));
        }
        if !self.known.insert(contents.identity.clone()) {
            return;
        }
        let Some(text) = into_text(contents.bytes) else {
            return self.faults.add(Fault::of_file(path, "is not UTF-8 text"));
        };
        let includes = includes(&text, self.documents.len());
        self.documents.push(Document::new(path.to_owned(), text));
        self.open.push(contents.identity);
        for include in includes {
            self.include(path.parent().unwrap_or(Path::new("")), &include);
        }
        self.open.pop();
    }

    fn include(&mut self, folder: &Path, include: &Include) {
        if self.open.len() > DEEPEST {
            let message = format!("files include each other more than {DEEPEST} deep");
            return self.refuse(include, message);
        }
        if !include.text.contains(['*', '?', '[']) {
            return self.file(&folder.join(&include.text), Some(include));
        }
        let base = folder.join(before_wildcard(&include.text));
        match self.expand(folder, &include.text, &base) {
            Ok(files) => {
                for file in &files {
                    self.file(file, Some(include));
                }
            }
            Err(error) => {
                let message = format!("`{}` cannot be looked up: {error}", include.text);
                self.refuse(include, message);
            }
        }
    }

    /// What matches `pattern`, relative to `folder`; `watched` is where matches may appear.
    fn expand(&self, folder: &Path, pattern: &str, watched: &Path) -> io::Result<Vec<PathBuf>> {
        let folder = folder.to_string_lossy();
        // As for a plain path, an absolute pattern replaces the folder.
        let whole = Path::new(&Pattern::escape(&folder)).join(pattern);
        self.reader.glob(watched, &whole.to_string_lossy())
    }

    fn refuse(&self, include: &Include, message: String) {
        let fault = Fault::at(include.place, message).key("include".to_owned());
        self.faults.add(fault);
    }
}

/// The text without a byte order mark; `None` if it is not UTF-8.
fn into_text(mut bytes: Zeroizing<Vec<u8>>) -> Option<Zeroizing<String>> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    str::from_utf8(&bytes).ok()?;
    String::from_utf8(std::mem::take(&mut *bytes))
        .ok()
        .map(Zeroizing::new)
}

/// The entries of `include`; what is wrong with the list is reported when all is checked.
fn includes(text: &str, document: usize) -> Vec<Include> {
    // Most files include nothing, and parsing them twice is not free.
    if !text.contains("include") {
        return Vec::new();
    }
    let (root, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Array(entries)) = root.get_ref().get("include").map(|v| v.get_ref()) else {
        return Vec::new();
    };
    let include = |entry: &toml::Spanned<DeValue<'_>>| {
        Some(Include {
            text: entry.get_ref().as_str()?.to_owned(),
            place: Place {
                document,
                offset: entry.span().start,
            },
        })
    };
    entries.iter().filter_map(include).collect()
}

/// The folders of a glob that are written out.
fn before_wildcard(pattern: &str) -> &str {
    let wildcard = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    pattern[..wildcard]
        .rfind('/')
        .map_or("", |slash| &pattern[..slash.max(1)])
}
