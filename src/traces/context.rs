//! W3C Trace Context: [`Context`], what `traceparent` says of a span.

use std::fmt;
use std::num::NonZeroU64;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::random::random;

/// The field that names the span which a request was sent for.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The field with what tracing systems add to it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A span as others know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace that it is part of.
    pub trace: TraceId,
    /// The span itself.
    pub span: SpanId,
    flags: u8,
}

/// The ID of a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

/// The ID of a span.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId(NonZeroU64);

/// That whoever began the trace records it.
const SAMPLED: u8 = 1;

/// That the ID's last seven bytes are random (level 2 of the standard).
const RANDOM: u8 = 2;

/// The length of `traceparent` in version 00.
const LENGTH: usize = 55;

// === impl Context ===

impl Context {
    /// The first span of a trace.
    pub fn root(sampled: impl FnOnce(TraceId) -> bool) -> Self {
        let [high, low, span] = random();
        let trace = TraceId::of(high, low);
        Self {
            trace,
            span: SpanId::of(span),
            flags: sampled(trace).into(),
        }
    }

    /// A span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        self.with(SpanId::random())
    }

    /// Another span of the same trace.
    #[must_use]
    pub(super) fn with(self, span: SpanId) -> Self {
        Self { span, ..self }
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// As the field has them.
    pub fn flags(self) -> u8 {
        self.flags
    }

    /// What the caller says, if it says it once and well.
    pub fn received(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Self::parse(only.as_bytes()),
            (None, _) | (_, Some(_)) => None,
        }
    }

    /// Parses `traceparent`. Of a version that is not known, what version 00 has is taken.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_first_chunk::<LENGTH>()?;
        let version = hex(&known[..2])?;
        match (version, more) {
            (0, []) | (1..=0xfe, [] | [b'-', ..]) => {}
            _ => return None,
        }
        if [known[2], known[35], known[52]] != [b'-'; 3] {
            return None;
        }
        let flags = hex(&known[53..])?.to_le_bytes()[0];
        Some(Self {
            trace: TraceId::new(hex(&known[3..35])?)?,
            span: SpanId::new(u64::try_from(hex(&known[36..52])?).ok()?)?,
            flags: flags & (SAMPLED | RANDOM),
        })
    }

    /// `traceparent` for what is sent for this span.
    pub fn traceparent(self) -> HeaderValue {
        let mut ids = [0; 24];
        ids[..16].copy_from_slice(&self.trace.to_bytes());
        ids[16..].copy_from_slice(&self.span.to_bytes());
        // All at once, which a processor does with many bytes at a time.
        let digits = ids.map(digits);
        let (trace, span) = digits.as_flattened().split_at(32);
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(trace);
        text[36..52].copy_from_slice(span);
        text[54] = b'0' + self.flags;
        HeaderValue::from_bytes(&text).expect("digits and hyphens are a field value")
    }
}

// === impl TraceId ===

impl TraceId {
    pub(super) fn random() -> Self {
        let [high, low] = random();
        Self::of(high, low)
    }

    fn of(high: u64, low: u64) -> Self {
        Self((u128::from(high) << 64 | u128::from(low)).max(1))
    }

    fn new(id: u128) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    /// The last eight bytes.
    pub(super) fn low(self) -> u64 {
        self.0 as u64
    }

    /// As OTLP has it.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl SpanId ===

impl SpanId {
    pub(super) fn random() -> Self {
        let [id] = random();
        Self::of(id)
    }

    fn of(id: u64) -> Self {
        Self(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN))
    }

    fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// As OTLP has it.
    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number in lower-case hexadecimal digits, which are the only ones that there may be.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The two digits of a byte, without a branch or a table: its halves are put in one place each, and those
/// over 9 moved on to the letters.
fn digits(byte: u8) -> [u8; 2] {
    let byte = u16::from(byte);
    let halves = (byte >> 4 | byte << 8) & 0x0f0f;
    let letters = (halves + 0x0606) >> 4 & 0x0101;
    let to_letter = u16::from(b'a' - b'0' - 10);
    (halves + 0x3030 + letters * to_letter).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_standard_shows_is_read_and_written() {
        let context = Context::parse(SENT.as_bytes()).unwrap();
        assert_eq!(
            context.trace.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled());
        assert_eq!(context.traceparent(), SENT);
        let child = context.child();
        assert_eq!((child.trace, child.flags), (context.trace, context.flags));
        assert_ne!(child.span, context.span);
    }

    #[test]
    fn whatever_is_not_quite_right_is_nothing() {
        let with = |at: usize, text: &str| {
            let mut sent = SENT.to_owned();
            sent.replace_range(at..at + text.len(), text);
            sent
        };
        for (text, why) in [
            (String::new(), "empty"),
            (SENT[..54].to_owned(), "too short"),
            (format!("{SENT}-"), "longer than version 00 is"),
            (format!(" {SENT}"), "white space"),
            (with(0, "ff"), "the version that there is not"),
            (with(0, "0g"), "no version"),
            (with(2, "_"), "no hyphen"),
            (with(35, "_"), "no hyphen"),
            (with(52, "_"), "no hyphen"),
            (with(3, "A"), "an upper-case digit"),
            (with(36, "+"), "a sign"),
            (with(3, &"0".repeat(32)), "no trace"),
            (with(36, &"0".repeat(16)), "no span"),
            (with(53, "0x"), "no flags"),
            (
                format!("{}.more", with(0, "cc")),
                "no field after the flags",
            ),
        ] {
            assert_eq!(Context::parse(text.as_bytes()), None, "{why}: {text}");
        }
    }

    #[test]
    fn of_a_later_version_is_taken_what_is_known() {
        let later = format!("cc{}-what-follows", &SENT[2..53]) + "ff";
        assert_eq!(Context::parse(later.as_bytes()), None, "flags come first");
        for (text, written) in [
            (format!("cc{}", &SENT[2..]), SENT.to_owned()),
            (format!("01{}-more", &SENT[2..]), SENT.to_owned()),
            (format!("{}ff", &SENT[..53]), format!("{}03", &SENT[..53])),
            (format!("{}fe", &SENT[..53]), format!("{}02", &SENT[..53])),
        ] {
            let context = Context::parse(text.as_bytes()).unwrap();
            assert_eq!(context.traceparent(), written.as_str(), "{text}");
        }
    }

    #[test]
    fn said_twice_is_said_badly() {
        let mut headers = HeaderMap::new();
        assert_eq!(Context::received(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(SENT));
        assert_eq!(Context::received(&headers), Context::parse(SENT.as_bytes()));
        headers.append(TRACEPARENT, HeaderValue::from_static(SENT));
        assert_eq!(Context::received(&headers), None);
    }

    #[test]
    fn digits_are_those_of_the_byte() {
        for byte in 0..=u8::MAX {
            assert_eq!(digits(byte), format!("{byte:02x}").as_bytes());
        }
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in prop::collection::vec(any::<u8>(), 0..70)) {
            let _ = Context::parse(&text);
        }
    }
}
