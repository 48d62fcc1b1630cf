//! A connection's credential, ready to be sent: [`Authenticator`], built from its
//! [`Auth`] when a configuration is published.
//!
//! Getting a credential ([`Authenticator::prepare`]) and applying it ([`Prepared`]) are apart:
//! fixed credentials are encoded once, at load, and only written per request.

pub mod inject;

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::{Zeroize, Zeroizing};

use self::inject::{Merge, encode_pairs};
use crate::connection::auth::{Auth, Basic, Custom, Field};

/// What gives each request of a connection its credential.
#[derive(Clone, Debug)]
pub struct Authenticator {
    fixed: Arc<Fixed>,
}

/// A credential for one request: it only writes, and cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'a>(&'a Fixed);

/// A credential that never changes, as it is written into requests.
struct Fixed {
    fields: Box<[(HeaderName, HeaderValue)]>,
    query: Option<Bytes>,
    merge: Option<Merge>,
}

impl Authenticator {
    /// Encodes a credential.
    ///
    /// # Errors
    /// A value that cannot stand in a field; compiling the configuration has refused it before.
    pub fn build(auth: &Auth) -> Result<Self, InvalidHeaderValue> {
        let mut fixed = Fixed {
            fields: Box::default(),
            query: None,
            merge: None,
        };
        match auth {
            Auth::Basic(basic) => fixed.fields = [(AUTHORIZATION, basic_value(basic)?)].into(),
            Auth::Bearer(token) => {
                let value = Zeroizing::new(format!("Bearer {}", token.expose()));
                fixed.fields = [(AUTHORIZATION, sensitive(&value)?)].into();
            }
            Auth::Custom(custom) => fixed = custom_parts(custom)?,
            Auth::Header(fields) => fixed.fields = field_values(fields)?.into(),
            Auth::None => {}
            Auth::Query(params) => fixed.query = Some(encode_pairs(params).into()),
        }
        Ok(Self {
            fixed: Arc::new(fixed),
        })
    }

    /// The credential as it is now.
    pub fn prepare(&self) -> Prepared<'_> {
        Prepared(&self.fixed)
    }
}

impl Prepared<'_> {
    /// Writes the fields. The caller's own of these names are gone by now.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0.fields {
            headers.insert(name, value.clone());
        }
    }

    /// What follows the caller's query, percent-encoded.
    pub fn query(&self) -> Option<&[u8]> {
        self.0.query.as_deref()
    }

    /// What is merged into the caller's content.
    pub fn merge(&self) -> Option<&Merge> {
        self.0.merge.as_ref()
    }
}

impl std::fmt::Debug for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.fields.iter().map(|(name, _)| name).collect();
        f.debug_struct("Fixed")
            .field("fields", &names)
            .finish_non_exhaustive()
    }
}

fn custom_parts(custom: &Custom) -> Result<Fixed, InvalidHeaderValue> {
    let mut fields = field_values(&custom.headers)?;
    if let Some(basic) = &custom.basic {
        fields.push((AUTHORIZATION, basic_value(basic)?));
    }
    let query = (!custom.params.is_empty()).then(|| encode_pairs(&custom.params).into());
    Ok(Fixed {
        fields: fields.into(),
        query,
        merge: custom.body.as_ref().map(Merge::new),
    })
}

fn field_values(fields: &[Field]) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidHeaderValue> {
    fields
        .iter()
        .map(|field| Ok((field.name.clone(), sensitive(field.value.expose())?)))
        .collect()
}

/// `Basic` and the base64 of `user:password` in UTF-8 (RFC 7617 section 2).
fn basic_value(basic: &Basic) -> Result<HeaderValue, InvalidHeaderValue> {
    let pair = Zeroizing::new(format!(
        "{}:{}",
        basic.username.expose(),
        basic.password.expose()
    ));
    let mut value = String::from("Basic ");
    BASE64_STANDARD.encode_string(pair.as_bytes(), &mut value);
    let field = sensitive(&value);
    value.zeroize();
    field
}

fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_bytes(text.as_bytes())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Origin, Secret};

    fn secret(text: &str) -> Secret {
        Secret::new(text, Origin::Literal)
    }

    fn applied(auth: &Auth) -> HeaderMap {
        let mut headers = HeaderMap::new();
        Authenticator::build(auth)
            .unwrap()
            .prepare()
            .apply(&mut headers);
        headers
    }

    #[test]
    fn basic_is_encoded_as_rfc_7617_has_it() {
        for (username, password, value) in [
            (
                "Aladdin",
                "open sesame",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            ("test", "123\u{a3}", "Basic dGVzdDoxMjPCow=="),
            ("", "", "Basic Og=="),
            ("key", "", "Basic a2V5Og=="),
        ] {
            let basic = Basic {
                username: secret(username),
                password: secret(password),
            };
            let headers = applied(&Auth::Basic(basic));
            assert_eq!(headers[AUTHORIZATION], value);
            assert!(headers[AUTHORIZATION].is_sensitive());
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let field = Field {
            name: HeaderName::from_static("x-key"),
            written: "X-Key".into(),
            value: secret("canary"),
        };
        let auth = Auth::Header(vec![field]);
        let authenticator = Authenticator::build(&auth).unwrap();
        let shown = format!("{auth:?} {authenticator:?} {:?}", authenticator.prepare());
        assert!(
            shown.contains("x-key") && !shown.contains("canary"),
            "{shown}"
        );
        assert!(!format!("{:?}", applied(&auth)).contains("canary"));
    }
}
