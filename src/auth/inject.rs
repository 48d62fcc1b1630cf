//! A value into the query, or into form or JSON content.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::connection::auth::{BodyFields, Parameter};
use crate::problem::{Kind, Problem};
use crate::request::names::NameSet;
use crate::request::query;

/// Everything but RFC 3986's unreserved characters is encoded.
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `name=value` pairs, percent-encoded and joined with `&`.
pub fn encode_pairs(pairs: &[Parameter]) -> Vec<u8> {
    let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let pairs = pairs
        .iter()
        .map(|pair| format!("{}={}", encode(&pair.name), encode(pair.value.expose())));
    pairs.collect::<Vec<_>>().join("&").into_bytes()
}

/// Members that are merged into the caller's content, encoded at load.
#[derive(Clone)]
pub struct Merge {
    media: Media,
    names: NameSet,
    /// `a=b&c=d`, or `"a":"b","c":"d"`.
    members: Bytes,
}

impl PartialEq for Merge {
    fn eq(&self, other: &Self) -> bool {
        // The names are those of the members.
        self.media == other.media && self.members == other.members
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Form,
    Json,
}

impl Media {
    fn content_type(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        }
    }
}

impl Merge {
    /// Encodes the members.
    pub fn new(fields: &BodyFields) -> Self {
        let (media, fields, members) = match fields {
            BodyFields::Form(fields) => (Media::Form, fields, encode_pairs(fields)),
            BodyFields::Json(fields) => (Media::Json, fields, encode_members(fields)),
        };
        let names = fields.iter().map(|field| &*field.name).collect();
        Self {
            media,
            names,
            members: members.into(),
        }
    }

    /// Checks that the caller's content is of the type that is merged into, and marks it so if it
    /// says nothing.
    ///
    /// # Errors
    /// The answer for the caller.
    pub fn accept(&self, headers: &mut HeaderMap, empty: bool) -> Result<(), Problem> {
        if let Some(coding) = headers.get(CONTENT_ENCODING)
            && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(unsupported(
                "send the content without Content-Encoding: the credential is merged into it",
            ));
        }
        match headers.get(CONTENT_TYPE) {
            Some(found) if self.takes(found) => Ok(()),
            None if empty => {
                headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static(self.media.content_type()),
                );
                Ok(())
            }
            _ => {
                let wanted = self.media.content_type();
                Err(unsupported(&format!(
                    "send the content as {wanted}: the credential is merged into it"
                )))
            }
        }
    }

    fn takes(&self, content_type: &HeaderValue) -> bool {
        let text = content_type.to_str().unwrap_or_default();
        let media = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match self.media {
            Media::Form => media == "application/x-www-form-urlencoded",
            Media::Json => media == "application/json" || media.ends_with("+json"),
        }
    }

    /// The caller's content with our members in place of its own of the same names, in any spelling,
    /// as some servers read those alike; the rest of it stays byte for byte.
    ///
    /// # Errors
    /// The answer for the caller.
    pub fn apply(&self, content: &[u8]) -> Result<Bytes, Problem> {
        match self.media {
            Media::Form => Ok(self.merged_form(content)),
            Media::Json => self.merged_json(content),
        }
    }

    fn merged_form(&self, content: &[u8]) -> Bytes {
        // A form is ASCII; what is not passes encoded, as a browser would have sent it.
        let text = percent_encode(content, percent_encoding::CONTROLS).to_string();
        let mut merged = query::remove(&text, |name| self.names.contains(name))
            .into_owned()
            .into_bytes();
        if !merged.is_empty() {
            merged.push(b'&');
        }
        merged.extend_from_slice(&self.members);
        merged.into()
    }

    fn merged_json(&self, content: &[u8]) -> Result<Bytes, Problem> {
        let content = if content.trim_ascii().is_empty() {
            b"{}"
        } else {
            content
        };
        let mut parser = serde_json::Deserializer::from_slice(content);
        let merged = parser
            .deserialize_map(Members {
                dropped: &self.names,
            })
            .and_then(|members| parser.end().map(|()| members))
            .map_err(|error| not_an_object(&error))?;
        let mut object = Vec::with_capacity(content.len() + self.members.len() + 2);
        object.push(b'{');
        object.extend_from_slice(&merged);
        if !merged.is_empty() {
            object.push(b',');
        }
        object.extend_from_slice(&self.members);
        object.push(b'}');
        Ok(object.into())
    }
}

