//! What the API tells of webhooks, as people read it.

use std::time::SystemTime;

use anstyle::Style;
use serde_json::Value;

use crate::cli::output::{BAD, DOUBTFUL, FAINT, GOOD, STRONG, painted};
use crate::cli::status::rounded;
use crate::cli::table::{Align, Cell, Overflow, Table, hanging, width};
use crate::config::diagnostic::printable;
use crate::webhook::pretty;

/// A row per endpoint, and a line per endpoint whose target does not take what it gets.
pub(super) fn endpoints(endpoints: &[Value]) -> String {
    let mut table = Table::new([
        ("ENDPOINT", Align::Left),
        ("VERIFY", Align::Left),
        ("WAITING", Align::Right),
        ("OLDEST", Align::Left),
        ("URL -> TARGET", Align::Left),
    ]);
    let mut blocked = String::new();
    for shown in endpoints {
        let is_blocked = shown["blocked"].is_object();
        let style = if is_blocked { BAD } else { Style::new() };
        let oldest = match ago(&shown["oldest"]) {
            Some(ago) => Cell::new(&ago, style),
            None => Cell::new("-", FAINT),
        };
        table.row(vec![
            Cell::plain(&word(shown, "name")),
            Cell::plain(&word(shown, "verify")),
            Cell::new(&number(&shown["waiting"]).to_string(), style),
            oldest,
            Cell::plain(&format!(
                "{} -> {}",
                word(shown, "url"),
                word(shown, "target")
            )),
        ]);
        if is_blocked {
            let lead = format!("{} {}: ", word(shown, "name"), painted(BAD, failing(shown)));
            blocked += &hanging(&lead, &why(&shown["blocked"]), width());
        }
    }
    table.render(width(), Overflow::Wrap) + &blocked
}

/// An endpoint, line by line, and its deliveries.
pub(super) fn endpoint(shown: &Value, deliveries: &[Value]) -> String {
    let mut text = format!("{}\n", painted(STRONG, word(shown, "name")));
    let mut line = |name: &str, value: &str| {
        text += &hanging(&format!("  {name:<9}"), value, width());
    };
    line("url", &word(shown, "url"));
    if let Some(earlier) = earlier(&shown["earlier_ids"]) {
        line("", &earlier);
    }
    line("target", &word(shown, "target"));
    line("verify", &word(shown, "verify"));
    let is_ordered = shown["ordered"] == true;
    line(
        "order",
        if is_ordered {
            "of arrival"
        } else {
            "any, several at a time"
        },
    );
    let waiting = match shown["oldest"].as_str() {
        Some(at) => format!("{}, the oldest since {at}", number(&shown["waiting"])),
        None => number(&shown["waiting"]).to_string(),
    };
    line("waiting", &waiting);
    let (bytes, limit) = (bytes(&shown["bytes"]), bytes(&shown["bytes_limit"]));
    line("stored", &format!("{bytes} of {limit}"));
    if shown["blocked"].is_object() {
        line(failing(shown), &why(&shown["blocked"]));
    }
    text.push('\n');
    text + &match deliveries {
        [] => "No deliveries yet.\n".to_owned(),
        some => table(some),
    }
}

/// A row per delivery.
fn table(deliveries: &[Value]) -> String {
    let mut table = Table::new([
        ("DELIVERY", Align::Left),
        ("RECEIVED", Align::Left),
        ("STATE", Align::Left),
        ("ATTEMPTS", Align::Right),
        ("LAST ANSWER", Align::Left),
    ]);
    for shown in deliveries {
        table.row(vec![
            Cell::plain(&word(shown, "id")),
            Cell::plain(&ago(&shown["received"]).unwrap_or_default()),
            Cell::new(&word(shown, "state"), style(shown)),
            Cell::plain(&number(&shown["attempts"]).to_string()),
            Cell::plain(&answer(shown)),
        ]);
    }
    table.render(width(), Overflow::Wrap)
}

/// A delivery: where it stands, its head, and its content.
pub(super) fn delivery(shown: &Value) -> String {
    let lead = |name: &str| format!("  {name:<10}");
    let line = |name: &str, value: &str| hanging(&lead(name), value, width());
    let mut text = format!("{}\n", painted(STRONG, word(shown, "id")));
    text += &line("endpoint", &word(shown, "endpoint"));
    text += &line("received", &word(shown, "received"));
    // Styled as a whole, so never broken within.
    let state = painted(style(shown), word(shown, "state"));
    text += &format!("{}{state}\n", lead("state"));
    text += &line("attempts", &number(&shown["attempts"]).to_string());
    if let Some(next) = shown["next"].as_str() {
        text += &line("next", next);
    }
    let answer = answer(shown);
    if !answer.is_empty() {
        text += &line("answer", &answer);
    }
    // None where it can no longer be read; the error says so.
    if shown["headers"].is_array() {
        text.push('\n');
        text += &head(shown);
        text.push('\n');
        text += &content(shown);
    }
    text
}

fn head(shown: &Value) -> String {
    let query = shown["query"].as_str();
    let query = query.map(|query| format!("?{}", printable(query)));
    let place = word(shown, "path") + &query.unwrap_or_default();
    let place = if place.is_empty() { "/" } else { &place };
    let mut text = format!("{} {place}\n", word(shown, "method"));
    for field in shown["headers"].as_array().into_iter().flatten() {
        let part = |index: usize| printable(field[index].as_str().unwrap_or_default());
        text += &format!("{}: {}\n", painted(FAINT, part(0)), part(1));
    }
    text
}

