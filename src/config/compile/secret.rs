//! Secrets: read where they are kept, each once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeValue;

use super::command::{command, refuse_ttl};
use crate::config::fault::Fault;
use crate::config::section::{Context, Entry, Section, Text};
use crate::config::shape::is_variable_name;
use crate::secret::{Command, Origin, Secret};

/// Whether a secret written as `""` is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    Allowed,
    Refused,
}

/// Reads secrets; those from the same place share one allocation.
pub(super) struct Secrets<'a> {
    context: &'a Context<'a>,
    variables: RefCell<HashMap<Box<str>, Secret>>,
    files: RefCell<HashMap<PathBuf, Secret>>,
}

/// Why a text cannot be a field value (RFC 9110 section 5.5).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("has a line break or another control character, which no header field can carry")]
pub(super) struct ControlCharacter;

/// Checks that a secret can be sent as a field value.
pub(super) fn field_value(secret: &Secret) -> Result<(), ControlCharacter> {
    // As `HeaderValue` decides it, without leaving a copy of the secret behind.
    let fits = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    match known(secret).into_iter().flat_map(str::bytes).all(fits) {
        true => Ok(()),
        false => Err(ControlCharacter),
    }
}

/// What is known of a secret at load: all of it, or what stands around a command's output.
pub(super) fn known(secret: &Secret) -> [&str; 2] {
    match secret.origin() {
        Origin::Command(command) => [&command.format.0, &command.format.1],
        Origin::Env(_) | Origin::File(_) | Origin::Issued | Origin::Literal => {
            [secret.expose(), ""]
        }
    }
}

/// What stands before and after the one `{}` of a format.
pub(super) fn around(format: &str) -> Option<(&str, &str)> {
    let (before, after) = format.split_once("{}")?;
    (!after.contains("{}")).then_some((before, after))
}

