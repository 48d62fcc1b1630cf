//! `command`: a secret that a program tells. Nothing runs here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::fault::Fault;
use crate::config::section::{Entry, Section};
use crate::config::shape::is_program;
use crate::secret::{Command, Origin, Secret};

/// For how long an output is used that does not say so itself.
const TTL: Duration = Duration::from_secs(5 * 60);

/// The secret of a table whose source is `command`; none if it was reported.
pub(super) fn command(table: &Section<'_>, entry: &Entry<'_>) -> Option<Secret> {
    let ttl = match table.has("ttl") {
        true => table.duration("ttl"),
        false => Some(TTL),
    };
    let words = words(table, entry)?;
    let folder = table.context().document(entry.place).folder();
    let command = Command {
        words,
        folder: working_folder(folder),
        ttl: ttl?,
        format: Default::default(),
    };
    Some(Secret::new("", Origin::Command(Arc::new(command))))
}

/// Reports a `ttl` of what has no time.
pub(super) fn refuse_ttl(table: &Section<'_>) {
    if let Some(ttl) = table.entry("ttl")
        && !table.has("command")
        && !table.misspells("command")
    {
        let message = "`ttl` is how long a `command`'s output is used; other sources have none";
        table.report(ttl.key, Fault::at(ttl.key_place, message));
    }
}

/// The program and its arguments, which are not told: they may hold a secret by mistake.
fn words(table: &Section<'_>, entry: &Entry<'_>) -> Option<Box<[Box<str>]>> {
    let words = entry.value.as_array()?.iter();
    let words: Option<Box<[Box<str>]>> = words
        .map(|word| word.get_ref().as_str().map(Box::from))
        .collect();
    let words = words?;
    let fault = match words.first() {
        None => Fault::at(entry.place, "`command` needs a program as its first string"),
        Some(program) if !is_program(program) => {
            let message = "a program's name is not empty, and has no white space or `\\` in it";
            let hint = "each argument is a string of its own: `[\"vault\", \"read\", \"…\"]`";
            Fault::at(entry.place, message).hint(hint)
        }
        Some(_) if words.iter().any(|word| word.contains('\0')) => {
            let message = "`command` has a NUL character, which no argument can carry";
            Fault::at(entry.place, message)
        }
        Some(_) => return Some(words),
    };
    table.report(entry.key, fault);
    None
}

/// The folder as a process can be started in it, for which the working folder has a name.
fn working_folder(folder: &Path) -> PathBuf {
    match folder.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => folder.to_owned(),
    }
}
