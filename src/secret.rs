//! Secrets as a type: zeroed when dropped, silent in `Debug`, without `Display` or `Serialize`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// A secret text and where it came from.
///
/// Clones share one allocation, which is zeroed when the last of them is dropped.
#[derive(Clone)]
pub struct Secret {
    value: Arc<SecretString>,
    origin: Origin,
}

impl Secret {
    /// Takes a secret text, remembering where it was read.
    pub fn new(value: impl Into<SecretString>, origin: Origin) -> Self {
        Self {
            value: Arc::new(value.into()),
            origin,
        }
    }

    /// Gives the text itself: for building what is sent upstream, and nothing else.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// Where the text was read.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The command that tells it, if one does: then there is no text until it was run.
    pub fn command(&self) -> Option<&Arc<Command>> {
        match &self.origin {
            Origin::Command(command) => Some(command),
            Origin::Env(_) | Origin::File(_) | Origin::Issued | Origin::Literal => None,
        }
    }

    /// The same origin with another text, for example after `format` was applied.
    #[must_use]
    pub fn with_value(&self, value: impl Into<SecretString>) -> Self {
        Self::new(value, self.origin.clone())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose() && self.origin == other.origin
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret([redacted] from {})", self.origin)
    }
}

/// A program that tells a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Command {
    /// The program and its arguments; never empty.
    pub words: Box<[Box<str>]>,
    /// Where it runs, and relative programs are looked for: the configuration file's folder.
    pub folder: PathBuf,
    /// For how long an output is used that does not say so itself.
    pub ttl: Duration,
    /// What is put before and after the output.
    pub format: (Box<str>, Box<str>),
}

/// The program alone: its arguments, and what stands around its output, may hold a secret.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.words.first())
            .field("folder", &self.folder)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// Where a secret was read: what may be told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command's output, had when it is needed and again when its time is over: the text is empty.
    Command(Arc<Command>),
    /// An environment variable, by name.
    Env(Arc<str>),
    /// A file of its own, by path.
    File(Arc<PathBuf>),
    /// Made here or by an authorization server, and read nowhere: a token, an assertion.
    Issued,
    /// Written into the configuration itself.
    Literal,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => write!(f, "command {}", command.words[0]),
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Issued => f.write_str("an exchange"),
            Self::Literal => f.write_str("the configuration"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_names_the_origin_and_never_the_text() {
        let secret = Secret::new("hunter2", Origin::Env("TOKEN".into()));
        let shown = format!("{secret:?} {secret:#?}");
        assert!(shown.contains("env TOKEN"));
        assert!(!shown.contains("hunter2"));
    }

    #[test]
    fn debug_names_the_program_and_none_of_its_words() {
        let command = Command {
            words: ["vault", "hunter2"].map(Box::from).into(),
            folder: PathBuf::from("."),
            ttl: Duration::from_secs(1),
            format: ("hunter2".into(), "hunter2".into()),
        };
        let secret = Secret::new("", Origin::Command(Arc::new(command)));
        let shown = format!("{secret:?} {:?} {}", secret.origin(), secret.origin());
        assert!(
            shown.contains("vault") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
