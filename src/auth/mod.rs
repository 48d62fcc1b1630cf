//! A connection's credential, ready to be sent: [`Authenticator`], built from its
//! [`Auth`] when a configuration is published.
//!
//! Getting a credential ([`Authenticator::ready`], [`Authenticator::wait`]) and applying it
//! ([`Prepared`]) are apart: fixed credentials are encoded once, at load, and those with a lifetime
//! once per renewal; a request only writes them.

pub mod aws;
pub(crate) mod backoff;
pub mod command;
mod commanded;
pub mod courier;
pub mod credentials;
pub mod device;
pub mod engine;
pub mod fetch;
pub mod inject;
pub mod jwt;
mod keeper;
pub mod lease;
pub mod metadata;
pub mod oauth2;
pub mod slot;
pub mod state;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;
pub mod token_endpoint;

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::{Zeroize, Zeroizing};

use self::aws::sign::signer::Signer;
use self::credentials::Credential;
use self::inject::{Merge, encode_pairs};
use self::lease::Lease;
use self::state::Unavailable;
use crate::connection::auth::{Auth, Basic, Custom, Field};
use crate::request::fields;
use crate::traces::context::Context;

/// What gives each request of a connection its credential.
#[derive(Clone, Debug)]
pub struct Authenticator(Source);

#[derive(Clone, Debug)]
enum Source {
    Fixed(Arc<Fixed>),
    Renewed(Arc<Credential>),
}

/// A credential for one request: it only writes, and cannot fail.
#[derive(Clone, Debug)]
pub enum Prepared<'a> {
    /// One that never changes.
    Fixed(&'a Fixed),
    /// One with a lifetime.
    Leased(Arc<Lease<Fixed>>),
}

/// A credential as it is written into requests.
#[derive(PartialEq)]
pub struct Fixed {
    fields: Box<[(HeaderName, HeaderValue)]>,
    query: Option<Bytes>,
    merge: Option<Merge>,
    signer: Option<Box<Signer>>,
}

/// A value that cannot stand where it belongs; compiling the configuration has refused it before,
/// unless it was told by a command or a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// In a signature's `Credential`.
    #[error("the access key ID is empty, or has a space, a comma or a character outside of ASCII")]
    AccessKeyId,
    /// In a field.
    #[error("it has a line break or another control character")]
    Field,
    /// In a Basic user name.
    #[error("the user name has a `:`, which would end it")]
    Username,
}

impl Authenticator {
    /// Encodes a credential that never changes.
    ///
    /// # Errors
    /// A value that cannot stand in a field.
    pub fn fixed(auth: &Auth) -> Result<Self, Invalid> {
        Fixed::build(auth).map(|fixed| Self(Source::Fixed(Arc::new(fixed))))
    }

    /// One that is kept fresh.
    pub fn renewed(credential: Arc<Credential>) -> Self {
        Self(Source::Renewed(credential))
    }

    /// The credential that has a lifetime, if this is one.
    pub fn credential(&self) -> Option<&Arc<Credential>> {
        match &self.0 {
            Source::Fixed(_) => None,
            Source::Renewed(credential) => Some(credential),
        }
    }

    /// The credential as it is now; none if it has to be waited for.
    pub fn ready(&self) -> Option<Prepared<'_>> {
        match &self.0 {
            Source::Fixed(fixed) => Some(Prepared::Fixed(fixed)),
            Source::Renewed(credential) => credential
                .value
                .current(SystemTime::now())
                .map(Prepared::Leased),
        }
    }

    /// The credential, waited for if it is known to come.
    ///
    /// # Errors
    /// There is none.
    pub async fn wait(&self) -> Result<Prepared<'_>, Unavailable> {
        self.wait_for(None).await
    }

    /// As [`wait`](Self::wait), for the request of this span.
    ///
    /// # Errors
    /// As there.
    pub async fn wait_for(&self, request: Option<Context>) -> Result<Prepared<'_>, Unavailable> {
        match &self.0 {
            Source::Fixed(fixed) => Ok(Prepared::Fixed(fixed)),
            Source::Renewed(credential) => {
                let lease = credential.value.acquire_for(request).await;
                lease.map(Prepared::Leased)
            }
        }
    }

    /// Another credential than one that was refused; none if there is no other.
    pub async fn replace(&self, refused: &Prepared<'_>) -> Option<Prepared<'_>> {
        self.replace_for(refused, None).await
    }

    /// As [`replace`](Self::replace), for the request of this span.
    pub async fn replace_for(
        &self,
        refused: &Prepared<'_>,
        request: Option<Context>,
    ) -> Option<Prepared<'_>> {
        let (Source::Renewed(credential), Prepared::Leased(refused)) = (&self.0, refused) else {
            return None;
        };
        let lease = credential.value.replace(refused, request).await?;
        (lease.value != refused.value).then_some(Prepared::Leased(lease))
    }
}

