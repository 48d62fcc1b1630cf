//! `[store]`.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::secret::Secrets;
use crate::config::fault::Fault;
use crate::config::section::{Context, Section};
use crate::config::{Store, StoreKey};

/// How many bytes a key has.
const KEY_LENGTH: usize = 32;

/// Where tokens are kept; in the folder for it of whoever runs this, if there is no `[store]`.
pub(super) fn store<'a>(
    section: Option<&Section<'a>>,
    context: &'a Context<'a>,
    secrets: &Secrets<'a>,
) -> Store {
    let Some(section) = section else {
        return Store::File {
            folder: default_folder(context),
            key: None,
        };
    };
    if section
        .text("type")
        .is_some_and(|kind| kind.text == "memory")
    {
        refuse_of_file(section);
        return Store::Memory;
    }
    Store::File {
        folder: folder(section),
        key: key(section, secrets),
    }
}

fn folder(section: &Section<'_>) -> Option<PathBuf> {
    if section.has("path") {
        let written = section.text("path")?;
        if written.text.is_empty() {
            section.refuse(written, "`path` is empty; it names a folder");
            return None;
        }
        return Some(
            section
                .context()
                .document(written.place)
                .resolve(written.text),
        );
    }
    let folder = default_folder(section.context());
    if folder.is_none() {
        let message = "`[store]` needs a `path`, as neither `$XDG_STATE_HOME` nor `$HOME` is set";
        section.missing("path", message);
    }
    folder
}

/// The XDG base directory for state, in which a path that is not absolute counts for none.
fn default_folder(context: &Context<'_>) -> Option<PathBuf> {
    let folder = |name: &str| {
        let path = PathBuf::from(context.reader.variable(name)?);
        path.is_absolute().then_some(path)
    };
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("keybearer"))
}

fn key<'a>(section: &Section<'a>, secrets: &Secrets<'a>) -> Option<StoreKey> {
    let secret = secrets.take_at_load(section, "key")?;
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(secret.expose()).unwrap_or_default());
    if bytes.len() != KEY_LENGTH
        && let Some(entry) = section.entry("key")
    {
        let message = format!("`key` is not the base64 of {KEY_LENGTH} bytes");
        let fault = Fault::at(entry.place, message);
        section.report("key", fault.hint("make one with `openssl rand -base64 32`"));
        return None;
    }
    Some(StoreKey(secret))
}

fn refuse_of_file(section: &Section<'_>) {
    for key in ["path", "key"] {
        if let Some(entry) = section.entry(key) {
            let message = format!("`{key}` has no use with `type = \"memory\"`");
            section.report(key, Fault::at(entry.key_place, message));
        }
    }
}
