//! Secrets as a type: zeroed when dropped, silent in `Debug`, without `Display` or `Serialize`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

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

/// Where a secret was read: what may be told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable, by name.
    Env(Arc<str>),
    /// A file of its own, by path.
    File(Arc<PathBuf>),
    /// Written into the configuration itself.
    Literal,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
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
}
