//! What is to be written: [`Draft`], its text, and what the loader has to say of it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::kinds::{Key, Kind};
use crate::config::diagnostic::Diagnostic;
use crate::config::quote::{key, string};
use crate::config::source::{Contents, FileKind, Location, Outside, Process};
use crate::config::{self, is_variable_name};

/// A configuration of one connection, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) base_url: String,
    /// The one by the name, if none is set.
    pub(super) prefix: Option<String>,
    pub(super) kind: Option<&'static Kind>,
    pub(super) fields: Vec<(Key, String)>,
    pub(super) secret: Option<Place>,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In an environment variable.
    Env(String),
    /// In a file, by its path from the configuration's folder.
    File(String),
}

impl Draft {
    /// Where callers find the connection.
    pub(super) fn prefix(&self) -> String {
        let prefix = self.prefix.clone();
        prefix.unwrap_or_else(|| format!("/{}", self.name))
    }

    /// The variable that its secret usually stands in.
    pub(super) fn usual_variable(&self) -> Option<String> {
        let secret = self.kind?.secret.as_ref()?;
        Some(super::usual_variable(&self.name, secret))
    }

    /// The path of its secret among the keys of the file, below which mistakes are about the secret itself.
    pub(super) fn secret_path(&self) -> Option<String> {
        let secret = self.kind?.secret.as_ref()?;
        let path = format!("connections.{}.auth.{}", self.name, secret.key);
        Some(match self.placed() {
            Some(name) => format!("{path}.{name}"),
            None => path,
        })
    }

    /// What is wrong with it, without what only the secret lacks; and that.
    pub(super) fn faults(&self, path: &Path) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let outside = Unwritten {
            path: path.to_owned(),
            text: self.text(),
        };
        self.sorted(config::load(&Location::File(path.to_owned()), &outside))
    }

    /// As [`Self::faults`], of a file that was written.
    pub(super) fn faults_of_file(&self, path: &Path) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        self.sorted(config::load(&Location::File(path.to_owned()), &Process))
    }

    fn sorted(&self, loaded: config::Loaded) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let Err(faults) = loaded.result else {
            return Default::default();
        };
        // A name that is none is most often the secret itself, and stands in no file then.
        let secret = self.secret_path().filter(|_| match &self.secret {
            Some(Place::Env(name)) => is_variable_name(name),
            Some(Place::File(_)) | None => true,
        });
        let is_secret = |fault: &Diagnostic| {
            let key = fault.key().unwrap_or_default();
            secret
                .as_ref()
                .is_some_and(|secret| key.starts_with(secret))
        };
        let (pending, faults) = faults.as_slice().iter().cloned().partition(is_secret);
        (faults, pending)
    }

    /// The file's text.
    pub(super) fn text(&self) -> String {
        let Self { name, base_url, .. } = self;
        let mut text = String::from(HEAD);
        let url = format!(
            "http://127.0.0.1:8080{}",
            self.prefix().trim_end_matches('/')
        );
        text += &format!("\n# {url}/… is {base_url}/…, with the credential added.\n");
        let table = key(name);
        text += &format!("[connections.{table}]\n");
        if let Some(prefix) = &self.prefix {
            text += &format!("prefix   = {}\n", string(prefix));
        }
        text += &format!("base_url = {}\n", string(base_url));
        if let Some(kind) = self.kind {
            text += &format!("\n[connections.{table}.auth]\n{}", self.auth(kind));
        }
        text += &format!(
            "\n# Least privilege: callers get no more than this, whatever the credential may do.\n\
             # [connections.{table}.allow]\n\
             # methods = [\"GET\"]\n\
             # paths   = [\"/issue/**\", \"/search\"]\n"
        );
        text
    }

    fn auth(&self, kind: &Kind) -> String {
        let mut lines = vec![("type", string(kind.name))];
        let plain = |key: &Key| !matches!(key, Key::Header | Key::Param);
        for (key, value) in self.fields.iter().filter(|(key, _)| plain(key)) {
            let value = match key {
                Key::Scopes => list(value),
                _ => string(value),
            };
            lines.push((key.name(), value));
        }
        let secret = kind.secret.as_ref().zip(self.secret.as_ref());
        if let Some((field, place)) = secret {
            let place = place.text();
            let value = match self.placed() {
                Some(name) => format!("{{ {} = {place} }}", key(name)),
                None => place,
            };
            lines.push((field.key, value));
        }
        let width = lines.iter().map(|(key, _)| key.len()).max();
        let width = width.unwrap_or_default();
        let mut text = String::new();
        for (key, value) in &lines {
            if secret.is_some_and(|(field, _)| field.key == *key) {
                text += SECRET;
            }
            text += &format!("{key:width$} = {value}\n");
        }
        for line in kind.more {
            text += &format!("# {line}\n");
        }
        text
    }

    /// The name of the header field or parameter that the secret is placed in.
    fn placed(&self) -> Option<&str> {
        let placed = |(key, _): &&(Key, String)| matches!(key, Key::Header | Key::Param);
        self.fields.iter().find(placed).map(|(_, name)| &**name)
    }
}

