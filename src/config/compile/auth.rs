//! `auth`: a credential whose every part can be sent where it belongs.

use std::collections::HashSet;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::aws::aws;
use super::oauth2::oauth2;
use super::secret::{Empty, Secrets, field_value, known};
use crate::config::Store;
use crate::config::fault::Fault;
use crate::config::section::{Entry, Section};
use crate::connection::auth::{Auth, Basic, BodyFields, Custom, Field, Parameter};
use crate::connection::url::BaseUrl;
use crate::secret::Secret;

/// Fields that frame or route a message (RFC 9110 section 7): no credential, and nobody's to strip.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a credential is for, as far as it depends on that.
pub(super) struct Target<'t> {
    /// The connection's name.
    pub(super) connection: &'t str,
    /// None if it was reported.
    pub(super) base_url: Option<&'t BaseUrl>,
    /// Where values are kept.
    pub(super) store: &'t Store,
}

/// The `auth` of a connection; none if it was reported.
pub(super) fn auth<'a>(
    connection: &Section<'a>,
    secrets: &Secrets<'a>,
    target: &Target<'_>,
) -> Option<Auth> {
    if !connection.has("auth") {
        return Some(Auth::None);
    }
    let section = connection.section("auth")?;
    let compiler = Compiler { secrets };
    match section.text("type")?.text {
        kind @ ("aws_access_key" | "aws_iam_role") => {
            aws(&section, kind, secrets, target).map(|aws| Auth::Aws(Box::new(aws)))
        }
        "none" => Some(Auth::None),
        "basic" => compiler.basic(&section).map(Auth::Basic),
        "bearer" => compiler.bearer(&section).map(Auth::Bearer),
        "header" => compiler
            .needed(&section, "headers", Compiler::fields)
            .map(Auth::Header),
        "query" => compiler
            .needed(&section, "params", Compiler::params)
            .map(Auth::Query),
        "custom" => compiler
            .custom(&section)
            .map(|custom| Auth::Custom(Box::new(custom))),
        kind => oauth2(&section, kind, &compiler).map(|oauth2| Auth::OAuth2(Box::new(oauth2))),
    }
}

/// Why a text cannot name a header field here.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidField {
    #[error("`{0}` frames or routes the message; keybearer sets it itself")]
    Framing(String),
    #[error("`{0}` is not a header name")]
    Syntax(String),
}

/// Parses the name of a header field that may be injected or stripped.
pub(super) fn field_name(text: &str) -> Result<HeaderName, InvalidField> {
    let name = text
        .parse::<HeaderName>()
        .map_err(|_| InvalidField::Syntax(text.to_owned()))?;
    if FRAMING.contains(&&*folded(name.as_str())) {
        return Err(InvalidField::Framing(text.to_owned()));
    }
    Ok(name)
}

/// A field name as servers compare it that take `_` for `-`.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// Compiles the parts of a credential.
pub(super) struct Compiler<'s, 'a> {
    pub(super) secrets: &'s Secrets<'a>,
}

