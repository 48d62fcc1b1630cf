//! A table as the compiler reads it: key by key, each value with its place.
//!
//! What does not fit the shape was reported by [`check`](super::check::check), so a value of a wrong
//! type is no value here.

use std::cell::RefCell;
use std::collections::{HashMap, hash_map};
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

use super::document::{Document, Place, Table, Value};
use super::fault::{Fault, Faults};
use super::file::ROOT;
use super::shape::{is_one_line, nearest};
use super::source::Reader;

/// What every part of the compiler needs.
pub(crate) struct Context<'a> {
    pub(crate) documents: &'a [Document],
    pub(crate) faults: &'a Faults,
    pub(crate) reader: &'a Reader<'a>,
}

/// A table of a document.
#[derive(Clone)]
pub(crate) struct Section<'a> {
    context: &'a Context<'a>,
    table: &'a Table<'a>,
    header: Place,
    /// The path from the root, such as `connections.jira`.
    name: String,
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a str,
    pub(crate) key_place: Place,
    pub(crate) place: Place,
    pub(crate) value: &'a DeValue<'a>,
}

/// A text and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) key: &'a str,
    pub(crate) place: Place,
    pub(crate) text: &'a str,
}

/// Remembers where each name was first taken, and reports who takes it again.
pub(crate) struct Taken<K>(RefCell<HashMap<K, Place>>);

// === impl Context ===

impl Context<'_> {
    pub(crate) fn document(&self, place: Place) -> &Document {
        &self.documents[place.document]
    }

    /// A place as another message names it.
    pub(crate) fn tell(&self, place: Place) -> String {
        let document = self.document(place);
        let position = document.position(place.offset);
        format!("{}:{}", document.path().display(), position.line)
    }
}

// === impl Section ===

impl<'a> Section<'a> {
    pub(crate) fn root(context: &'a Context<'a>, document: usize, table: &'a Table<'a>) -> Self {
        Self {
            context,
            table,
            header: Place {
                document,
                offset: 0,
            },
            name: String::new(),
        }
    }

    pub(crate) fn context(&self) -> &'a Context<'a> {
        self.context
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The last part of the path.
    pub(crate) fn last(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// Where the table starts.
    pub(crate) fn header(&self) -> Place {
        self.header
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<Entry<'a>> {
        let (key, value) = self.table.get_key_value(key)?;
        Some(self.entry_of(key.get_ref(), key.span().start, value))
    }

    /// All entries, in the order in which they were written.
    pub(crate) fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| self.entry_of(key.get_ref(), key.span().start, value))
            .collect();
        entries.sort_by_key(|entry| entry.key_place.offset);
        entries
    }

    fn entry_of(&self, key: &'a str, offset: usize, value: &'a Value<'a>) -> Entry<'a> {
        let place = |offset| Place {
            document: self.header.document,
            offset,
        };
        Entry {
            key,
            key_place: place(offset),
            place: place(value.span().start),
            value: value.get_ref(),
        }
    }

    /// The table below `key`.
    pub(crate) fn section(&self, key: &str) -> Option<Self> {
        self.below(&self.entry(key)?)
    }

    /// The table that an entry of this one is.
    pub(crate) fn below(&self, entry: &Entry<'a>) -> Option<Self> {
        Some(Self {
            context: self.context,
            table: entry.value.as_table()?,
            header: entry.place,
            name: self.path_to(entry.key),
        })
    }

    pub(crate) fn text(&self, key: &str) -> Option<Text<'a>> {
        self.entry(key)?.text()
    }