impl Prepared<'_> {
    /// Writes the fields. The caller's own of these names are gone by now.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.value().fields {
            fields::set(headers, name, value.clone());
        }
    }

    /// What follows the caller's query, percent-encoded.
    pub fn query(&self) -> Option<&[u8]> {
        self.value().query.as_deref()
    }

    /// What is merged into the caller's content.
    pub fn merge(&self) -> Option<&Merge> {
        self.value().merge.as_ref()
    }

    /// What signs the request, in place of anything that is written into it.
    pub fn signer(&self) -> Option<&Signer> {
        self.value().signer.as_deref()
    }

    /// Whether there may be another if this one is refused.
    pub fn is_leased(&self) -> bool {
        matches!(self, Self::Leased(_))
    }

    /// Whether there is another to be had without a person.
    pub fn is_renewable(&self) -> bool {
        matches!(self, Self::Leased(lease) if lease.renewable)
    }

    /// Notes that it was accepted.
    pub fn prove(&self) {
        if let Self::Leased(lease) = self {
            lease.prove();
        }
    }

    /// Notes that a request was refused with it as it was with the one before.
    pub fn doubt(&self) {
        if let Self::Leased(lease) = self {
            lease.doubt();
        }
    }

    fn value(&self) -> &Fixed {
        match self {
            Self::Fixed(fixed) => fixed,
            Self::Leased(lease) => &lease.value,
        }
    }
}

impl Fixed {
    /// Encodes a credential; all its secrets are texts by now.
    fn build(auth: &Auth) -> Result<Self, Invalid> {
        let mut fixed = Self {
            fields: Box::default(),
            query: None,
            merge: None,
            signer: None,
        };
        match auth {
            Auth::Basic(basic) => fixed.fields = [(AUTHORIZATION, basic_value(basic)?)].into(),
            Auth::Bearer(token) => {
                let value = Zeroizing::new(format!("Bearer {}", token.expose()));
                fixed.fields = [(AUTHORIZATION, sensitive(&value)?)].into();
            }
            Auth::Custom(custom) => fixed = custom_parts(custom)?,
            Auth::Header(fields) => fixed.fields = field_values(fields)?.into(),
            // A token is a field of its own, keys sign: `Fixed::field`, `Fixed::signing`.
            Auth::Aws(_) | Auth::None | Auth::OAuth2(_) => {}
            Auth::Query(params) => fixed.query = Some(encode_pairs(params).into()),
        }
        Ok(fixed)
    }

    /// A credential that is one field.
    fn field(name: HeaderName, value: &str) -> Result<Self, Invalid> {
        Ok(Self {
            fields: [(name, sensitive(value)?)].into(),
            query: None,
            merge: None,
            signer: None,
        })
    }

    /// A credential that signs.
    fn signing(signer: Signer) -> Self {
        Self {
            fields: Box::default(),
            query: None,
            merge: None,
            signer: Some(Box::new(signer)),
        }
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

fn custom_parts(custom: &Custom) -> Result<Fixed, Invalid> {
    let mut fields = field_values(&custom.headers)?;
    if let Some(basic) = &custom.basic {
        fields.push((AUTHORIZATION, basic_value(basic)?));
    }
    let query = (!custom.params.is_empty()).then(|| encode_pairs(&custom.params).into());
    Ok(Fixed {
        fields: fields.into(),
        query,
        merge: custom.body.as_ref().map(Merge::new),
        signer: None,
    })
}

fn field_values(fields: &[Field]) -> Result<Vec<(HeaderName, HeaderValue)>, Invalid> {
    fields
        .iter()
        .map(|field| Ok((field.name.clone(), sensitive(field.value.expose())?)))
        .collect()
}

/// `Basic` and the base64 of `user:password` in UTF-8 (RFC 7617 section 2).
fn basic_value(basic: &Basic) -> Result<HeaderValue, Invalid> {
    if basic.username.expose().contains(':') {
        return Err(Invalid::Username);
    }
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

fn sensitive(text: &str) -> Result<HeaderValue, Invalid> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Invalid::Field)?;
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
        let authenticator = Authenticator::fixed(auth).unwrap();
        authenticator.ready().unwrap().apply(&mut headers);
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
        let authenticator = Authenticator::fixed(&auth).unwrap();
        let shown = format!("{auth:?} {authenticator:?} {:?}", authenticator.ready());
        assert!(
            shown.contains("x-key") && !shown.contains("canary"),
            "{shown}"
        );
        assert!(!format!("{:?}", applied(&auth)).contains("canary"));
    }
}
