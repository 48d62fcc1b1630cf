//! What a program writes, as a secret and its end: plain text, or JSON that tells both.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::LONGEST;

/// The last second of the year 9999, in Unix seconds: what is later is no time that was meant.
const LATEST: u64 = 253_402_300_799;

/// A secret as a program told it.
pub(super) struct Output {
    pub(super) value: Zeroizing<String>,
    pub(super) expires_at: SystemTime,
}

/// Why a program's output is no secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputFault {
    /// There is none.
    #[error("wrote nothing to its standard output")]
    Empty,
    /// It tells a secret that is over.
    #[error(
        "told a secret that expired at {}; check what caches it, and this machine's clock",
        humantime::format_rfc3339_seconds(*.0)
    )]
    Expired(SystemTime),
    /// It is JSON without a secret.
    #[error("wrote a JSON object without a text as `value`; write {{\"value\": \"…\"}}")]
    NoValue,
    /// It is JSON with something else for a time.
    #[error(
        "wrote JSON whose `expires_at` is no time; write RFC 3339, such as 2030-01-31T12:00:00Z, or \
         Unix seconds"
    )]
    NotATime,
    /// It is not text.
    #[error("wrote something that is not UTF-8; encode it, for example in base64")]
    NotUtf8,
    /// It is too long to be a secret.
    #[error("wrote more than {LONGEST} bytes to its standard output, where a secret is expected")]
    TooLong,
}

/// Reads an output: a JSON object tells its secret as `value`, anything else is one, but for a newline
/// at the end. One that does not tell its end, ends after `ttl`.
pub(super) fn parse(bytes: &[u8], now: SystemTime, ttl: Duration) -> Result<Output, OutputFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| OutputFault::NotUtf8)?;
    let default = now.checked_add(ttl).unwrap_or_else(latest);
    let output = match serde_json::from_str::<HashMap<String, &RawValue>>(text) {
        Ok(members) => from_members(&members, default)?,
        Err(_) => {
            let text = text.strip_suffix('\n').unwrap_or(text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            Output {
                value: Zeroizing::new(text.to_owned()),
                expires_at: default,
            }
        }
    };
    if output.value.is_empty() {
        return Err(OutputFault::Empty);
    }
    if output.expires_at < now {
        return Err(OutputFault::Expired(output.expires_at));
    }
    Ok(output)
}

fn from_members(
    members: &HashMap<String, &RawValue>,
    default: SystemTime,
) -> Result<Output, OutputFault> {
    let value = members.get("value").ok_or(OutputFault::NoValue)?;
    let value = serde_json::from_str(value.get()).map_err(|_| OutputFault::NoValue)?;
    let expires_at = match members.get("expires_at").map(|raw| raw.get()) {
        None | Some("null") => default,
        Some(raw) => time(raw).ok_or(OutputFault::NotATime)?,
    };
    Ok(Output {
        value: Zeroizing::new(value),
        expires_at,
    })
}

/// RFC 3339 or Unix seconds, the latter as a number or as a text.
fn time(raw: &str) -> Option<SystemTime> {
    let text = match serde_json::from_str::<String>(raw) {
        Ok(text) => text,
        Err(_) => raw.to_owned(),
    };
    let Ok(seconds) = text.parse() else {
        let time = DateTime::parse_from_rfc3339(&text).ok()?;
        // Years that not every formatter of times can write are as good as these.
        return Some(SystemTime::from(time).clamp(UNIX_EPOCH, latest()));
    };
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    (since.as_secs() <= LATEST).then(|| UNIX_EPOCH + since)
}

