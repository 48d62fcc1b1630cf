//! What is wrong with a configuration, told so that the person who wrote it can put it right:
//! file, line and column, the line itself without its secrets, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Everything that is wrong with a configuration: at least one [`Diagnostic`], by file and position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Diagnostic {
    #[serde(serialize_with = "display")]
    file: Arc<Path>,
    line: Option<usize>,
    column: Option<usize>,
    key: Option<String>,
    message: String,
    hint: Option<String>,
    /// The line itself, its secrets masked.
    #[serde(rename = "text")]
    excerpt: Option<Box<str>>,
}

/// A place in a file, as people count.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The line itself, its secrets masked.
    pub(crate) excerpt: Box<str>,
}

// === impl Diagnostics ===

impl Diagnostics {
    /// Sorts what was found; none if nothing was.
    pub(crate) fn new(mut found: Vec<Diagnostic>) -> Option<Self> {
        found.sort();
        found.dedup();
        (!found.is_empty()).then_some(Self(found))
    }

    /// All of them, by file and position.
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

// === impl Diagnostic ===

impl Diagnostic {
    /// Something wrong with a file as a whole.
    pub(crate) fn of_file(file: impl Into<PathBuf>, message: &str) -> Self {
        Self {
            file: file.into().into(),
            line: None,
            column: None,
            key: None,
            message: printable(message),
            hint: None,
            excerpt: None,
        }
    }

    #[must_use]
    pub(crate) fn at(mut self, position: Position) -> Self {
        self.line = Some(position.line);
        self.column = Some(position.column);
        self.excerpt = Some(printable(&position.excerpt).into());
        self
    }

    #[must_use]
    pub(crate) fn with(mut self, key: Option<String>, hint: Option<&str>) -> Self {
        self.key = key;
        self.hint = hint.map(printable);
        self
    }

    /// The file it stands in.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line and column, from 1, where it has a place in the file.
    pub fn position(&self) -> Option<(usize, usize)> {
        Some((self.line?, self.column?))
    }

    /// The key, as a path from the root.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What is wrong, without a secret.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.position() {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)?;
        if let (Some(line), Some(excerpt)) = (self.line, &self.excerpt)
            && !excerpt.is_empty()
        {
            write!(f, "\n{line:>5} | {excerpt}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// The text without control characters, which could drive the reader's terminal.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

fn display<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Diagnostic {
        let message = "unknown key `base_ulr` in `[connections.jira]`";
        Diagnostic::of_file("keybearer.toml", message)
            .at(Position {
                line: 14,
                column: 1,
                excerpt: "base_ulr = \"https://example.atlassian.net\"".into(),
            })
            .with(
                Some("connections.jira.base_ulr".to_owned()),
                Some("did you mean `base_url`?"),
            )
    }

    #[test]
    fn is_shown_with_place_line_and_hint() {
        assert_eq!(
            example().to_string(),
            "keybearer.toml:14:1: unknown key `base_ulr` in `[connections.jira]`\n   \
             14 | base_ulr = \"https://example.atlassian.net\"\n\
             hint: did you mean `base_url`?"
        );
    }

    #[test]
    fn json_has_the_same_facts_as_members() {
        let all = Diagnostics::new(vec![example()]).unwrap();
        assert_eq!(
            serde_json::to_value(&all).unwrap(),
            serde_json::json!([{
                "file": "keybearer.toml", "line": 14, "column": 1,
                "key": "connections.jira.base_ulr",
                "message": "unknown key `base_ulr` in `[connections.jira]`",
                "hint": "did you mean `base_url`?",
                "text": "base_ulr = \"https://example.atlassian.net\"",
            }])
        );
    }

    #[test]
    fn a_terminal_is_not_driven() {
        let shown = Diagnostic::of_file("a.toml", "\u{1b}[2Jgone").to_string();
        assert_eq!(shown, "a.toml: \u{fffd}[2Jgone");
    }
}
