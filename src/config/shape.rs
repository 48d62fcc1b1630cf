//! What may stand where: [`Shape`] lists the keys of a table, [`Kind`] says what a key takes.

use toml::de::DeValue;

use super::file::ROOT;

/// The keys of a table, in the order of the reference.
pub(crate) struct Shape(pub(crate) &'static [(&'static str, Kind)]);

/// What a key takes.
pub(crate) enum Kind {
    Boolean,
    Choice(&'static Choice),
    /// A program and its arguments, which may by mistake hold a secret.
    Command,
    Duration,
    /// A text around a secret; may itself hold one.
    Format,
    Integer,
    /// Nothing yet: a later release brings it.
    Later,
    /// A table whose keys are names.
    Map(&'static Self),
    /// The name of a program, or by mistake a whole command line.
    Program,
    /// A number from 0 to 1.
    Ratio,
    /// A string, number or boolean.
    Scalar,
    /// A text, or a table that says where it comes from.
    Secret(&'static Shape),
    Size,
    Table(&'static Shape),
    /// A list of tables.
    Tables(&'static Shape),
    Text,
    /// A word, or a table of these keys; a text that is none of the words may by mistake be a secret.
    TextOrTable(&'static Shape),
    /// A string or a list of strings.
    TextOrTexts,
    Texts,
    /// The name of an environment variable, or by mistake the secret itself.
    Variable,
    /// A table whose keys depend on its `type`.
    Variants(&'static Variants),
}

/// The texts that a key takes.
pub(crate) struct Choice {
    pub(crate) now: &'static [&'static str],
    pub(crate) later: &'static [&'static str],
}

/// The values of `type`, each with its keys.
pub(crate) struct Variants {
    pub(crate) now: &'static [(&'static str, Shape)],
    pub(crate) later: &'static [&'static str],
}

// === impl Shape ===

impl Shape {
    /// What `key` takes, if there is such a key.
    pub(crate) fn kind(&self, key: &str) -> Option<&'static Kind> {
        let (_, kind) = self.0.iter().find(|(name, _)| *name == key)?;
        Some(kind)
    }

    /// The key that was probably meant.
    pub(crate) fn nearest(&self, key: &str) -> Option<&'static str> {
        nearest(key, self.0.iter().map(|(name, _)| *name))
    }

    /// Whether a key of this name stands anywhere at or below this.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let mut keys = self.0.iter();
        keys.any(|(key, kind)| *key == name || kind.knows(name))
    }

    /// Whether a key of this name stands anywhere at or below this that takes what may be a secret.
    fn hides(&self, name: &str) -> bool {
        let mut keys = self.0.iter();
        keys.any(|(key, kind)| *key == name && !kind.is_harmless() || kind.hides(name))
    }

    /// The keys that may be used today.
    pub(crate) fn available(&self) -> impl Iterator<Item = &'static str> {
        self.0
            .iter()
            .filter(|(_, kind)| !matches!(kind, Kind::Later))
            .map(|(name, _)| *name)
    }
}

