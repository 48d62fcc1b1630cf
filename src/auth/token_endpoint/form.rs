//! The form of a request: [`Form`].

use std::borrow::Cow;

use percent_encoding::percent_encode;
use zeroize::Zeroizing;

use crate::auth::inject::ENCODED;
use crate::connection::auth::Parameter;

/// Fields of `application/x-www-form-urlencoded` content, in the order in which they are added.
pub(in crate::auth) struct Form<'a> {
    fields: Vec<(&'a str, Cow<'a, str>)>,
    params: &'a [Parameter],
}

impl<'a> Form<'a> {
    /// A form with the operator's own fields at its end: what they name is not added before, as no
    /// field may stand twice (RFC 6749 section 3.2).
    pub(in crate::auth) fn new(params: &'a [Parameter]) -> Self {
        Self {
            fields: Vec::new(),
            params,
        }
    }

    pub(in crate::auth) fn add(&mut self, name: &'a str, value: &'a str) {
        self.push(name, Cow::Borrowed(value));
    }

    /// `scope`, unless there is none.
    pub(in crate::auth) fn add_scopes(&mut self, scopes: &[Box<str>]) {
        if !scopes.is_empty() {
            self.push("scope", Cow::Owned(scopes.join(" ")));
        }
    }

    fn push(&mut self, name: &'a str, value: Cow<'a, str>) {
        if self.params.iter().all(|param| *param.name != *name) {
            self.fields.push((name, value));
        }
    }

    /// The content, in one allocation that is zeroed afterwards.
    pub(in crate::auth) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let params = self.params.iter();
        let fields = self.fields.iter().map(|(name, value)| (*name, &**value));
        let all: Vec<_> = fields
            .chain(params.map(|param| (&*param.name, param.value.expose())))
            .collect();
        let length = all
            .iter()
            .map(|(name, value)| 3 * (name.len() + value.len()) + 2);
        let mut content = Zeroizing::new(Vec::with_capacity(length.sum()));
        for (index, (name, value)) in all.into_iter().enumerate() {
            if index > 0 {
                content.push(b'&');
            }
            encode_into(&mut content, name);
            content.push(b'=');
            encode_into(&mut content, value);
        }
        content
    }
}

/// A text with everything percent-encoded but RFC 3986's unreserved characters.
pub(super) fn encoded(text: &str) -> Zeroizing<Vec<u8>> {
    let mut content = Zeroizing::new(Vec::with_capacity(3 * text.len()));
    encode_into(&mut content, text);
    content
}

fn encode_into(content: &mut Vec<u8>, text: &str) {
    for part in percent_encode(text.as_bytes(), ENCODED) {
        content.extend_from_slice(part.as_bytes());
    }
}