impl<'a> Secrets<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        Self {
            context,
            variables: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// The secret at `key` of a table, which is needed before there is anything to run commands;
    /// none if it is absent or was reported.
    pub(super) fn take_at_load(&self, section: &Section<'a>, key: &str) -> Option<Secret> {
        let entry = section.entry(key)?;
        let secret = self.of(section, &entry, Empty::Refused)?;
        if let Origin::Command(_) = secret.origin() {
            let message = format!("`{key}` is needed at the start, before any `command` runs");
            let fault = Fault::at(entry.place, message);
            section.report(key, fault.hint("let it come from `env` or `file`"));
            return None;
        }
        Some(secret)
    }

    /// The secret that an entry of a table is.
    pub(super) fn of(
        &self,
        section: &Section<'a>,
        entry: &Entry<'a>,
        empty: Empty,
    ) -> Option<Secret> {
        match entry.value {
            DeValue::String(text) => {
                let literal = Secret::new(text.as_ref(), Origin::Literal);
                self.unless_empty(section, entry, literal, empty)
            }
            DeValue::Table(_) => {
                let table = section.below(entry)?;
                let secret = self.of_source(&table, empty)?;
                self.formatted(&table, secret)
            }
            _ => None,
        }
    }

    fn of_source(&self, table: &Section<'a>, empty: Empty) -> Option<Secret> {
        const SOURCES: [&str; 4] = ["env", "file", "value", "command"];
        refuse_ttl(table);
        let written = SOURCES.map(|key| table.entry(key));
        match written.each_ref().map(Option::as_ref) {
            [Some(env), None, None, None] => self.of_variable(table, env.text()?),
            [None, Some(file), None, None] => self.of_file(table, file.text()?),
            [None, None, Some(value), None] => {
                let literal = Secret::new(value.value.as_str()?, Origin::Literal);
                self.unless_empty(table, value, literal, empty)
            }
            [None, None, None, Some(words)] => command(table, words),
            [None, None, None, None] => {
                if !SOURCES.iter().any(|key| table.misspells(key)) {
                    let message = "a secret needs a source: `env`, `file`, `value` or `command`";
                    let fault = Fault::at(table.header(), message);
                    self.context.faults.add(fault.key(table.name().to_owned()));
                }
                None
            }
            several => {
                let keys: Vec<_> = several.into_iter().flatten().map(|e| e.key).collect();
                let message = format!("a secret has one source, not `{}`", keys.join("` and `"));
                let fault = Fault::at(table.header(), message);
                self.context.faults.add(fault.key(table.name().to_owned()));
                None
            }
        }
    }

    fn of_variable(&self, table: &Section<'a>, name: Text<'a>) -> Option<Secret> {
        if let Some(known) = self.variables.borrow().get(name.text) {
            return Some(known.clone());
        }
        // A name that is none is most often the secret itself: it is not told.
        if !is_variable_name(name.text) {
            table.refuse(name, "`env` takes the name of an environment variable");
            return None;
        }
        let refuse = |what: &str| {
            let message = format!("environment variable `{}` {what}", name.text);
            table.refuse(name, message);
        };
        let Some(value) = self.context.reader.variable(name.text) else {
            refuse("is not set");
            return None;
        };
        let Ok(value) = value.into_string() else {
            refuse("is not UTF-8 text");
            return None;
        };
        if value.is_empty() {
            refuse("is empty");
            return None;
        }
        let secret = Secret::new(value, Origin::Env(name.text.into()));
        let mut known = self.variables.borrow_mut();
        known.insert(name.text.into(), secret.clone());
        Some(secret)
    }

    fn of_file(&self, table: &Section<'a>, written: Text<'a>) -> Option<Secret> {
        let path = self.context.document(written.place).resolve(written.text);
        if let Some(known) = self.files.borrow().get(&path) {
            return Some(known.clone());
        }
        match self.read(&path) {
            Ok(secret) => {
                self.files.borrow_mut().insert(path, secret.clone());
                Some(secret)
            }
            Err((message, hint)) => {
                let message = format!("secret file `{}` {message}", path.display());
                let mut fault = Fault::at(written.place, message);
                if let Some(hint) = hint {
                    fault = fault.hint(hint);
                }
                table.report(written.key, fault);
                None
            }
        }
    }

    /// A file's text without its last line end; else what is wrong, and what to do.
    fn read(&self, path: &Path) -> Result<Secret, (String, Option<String>)> {
        let contents = self
            .context
            .reader
            .read(path)
            .map_err(|unreadable| (unreadable.to_string(), unreadable.hint()))?;
        let text =
            str::from_utf8(&contents.bytes).map_err(|_| ("is not UTF-8 text".to_owned(), None))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(("is empty".to_owned(), None));
        }
        Ok(Secret::new(text, Origin::File(Arc::new(path.to_owned()))))
    }

    fn unless_empty(
        &self,
        section: &Section<'a>,
        entry: &Entry<'a>,
        literal: Secret,
        empty: Empty,
    ) -> Option<Secret> {
        if empty == Empty::Refused && literal.expose().is_empty() {
            let message = format!("`{}` is empty", entry.key);
            section.report(entry.key, Fault::at(entry.place, message));
            return None;
        }
        Some(literal)
    }

    fn formatted(&self, table: &Section<'a>, secret: Secret) -> Option<Secret> {
        let Some(format) = table.text("format") else {
            return Some(secret);
        };
        let Some((before, after)) = around(format.text) else {
            table.refuse(
                format,
                "`format` has exactly one `{}`, where the secret goes",
            );
            return None;
        };
        if let Origin::Command(command) = secret.origin() {
            let command = Command {
                format: (before.into(), after.into()),
                ..Command::clone(command)
            };
            return Some(Secret::new("", Origin::Command(Arc::new(command))));
        }
        // Room for just this, as a buffer that grows or shrinks leaves copies behind.
        let value = secret.expose();
        let mut text = String::with_capacity(before.len() + value.len() + after.len());
        text.extend([before, value, after]);
        Some(secret.with_value(text))
    }
}
