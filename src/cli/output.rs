//! Where the text of commands goes, and how it looks: what was asked for to stdout, the rest to
//! stderr; coloured on a terminal, unless `NO_COLOR`, `CLICOLOR` or `TERM` say otherwise.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde::Serialize;

/// What is as it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();

/// What may need a person.
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();

/// What needs a person.
pub(super) const BAD: Style = AnsiColor::Red.on_default();

/// What stands out.
pub(super) const STRONG: Style = Style::new().bold();

/// What matters less.
pub(super) const FAINT: Style = Style::new().dimmed();

/// A text in a style.
pub(super) fn painted(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes to stdout as it is; a reader that went away is no fault of ours.
pub(super) fn print(text: &[u8]) -> Result<()> {
    still_read(write(io::stdout().lock(), text))?;
    Ok(())
}

/// Writes a text to stdout, with its styles if they can be seen.
pub(super) fn show(text: &str) -> Result<()> {
    is_shown(text)?;
    Ok(())
}

/// Writes a text to stdout as [`show`] does, and tells whether anybody still reads there.
pub(super) fn is_shown(text: &str) -> Result<bool> {
    Ok(still_read(write(
        anstream::stdout().lock(),
        text.as_bytes(),
    ))?)
}

/// Writes a value to stdout, as JSON of many lines.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = escaped(&serde_json::to_string_pretty(value)?) + "\n";
    print(text.as_bytes())
}

/// A JSON text that drives no terminal: JSON itself lets some control characters stand as they are.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c.is_control() && c != '\n' => escaped += &format!("\\u{:04x}", u32::from(c)),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Writes a value to stdout as JSON of one line, and tells whether anybody still reads there.
pub(super) fn print_json_line(value: &impl Serialize) -> Result<bool> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    Ok(still_read(write(io::stdout().lock(), &text))?)
}

/// Tells the person at the terminal; stdout is for what was asked for.
pub(super) fn complain(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Tells what went wrong.
pub(super) fn error(error: &anyhow::Error) {
    tell(BAD, "error", &format!("{error:#}"));
}

/// Tells what may be wrong.
pub(super) fn warn(text: &str) {
    tell(DOUBTFUL, "warning", text);
}

/// Whether a person sees what is written to stderr while it is written.
pub(super) fn is_watched() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !is_dumb
}

fn tell(style: Style, kind: &str, text: &str) {
    complain(&format!(
        "{} {text}",
        painted(style.bold(), format!("{kind}:"))
    ));
}

fn write(mut stream: impl Write, text: &[u8]) -> io::Result<()> {
    stream.write_all(text)?;
    stream.flush()
}

/// Whether there is still a reader.
fn still_read(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_drives_no_terminal_and_stays_the_same() {
        let value = serde_json::json!({ "a": "\u{9b}2J\u{7f}\u{1b}\n é" });
        let text = escaped(&serde_json::to_string_pretty(&value).unwrap());
        let control = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(control, None, "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, value);
    }
}
