//! Which part of a configuration may be shown: [`valid`] and [`broken`] give a document's lines with
//! everything masked that is not known to be harmless.
//!
//! The rule is a list of what may be shown, the [shape](super::file::ROOT), and not of what must
//! be hidden: a misspelt `password` is as silent as a right one. Comments are left out, as an old
//! secret may stand there.

use super::file::ROOT;
use super::shape::Kind;

/// The lines of a document that is valid TOML, masked.
pub(crate) fn valid(text: &str) -> String {
    let mut masker = Masker {
        rest: text,
        shown: String::new(),
    };
    if masker.document().is_none() {
        masker.hide_rest();
    }
    masker.shown
}

/// The lines of a document that is not: each by itself, as nothing tells where a string ends.
///
/// Shown are headers and keys that the shape knows, and no values.
pub(crate) fn broken(text: &str) -> String {
    text.lines().map(|line| broken_line(line) + "\n").collect()
}

// === impl Masker ===

/// Walks through valid TOML; `None` means that it is not what it seemed, and the rest is hidden.
struct Masker<'a> {
    rest: &'a str,
    shown: String,
}

type Step = Option<()>;

static TOP: Kind = Kind::Table(&ROOT);

impl Masker<'_> {
    fn document(&mut self) -> Step {
        let mut table = Some(&TOP);
        loop {
            self.blank();
            match self.rest.chars().next() {
                None => return Some(()),
                Some('[') => {
                    let brackets = if self.rest.starts_with("[[") { 2 } else { 1 };
                    self.show(brackets);
                    table = self.key(Some(&TOP))?;
                    self.show(brackets);
                }
                Some(_) => self.pair(table)?,
            }
        }
    }

    fn pair(&mut self, table: Option<&'static Kind>) -> Step {
        let kind = self.key(table)?;
        self.expect('=')?;
        self.blank();
        self.value(kind)
    }

    /// Shows a dotted key, and says what it takes.
    fn key(&mut self, table: Option<&'static Kind>) -> Option<Option<&'static Kind>> {
        let mut kind = table;
        loop {
            self.blank();
            let length = match self.rest.chars().next()? {
                quote @ ('"' | '\'') => string_length(self.rest, quote)?,
                _ => self.rest.find(|c: char| !is_bare_key(c))?,
            };
            let name = self.rest.get(..length).filter(|name| !name.is_empty())?;
            kind = kind.and_then(|kind| kind.child(name.trim_matches(['"', '\''])));
            self.show(length);
            self.blank();
            if !self.rest.starts_with('.') {
                return Some(kind);
            }
            self.show(1);
        }
    }

    fn value(&mut self, kind: Option<&'static Kind>) -> Step {
        match self.rest.chars().next()? {
            '[' => self.list(kind),
            '{' => self.inline_table(kind),
            quote @ ('"' | '\'') => {
                let length = string_length(self.rest, quote)?;
                self.scalar(kind, length);
                Some(())
            }
            _ => {
                let end = |c: char| matches!(c, ',' | ']' | '}' | '#' | '\n' | '\r');
                let text = &self.rest[..self.rest.find(end).unwrap_or(self.rest.len())];
                self.scalar(kind, text.trim_end().len());
                Some(())
            }
        }
    }

    fn list(&mut self, kind: Option<&'static Kind>) -> Step {
        self.show(1);
        let mut index = 0;
        loop {
            self.separators();
            if self.rest.starts_with(']') {
                self.show(1);
                return Some(());
            }
            self.value(kind.and_then(|kind| kind.item(index)))?;
            index += 1;
        }
    }

    fn inline_table(&mut self, kind: Option<&'static Kind>) -> Step {
        self.show(1);
        loop {
            self.separators();
            if self.rest.starts_with('}') {
                self.show(1);
                return Some(());
            }
            self.pair(kind)?;
        }
    }

    fn scalar(&mut self, kind: Option<&'static Kind>, length: usize) {
        let (text, rest) = self.rest.split_at(length);
        let is_one_line = !text.contains('\n');
        if kind.is_some_and(|kind| kind.may_show(text.trim_matches(['"', '\'']))) && is_one_line {
            self.shown.push_str(&without_userinfo_and_query(text));
        } else if text.starts_with(['"', '\'']) {
            self.shown.push_str("\"…\"");
        } else {
            self.shown.push('…');
        }
        self.shown.extend(text.chars().filter(|&c| c == '\n'));
        self.rest = rest;
    }

    fn separators(&mut self) {
        self.blank();
        while self.rest.starts_with(',') {
            self.show(1);
            self.blank();
        }
    }

    /// Shows white space and line ends, and leaves comments out.
    fn blank(&mut self) {
        loop {
            let blank = |c: char| !matches!(c, ' ' | '\t' | '\r' | '\n');
            self.show(self.rest.find(blank).unwrap_or(self.rest.len()));
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    fn expect(&mut self, wanted: char) -> Step {
        let found = self.rest.starts_with(wanted);
        found.then(|| self.show(wanted.len_utf8()))
    }

    fn show(&mut self, length: usize) {
        let (shown, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.shown.push_str(shown);
        self.rest = rest;
    }

    fn hide_rest(&mut self) {
        self.shown.push('…');
        self.shown.extend(
            self.rest
                .chars()
                .filter(|&c| c == '\n')
                .flat_map(|c| [c, '…']),
        );
    }
}

/// How long the string at the start of `text` is, its quotes included.
fn string_length(text: &str, quote: char) -> Option<usize> {
    let triple = if quote == '"' { "\"\"\"" } else { "'''" };
    let is_long = text.starts_with(triple);
    let delimiter = if is_long { triple } else { &triple[..1] };
    let mut chars = text.char_indices().skip(delimiter.len());
    while let Some((at, c)) = chars.next() {
        if let Some(after) = text[at..].strip_prefix(delimiter) {
            // A long string may end in up to two quotes of its own.
            let own = after.chars().take(2).take_while(|&c| c == quote).count();
            return Some(at + delimiter.len() + if is_long { own } else { 0 });
        }
        if c == '\\' && quote == '"' {
            chars.next();
        }
    }
    None
}

fn is_bare_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// A URL keeps scheme, host and path; what could be a user name, password or key goes. People paste
/// URLs where a host belongs, too.
pub(crate) fn without_userinfo_and_query(text: &str) -> String {
    if text.trim_start_matches(['"', '\'']).starts_with('/') {
        return text.to_owned();
    }
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let close: String = quote.into_iter().collect();
    // The last `@` of all: where a password holds `?` or `/`, it is still the password's end.
    let (userinfo, host) = text.split_at(text.rfind('@').unwrap_or(0));
    let mut shown = String::new();
    if !userinfo.is_empty() {
        let scheme = userinfo.find("://").map_or(close.len(), |at| at + 3);
        shown = format!("{}…", &userinfo[..scheme]);
    }
    match host.find(['?', '#']) {
        Some(at) => shown + &host[..=at] + "…" + &close,
        None => shown + host,
    }
}

fn broken_line(line: &str) -> String {
    let line = line.trim_end();
    if line.is_empty() || is_plain_header(line) {
        return line.to_owned();
    }
    match line.split_once('=') {
        Some((key, _)) if key.split('.').all(|name| ROOT.knows(name.trim())) => {
            format!("{key}= …")
        }
        _ => "…".to_owned(),
    }
}

/// `[server]` or `[connections.NAME…`, complete or not.
fn is_plain_header(line: &str) -> bool {
    let mut names = line.trim_matches(['[', ']', ' ']).split('.');
    line.starts_with('[')
        && names.next().is_some_and(|first| ROOT.kind(first).is_some())
        && line.chars().all(|c| is_bare_key(c) || ".[] ".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_harmless_is_shown() {
        for (line, shown, why) in [
            (
                "log.level = 'info' # hunter2",
                "log.level = 'info'",
                "comments go",
            ),
            (
                "admin.token = \"hunter2\"",
                "admin.token = \"…\"",
                "a secret",
            ),
            (
                "admin.tokne = 'hunter2'",
                "admin.tokne = \"…\"",
                "an unknown key",
            ),
            (
                "admin.token.env = \"NAME\"",
                "admin.token.env = \"NAME\"",
                "a name",
            ),
            (
                "admin.token.env = \"hunter-2\"",
                "admin.token.env = \"…\"",
                "no name",
            ),
            (
                "admin.listen = { x = 7 }",
                "admin.listen = { x = … }",
                "not its place",
            ),
            (
                "connections.a.base_url = \"https://me:hunter2@a.example/@x?k=hunter2\"",
                "connections.a.base_url = \"https://…@x?…\"",
                "up to the last `@`, as a password may hold one",
            ),
            (
                "connections.a.base_url = 'https://me:hunter2?hunter2@a.example'",
                "connections.a.base_url = 'https://…@a.example'",
                "or a `?`",
            ),
            (
                "connections.a.allow.paths = [\"/@a/?\"]",
                "connections.a.allow.paths = [\"/@a/?\"]",
                "a path is no URL",
            ),
        ] {
            assert_eq!(valid(line).trim_end(), shown, "{why}");
        }
    }

    #[test]
    fn a_secret_of_many_lines_leaves_the_lines_empty() {
        let text = "admin.token = \"\"\"\nhunter2\\\"\"\"\"\"\nlog.access = true\n";
        let shown = valid(text);
        assert_eq!(shown, "admin.token = \"…\"\n\nlog.access = true\n");
    }

    #[test]
    fn broken_text_shows_known_keys_and_no_values() {
        for (line, shown) in [
            ("[connections.a", "[connections.a"),
            ("[hunter2]", "…"),
            ("base_url = https://a.example", "base_url = …"),
            ("hunter2 = 7", "…"),
            ("aHVudGVyMg==", "…"),
            ("", ""),
        ] {
            assert_eq!(broken(line).trim_end(), shown);
        }
    }
}