impl fmt::Debug for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge")
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

fn encode_members(fields: &[Parameter]) -> Vec<u8> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let members = fields
        .iter()
        .map(|field| format!("{}:{}", text(&field.name), text(field.value.expose())));
    members.collect::<Vec<_>>().join(",").into_bytes()
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(Kind::UnsupportedContent, detail)
}

fn not_an_object(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let detail = format!(
        "the content is no JSON object (line {line}, column {column}): the credential is merged into it"
    );
    Problem::new(Kind::ContentMalformed, detail)
}

/// Reads an object's members as they are written, leaving out the dropped ones.
struct Members<'a> {
    dropped: &'a NameSet,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u8>, A::Error> {
        let mut kept = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.dropped.contains(name.as_bytes()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = map.next_value()?;
            if !kept.is_empty() {
                kept.push(b',');
            }
            kept.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
            kept.push(b':');
            kept.extend_from_slice(value.get().as_bytes());
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Origin, Secret};

    fn fields(pairs: &[(&str, &str)]) -> Vec<Parameter> {
        let field = |(name, value): &(&str, &str)| Parameter {
            name: (*name).into(),
            value: Secret::new(*value, Origin::Literal),
        };
        pairs.iter().map(field).collect()
    }

    #[test]
    fn pairs_are_percent_encoded() {
        let pairs = fields(&[("api key", "a&b=c+d/é~"), ("empty", "")]);
        assert_eq!(
            encode_pairs(&pairs),
            b"api%20key=a%26b%3Dc%2Bd%2F%C3%A9~&empty="
        );
    }

    #[test]
    fn forms_get_our_fields_in_place_of_the_callers() {
        let merge = Merge::new(&BodyFields::Form(fields(&[("api_key", "s&c")])));
        for (content, merged) in [
            ("a=1&b=%20+", "a=1&b=%20+&api_key=s%26c"),
            ("api_key=mine&a=1", "a=1&api_key=s%26c"),
            ("API%5Fkey=mine", "api_key=s%26c"),
            ("", "api_key=s%26c"),
        ] {
            assert_eq!(
                merge.apply(content.as_bytes()).unwrap(),
                merged,
                "{content}"
            );
        }
    }

    #[test]
    fn objects_get_our_members_in_place_of_the_callers() {
        let merge = Merge::new(&BodyFields::Json(fields(&[("key", "a\"b"), ("id", "7")])));
        for (content, merged) in [
            (r#"{"a":1}"#, r#"{"a":1,"key":"a\"b","id":"7"}"#),
            (
                r#"{"key":"mine","a":[1, 2 ],"id":{}}"#,
                r#"{"a":[1, 2 ],"key":"a\"b","id":"7"}"#,
            ),
            (r#"{"k\u0065y":"mine"}"#, r#"{"key":"a\"b","id":"7"}"#),
            (
                r#"{"Key":"mine","I\u0044":1,"ids":2}"#,
                r#"{"ids":2,"key":"a\"b","id":"7"}"#,
            ),
            (
                r#"{"n":12345678901234567890.1234567890}"#,
                r#"{"n":12345678901234567890.1234567890,"key":"a\"b","id":"7"}"#,
            ),
            ("{}", r#"{"key":"a\"b","id":"7"}"#),
            ("", r#"{"key":"a\"b","id":"7"}"#),
        ] {
            assert_eq!(
                merge.apply(content.as_bytes()).unwrap(),
                merged,
                "{content}"
            );
        }
        for content in ["[]", "1", "{", r#"{"a":1} x"#, "\"{}\""] {
            assert_eq!(
                merge.apply(content.as_bytes()).unwrap_err().kind(),
                Kind::ContentMalformed,
                "{content}"
            );
        }
    }

    #[test]
    fn content_of_another_type_is_refused() {
        let merge = Merge::new(&BodyFields::Json(fields(&[("key", "x")])));
        let accepts = |name: Option<&'static str>, empty| {
            let mut headers = HeaderMap::new();
            name.map(|name| headers.insert(CONTENT_TYPE, HeaderValue::from_static(name)));
            merge.accept(&mut headers, empty).is_ok()
        };
        assert!(accepts(Some("application/json; charset=utf-8"), false));
        assert!(accepts(Some("application/vnd.api+json"), false));
        assert!(accepts(None, true));
        assert!(!accepts(None, false));
        assert!(!accepts(Some("text/plain"), false));
    }
}