impl Place {
    fn text(&self) -> String {
        match self {
            Self::Env(name) => format!("{{ env = {} }}", string(name)),
            Self::File(path) => format!("{{ file = {} }}", string(path)),
        }
    }
}

/// The world around this process, with one file more.
struct Unwritten {
    path: PathBuf,
    text: String,
}

impl Outside for Unwritten {
    fn variable(&self, name: &str) -> Option<OsString> {
        Process.variable(name)
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        Process.kind(path)
    }

    fn read(&self, path: &Path) -> io::Result<Contents> {
        if path != self.path {
            return Process.read(path);
        }
        Ok(Contents {
            bytes: Zeroizing::new(self.text.clone().into_bytes()),
            mode: 0o600,
            identity: self.path.clone(),
        })
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        Process.glob(pattern)
    }
}

const HEAD: &str = "\
# A configuration of keybearer. Apps call its connections in plain HTTP and without a credential;
# keybearer adds it. `keybearer check` validates this file; a change takes force without a restart.

# Where apps connect, and the console, which `keybearer status` asks. These are the defaults:
# [server]
# listen = [\"127.0.0.1:8080\"]
# [admin]
# listen = \"127.0.0.1:9080\"
";

const SECRET: &str = "\
# Never the secret itself, but where it is: { env = \"NAME\" }, { file = \"path\" } (watched for change),
# or { command = [\"vault\", \"read\", \"…\"], ttl = \"5m\" }.
";

/// The words of a text.
fn list(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(string).collect();
    format!("[{}]", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{KINDS, Need};
    use super::*;

    /// A draft of a type, all of whose fields are given.
    fn draft(kind: &'static Kind) -> Draft {
        let value = |key: Key| match key {
            Key::AuthorizationUrl | Key::TokenUrl => "https://login.example/x".to_owned(),
            Key::RoleArn => "arn:aws:iam::123456789012:role/r".to_owned(),
            Key::Scopes => "a b".to_owned(),
            Key::Service => "s3".to_owned(),
            Key::Region => "eu-west-1".to_owned(),
            Key::AccessKeyId => "AKIAIOSFODNN7EXAMPLE".to_owned(),
            Key::Tenant => "example.onmicrosoft.com".to_owned(),
            _ => "X-Any".to_owned(),
        };
        let fields = kind
            .fields
            .iter()
            .map(|field| (field.key, value(field.key)));
        Draft {
            name: "a.b".to_owned(),
            base_url: "https://api.example".to_owned(),
            prefix: Some("/x".to_owned()),
            kind: Some(kind),
            fields: fields.collect(),
            secret: kind
                .secret
                .as_ref()
                .map(|_| Place::Env("KEYBEARER_ABSENT_VARIABLE".to_owned())),
        }
    }

    #[test]
    fn every_type_lacks_nothing_but_its_secret() {
        for kind in &KINDS {
            let (faults, pending) = draft(kind).faults(Path::new("keybearer.toml"));
            assert!(faults.is_empty(), "{}: {faults:?}", kind.name);
            assert_eq!(
                pending.len(),
                usize::from(kind.secret.is_some()),
                "{pending:?}"
            );
        }
    }

    #[test]
    fn every_type_does_without_what_is_optional() {
        for kind in &KINDS {
            let mut draft = draft(kind);
            let optional = |key: &Key| {
                let field = kind.fields.iter().find(|field| field.key == *key);
                field.is_some_and(|field| field.need == Need::Optional)
            };
            draft.fields.retain(|(key, _)| !optional(key));
            // The host tells service and region.
            draft.base_url = "https://sqs.eu-west-1.amazonaws.com".to_owned();
            let (faults, _) = draft.faults(Path::new("keybearer.toml"));
            assert!(faults.is_empty(), "{}: {faults:?}", kind.name);
        }
    }

    #[test]
    fn a_required_field_is_required_by_the_loader_too() {
        for kind in &KINDS {
            for field in kind
                .fields
                .iter()
                .filter(|field| field.need == Need::Required)
            {
                let mut draft = draft(kind);
                draft.fields.retain(|(key, _)| *key != field.key);
                let (faults, _) = draft.faults(Path::new("keybearer.toml"));
                assert!(!faults.is_empty(), "{} {:?}", kind.name, field.key);
            }
        }
    }

    #[test]
    fn a_list_has_the_words_of_a_text() {
        assert_eq!(list(" a  \"b "), "[\"a\", \"\\\"b\"]");
    }
}
