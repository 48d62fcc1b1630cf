//! A row of a table: the bytes, what becomes of them, and why.

/// What a caller's own credentials read in these tables; it never stands in a request upstream.
pub const MINE: &str = "mine-7f3a";

/// One case.
pub struct Row {
    /// What the caller writes; `{proxy}`, `{port}` and `{upstream}` stand for addresses.
    pub request: Vec<u8>,
    /// What becomes of it.
    pub expected: Expect,
    /// Why.
    pub reason: String,
}

/// What becomes of a request.
pub enum Expect {
    /// As `Refused`, and the connection is closed: what follows on it cannot be trusted.
    Closed(&'static [u16]),
    /// Either of both is safe.
    Either(&'static [u16], String),
    /// Its content breaks off: 400, closed, and no whole request upstream.
    Midway,
    /// Refused with 400, or made unambiguous: once upstream, one framing, content `hello`.
    Plain { closes: bool },
    /// Arrives with exactly this request target.
    Reaches(String),
    /// Answered by keybearer itself with one of these; nothing goes upstream.
    Refused(&'static [u16]),
    /// Arrives like this.
    Sees(Sight),
}

/// How a request looks at the upstream's end.
#[derive(Default)]
pub struct Sight {
    /// The whole request target.
    pub target: Option<String>,
    /// Fields that are not there, in no letter case and not with `_` for `-`.
    pub absent: Vec<String>,
    /// All values of a field, in order.
    pub exactly: Vec<(String, Vec<String>)>,
    /// The content.
    pub body: Option<String>,
}

impl Sight {
    /// Without this field.
    pub fn without(name: &str) -> Self {
        Self {
            absent: vec![name.to_owned()],
            ..Self::default()
        }
    }

    /// With this field, once.
    pub fn with(name: &str, value: &str) -> Self {
        Self::default().and(name, value)
    }

    /// And with this field, once.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.exactly.push((name.to_owned(), vec![value.to_owned()]));
        self
    }

    /// And at this target.
    #[must_use]
    pub fn at(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    /// And with this content.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }
}

impl Row {
    /// The method, as far as the row has one.
    pub fn method(&self) -> &str {
        let end = self.request.iter().position(|&byte| byte == b' ');
        std::str::from_utf8(&self.request[..end.unwrap_or(0)]).unwrap_or_default()
    }
}

/// A row.
pub fn row(reason: impl Into<String>, request: impl Into<Vec<u8>>, expected: Expect) -> Row {
    Row {
        request: request.into(),
        expected,
        reason: reason.into(),
    }
}

/// A plain GET.
pub fn get(target: &str) -> Vec<u8> {
    get_with(target, "")
}

/// A GET with these field lines, each ended by CRLF.
pub fn get_with(target: &str, lines: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
}

/// A POST to `/p/x` with these field lines and whatever follows the head.
pub fn post_with(lines: &str, after: &str) -> Vec<u8> {
    format!("POST /p/x HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{after}").into_bytes()
}

/// Arrives there.
pub fn reaches(target: &str) -> Expect {
    Expect::Reaches(target.to_owned())
}
