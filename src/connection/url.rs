//! Where requests come in and where they go: [`Prefix`] and [`BaseUrl`].
//!
//! Both are parsed once, when a configuration is compiled, and joined byte for byte afterwards.

use std::fmt;

use http::HeaderValue;
use url::{Host, Url};

/// The local route to a connection: `/` or an absolute path of whole segments without a final `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(Box<str>);

impl Prefix {
    /// Parses a prefix such as `/jira`; one final `/` is dropped.
    ///
    /// # Errors
    /// Says what is wrong with the text, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, InvalidPrefix> {
        if !text.starts_with('/') {
            return Err(InvalidPrefix::NotAbsolute);
        }
        let path = text.strip_suffix('/').unwrap_or(text);
        if path
            .split('/')
            .skip(1)
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(InvalidPrefix::BadSegment);
        }
        if let Some(bad) = path.chars().find(|&c| !is_plain_path_char(c)) {
            return Err(InvalidPrefix::BadCharacter(bad));
        }
        Ok(Self(path.into()))
    }

    /// The prefix as it is joined: empty for `/`, else without a final `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows this prefix in `path`: empty, or starting with `/`.
    pub fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        rest_after(&self.0, path)
    }

    /// How many segments it has.
    pub fn depth(&self) -> usize {
        self.0.bytes().filter(|&b| b == b'/').count()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// What follows `prefix` in `path`, if `prefix` covers whole segments of it.
///
/// The one place that decides it, for routes as for `Location`: `/jira` covers `/jira` and
/// `/jira/x`, never `/jirax`.
pub fn rest_after<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Why a text is not a [`Prefix`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// It has a character that a caller would have to percent-encode.
    #[error("`{0}` cannot stand in a prefix; use letters, digits and `-._~!$&'()*+,;=:@/`")]
    BadCharacter(char),
    /// It has an empty segment, or one that is `.` or `..`.
    #[error("a prefix has no empty, `.` or `..` segments")]
    BadSegment,
    /// It does not start with `/`.
    #[error("a prefix starts with `/`")]
    NotAbsolute,
}

/// RFC 3986 `pchar` without percent-encodings, and `/`.
fn is_plain_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c)
}

/// The URL below which everything of a connection lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    destination: Destination,
    path: Box<str>,
    written_slash: bool,
}

/// What answers behind a [`BaseUrl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `builtin:echo`: answers with the request it received.
    Echo,
    /// A server on the network.
    Server {
        /// Cleartext or TLS.
        scheme: Scheme,
        /// Name or address; IPv6 without brackets.
        host: Box<str>,
        /// The port, the scheme's own if none was written.
        port: u16,
    },
}

/// The schemes of a base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`: cleartext.
    Http,
    /// `https`: TLS.
    Https,
}

impl Scheme {
    /// The name as in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port when a URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl BaseUrl {
    /// Parses `http://…`, `https://…` or `builtin:echo`.
    ///
    /// # Errors
    /// Says what is wrong with the text; userinfo, query and fragment are refused, as a base URL
    /// with one of them would not do what it says.
    pub fn parse(text: &str) -> Result<Self, InvalidBaseUrl> {
        if text == "builtin:echo" {
            return Ok(Self {
                destination: Destination::Echo,
                path: "".into(),
                written_slash: false,
            });
        }
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => InvalidBaseUrl::Scheme,
            other => InvalidBaseUrl::Syntax(other),
        })?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(InvalidBaseUrl::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidBaseUrl::Userinfo);
        }
        if url.query().is_some() {
            return Err(InvalidBaseUrl::Query);
        }
        if url.fragment().is_some() {
            return Err(InvalidBaseUrl::Fragment);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').into(),
            Some(Host::Ipv4(address)) => address.to_string().into_boxed_str(),
            Some(Host::Ipv6(address)) => address.to_string().into_boxed_str(),
            None => return Err(InvalidBaseUrl::Syntax(url::ParseError::EmptyHost)),
        };
        let port = url.port().unwrap_or(scheme.default_port());
        let path = url.path();
        Ok(Self {
            destination: Destination::Server { scheme, host, port },
            path: path.strip_suffix('/').unwrap_or(path).into(),
            written_slash: path.len() > 1 && path.ends_with('/'),
        })
    }

    /// What answers behind it.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The path, without a final `/`; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the path was written with a final `/`, which a request for the bare prefix then gets.
    pub fn ends_with_slash(&self) -> bool {
        self.written_slash
    }

    /// The host's name or address; none for `builtin:echo`.
    pub fn host(&self) -> Option<&str> {
        match &self.destination {
            Destination::Echo => None,
            Destination::Server { host, .. } => Some(host),
        }
    }

    /// The host's name or address and the port; of `builtin:echo`, nothing and 0.
    pub fn place(&self) -> (&str, u16) {
        match &self.destination {
            Destination::Echo => ("", 0),
            Destination::Server { host, port, .. } => (host, *port),
        }
    }

    /// Whether nobody on the way can read or change what is sent there.
    pub fn is_tls(&self) -> bool {
        let Destination::Server { scheme, .. } = &self.destination else {
            return false;
        };
        *scheme == Scheme::Https
    }

    /// The `Host` field value (RFC 9110 section 7.2): the port only where it is not the scheme's own.
    pub fn host_field(&self) -> HeaderValue {
        let text = match &self.destination {
            Destination::Echo => "echo.builtin".to_owned(),
            Destination::Server { scheme, host, port } => authority(*scheme, host, *port),
        };
        HeaderValue::try_from(text).expect("a parsed host and a number are visible ASCII")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.destination {
            Destination::Echo => f.write_str("builtin:echo"),
            Destination::Server { scheme, host, port } => {
                let slash = if self.written_slash { "/" } else { "" };
                let authority = authority(*scheme, host, *port);
                write!(f, "{}://{authority}{}{slash}", scheme.as_str(), self.path)
            }
        }
    }
}