fn latest() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn at(seconds: f64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    fn parsed(text: &str) -> Result<(String, SystemTime), OutputFault> {
        let output = parse(text.as_bytes(), at(NOW as f64), Duration::from_mins(5))?;
        Ok((output.value.to_string(), output.expires_at))
    }

    #[test]
    fn plain_text_is_the_secret() {
        let default = at(NOW as f64 + 300.0);
        for (text, value) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret\n\n", "secret\n"),
            (" spaces ", " spaces "),
            ("two\nlines\n", "two\nlines"),
            // No JSON objects.
            ("{not json", "{not json"),
            ("\"text\"", "\"text\""),
            ("[1]", "[1]"),
            ("12345678", "12345678"),
            ("null", "null"),
        ] {
            assert_eq!(parsed(text), Ok((value.to_owned(), default)), "{text:?}");
        }
    }

    #[test]
    fn json_tells_the_secret_and_its_end() {
        let default = at(NOW as f64 + 300.0);
        for (rest, expires_at) in [
            ("", default),
            (r#", "expires_at": null"#, default),
            (r#", "other": {"value": 1}"#, default),
            (r#", "expires_at": 1900000000"#, at(1.9e9)),
            (r#", "expires_at": 1900000000.5"#, at(1.9e9 + 0.5)),
            (r#", "expires_at": 1.9e9"#, at(1.9e9)),
            (r#", "expires_at": "1900000000""#, at(1.9e9)),
            (r#", "expires_at": "1900000000.25""#, at(1.9e9 + 0.25)),
            (r#", "expires_at": "2030-03-17T17:46:40Z""#, at(1.9e9)),
            (
                r#", "expires_at": "2030-03-17t17:46:40.500z""#,
                at(1.9e9 + 0.5),
            ),
            (r#", "expires_at": "2030-03-17T19:46:40+02:00""#, at(1.9e9)),
            (r#", "expires_at": "2030-03-17T09:16:40-08:30""#, at(1.9e9)),
        ] {
            let text = format!("\n {{\"value\": \"a\\nb \\u00e4\"{rest}}}\n");
            assert_eq!(
                parsed(&text),
                Ok(("a\nb \u{e4}".to_owned(), expires_at)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_secret_is_told_apart() {
        let value = |expires_at: &str| format!(r#"{{"value": "v", "expires_at": {expires_at}}}"#);
        for (text, fault) in [
            (String::new(), OutputFault::Empty),
            ("\n".to_owned(), OutputFault::Empty),
            (r#"{"value": ""}"#.to_owned(), OutputFault::Empty),
            ("{}".to_owned(), OutputFault::NoValue),
            (r#"{"value": 1}"#.to_owned(), OutputFault::NoValue),
            (r#"{"value": null}"#.to_owned(), OutputFault::NoValue),
            (r#"{"token": "v"}"#.to_owned(), OutputFault::NoValue),
            (value("true"), OutputFault::NotATime),
            (value("[]"), OutputFault::NotATime),
            (value("-1"), OutputFault::NotATime),
            (value("1e400"), OutputFault::NotATime),
            // Milliseconds.
            (value("1900000000000"), OutputFault::NotATime),
            (value("\"\""), OutputFault::NotATime),
            (value("\"nan\""), OutputFault::NotATime),
            (value("\"inf\""), OutputFault::NotATime),
            (value("\"tomorrow\""), OutputFault::NotATime),
            (value("\"2030-02-30T00:00:00Z\""), OutputFault::NotATime),
            (value("\"2030-01-31\""), OutputFault::NotATime),
            (value("1700000000"), OutputFault::Expired(at(1.7e9))),
            (value("0"), OutputFault::Expired(UNIX_EPOCH)),
            (
                value("\"1900-01-01T00:00:00Z\""),
                OutputFault::Expired(UNIX_EPOCH),
            ),
            (
                value("\"2020-01-31T12:00:00+01:00\""),
                OutputFault::Expired(at(1_580_468_400.0)),
            ),
        ] {
            assert_eq!(parsed(&text), Err(fault), "{text}");
        }
        let parsed = parse(b"\xff\xfe", at(0.0), Duration::ZERO).err();
        assert_eq!(parsed, Some(OutputFault::NotUtf8));
    }

    #[test]
    fn no_lifetime_is_too_long() {
        let text = r#"{"value": "v", "expires_at": "9999-12-31T23:59:59-14:00"}"#;
        assert_eq!(parsed(text).unwrap().1, latest());
        let output = parse(b"v", at(NOW as f64), Duration::MAX).unwrap();
        assert_eq!(output.expires_at, latest());
    }

    #[test]
    fn any_bytes_are_no_panic() {
        proptest::proptest!(|(bytes: Vec<u8>, time in "[-+0-9eE.TZ:\" ]{0,30}")| {
            let _ = parse(&bytes, at(NOW as f64), Duration::ZERO);
            let text = format!("{{\"value\": \"v\", \"expires_at\": {time}}}");
            if let Err(fault) = parsed(&text) {
                let _ = fault.to_string();
            }
        });
    }
}
