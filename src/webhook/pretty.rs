//! JSON as people read it: [`indented`].

use serde::de::IgnoredAny;

/// Nothing longer is made: brackets within brackets grow.
const LONGEST: usize = 1 << 20;

/// A JSON text in lines, each value as it was written; none if it is no JSON, or has no lines to be
/// put in.
///
/// It is not made of parsed values: those have lost digits of numbers, and keys that came twice.
pub fn indented(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let text = text.trim_ascii();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let mut made = String::with_capacity(2 * text.len());
    let mut depth = 0_usize;
    let line = |made: &mut String, depth: usize| {
        made.push('\n');
        made.extend(std::iter::repeat_n("  ", depth));
    };
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => continue,
            '"' => {
                made.push(c);
                while let Some(c) = rest.next() {
                    made.push(c);
                    match c {
                        '"' => break,
                        '\\' => made.extend(rest.next()),
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                made.push(c);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => made.push(end),
                    None => {
                        depth += 1;
                        line(&mut made, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut made, depth);
                made.push(c);
            }
            ',' => {
                made.push(c);
                line(&mut made, depth);
            }
            ':' => made.push_str(": "),
            _ => made.push(c),
        }
        if made.len() > LONGEST {
            return None;
        }
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_they_were_written() {
        let text = r#" {"a":12345678901234567890.10,"a" : [ ],"b":{},"c":["x, \"y\": {","\\"],
            "d":{"e":null}} "#;
        let lines = [
            "{",
            "  \"a\": 12345678901234567890.10,",
            "  \"a\": [],",
            "  \"b\": {},",
            "  \"c\": [",
            "    \"x, \\\"y\\\": {\",",
            "    \"\\\\\"",
            "  ],",
            "  \"d\": {",
            "    \"e\": null",
            "  }",
            "}",
        ];
        assert_eq!(indented(text).unwrap(), lines.join("\n"));
    }

    #[test]
    fn what_is_no_json_or_would_grow_too_long_is_left_alone() {
        for text in ["", "x=1", "{", "[1,]", "7", "\"x\"", "{} {}"] {
            assert_eq!(indented(text), None, "{text}");
        }
        let deep = |depth: usize, inside: &str| {
            format!("{}{inside}{}", "[".repeat(depth), "]".repeat(depth))
        };
        assert!(indented(&deep(2000, "")).is_none());
        assert!(indented(&deep(100, &vec!["0"; 20_000].join(","))).is_none());
    }
}