impl<'a> Compiler<'_, 'a> {
    fn bearer(&self, section: &Section<'a>) -> Option<Secret> {
        let Some(entry) = section.entry("token") else {
            section.missing("token", "type `bearer` needs a `token`");
            return None;
        };
        self.sendable(section, &entry)
    }

    fn basic(&self, section: &Section<'a>) -> Option<Basic> {
        let username = self.basic_part(section, "username");
        let password = self.basic_part(section, "password");
        Some(Basic {
            username: username?,
            password: password?,
        })
    }

    /// User name or password (RFC 7617 section 2): either may be empty, neither left out.
    fn basic_part(&self, section: &Section<'a>, key: &str) -> Option<Secret> {
        let Some(entry) = section.entry(key) else {
            let message = format!("basic authentication needs a `{key}`, though it may be `\"\"`");
            section.missing(key, message);
            return None;
        };
        let secret = self.secrets.of(section, &entry, Empty::Allowed)?;
        let refuse = |what: &str| {
            let message = format!("`{key}` has {what}");
            section.report(key, Fault::at(entry.place, message));
        };
        let has = |what: fn(char) -> bool| known(&secret).iter().any(|text| text.contains(what));
        if has(char::is_control) {
            refuse("a line break or another control character");
            return None;
        }
        if key == "username" && has(|c| c == ':') {
            refuse("a `:`, which would end it");
            return None;
        }
        Some(secret)
    }

    /// The table `key`, which this type of credential cannot do without.
    fn needed<T>(
        &self,
        section: &Section<'a>,
        key: &str,
        parts: impl FnOnce(&Self, &Section<'a>) -> Option<Vec<T>>,
    ) -> Option<Vec<T>> {
        if !section.has(key) {
            section.missing(key, format!("this type of credential needs `{key}`"));
        }
        parts(self, &section.section(key)?)
    }

    fn custom(&self, section: &Section<'a>) -> Option<Custom> {
        const PARTS: [&str; 5] = ["headers", "params", "basic", "form", "json"];
        if !PARTS
            .iter()
            .any(|part| section.has(part) || section.misspells(part))
        {
            let message = "type `custom` needs at least one of `headers`, `params`, `basic`, `form` and `json`";
            section.missing("headers", message);
        }
        if let (Some(_), Some(json)) = (section.entry("form"), section.entry("json")) {
            let message = "a request has one body: `form` or `json`, not both";
            section.report("json", Fault::at(json.key_place, message));
        }
        let table = |key: &str| section.section(key);
        let basic = table("basic").map(|table| self.basic(&table));
        let headers = table("headers").map(|table| self.fields(&table));
        let params = table("params").map(|table| self.params(&table));
        let form = table("form").map(|table| self.params(&table));
        let json = table("json").map(|table| self.members(&table));
        let headers = headers.map_or(Some(Vec::new()), |headers| headers)?;
        if basic.is_some() {
            self.refuse_authorization(section, &headers);
        }
        Some(Custom {
            headers,
            params: params.map_or(Some(Vec::new()), |params| params)?,
            basic: basic.map_or(Some(None), |basic| basic.map(Some))?,
            body: match (form, json) {
                (Some(form), _) => Some(BodyFields::Form(form?)),
                (None, Some(json)) => Some(BodyFields::Json(json?)),
                (None, None) => None,
            },
        })
    }

    fn refuse_authorization(&self, section: &Section<'a>, headers: &[Field]) {
        let Some(table) = section.section("headers") else {
            return;
        };
        let Some(double) = headers.iter().find(|field| field.name == AUTHORIZATION) else {
            return;
        };
        if let Some(entry) = table.entry(&double.written) {
            let message = "`basic` sends `Authorization` already";
            table.report(entry.key, Fault::at(entry.key_place, message));
        }
    }

    /// Header fields, each name once.
    fn fields(&self, table: &Section<'a>) -> Option<Vec<Field>> {
        let mut names = HashSet::new();
        self.each(table, |entry| {
            let name = field_name(entry.key)
                .map_err(|error| refuse_name(table, entry, error.to_string()))
                .ok();
            let value = self.sendable(table, entry);
            if !names.insert(folded(entry.key)) {
                refuse_name(
                    table,
                    entry,
                    format!("header `{}` is here twice", entry.key),
                );
            }
            Some(Field {
                name: name?,
                written: entry.key.into(),
                value: value?,
            })
        })
    }

    /// Query parameters or form fields, each name once, in whatever letter case.
    pub(super) fn params(&self, table: &Section<'a>) -> Option<Vec<Parameter>> {
        let mut names = HashSet::new();
        self.each(table, |entry| {
            if !names.insert(entry.key.to_lowercase()) {
                refuse_name(
                    table,
                    entry,
                    format!("parameter `{}` is here twice", entry.key),
                );
            }
            self.parameter(table, entry)
        })
    }

    /// Members of a JSON object, whose names differ by letter case.
    fn members(&self, table: &Section<'a>) -> Option<Vec<Parameter>> {
        self.each(table, |entry| self.parameter(table, entry))
    }

    fn parameter(&self, table: &Section<'a>, entry: &Entry<'a>) -> Option<Parameter> {
        if entry.key.is_empty() {
            refuse_name(table, entry, "a parameter needs a name".to_owned());
        }
        Some(Parameter {
            name: entry.key.into(),
            value: self.secrets.of(table, entry, Empty::Refused)?,
        })
    }

    /// Compiles every entry, and looks at all even if one fails.
    fn each<T>(
        &self,
        table: &Section<'a>,
        mut compile: impl FnMut(&Entry<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let entries = table.entries();
        if entries.is_empty() {
            let message = format!("`{}` is empty", table.last());
            let fault = Fault::at(table.header(), message);
            table
                .context()
                .faults
                .add(fault.key(table.name().to_owned()));
        }
        let compiled: Vec<_> = entries.iter().map(&mut compile).collect();
        compiled.into_iter().collect()
    }

    /// A secret that is a field value.
    fn sendable(&self, section: &Section<'a>, entry: &Entry<'a>) -> Option<Secret> {
        let secret = self.secrets.of(section, entry, Empty::Refused)?;
        if let Err(error) = field_value(&secret) {
            let message = format!("`{}` {error}", entry.key);
            section.report(entry.key, Fault::at(entry.place, message));
            return None;
        }
        Some(secret)
    }
}

fn refuse_name(table: &Section<'_>, entry: &Entry<'_>, message: String) {
    table.report(entry.key, Fault::at(entry.key_place, message));
}
