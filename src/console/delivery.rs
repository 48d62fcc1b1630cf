//! What is shown of a delivery: no value that proves who sent it, and no more of the content than can be
//! read.

use std::str;

use http::HeaderName;
use url::form_urlencoded;

use super::Console;
use crate::connection::webhook::Endpoint;

/// As much of the content as is shown, in bytes.
pub(super) const MOST: usize = 256 << 10;

/// In place of a secret.
const MASK: &str = "…";

/// Fields that are credentials wherever they come from.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Fields that prove nothing: they are shown of an endpoint whose settings are gone, and with them which
/// field has its secret.
const HARMLESS: [&str; 9] = [
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "user-agent",
    "webhook-id",
];

/// Which values of a delivery are told to nobody.
pub(super) enum Masks {
    /// Those of the field and the parameter that the endpoint's senders prove themselves with.
    Known(Option<HeaderName>, Option<Box<str>>),
    /// All but a few: the endpoint is no longer configured.
    Unknown,
}

impl Masks {
    /// Those of an endpoint; none if it is no longer configured.
    pub(super) fn of(endpoint: Option<&Endpoint>) -> Self {
        let Some(endpoint) = endpoint else {
            return Self::Unknown;
        };
        let (field, param) = endpoint.verify.proof.secret_place();
        Self::Known(field.cloned(), param.map(Into::into))
    }

    /// Those of the endpoint that the console knows by this name.
    pub(super) fn by_name(console: &Console, name: &str) -> Self {
        let webhooks = console.webhooks.as_ref();
        let shown = webhooks.and_then(|webhooks| webhooks.endpoint(name).ok());
        Self::of(shown.as_ref().map(|shown| &*shown.entry.endpoint))
    }

    /// A field's value, as it is shown.
    pub(super) fn field<'v>(&self, name: &str, value: &'v str) -> &'v str {
        let is_secret = CREDENTIALS.contains(&name)
            || match self {
                Self::Known(field, _) => field.as_ref().is_some_and(|field| field == name),
                Self::Unknown => !HARMLESS.contains(&name),
            };
        if is_secret { MASK } else { value }
    }

    /// A query, as it is shown.
    pub(super) fn query(&self, query: &str) -> String {
        let parts = query.split('&').map(|part| {
            let Some((name, _)) = part.split_once('=') else {
                return part.to_owned();
            };
            let is_secret = match self {
                Self::Known(_, None) => false,
                // However its letters are encoded.
                Self::Known(_, Some(param)) => form_urlencoded::parse(part.as_bytes())
                    .next()
                    .is_some_and(|(found, _)| *found == **param),
                Self::Unknown => true,
            };
            match is_secret {
                true => format!("{name}={MASK}"),
                false => part.to_owned(),
            }
        });
        parts.collect::<Vec<_>>().join("&")
    }
}

/// Content, as far as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content<'a> {
    pub(super) shown: Shown<'a>,
    /// How long all of it is, in bytes.
    pub(super) length: usize,
    /// Whether there is more than is shown.
    pub(super) truncated: bool,
}

/// What content is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    Binary(&'a [u8]),
    Text(&'a str),
}

impl<'a> Content<'a> {
    pub(super) fn of(content: &'a [u8]) -> Self {
        let truncated = content.len() > MOST;
        let first = content.get(..MOST).unwrap_or(content);
        let shown = match str::from_utf8(first) {
            Ok(text) => Shown::Text(text),
            // A character that was cut is none that is wrong.
            Err(error) if truncated && error.error_len().is_none() => {
                let whole = first.get(..error.valid_up_to()).unwrap_or_default();
                Shown::Text(str::from_utf8(whole).unwrap_or_default())
            }
            Err(_) => Shown::Binary(first),
        };
        Self {
            shown,
            length: content.len(),
            truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(field: Option<&'static str>, param: Option<&str>) -> Masks {
        Masks::Known(field.map(HeaderName::from_static), param.map(Into::into))
    }

    #[test]
    fn what_proves_the_sender_is_masked() {
        let masks = known(Some("x-gitlab-token"), None);
        for (name, shown) in [
            ("authorization", "…"),
            ("proxy-authorization", "…"),
            ("cookie", "…"),
            ("x-gitlab-token", "…"),
            ("x-gitlab-event", "v"),
            ("x-hub-signature-256", "v"),
        ] {
            assert_eq!(masks.field(name, "v"), shown, "{name}");
            assert_eq!(
                known(None, None).field(name, "v"),
                if name == "x-gitlab-token" { "v" } else { shown },
                "{name}"
            );
        }
    }

    #[test]
    fn a_parameter_is_masked_however_it_is_written() {
        let masks = known(None, Some("my key"));
        for (query, shown) in [
            ("", ""),
            ("a=1&my+key=s&b", "a=1&my+key=…&b"),
            ("my%20key=s=s&a=%26", "my%20key=…&a=%26"),
            ("%6dy%20%6Bey=s&MY+KEY=x&&", "%6dy%20%6Bey=…&MY+KEY=x&&"),
        ] {
            assert_eq!(masks.query(query), shown, "{query}");
            assert_eq!(known(None, None).query(query), query);
        }
    }

    #[test]
    fn of_an_endpoint_that_is_gone_nothing_is_shown_that_may_be_a_secret() {
        let masks = Masks::Unknown;
        assert_eq!(masks.field("x-any", "v"), "…");
        assert_eq!(masks.field("authorization", "v"), "…");
        assert_eq!(masks.field("content-type", "v"), "v");
        assert_eq!(masks.query("a=1&b&c="), "a=…&b&c=…");
    }

    #[test]
    fn content_is_cut_between_characters() {
        let whole = |shown, length| Content {
            shown,
            length,
            truncated: false,
        };
        assert_eq!(Content::of(b""), whole(Shown::Text(""), 0));
        assert_eq!(Content::of(b"\xff\0"), whole(Shown::Binary(b"\xff\0"), 2));
        // Without its end, but nothing was cut.
        assert_eq!(Content::of(b"\xc3"), whole(Shown::Binary(b"\xc3"), 1));
        let most = "x".repeat(MOST);
        assert_eq!(
            Content::of(most.as_bytes()),
            whole(Shown::Text(&most), MOST)
        );
        let long = format!("{}é and more", "x".repeat(MOST - 1));
        let content = Content::of(long.as_bytes());
        assert_eq!(content.shown, Shown::Text(&long[..MOST - 1]));
        assert!(content.truncated && content.length == long.len());
        let mut binary = long.into_bytes();
        binary[7] = 0xff;
        let content = Content::of(&binary);
        assert_eq!(content.shown, Shown::Binary(&binary[..MOST]));
    }
}
