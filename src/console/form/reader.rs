//! JSON as it is sent, read by the description of the fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::draft::{Entry, SecretAt, Source, row};
use super::fields::{AUTH_TYPES, AuthType, CONNECTION, Field, Input, Literal, NETWORK, TLS, TYPE};
use super::told::Told;

/// No text of a field is longer, in bytes.
const LONGEST: usize = 4096;

/// No list has more entries.
const MOST: usize = 100;

/// What was read so far, and what was no such thing.
#[derive(Default)]
pub(super) struct Reader {
    entries: BTreeMap<&'static str, Entry>,
    pub(super) errors: Vec<Told>,
}

impl Reader {
    pub(super) fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(Told::at(field, message));
    }

    pub(super) fn auth_type(&mut self, auth: Option<&Map<String, Value>>) -> &'static AuthType {
        let none = AuthType::of_name("none").unwrap_or(&AUTH_TYPES[0]);
        let Some(auth) = auth else {
            return none;
        };
        match auth.get("type").and_then(Value::as_str) {
            None => self.refuse(TYPE, "`auth` needs a `type`"),
            Some(name) => match AuthType::of_name(name) {
                Some(kind) => return kind,
                None => {
                    let names = AUTH_TYPES.iter().map(|kind| kind.name);
                    let names = names.collect::<Vec<_>>().join("`, `");
                    self.refuse(
                        TYPE,
                        format!("there is no such type; it is one of `{names}`"),
                    );
                }
            },
        }
        none
    }

    /// Reads the members of the object at a path, as far as there are fields for them.
    pub(super) fn table(
        &mut self,
        path: &str,
        table: &Map<String, Value>,
        fields: &'static [Field],
    ) {
        for (key, value) in table {
            let path = match path {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            let below = format!("{path}.");
            let is_parent = fields.iter().any(|field| field.key.starts_with(&below));
            let field = fields.iter().find(|field| field.key == path);
            match (value, field) {
                (Value::Object(inner), _) if is_parent => self.table(&path, inner, fields),
                (Value::Null, Some(_)) => {}
                (value, Some(field)) => {
                    if let Some(entry) = self.entry(field, value) {
                        self.entries.insert(field.key, entry);
                    }
                }
                (_, None) if is_parent => self.refuse(&path, "takes an object"),
                (_, None) => self.refuse(short(&path), "the form has no such field"),
            }
        }
    }

    fn entry(&mut self, field: &'static Field, value: &Value) -> Option<Entry> {
        match field.input {
            Input::Choice(words) => {
                let text = self.text(field.key, value)?;
                if !words.contains(&text.as_str()) {
                    let message = format!("it is one of `{}`", words.join("`, `"));
                    self.refuse(field.key, message);
                    return None;
                }
                Some(Entry::Text(text))
            }
            Input::File(_) | Input::Text(_) => self.text(field.key, value).map(Entry::Text),
            Input::OneOrMore if value.is_string() => self.text(field.key, value).map(Entry::Text),
            Input::OneOrMore | Input::Texts => self.texts(field.key, value).map(Entry::Texts),
            Input::Secret(literal) => self.secret(field.key, value, literal).map(Entry::Secret),
            Input::Secrets => self.secrets(field.key, value),
        }
    }

    fn text(&mut self, path: &str, value: &Value) -> Option<String> {
        match value.as_str() {
            None => self.refuse(path, "takes a string"),
            Some(text) if text.len() > LONGEST => self.refuse(path, "is longer than 4 KiB"),
            Some(text) => return Some(text.to_owned()),
        }
        None
    }

    fn texts(&mut self, path: &str, value: &Value) -> Option<Vec<String>> {
        match value.as_array() {
            None => self.refuse(path, "takes a list of strings"),
            Some(items) if items.len() > MOST => self.refuse(path, "has more than 100 entries"),
            Some(items) => return items.iter().map(|item| self.text(path, item)).collect(),
        }
        None
    }

    fn secrets(&mut self, key: &str, value: &Value) -> Option<Entry> {
        let rows = match value.as_object() {
            None => {
                self.refuse(key, "takes an object: each name with a secret or a string");
                return None;
            }
            Some(rows) if rows.len() > MOST => {
                self.refuse(key, "has more than 100 entries");
                return None;
            }
            Some(rows) => rows,
        };
        let rows = rows.iter().filter_map(|(name, value)| {
            if name.len() > LONGEST {
                self.refuse(key, "a name is longer than 4 KiB");
                return None;
            }
            let secret = self.secret(&row(key, name), value, Literal::Any)?;
            Some((name.clone(), secret))
        });
        Some(Entry::Secrets(rows.collect()))
    }

    fn secret(&mut self, path: &str, value: &Value, literal: Literal) -> Option<SecretAt> {
        const SOURCE: &str =
            r#"a secret is told by where it is: {"env": "NAME"} or {"file": "PATH"}"#;
        let table = match value {
            Value::Object(table) => table,
            Value::String(_) => return self.literal(path, value, literal),
            _ => {
                self.refuse(path, SOURCE);
                return None;
            }
        };
        if table.contains_key("command") {
            self.refuse(
                path,
                "commands are not taken from the form, as they would run here; write it into the configuration yourself",
            );
            return None;
        }
        if !table
            .keys()
            .all(|key| ["env", "file", "format"].contains(&key.as_str()))
        {
            self.refuse(path, format!("{SOURCE}, with a `format` or without"));
            return None;
        }
        let format = match table.get("format") {
            None | Some(Value::Null) => None,
            // Told here, as the configuration looks at it only where there is a secret.
            Some(format) => match self.text(path, format)? {
                format if format.matches("{}").count() == 1 => Some(format),
                _ => {
                    self.refuse(path, "`format` has exactly one `{}`, where the secret goes");
                    return None;
                }
            },
        };
        let source = match (table.get("env"), table.get("file")) {
            (Some(name), None) => Source::Env(self.text(path, name)?),
            (None, Some(file)) => Source::File(self.text(path, file)?),
            (Some(_), Some(_)) => {
                self.refuse(path, "a secret has one source: `env` or `file`");
                return None;
            }
            (None, None) => {
                self.refuse(path, SOURCE);
                return None;
            }
        };
        Some(SecretAt { source, format })
    }

    /// A text in place of a secret. What is refused may be one: it is not told.
    fn literal(&mut self, path: &str, value: &Value, literal: Literal) -> Option<SecretAt> {
        let text = self.text(path, value)?;
        let fits = match literal {
            Literal::Any => true,
            Literal::Url => !text.contains('@'),
            Literal::Empty => text.is_empty(),
            Literal::Key | Literal::No => false,
        };
        if !fits {
            self.refuse(
                path,
                r#"a secret does not go into the configuration: say where it is, {"env": "NAME"} or {"file": "PATH"}, and give it in `values` to try it"#,
            );
            return None;
        }
        Some(SecretAt {
            source: Source::Text(text),
            format: None,
        })
    }

    /// What was read, in the order of the fields.
    pub(super) fn in_order(&mut self, auth: &'static AuthType) -> Vec<(&'static Field, Entry)> {
        let fields = CONNECTION
            .iter()
            .chain(auth.fields)
            .chain(&TLS)
            .chain(&NETWORK);
        fields
            .filter_map(|field| Some((field, self.entries.remove(field.key)?)))
            .collect()
    }
}

/// So much of a key as is worth telling.
fn short(key: &str) -> &str {
    let end = (0..=key.len().min(60))
        .rev()
        .find(|at| key.is_char_boundary(*at));
    &key[..end.unwrap_or_default()]
}
