//! Times, numbers and states as people read them.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use crate::auth::state::State;

/// A state in words, and what it looks like.
pub(super) fn state(state: State) -> Markup {
    let (class, words) = match state {
        State::Ready => ("good", "Ready"),
        State::Stale => ("doubt", "Renewal fails"),
        State::Refreshing => ("busy", "Fetching its credential"),
        State::Retrying => ("bad", "No credential, trying again"),
        State::NotLinked => ("doubt", "Not linked"),
        State::Reauthorize => ("bad", "Link again"),
        State::Misconfigured => ("bad", "Misconfigured"),
    };
    html! { span.state.(class) { (words) } }
}

/// A length of time in its largest unit that leaves two digits or so.
pub(super) fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long until a time, or since.
pub(super) fn countdown(at: SystemTime, now: SystemTime) -> Markup {
    let (class, words) = match at.duration_since(now) {
        Ok(left) => ("", format!("in {}", length(left))),
        Err(past) => ("over", format!("{} ago", length(past.duration()))),
    };
    let machine = humantime::format_rfc3339_seconds(at).to_string();
    html! { time.(class) datetime=(machine) title=(machine) { (words) } }
}

/// How long ago something was, which is nothing bad.
pub(super) fn age(at: SystemTime, now: SystemTime) -> Markup {
    let machine = humantime::format_rfc3339_seconds(at).to_string();
    let ago = now.duration_since(at).unwrap_or_default();
    html! { time datetime=(machine) title=(machine) { (length(ago)) " ago" } }
}

/// A duration with three digits or so.
pub(super) fn duration(seconds: f64) -> String {
    match seconds * 1000.0 {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        _ => format!("{seconds:.1} s"),
    }
}

/// A rate per second.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0/s".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}/s"),
        rate => format!("{rate:.0}/s"),
    }
}

/// A part in percent.
pub(super) fn percent(part: f64) -> String {
    match part {
        0.0 => "0 %".to_owned(),
        100.0 => "100 %".to_owned(),
        part if part < 0.1 => "< 0.1 %".to_owned(),
        part => format!("{part:.1} %"),
    }
}

/// A number of bytes.
pub(super) fn bytes(count: u64) -> String {
    bytesize::ByteSize::b(count)
        .display()
        .iec_short()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let lengths = [0, 119, 120, 7199, 7200, 172_799, 172_800].map(Duration::from_secs);
        assert_eq!(
            lengths.map(length),
            ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"]
        );
        let durations = [0.000_4, 0.012, 0.9996, 12.34].map(duration);
        assert_eq!(durations, ["0.4 ms", "12 ms", "1000 ms", "12.3 s"]);
        assert_eq!([0.0, 0.25, 1234.0].map(rate), ["0/s", "0.2/s", "1234/s"]);
        assert_eq!(
            [0.0, 0.01, 12.34, 100.0].map(percent),
            ["0 %", "< 0.1 %", "12.3 %", "100 %"]
        );
    }

    #[test]
    fn a_countdown_says_what_is_over() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let left = countdown(now + Duration::from_secs(600), now).into_string();
        assert!(
            left.contains(">in 10 min<") && left.contains("2001-09-09T01:56:40Z"),
            "{left}"
        );
        let over = countdown(now - Duration::from_secs(60), now).into_string();
        assert!(
            over.contains("over") && over.contains(">60 s ago<"),
            "{over}"
        );
    }
}
