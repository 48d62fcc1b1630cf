//! Whether a document has the shape that it should have: [`check`] reports everything that does not
//! fit.

use toml::de::{DeArray, DeValue};

use super::document::{Place, Table, Value};
use super::fault::{Fault, Faults};
use super::shape::{Choice, Kind, Shape, Variants, is_one_line, nearest};

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
            (
                Kind::Table(shape) | Kind::Secret(shape) | Kind::TextOrTable(shape),
                DeValue::Table(table),
            ) => self.table(table, shape),
            (Kind::Map(kind), DeValue::Table(table)) => self.map(table, kind),
            (Kind::Variants(variants), DeValue::Table(table)) => {
                self.variant(value, table, variants);
            }
            (Kind::Texts | Kind::TextOrTexts, DeValue::Array(items)) => self.items(items),
            (Kind::Tables(shape), DeValue::Array(items)) => self.tables(items, shape),
            (Kind::Command, DeValue::Array(words)) => self.command(words),
            (Kind::Boolean, DeValue::Boolean(_))
            | (Kind::Integer, DeValue::Integer(_))
            | (Kind::Ratio, DeValue::Float(_) | DeValue::Integer(_))
            | (Kind::Scalar, DeValue::Boolean(_) | DeValue::Integer(_) | DeValue::Float(_))
            | (Kind::Secret(_), DeValue::String(_)) => {}
            (
                Kind::Choice(_)
                | Kind::Duration
                | Kind::Format
                | Kind::Scalar
                | Kind::Size
                | Kind::Text
                | Kind::TextOrTable(_)
                | Kind::TextOrTexts
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

    fn command(&self, words: &'a DeArray<'a>) {
        for word in words.iter().filter(|word| !word.get_ref().is_str()) {
            self.wrong_type(word, &Kind::Program);
        }
    }

    fn tables(&mut self, items: &'a DeArray<'a>, shape: &'static Shape) {
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => self.table(table, shape),
                _ => self.wrong_type(item, &Kind::Table(shape)),
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
