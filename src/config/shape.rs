//! What may stand where: [`Shape`] lists the keys of a table, [`Kind`] says what a key takes, and
//! [`check`] reports everything in a document that does not fit.

use toml::de::{DeArray, DeValue};

use super::document::{Place, Table, Value};
use super::fault::{Fault, Faults};
use super::file::SECRET;

/// The keys of a table, in the order of the reference.
#[derive(Debug)]
pub(crate) struct Shape(pub(crate) &'static [(&'static str, Kind)]);

/// What a key takes.
#[derive(Debug)]
pub(crate) enum Kind {
    Boolean,
    Choice(&'static Choice),
    Duration,
    /// A text around a secret; may itself hold one.
    Format,
    Integer,
    /// Nothing yet: a later release brings it.
    Later,
    /// A table whose keys are names.
    Map(&'static Self),
    Secret,
    Size,
    Table(&'static Shape),
    Text,
    Texts,
    /// The name of an environment variable, or by mistake the secret itself.
    Variable,
    /// A table whose keys depend on its `type`.
    Variants(&'static Variants),
}

/// The texts that a key takes.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) now: &'static [&'static str],
    pub(crate) later: &'static [&'static str],
}

/// The values of `type`, each with its keys.
#[derive(Debug)]
pub(crate) struct Variants {
    pub(crate) now: &'static [(&'static str, Shape)],
    pub(crate) later: &'static [&'static str],
}