fn content(shown: &Value) -> String {
    let length = bytes(&shown["content_length"]);
    let Some(content) = shown["content"].as_str() else {
        return format!("({length} that are no text; --json has them in Base64)\n");
    };
    if content.is_empty() {
        return "(no content)\n".to_owned();
    }
    let is_cut = shown["truncated"] == true;
    let indented = match is_cut {
        true => None,
        false => pretty::indented(content),
    };
    // Line by line: the ends of lines are control characters, too.
    let lines = indented.as_deref().unwrap_or(content).lines();
    let mut text: String = lines.map(|line| printable(line) + "\n").collect();
    if is_cut {
        text += &format!("(cut: it has {length})\n");
    }
    text
}

/// That earlier URLs are still good, and until when.
pub(super) fn earlier(earlier: &Value) -> Option<String> {
    let until = earlier["until"].as_str()?;
    Some(match number(&earlier["count"]) {
        1 => format!("one earlier URL is good until {until}"),
        count => format!("{count} earlier URLs are good, the last until {until}"),
    })
}

fn failing(shown: &Value) -> &'static str {
    match shown["ordered"] == true {
        true => "blocked",
        false => "failing",
    }
}

/// Why the oldest delivery was not taken.
fn why(blocked: &Value) -> String {
    let next = match blocked["next"].as_str() {
        Some(at) => format!("; next attempt at {at}"),
        None => String::new(),
    };
    let times = match number(&blocked["attempts"]) {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    let id = word(blocked, "id");
    format!("{id} was tried {times}: {}{next}", answer(blocked))
}

/// The last answer, in its own words where there are some.
fn answer(shown: &Value) -> String {
    match (shown["error"].as_str(), shown["status"].as_u64()) {
        (Some(error), _) => printable(error),
        (None, Some(status)) => status.to_string(),
        (None, None) => String::new(),
    }
}

fn style(delivery: &Value) -> Style {
    match delivery["state"].as_str() {
        Some("delivered") => GOOD,
        Some("failed") => BAD,
        _ if number(&delivery["attempts"]) > 0 => DOUBTFUL,
        _ => Style::new(),
    }
}

/// A text, which cannot drive the terminal.
pub(super) fn word(shown: &Value, key: &str) -> String {
    printable(shown[key].as_str().unwrap_or_default())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn bytes(value: &Value) -> String {
    let size = bytesize::ByteSize::b(number(value));
    size.display().iec().to_string()
}

/// How long ago a time is.
fn ago(at: &Value) -> Option<String> {
    let at = humantime::parse_rfc3339(at.as_str()?).ok()?;
    // Clocks differ a little.
    let ago = SystemTime::now().duration_since(at).unwrap_or_default();
    Some(format!("{} ago", rounded(ago.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn nothing_that_was_sent_drives_the_terminal() {
        let evil = "a\u{1b}[2J\u{7}\u{9b}b";
        let shown = json!({
            "id": "0", "endpoint": "e", "received": "", "state": "failed", "attempts": 1,
            "error": evil, "method": "POST", "path": format!("/{evil}"), "query": evil,
            "headers": [["x-a", evil]], "content": format!("one\r\n{evil}\ttwo\rthree"),
            "content_length": 9, "truncated": false,
        });
        let text = plain(&delivery(&shown));
        let evil = text
            .chars()
            .find(|c| c.is_control() && *c != '\n' && *c != '\t');
        assert_eq!(evil, None, "{text:?}");
        assert!(text.contains("\none\na\u{fffd}[2J"), "{text:?}");
    }

    #[test]
    fn a_delivery_is_told_with_head_and_content() {
        let shown = json!({
            "id": "0190", "endpoint": "hook", "received": "2026-01-01T00:00:00Z",
            "state": "delivered", "attempts": 2, "status": 204, "method": "PUT", "path": "/a",
            "query": "b=c", "headers": [["content-type", "application/json"], ["cookie", "…"]],
            "content": "{\"a\":[1,{}]}", "content_length": 12, "truncated": false,
        });
        assert_eq!(
            plain(&delivery(&shown)),
            "0190\n  endpoint  hook\n  received  2026-01-01T00:00:00Z\n  state     delivered\n  \
             attempts  2\n  answer    204\n\nPUT /a?b=c\ncontent-type: application/json\n\
             cookie: …\n\n{\n  \"a\": [\n    1,\n    {}\n  ]\n}\n"
        );
    }

    #[test]
    fn content_that_is_none_binary_or_long_says_so() {
        for (shown, told) in [
            (
                json!({"content": "", "content_length": 0}),
                "(no content)\n",
            ),
            (
                json!({"content_base64": "/w==", "content_length": 1}),
                "(1 B that are no text; --json has them in Base64)\n",
            ),
            (
                json!({"content": "{\"a\":1", "content_length": 300_000, "truncated": true}),
                "{\"a\":1\n(cut: it has 293.0 KiB)\n",
            ),
        ] {
            assert_eq!(content(&shown), told, "{shown}");
        }
    }

    #[test]
    fn what_is_not_taken_is_told_below_the_table() {
        let shown = json!([{
            "name": "hook", "url": "http://h/hooks/0", "target": "http://t/", "verify": "none",
            "ordered": true, "waiting": 2, "oldest": "2026-01-01T00:00:00Z",
            "blocked": {"id": "0190", "attempts": 3, "status": 500, "error": "answered 500",
                "next": "2026-01-01T00:01:00Z"},
        }]);
        let text = plain(&endpoints(shown.as_array().unwrap()));
        let (row, blocked) = text.trim_end().rsplit_once('\n').unwrap();
        assert!(row.ends_with("http://h/hooks/0 -> http://t/"), "{text}");
        assert_eq!(
            blocked,
            "hook blocked: 0190 was tried 3 times: answered 500; next attempt at 2026-01-01T00:01:00Z"
        );
    }
}
