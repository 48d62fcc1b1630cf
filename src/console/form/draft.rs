//! What the form sends, as it was meant: [`Draft`], made of JSON by the description of the fields.
//!
//! Only the shape is looked at here; whether a value is good, the configuration's own rules say.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::fields::{AuthType, CONNECTION, Content, Field, Input, NAME, NETWORK, TLS};
use super::reader::Reader;
use super::told::Told;

/// What is sent, as JSON: `auth`, `tls` and `network` as they stand in a configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sent {
    name: String,
    prefix: Option<Value>,
    base_url: Option<Value>,
    auth: Option<Map<String, Value>>,
    tls: Option<Map<String, Value>>,
    network: Option<Map<String, Value>>,
    /// By the path of the secret's field, for the trial alone.
    #[serde(default)]
    values: BTreeMap<String, Given>,
    /// Whether it is tried, and by which request.
    pub(super) trial: Option<Wanted>,
}

/// The request by which a draft is tried; a harmless one if nothing is said.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    /// Whether it is sent at all, once the upstream was reached.
    pub(super) send: Option<bool>,
}

/// A secret that was typed in.
struct Given(Zeroizing<String>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A connection that is not there yet.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) auth: &'static AuthType,
    /// In the order of the fields.
    pub(super) entries: Vec<(&'static Field, Entry)>,
    /// What was typed in of secrets and files, by the path of the field.
    pub(super) values: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// What a field was filled with.
#[derive(Debug)]
pub(super) enum Entry {
    Secret(SecretAt),
    /// In the order of their names.
    Secrets(Vec<(String, SecretAt)>),
    Text(String),
    Texts(Vec<String>),
}

/// Where a secret is.
#[derive(Debug)]
pub(super) struct SecretAt {
    pub(super) source: Source,
    pub(super) format: Option<String>,
}

#[derive(Debug)]
pub(super) enum Source {
    /// An environment variable, by name.
    Env(String),
    /// A file, by path.
    File(String),
    /// Written out; not much of a secret.
    Text(String),
}

/// A place outside of the draft that it takes something from.
pub(super) struct Reference<'d> {
    /// The path of its field.
    pub(super) field: String,
    pub(super) to: To<'d>,
}

/// What is referred to.
#[derive(Clone, Copy, Debug)]
pub(super) enum To<'d> {
    /// An environment variable, by name.
    Env(&'d str),
    /// A file, by path.
    File(&'d str),
}

/// No secret or file that is typed in is longer, in bytes.
const LONGEST_VALUE: usize = 64 << 10;

impl Draft {
    /// What was sent, with all that is no such thing.
    pub(super) fn of(sent: Sent) -> (Self, Option<Wanted>, Vec<Told>) {
        let mut reader = Reader::default();
        let auth = reader.auth_type(sent.auth.as_ref());
        let top = [("prefix", sent.prefix), ("base_url", sent.base_url)];
        let top = top
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        reader.table("", &top.collect(), &CONNECTION);
        let mut of_auth = sent.auth.unwrap_or_default();
        of_auth.remove("type");
        reader.table("auth", &of_auth, auth.fields);
        reader.table("tls", &sent.tls.unwrap_or_default(), &TLS);
        reader.table("network", &sent.network.unwrap_or_default(), &NETWORK);
        if sent.name.len() > 128 {
            reader.refuse(NAME, "a name has at most 128 characters");
        }
        let mut draft = Self {
            name: sent.name,
            auth,
            entries: reader.in_order(auth),
            values: BTreeMap::new(),
        };
        draft.take(sent.values, &mut reader);
        (draft, sent.trial, reader.errors)
    }

    /// Every place that it takes something from.
    pub(super) fn references(&self) -> Vec<Reference<'_>> {
        let mut all = Vec::new();
        for (field, entry) in &self.entries {
            match (field.input, entry) {
                (Input::File(_), Entry::Text(path)) => all.push(Reference {
                    field: field.key.to_owned(),
                    to: To::File(path),
                }),
                (_, Entry::Secret(secret)) => {
                    all.extend(secret.reference(|| field.key.to_owned()));
                }
                (_, Entry::Secrets(rows)) => all.extend(
                    (rows.iter()).filter_map(|(name, at)| at.reference(|| row(field.key, name))),
                ),
                (_, Entry::Text(_) | Entry::Texts(_)) => {}
            }
        }
        all
    }

    /// Takes the secrets that were typed in, each for a field that takes it from elsewhere.
    fn take(&mut self, values: BTreeMap<String, Given>, reader: &mut Reader) {
        let known: Vec<String> = (self.references().into_iter())
            .map(|reference| reference.field)
            .collect();
        for (field, Given(text)) in values {
            if !known.contains(&field) {
                reader.refuse(
                    &field,
                    "there is a value for it, but no environment variable or file that it stands for",
                );
                continue;
            }
            let bytes = match self.is_binary(&field) {
                true => BASE64_STANDARD
                    .decode(text.trim_ascii())
                    .ok()
                    .map(Zeroizing::new),
                false => Some(Zeroizing::new(text.as_bytes().to_vec())),
            };
            match bytes {
                None => reader.refuse(&field, "its value is the base64 of the file"),
                Some(bytes) if bytes.is_empty() => reader.refuse(&field, "its value is empty"),
                Some(bytes) if bytes.len() > LONGEST_VALUE => {
                    reader.refuse(&field, "its value is longer than 64 KiB");
                }
                Some(bytes) => drop(self.values.insert(field, bytes)),
            }
        }
    }

    fn is_binary(&self, key: &str) -> bool {
        let mut fields = self.entries.iter().map(|(field, _)| field);
        fields.any(|field| field.key == key && field.input == Input::File(Content::Pkcs12))
    }
}

/// Silent about what was typed in.
impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("name", &self.name)
            .field("auth", &self.auth.name)
            .finish_non_exhaustive()
    }
}

impl SecretAt {
    fn reference(&self, field: impl FnOnce() -> String) -> Option<Reference<'_>> {
        let to = match &self.source {
            Source::Env(name) => To::Env(name),
            Source::File(path) => To::File(path),
            Source::Text(_) => return None,
        };
        Some(Reference { field: field(), to })
    }
}

/// The path of one of the secrets of a field.
pub(super) fn row(key: &str, name: &str) -> String {
    format!("{key}.{name}")
}