/// Reports all that does not fit `shape`: unknown keys, wrong types, unknown choices, and what is
/// not available yet.
pub(crate) fn check<'a>(faults: &'a Faults, document: usize, table: &'a Table<'a>, shape: &Shape) {
    let mut checker = Checker {
        faults,
        document,
        path: Vec::new(),
    };
    checker.table(table, shape);
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

    /// The keys that may be used today.
    fn available(&self) -> impl Iterator<Item = &'static str> {
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
            Self::Secret => child_of(&SECRET, key),
            Self::Table(shape) => child_of(shape, key),
            Self::Variants(variants) => variants
                .now
                .iter()
                .find_map(|(_, shape)| shape.kind(key))
                .or_else(|| variants.now.iter().find_map(|(_, s)| child_of(s, key))),
            _ => None,
        }
    }

    /// Whether `text` in this place may be shown to whoever reads the log.
    pub(crate) fn may_show(&self, text: &str) -> bool {
        match self {
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
            | Self::Size
            | Self::Text
            | Self::Texts => true,
            Self::Format
            | Self::Later
            | Self::Map(_)
            | Self::Secret
            | Self::Table(_)
            | Self::Variable
            | Self::Variants(_) => false,
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            Self::Boolean => "`true` or `false`",
            Self::Choice(_) | Self::Format | Self::Later | Self::Text | Self::Variable => {
                "a string"
            }
            Self::Duration => "a duration such as `\"5s\"`",
            Self::Integer => "a whole number",
            Self::Map(_) | Self::Table(_) | Self::Variants(_) => "a table",
            Self::Secret => "a secret (a string, `{ env = \"NAME\" }` or `{ file = \"path\" }`)",
            Self::Size => "a size such as `\"64KiB\"`",
            Self::Texts => "a list of strings",
        }
    }

    fn hint(&self, found: &DeValue<'_>) -> Option<String> {
        let number = match found {
            DeValue::Integer(number) => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            DeValue::String(_) if matches!(self, Self::Texts) => {
                return Some("put it in brackets: `[\"…\"]`".to_owned());
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

/// A misspelt key counts for the nearest only where no secret can stand, at no depth.
fn child_of(shape: &Shape, key: &str) -> Option<&'static Kind> {
    let meant = || shape.kind(shape.nearest(key)?);
    shape
        .kind(key)
        .or_else(|| meant().filter(|kind| kind.is_harmless()))
}

// === impl Checker ===

struct Checker<'a> {
    faults: &'a Faults,
    document: usize,
    /// The keys from the root to what is looked at.
    path: Vec<&'a str>,
}

impl<'a> Checker<'a> {
    fn table(&mut self, table: &'a Table<'a>, shape: &Shape) {
        for (key, value) in table {
            let at = self.place(key.span().start);
            match shape.kind(key.get_ref()) {
                Some(kind) => self.below(key.get_ref(), |checker| checker.value(at, value, kind)),
                None => self.unknown(at, key.get_ref(), shape),
            }
        }
    }

    fn value(&mut self, key: Place, value: &'a Value<'a>, kind: &Kind) {
        match (kind, value.get_ref()) {
            (Kind::Later, _) => self.not_available(key),
            (Kind::Table(shape), DeValue::Table(table)) => self.table(table, shape),
            (Kind::Secret, DeValue::Table(table)) => self.table(table, &SECRET),
            (Kind::Map(kind), DeValue::Table(table)) => self.map(table, kind),
            (Kind::Variants(variants), DeValue::Table(table)) => {
                self.variant(value, table, variants);
            }
            (Kind::Texts, DeValue::Array(items)) => self.items(items),
            (Kind::Boolean, DeValue::Boolean(_))
            | (Kind::Integer, DeValue::Integer(_))
            | (Kind::Secret, DeValue::String(_)) => {}
            (
                Kind::Choice(_)
                | Kind::Duration
                | Kind::Format
                | Kind::Size
                | Kind::Text
                | Kind::Variable,
                DeValue::String(text),
            ) => self.text(value, text, kind),
            (expected, _) => self.wrong_type(value, expected),
        }
    }

    fn map(&mut self, table: &'a Table<'a>, kind: &Kind) {
        for (key, value) in table {
            let at = self.place(key.span().start);
            self.below(key.get_ref(), |checker| checker.value(at, value, kind));
        }
    }

    fn items(&self, items: &'a DeArray<'a>) {
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(text) => self.text(item, text, &Kind::Text),
                None => self.wrong_type(item, &Kind::Text),
            }
        }
    }

    fn text(&self, value: &'a Value<'a>, text: &str, kind: &Kind) {
        if !is_one_line(text) {
            let message = format!("`{}` has a line break", self.last());
            self.report(Fault::at(self.place(value.span().start), message));
        } else if let Kind::Choice(choice) = kind {
            self.choice(value, text, choice);
        }
    }

    fn choice(&self, value: &'a Value<'a>, text: &str, choice: &Choice) {
        if choice.now.contains(&text) {
            return;
        }
        let key = self.last();
        let message = if choice.later.contains(&text) {
            format!("`{key} = \"{text}\"` is not available in this version of keybearer; remove it")
        } else {
            format!("`{key}` cannot be `{text}`")
        };
        let fault = Fault::at(self.place(value.span().start), message);
        let meant = nearest(text, choice.now.iter().copied());
        self.report(fault.hint(suggestion(
            meant,
            "it is one of",
            choice.now.iter().copied(),
        )));
    }

    fn variant(&mut self, value: &'a Value<'a>, table: &'a Table<'a>, variants: &Variants) {
        let names = || variants.now.iter().map(|(name, _)| *name);
        let Some(kind) = table.get("type") else {
            let at = self.place(value.span().start);
            let fault = Fault::at(at, format!("`{}` has no `type`", self.last()));
            self.report(fault.hint(suggestion(None, "it is one of", names())));
            return;
        };
        let Some(text) = kind.get_ref().as_str() else {
            return self.below("type", |checker| checker.wrong_type(kind, &Kind::Text));
        };
        if let Some((_, shape)) = variants.now.iter().find(|(name, _)| *name == text) {
            return self.table(table, shape);
        }
        let fault = if variants.later.contains(&text) {
            let message =
                format!("type `{text}` is not available in this version of keybearer; remove it");
            Fault::at(self.place(kind.span().start), message)
        } else {
            let message = format!("there is no {} type `{text}`", self.last());
            let hint = suggestion(nearest(text, names()), "it is one of", names());
            Fault::at(self.place(kind.span().start), message).hint(hint)
        };
        self.below("type", |checker| checker.report(fault));
    }

    fn unknown(&mut self, at: Place, key: &'a str, shape: &Shape) {
        let message = format!("unknown key `{key}`{}", self.within());
        let hint = suggestion(shape.nearest(key), "the keys here are", shape.available());
        self.below(key, |checker| {
            checker.report(Fault::at(at, message).hint(hint));
        });
    }

    fn not_available(&self, at: Place) {
        let key = self.last();
        let message = format!("`{key}` is not available in this version of keybearer; remove it");
        self.report(Fault::at(at, message));
    }

    fn wrong_type(&self, value: &'a Value<'a>, kind: &Kind) {
        let found = describe(value.get_ref());
        let message = format!("`{}` takes {}, not {found}", self.last(), kind.expected());
        let mut fault = Fault::at(self.place(value.span().start), message);
        if let Some(hint) = kind.hint(value.get_ref()) {
            fault = fault.hint(hint);
        }
        self.report(fault);
    }

    fn below(&mut self, key: &'a str, work: impl FnOnce(&mut Self)) {
        self.path.push(key);
        work(self);
        self.path.pop();
    }

    fn last(&self) -> &'a str {
        self.path.last().copied().unwrap_or_default()
    }

    fn within(&self) -> String {
        if self.path.is_empty() {
            return String::new();
        }
        format!(" in `[{}]`", self.path.join("."))
    }

    fn place(&self, offset: usize) -> Place {
        Place {
            document: self.document,
            offset,
        }
    }

    fn report(&self, fault: Fault) {
        self.faults.add(fault.key(self.path.join(".")));
    }
}

fn suggestion<'a>(meant: Option<&str>, lead: &str, all: impl Iterator<Item = &'a str>) -> String {
    if let Some(meant) = meant {
        return format!("did you mean `{meant}`?");
    }
    let all: Vec<_> = all.map(|name| format!("`{name}`")).collect();
    format!("{lead} {}", all.join(", "))
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Array(_) => "a list",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Integer(_) => "a whole number",
        DeValue::String(_) => "a string",
        DeValue::Table(_) => "a table",
    }
}