/// The candidate nearest to `written`, if one is near enough to have been meant.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST: usize = 40;
    if written.len() > LONGEST {
        return None;
    }
    let tolerance = (written.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether a text can name an environment variable; one that cannot is most often a secret.
pub(crate) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a text can name a program; one with white space is most often a command line, its secrets
/// included.
pub(crate) fn is_program(text: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    !text.is_empty() && !text.contains(is_odd)
}

/// Whether a text can be quoted in a message: one that spans lines may hold what was meant to be
/// other keys, their secrets included.
pub(crate) fn is_one_line(text: &str) -> bool {
    !text.contains(['\n', '\r'])
}

// === impl Kind ===

impl Kind {
    /// What stands below `key` of a value of this kind, a misspelt key taken for the nearest.
    pub(crate) fn child(&self, key: &str) -> Option<&'static Self> {
        match self {
            Self::Map(kind) => Some(kind),
            Self::Secret(shape) | Self::Table(shape) | Self::TextOrTable(shape) => {
                child_of([*shape].into_iter(), key)
            }
            // Short keys, which names of secrets are near to (`bearer`, `header`): these only.
            Self::Tables(shape) => shape.kind(key),
            Self::Variants(variants) => child_of(variants.now.iter().map(|(_, shape)| shape), key),
            _ => None,
        }
    }

    /// What the item at `index` of a list of this kind takes; none if it is not a list.
    pub(crate) fn item(&'static self, index: usize) -> Option<&'static Self> {
        match self {
            Self::Command => (index == 0).then_some(&Self::Program),
            Self::Tables(_) | Self::TextOrTexts | Self::Texts => Some(self),
            _ => None,
        }
    }

    fn knows(&self, name: &str) -> bool {
        match self {
            Self::Map(kind) => kind.knows(name),
            Self::Table(shape) | Self::Tables(shape) => shape.knows(name),
            // Which may hold itself.
            Self::TextOrTable(shape) => shape.kind(name).is_some(),
            Self::Variants(variants) => variants.now.iter().any(|(_, shape)| shape.knows(name)),
            _ => false,
        }
    }

    fn hides(&self, name: &str) -> bool {
        match self {
            Self::Map(kind) => kind.hides(name),
            Self::Table(shape) | Self::Tables(shape) => shape.hides(name),
            Self::TextOrTable(shape) => shape.kind(name).is_some_and(|kind| !kind.is_harmless()),
            Self::Variants(variants) => variants.now.iter().any(|(_, shape)| shape.hides(name)),
            _ => false,
        }
    }

    /// Whether `text` in this place may be shown to whoever reads the log.
    pub(crate) fn may_show(&self, text: &str) -> bool {
        match self {
            Self::Program => is_program(text),
            Self::Variable => is_variable_name(text),
            _ => self.is_harmless(),
        }
    }

    /// Whether any text in this place may be shown.
    fn is_harmless(&self) -> bool {
        match self {
            Self::Boolean
            | Self::Choice(_)
            | Self::Duration
            | Self::Integer
            | Self::Ratio
            | Self::Scalar
            | Self::Size
            | Self::Text
            | Self::TextOrTexts
            | Self::Texts => true,
            Self::Command
            | Self::Format
            | Self::Later
            | Self::Map(_)
            | Self::Program
            | Self::Secret(_)
            | Self::Table(_)
            | Self::Tables(_)
            | Self::TextOrTable(_)
            | Self::Variable
            | Self::Variants(_) => false,
        }
    }

    /// The words for what it takes.
    pub(crate) fn expected(&self) -> &'static str {
        match self {
            Self::Boolean => "`true` or `false`",
            Self::Choice(_)
            | Self::Format
            | Self::Later
            | Self::Program
            | Self::Text
            | Self::Variable => "a string",
            Self::Command => "a list of strings, the program and its arguments",
            Self::Duration => "a duration such as `\"5s\"`",
            Self::Integer => "a whole number",
            Self::Map(_) | Self::Table(_) | Self::Variants(_) => "a table",
            Self::Ratio => "a number from 0 to 1",
            Self::Scalar => "a string, a number or a boolean",
            Self::Secret(_) => "a secret (a string, `{ env = \"NAME\" }` or `{ file = \"path\" }`)",
            Self::Size => "a size such as `\"64KiB\"`",
            Self::Tables(_) => "a list of tables",
            Self::TextOrTable(_) => "a string or a table",
            Self::TextOrTexts => "a string or a list of strings",
            Self::Texts => "a list of strings",
        }
    }

    /// What to do about a value of another type.
    pub(crate) fn hint(&self, found: &DeValue<'_>) -> Option<String> {
        let number = match found {
            DeValue::Integer(number) => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            DeValue::String(_) if matches!(self, Self::Texts) => {
                return Some("put it in brackets: `[\"…\"]`".to_owned());
            }
            DeValue::String(_) if matches!(self, Self::Command) => {
                let hint = "each word is a string of its own: `[\"vault\", \"read\", \"…\"]`";
                return Some(hint.to_owned());
            }
            DeValue::Table(_) if matches!(self, Self::Tables(_)) => {
                return Some("put it in brackets: `[{ … }]`".to_owned());
            }
            _ => return None,
        };
        match self {
            Self::Duration => Some(format!("write it with its unit, such as `\"{number}s\"`")),
            Self::Size => Some(format!("write it with its unit, such as `\"{number}B\"`")),
            _ => None,
        }
    }
}

/// A key that none of the shapes has counts for the nearest, but only where every key that it may
/// have been meant for takes what is no secret, at no depth; and where it is no secret's own name, of
/// another table.
fn child_of(
    shapes: impl Iterator<Item = &'static Shape> + Clone,
    key: &str,
) -> Option<&'static Kind> {
    if let Some(kind) = shapes.clone().find_map(|shape| shape.kind(key)) {
        return Some(kind);
    }
    if ROOT.hides(key) {
        return None;
    }
    let mut meant = None;
    for (name, kind) in shapes.flat_map(|shape| shape.0) {
        if nearest(key, [*name].into_iter()).is_some() {
            if !kind.is_harmless() {
                return None;
            }
            meant = Some(kind);
        }
    }
    meant
}