    pub(crate) fn texts(&self, key: &str) -> Option<Vec<Text<'a>>> {
        let entry = self.entry(key)?;
        let texts = entry.value.as_array()?.iter().filter_map(|item| {
            let item = self.entry_of(entry.key, entry.key_place.offset, item);
            item.text()
        });
        Some(texts.collect())
    }

    /// A list of texts, or the one text that stands for it.
    pub(crate) fn text_or_texts(&self, key: &str) -> Option<Vec<Text<'a>>> {
        match self.text(key) {
            Some(text) => Some(vec![text]),
            None => self.texts(key),
        }
    }

    /// The tables of the list `key`.
    pub(crate) fn tables(&self, key: &str) -> Option<Vec<Self>> {
        let entry = self.entry(key)?;
        let tables = entry.value.as_array()?.iter().filter_map(|item| {
            let item = self.entry_of(entry.key, entry.key_place.offset, item);
            self.below(&item)
        });
        Some(tables.collect())
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        self.entry(key)?.value.as_bool()
    }

    /// A whole number from 0 to `most`.
    pub(crate) fn number(&self, key: &str, most: u32) -> Option<u32> {
        let entry = self.entry(key)?;
        let number = entry.value.as_integer()?;
        let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok();
        let parsed = parsed.filter(|number| *number <= most);
        if parsed.is_none() {
            let message = format!("`{key}` is a number from 0 to {most}");
            self.report(key, Fault::at(entry.place, message));
        }
        parsed
    }

    /// A number from 0 to 1.
    pub(crate) fn ratio(&self, key: &str) -> Option<f64> {
        let entry = self.entry(key)?;
        let text = match entry.value {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) => number.as_str(),
            _ => return None,
        };
        let ratio = text
            .parse()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            let message = format!("`{key}` is a number from 0 to 1");
            self.report(key, Fault::at(entry.place, message));
        }
        ratio
    }

    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let text = self.text(key)?;
        let refuse = |message: &str| {
            let fault = Fault::at(text.place, format!("`{key}` {message}"));
            self.report(
                key,
                fault.hint("a duration is written as `\"250ms\"`, `\"5s\"` or `\"2m\"`"),
            );
        };
        match humantime::parse_duration(text.text) {
            Ok(duration) if duration.is_zero() => refuse("must be longer than nothing"),
            Ok(duration) if duration > LONGEST => refuse("is longer than a year"),
            Ok(duration) => return Some(duration),
            Err(_) => refuse(&format!("is not a duration: `{}`", text.text)),
        }
        None
    }

    /// A size in bytes.
    pub(crate) fn size(&self, key: &str) -> Option<u64> {
        let text = self.text(key)?;
        match ByteSize::from_str(text.text) {
            Ok(size) => Some(size.as_u64()),
            Err(_) => {
                let message = format!("`{key}` is not a size: `{}`", text.text);
                let fault = Fault::at(text.place, message);
                self.report(
                    key,
                    fault.hint("a size is written as `\"64KiB\"` or `\"10MiB\"`"),
                );
                None
            }
        }
    }

    /// Parses a text; what is wrong with it is reported.
    pub(crate) fn parse<T, E: fmt::Display>(
        &self,
        key: &str,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        parse(text.text)
            .map_err(|error| self.refuse(text, error.to_string()))
            .ok()
    }

    /// Parses each text of a list; what is wrong with one is reported there.
    pub(crate) fn parse_each<T, E: fmt::Display>(
        &self,
        key: &str,
        parse: impl Fn(&'a str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        Some(self.parse_all(self.texts(key)?, parse))
    }

    /// Parses texts of this table; what is wrong with one is reported there.
    pub(crate) fn parse_all<T, E: fmt::Display>(
        &self,
        texts: Vec<Text<'a>>,
        parse: impl Fn(&'a str) -> Result<T, E>,
    ) -> Vec<T> {
        let parsed = texts.into_iter().filter_map(|text| {
            parse(text.text)
                .map_err(|error| self.refuse(text, error.to_string()))
                .ok()
        });
        parsed.collect()
    }

    /// Reports what is wrong with a text.
    pub(crate) fn refuse(&self, text: Text<'_>, message: impl Into<String>) {
        self.report(text.key, Fault::at(text.place, message));
    }

    /// Reports that a key is missing, unless it is there with a slip of the pen, which was reported.
    pub(crate) fn missing(&self, key: &str, message: impl Into<String>) {
        if !self.misspells(key) {
            self.report(key, Fault::at(self.header, message));
        }
    }

    /// Whether a key here was probably meant to be `key`; one that is a key means itself.
    pub(crate) fn misspells(&self, key: &str) -> bool {
        self.table.keys().any(|written| {
            let is_near = nearest(written.get_ref(), [key].into_iter()).is_some();
            is_near && !ROOT.knows(written.get_ref())
        })
    }

    /// Reports something about `key` of this table.
    pub(crate) fn report(&self, key: &str, fault: Fault) {
        self.context.faults.add(fault.key(self.path_to(key)));
    }

    fn path_to(&self, key: &str) -> String {
        if self.name.is_empty() {
            return key.to_owned();
        }
        format!("{}.{key}", self.name)
    }
}

// === impl Entry ===

impl<'a> Entry<'a> {
    /// A text of one line; only a secret may have more.
    pub(crate) fn text(&self) -> Option<Text<'a>> {
        let text = self.value.as_str().filter(|text| is_one_line(text))?;
        Some(Text {
            key: self.key,
            place: self.place,
            text,
        })
    }
}

// === impl Taken ===

impl<K: Hash + Eq> Taken<K> {
    pub(crate) fn new() -> Self {
        Self(RefCell::default())
    }

    /// The place that has `name` already, or none and it is taken from now on.
    pub(crate) fn take(&self, name: K, place: Place) -> Option<Place> {
        match self.0.borrow_mut().entry(name) {
            hash_map::Entry::Occupied(first) => Some(*first.get()),
            hash_map::Entry::Vacant(free) => {
                free.insert(place);
                None
            }
        }
    }
}