fn authority(scheme: Scheme, host: &str, port: u16) -> String {
    let (open, close) = if host.contains(':') {
        ("[", "]")
    } else {
        ("", "")
    };
    if port == scheme.default_port() {
        format!("{open}{host}{close}")
    } else {
        format!("{open}{host}{close}:{port}")
    }
}

/// Why a text is not a [`BaseUrl`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    /// It has a fragment, which never travels.
    #[error("a base URL has no fragment (`#…`)")]
    Fragment,
    /// It has a query.
    #[error(
        "a base URL has no query (`?…`); a parameter for every request is `auth = {{ type = \"query\", … }}`"
    )]
    Query,
    /// It is none of the schemes that keybearer speaks.
    #[error("a base URL starts with `https://` or `http://` (or is `builtin:echo`)")]
    Scheme,
    /// It is no URL at all.
    #[error("not a URL: {0}")]
    Syntax(url::ParseError),
    /// It carries a user name or password.
    #[error("a base URL carries no user name or password; use `auth = {{ type = \"basic\", … }}`")]
    Userinfo,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_never_matches_half_a_segment() {
        let jira = Prefix::parse("/jira/").unwrap();
        assert_eq!(jira.rest("/jira"), Some(""));
        assert_eq!(jira.rest("/jira/x"), Some("/x"));
        assert_eq!(jira.rest("/jirax"), None);
        assert_eq!(jira.rest("/jir"), None);
    }

    #[test]
    fn root_prefix_takes_everything() {
        let root = Prefix::parse("/").unwrap();
        assert_eq!(root.rest("/a/b"), Some("/a/b"));
        assert_eq!((root.depth(), root.to_string()), (0, "/".to_owned()));
    }

    #[test]
    fn prefix_refuses_what_no_caller_could_send_plainly() {
        for (text, why) in [
            ("jira", InvalidPrefix::NotAbsolute),
            ("", InvalidPrefix::NotAbsolute),
            ("//", InvalidPrefix::BadSegment),
            ("/a//b", InvalidPrefix::BadSegment),
            ("/a/../b", InvalidPrefix::BadSegment),
            ("/a b", InvalidPrefix::BadCharacter(' ')),
            ("/a%20b", InvalidPrefix::BadCharacter('%')),
            ("/a?b", InvalidPrefix::BadCharacter('?')),
        ] {
            assert_eq!(Prefix::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn base_url_keeps_its_path_and_names_its_host() {
        for (text, host, path, shown) in [
            ("https://a.example", "a.example", "", "https://a.example"),
            (
                "https://a.example:443/",
                "a.example",
                "",
                "https://a.example",
            ),
            (
                "http://a.example:8080/x/y/",
                "a.example:8080",
                "/x/y",
                "http://a.example:8080/x/y/",
            ),
            ("http://[::1]:80/x", "[::1]", "/x", "http://[::1]/x"),
            (
                "https://BÜCHER.example/ä",
                "xn--bcher-kva.example",
                "/%C3%A4",
                "https://xn--bcher-kva.example/%C3%A4",
            ),
        ] {
            let base = BaseUrl::parse(text).unwrap();
            assert_eq!(
                (base.host_field().to_str().unwrap(), base.path()),
                (host, path),
                "{text}"
            );
            assert_eq!(base.to_string(), shown);
        }
    }

    #[test]
    fn base_url_refuses_parts_that_would_be_lost() {
        for (text, why) in [
            ("https://u:p@a.example", InvalidBaseUrl::Userinfo),
            ("https://a.example/?k=v", InvalidBaseUrl::Query),
            ("https://a.example/#x", InvalidBaseUrl::Fragment),
            ("ftp://a.example", InvalidBaseUrl::Scheme),
            ("a.example/x", InvalidBaseUrl::Scheme),
        ] {
            assert_eq!(BaseUrl::parse(text), Err(why), "{text}");
        }
    }
}
