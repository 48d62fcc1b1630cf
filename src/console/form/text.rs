//! A draft as TOML: what a person would write, every text of it escaped.

use std::fmt::Write;

use toml_writer::{TomlKeyBuilder, TomlStringBuilder, TomlWrite};
use zeroize::Zeroizing;

use super::draft::{Draft, Entry, SecretAt, Source};

/// The configuration of a draft.
pub(super) fn toml(draft: &Draft) -> Zeroizing<String> {
    let mut tables = vec![Table::new("")];
    let of_auth = Line {
        key: "type".to_owned(),
        value: string(draft.auth.name),
        remark: None,
    };
    for (field, entry) in &draft.entries {
        let (table, key) = field.key.rsplit_once('.').unwrap_or(("", field.key));
        if let Entry::Secrets(rows) = entry {
            let lines = rows.iter().map(|(name, at)| Line::secret(name, at));
            at(&mut tables, field.key).lines.extend(lines);
            continue;
        }
        at(&mut tables, table).lines.push(match entry {
            Entry::Secret(secret) => Line::secret(key, secret),
            Entry::Text(text) => Line::plain(key, string(text)),
            Entry::Texts(texts) => Line::plain(key, list(texts)),
            Entry::Secrets(_) => continue,
        });
    }
    at(&mut tables, "auth").lines.insert(0, of_auth);
    // Tables before those within them, in the order of the form.
    let order = |name: &str| {
        let first = name.split('.').next().unwrap_or_default();
        ["", "auth", "tls", "network"]
            .iter()
            .position(|it| *it == first)
    };
    tables.sort_by_key(|table| (order(table.name), table.name.matches('.').count()));
    let mut text = String::from(
        "# Made with the console's form. Secrets stay where they are: only their places stand here.\n",
    );
    for (index, table) in tables.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        table.write(&draft.name, &mut text);
    }
    Zeroizing::new(text)
}

/// A table below the connection's.
struct Table {
    /// Its path; empty for the connection's own.
    name: &'static str,
    lines: Vec<Line>,
}

struct Line {
    key: String,
    value: String,
    remark: Option<&'static str>,
}

fn at<'t>(tables: &'t mut Vec<Table>, name: &'static str) -> &'t mut Table {
    let found = tables.iter().position(|table| table.name == name);
    let index = found.unwrap_or_else(|| {
        tables.push(Table::new(name));
        tables.len() - 1
    });
    &mut tables[index]
}

impl Table {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            lines: Vec::new(),
        }
    }

    fn write(&self, connection: &str, text: &mut String) {
        let parts = self.name.split('.').filter(|part| !part.is_empty());
        let path: Vec<_> = ["connections", connection]
            .into_iter()
            .chain(parts)
            .map(key)
            .collect();
        let keys: Vec<_> = self.lines.iter().map(|line| key(&line.key)).collect();
        let width = keys
            .iter()
            .map(|key| key.chars().count())
            .max()
            .unwrap_or_default();
        // Into memory, which takes all.
        let _ = writeln!(text, "[{}]", path.join("."));
        for (key, Line { value, remark, .. }) in keys.iter().zip(&self.lines) {
            let _ = write!(text, "{key:width$} = {value}");
            if let Some(remark) = remark {
                let _ = write!(text, " # {remark}");
            }
            text.push('\n');
        }
    }
}

impl Line {
    fn plain(key: &str, value: String) -> Self {
        Self {
            key: key.to_owned(),
            value,
            remark: None,
        }
    }

    fn secret(key: &str, secret: &SecretAt) -> Self {
        let (source, text, remark) = match &secret.source {
            Source::Env(name) => ("env", name, "of keybearer's environment, at its start"),
            Source::File(path) => ("file", path, "read again when it changes"),
            Source::Text(text) => return Self::plain(key, string(text)),
        };
        let mut value = format!("{{ {source} = {}", string(text));
        if let Some(format) = &secret.format {
            let _ = write!(value, ", format = {}", string(format));
        }
        value.push_str(" }");
        Self {
            key: key.to_owned(),
            value,
            remark: Some(remark),
        }
    }
}

fn list(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| string(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A text as a string of one line.
fn string(text: &str) -> String {
    let mut written = String::new();
    let builder = TomlStringBuilder::new(text);
    // Into memory, which takes all.
    let _ = written.value(builder.as_basic());
    written
}

fn key(text: &str) -> String {
    let mut written = String::new();
    let builder = TomlKeyBuilder::new(text);
    let _ = written.key(builder.as_unquoted().unwrap_or_else(|| builder.as_basic()));
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::form::draft::Sent;
    use proptest::prelude::*;
    use serde_json::json;
    use toml::de::DeTable;

    fn draft(sent: serde_json::Value) -> Draft {
        let sent: Sent = serde_json::from_value(sent).unwrap();
        let (draft, _, errors) = Draft::of(sent);
        assert!(errors.is_empty(), "{errors:?}");
        draft
    }

    #[test]
    fn it_is_what_a_person_would_write() {
        let sent = json!({
            "name": "crm",
            "base_url": "https://crm.example",
            "auth": {
                "type": "oauth2_client_credentials",
                "token_url": "https://crm.example/token",
                "client_id": "a",
                "client_secret": { "env": "CRM_SECRET" },
                "scopes": ["a", "b"],
                "params": { "X y": { "file": "x" }, "z": "plain" },
            },
            "tls": { "ca_certificate": "ca.pem" },
        });
        let expected = "# Made with the console's form. Secrets stay where they are: only their places stand here.
[connections.crm]
base_url = \"https://crm.example\"

[connections.crm.auth]
type          = \"oauth2_client_credentials\"
token_url     = \"https://crm.example/token\"
client_id     = \"a\"
client_secret = { env = \"CRM_SECRET\" } # of keybearer's environment, at its start
scopes        = [\"a\", \"b\"]

[connections.crm.auth.params]
\"X y\" = { file = \"x\" } # read again when it changes
z     = \"plain\"

[connections.crm.tls]
ca_certificate = \"ca.pem\"
";
        assert_eq!(*toml(&draft(sent)), expected);
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_string(name in "\\PC*|[\\x00-\\x7f]{0,20}", text in ".*|[\\x00-\\xff\n\r\"'\\]#]{0,20}") {
            let format = format!("{text}{{}}");
            prop_assume!(name.len() <= 128 && format.matches("{}").count() == 1);
            let sent = json!({
                "name": name,
                "base_url": text,
                "auth": {
                    "type": "header",
                    "headers": { text.clone(): { "env": text, "format": format }, "z": text },
                },
            });
            let shown = toml(&draft(sent));
            let (root, errors) = DeTable::parse_recoverable(&shown);
            prop_assert!(errors.is_empty(), "{errors:?} in {}", *shown);
            let root = root.into_inner();
            prop_assert_eq!(root.len(), 1);
            let all = root["connections"].get_ref().as_table().unwrap();
            prop_assert_eq!(all.len(), 1);
            let connection = all[name.as_str()].get_ref().as_table().unwrap();
            prop_assert_eq!(connection.len(), 2);
            prop_assert_eq!(connection["base_url"].get_ref().as_str(), Some(&*text));
            let auth = connection["auth"].get_ref().as_table().unwrap();
            prop_assert_eq!(auth.len(), 2);
            let headers = auth["headers"].get_ref().as_table().unwrap();
            let secret = headers[text.as_str()].get_ref().as_table();
            if text != "z" {
                prop_assert_eq!(secret.unwrap()["format"].get_ref().as_str(), Some(&*format));
            }
        }
    }
}
