//! The checksums that follow content: their names before it ([`Announced`]), and what they are after
//! it ([`Trailers`]).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::checksum::{self, PREFIX};
use super::{SIGNATURE, TRAILER, TRAILER_SIGNATURE};
use crate::problem::{Kind, Problem};

/// More names than there are algorithms are a mistake.
const MOST: usize = 16;

/// The names of the checksums that follow content, in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced(Vec<HeaderName>);

impl Announced {
    /// What `x-amz-trailer` lists.
    ///
    /// # Errors
    /// It lists something other than checksums, which are all that S3 takes there: any other field
    /// could carry what is taken out of the head.
    pub fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut names = Vec::new();
        for value in headers.get_all(TRAILER) {
            let listed = value.as_bytes().split(|&b| b == b',');
            for name in listed
                .map(<[u8]>::trim_ascii)
                .filter(|name| !name.is_empty())
            {
                let name = HeaderName::from_bytes(name).ok();
                let Some(name) = name.filter(|name| name.as_str().starts_with(PREFIX)) else {
                    let text = "`x-amz-trailer` may announce `x-amz-checksum-…` fields only";
                    return Err(Problem::new(Kind::MalformedRequest, text));
                };
                names.push(name);
            }
        }
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        if names.len() > MOST || names.windows(2).any(|pair| pair[0] == pair[1]) {
            let text = "`x-amz-trailer` announces a field twice, or too many";
            return Err(Problem::new(Kind::MalformedRequest, text));
        }
        Ok(Self(names))
    }

    /// Whether nothing follows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names.
    pub fn iter(&self) -> std::slice::Iter<'_, HeaderName> {
        self.0.iter()
    }

    /// What announces them; none where there are none.
    pub fn field(&self) -> Option<HeaderValue> {
        let names: Vec<_> = self.iter().map(HeaderName::as_str).collect();
        // Names and commas are allowed in values.
        let value = HeaderValue::try_from(names.join(",")).ok();
        value.filter(|value| !value.is_empty())
    }

    /// How many bytes they take up, each a line; none where a value's length is not known.
    pub(super) fn encoded_length(&self) -> Option<u64> {
        let line = |name: &HeaderName| {
            Some((name.as_str().len() + ":\r\n".len() + checksum::value_length(name)?) as u64)
        };
        self.iter().map(line).sum()
    }
}

/// The checksums that followed content, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trailers(Vec<(HeaderName, HeaderValue)>);

impl Trailers {
    /// Checksums in the order of their names.
    pub(super) fn new(checksums: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self(checksums)
    }

    /// Whether nothing followed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> std::slice::Iter<'_, (HeaderName, HeaderValue)> {
        self.0.iter()
    }

    /// Whether they are those that were announced.
    pub(super) fn match_names(&self, announced: &Announced) -> bool {
        self.iter().map(|(name, _)| name).eq(announced.iter())
    }

    /// Writes them into a head, for content that is sent without framing.
    pub fn write_fields(&self, headers: &mut HeaderMap) {
        for (name, value) in self.iter() {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// The text that is signed.
    pub(super) fn canonical(&self) -> Vec<u8> {
        self.lines("\n")
    }

    /// How they stand after the last chunk.
    pub(super) fn encoded(&self) -> Vec<u8> {
        self.lines("\r\n")
    }

    fn lines(&self, end: &str) -> Vec<u8> {
        let mut lines = Vec::new();
        for (name, value) in self.iter() {
            let parts = [
                name.as_str().as_bytes(),
                b":",
                value.as_bytes(),
                end.as_bytes(),
            ];
            parts.iter().for_each(|part| lines.extend_from_slice(part));
        }
        lines
    }
}

/// The line that has the trailers' signature.
pub(super) fn signature_line(signature: &[u8; SIGNATURE]) -> Vec<u8> {
    [TRAILER_SIGNATURE.as_bytes(), b":", signature, b"\r\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(values: &[&'static str]) -> HeaderMap {
        let values = values.iter().copied().map(HeaderValue::from_static);
        values.map(|value| (TRAILER, value)).collect()
    }

    #[test]
    fn names_are_listed_in_one_field_or_several() {
        for (values, field) in [
            (&[][..], None),
            (&[""], None),
            (&["x-amz-checksum-crc32"], Some("x-amz-checksum-crc32")),
            (
                &[
                    "X-Amz-Checksum-SHA256 ,, x-amz-checksum-crc32",
                    "x-amz-checksum-new",
                ],
                Some("x-amz-checksum-crc32,x-amz-checksum-new,x-amz-checksum-sha256"),
            ),
        ] {
            let announced = Announced::parse(&head(values)).unwrap();
            let told = announced.field();
            assert_eq!(told.as_ref().map(|value| value.to_str().unwrap()), field);
            assert_eq!(announced.is_empty(), field.is_none());
        }
    }

    #[test]
    fn only_checksums_may_follow_and_each_once() {
        for value in [
            "x-amz-security-token",
            "authorization",
            "x-amz-checksum-crc32,x-amz-acl",
            "x-amz-checksum-crc32 x-amz-checksum-sha1",
            "x-amz-checksum-sha1,X-AMZ-CHECKSUM-SHA1",
            "x-amz-checksum-\u{e4}",
        ] {
            let head = [(TRAILER, HeaderValue::from_str(value).unwrap())];
            let problem = Announced::parse(&head.into_iter().collect()).unwrap_err();
            assert_eq!(problem.kind(), Kind::MalformedRequest, "{value}");
        }
        let many: Vec<_> = (0..=MOST).map(|n| format!("{PREFIX}{n}")).collect();
        let head = [(TRAILER, HeaderValue::try_from(many.join(",")).unwrap())];
        assert!(Announced::parse(&head.into_iter().collect()).is_err());
    }
}
