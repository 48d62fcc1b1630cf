//! The token endpoint's protocol (RFC 6749 sections 4 to 6, RFC 7523, RFC 7636, RFC 8628, RFC 8707):
//! a grant in, an access token or a [`TokenFault`] out. When to ask is decided above.

pub mod answer;
pub mod fault;
pub(super) mod form;
pub mod late;

use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

pub use self::answer::TokenAnswer;
pub use self::fault::{Refusal, TokenFault};

use self::answer::Unread;
use self::fault::Redactor;
use self::form::Form;
use super::fetch::{Answer, Endpoint};
use super::jwt::Signer;
use crate::connection::auth::Parameter;
use crate::secret::{Origin, Secret};

/// A request for a token, its secrets as they are now.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest<'a> {
    /// What is given for it.
    pub grant: TokenGrant<'a>,
    /// `client_id`; left out if empty.
    pub client_id: &'a str,
    /// How the client proves to be itself.
    pub proof: ClientProof<'a>,
    /// Wanted scopes. Sent with the grants that have not settled them before: client credentials
    /// and JWT bearer.
    pub scopes: &'a [Box<str>],
    /// `audience`, sent with the same grants.
    pub audience: Option<&'a str>,
    /// `resource`, sent with every grant (RFC 8707 section 2.2).
    pub resource: &'a [Box<str>],
    /// Further fields. One that has the name of a field of ours is sent instead of it.
    pub params: &'a [Parameter],
    /// The members that lead to the token in the answer.
    pub field: &'a [Box<str>],
}

/// What is given for a token.
#[derive(Clone, Copy, Debug)]
pub enum TokenGrant<'a> {
    /// RFC 6749 section 4.1.3.
    AuthorizationCode {
        /// The code that the person came back with.
        code: &'a Secret,
        /// The redirect URI that it was asked for with.
        redirect_uri: &'a str,
        /// The code verifier (RFC 7636 section 4.5).
        verifier: Option<&'a Secret>,
    },
    /// RFC 6749 section 4.4.2.
    ClientCredentials,
    /// The device code (RFC 8628 section 3.4).
    DeviceCode(&'a Secret),
    /// The assertion (RFC 7523 section 2.1).
    JwtBearer(&'a Secret),
    /// The refresh token (RFC 6749 section 6).
    RefreshToken(&'a Secret),
}

/// How the client proves to be itself, with what it takes for it.
#[derive(Clone, Copy, Debug)]
pub enum ClientProof<'a> {
    /// The secret, in `Authorization: Basic`.
    Basic(&'a Secret),
    /// Its name alone: a public client, or one that the connection's certificate proves (RFC 8705
    /// section 2).
    None,
    /// The secret, in the form.
    Post(&'a Secret),
    /// An assertion of its own for each request (RFC 7523 section 2.2).
    PrivateKeyJwt {
        /// What signs it.
        signer: &'a Signer,
        /// Whom it is for: the token endpoint's URL, or the issuer where it is known.
        audience: &'a str,
    },
}

/// Asks for a token, once.
///
/// # Errors
/// Why there is none; [`TokenFault`] says what that means. Nothing of what was sent stands in it.
pub async fn exchange(
    endpoint: &Endpoint,
    request: &TokenRequest<'_>,
    now: SystemTime,
) -> Result<TokenAnswer, TokenFault> {
    let mut prepared = request.prepare(endpoint, now)?;
    let authorization = prepared.authorization.take();
    let answer = endpoint.post(prepared.form(), authorization).await?;
    prepared.read(endpoint, &answer, now)
}

/// A request that is ready to be sent, by whoever sends it.
pub struct Prepared<'a> {
    request: TokenRequest<'a>,
    proof: Proof<'a>,
    /// The client's `Authorization`, if it has one.
    pub authorization: Option<HeaderValue>,
}

impl Prepared<'_> {
    /// What is sent.
    pub fn form(&self) -> Zeroizing<Vec<u8>> {
        let request = &self.request;
        let mut form = Form::new(request.params);
        request.add_grant(&mut form);
        for resource in request.resource {
            form.add("resource", resource);
        }
        self.proof.add_to(&mut form);
        form.encode()
    }

    /// What the answer says.
    ///
    /// # Errors
    /// It holds no token; of what was sent, nothing is told.
    pub fn read(
        self,
        endpoint: &Endpoint,
        answer: &Answer,
        now: SystemTime,
    ) -> Result<TokenAnswer, TokenFault> {
        let Self { request, proof, .. } = self;
        request.read(answer, now).map_err(|unread| {
            let mut redactor = Redactor::new(proof.secrets);
            redactor.add(request.grant.secret());
            if let TokenGrant::AuthorizationCode { verifier, .. } = request.grant {
                redactor.add(verifier);
            }
            redactor.add_params(request.params);
            unread.told(endpoint, answer, &redactor)
        })
    }
}

impl<'a> TokenRequest<'a> {
    /// Makes it ready to be sent.
    ///
    /// # Errors
    /// The client's proof cannot be made.
    pub fn prepare(
        &self,
        endpoint: &Endpoint,
        now: SystemTime,
    ) -> Result<Prepared<'a>, TokenFault> {
        let mut proof = Proof::new(endpoint, self.client_id, self.proof, now)?;
        let authorization = proof.authorization.take();
        Ok(Prepared {
            request: *self,
            proof,
            authorization,
        })
    }

    fn add_grant(&self, form: &mut Form<'a>) {
        form.add("grant_type", self.grant.name());
        match self.grant {
            TokenGrant::AuthorizationCode {
                code,
                redirect_uri,
                verifier,
            } => {
                form.add("code", code.expose());
                form.add("redirect_uri", redirect_uri);
                if let Some(verifier) = verifier {
                    form.add("code_verifier", verifier.expose());
                }
            }
            TokenGrant::ClientCredentials => self.add_wishes(form),
            TokenGrant::DeviceCode(code) => form.add("device_code", code.expose()),
            TokenGrant::JwtBearer(assertion) => {
                form.add("assertion", assertion.expose());
                self.add_wishes(form);
            }
            // What is left out stays as it was granted (RFC 6749 section 6).
            TokenGrant::RefreshToken(token) => form.add("refresh_token", token.expose()),
        }
    }

    fn read(&self, answer: &Answer, now: SystemTime) -> Result<TokenAnswer, Unread> {
        match self.grant {
            TokenGrant::RefreshToken(_) => answer::read_refreshed(answer, self.field, now),
            _ => answer::read(answer, self.field, now),
        }
    }

    fn add_wishes(&self, form: &mut Form<'a>) {
        form.add_scopes(self.scopes);
        if let Some(audience) = self.audience {
            form.add("audience", audience);
        }
    }
}

impl<'a> TokenGrant<'a> {
    fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode(_) => "urn:ietf:params:oauth:grant-type:device_code",
            Self::JwtBearer(_) => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::RefreshToken(_) => "refresh_token",
        }
    }

    fn secret(self) -> Option<&'a Secret> {
        match self {
            Self::ClientCredentials => None,
            Self::AuthorizationCode { code: secret, .. }
            | Self::DeviceCode(secret)
            | Self::JwtBearer(secret)
            | Self::RefreshToken(secret) => Some(secret),
        }
    }
}

/// The client's part of a request, for whichever endpoint it is.
pub(super) struct Proof<'a> {
    fields: Vec<(&'static str, Secret)>,
    client_id: Option<&'a str>,
    pub(super) authorization: Option<HeaderValue>,
    /// What must not be shown if the server repeats it.
    pub(super) secrets: Vec<Secret>,
}

impl<'a> Proof<'a> {
    pub(super) fn new(
        endpoint: &Endpoint,
        client_id: &'a str,
        proof: ClientProof<'_>,
        now: SystemTime,
    ) -> Result<Self, TokenFault> {
        let mut made = Self {
            fields: Vec::new(),
            client_id: Some(client_id).filter(|id| !id.is_empty()),
            authorization: None,
            secrets: Vec::new(),
        };
        match proof {
            ClientProof::Basic(secret) => {
                let value = basic(client_id, secret);
                made.authorization = Some(field_value(&value));
                made.client_id = None;
                made.secrets = vec![secret.clone(), value];
            }
            ClientProof::None => {}
            ClientProof::Post(secret) => {
                made.fields = vec![("client_secret", secret.clone())];
                made.secrets = vec![secret.clone()];
            }
            ClientProof::PrivateKeyJwt { signer, audience } => {
                let assertion = signer
                    .client_assertion(client_id, audience, now)
                    .map_err(|error| TokenFault::unavailable(format!("{endpoint}: {error}")))?;
                let kind = Secret::new(ASSERTION_TYPE, Origin::Literal);
                made.secrets = vec![assertion.clone()];
                made.fields = vec![
                    ("client_assertion_type", kind),
                    ("client_assertion", assertion),
                ];
            }
        }
        Ok(made)
    }

    fn add_to<'p>(&'p self, form: &mut Form<'p>)
    where
        'a: 'p,
    {
        if let Some(id) = self.client_id {
            form.add("client_id", id);
        }
        self.add_secrets_to(form);
    }

    /// All but the client's name.
    pub(super) fn add_secrets_to<'p>(&'p self, form: &mut Form<'p>) {
        for (name, value) in &self.fields {
            form.add(name, value.expose());
        }
    }
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The base64 of `id:secret`, both percent-encoded (RFC 6749 section 2.3.1): a space as `%20`, which
/// servers read that decode a form and servers that decode a URL.
fn basic(client_id: &str, secret: &Secret) -> Secret {
    let mut pair = form::encoded(client_id);
    pair.push(b':');
    pair.extend_from_slice(&form::encoded(secret.expose()));
    Secret::new(BASE64_STANDARD.encode(&*pair), Origin::Issued)
}

fn field_value(base64: &Secret) -> HeaderValue {
    let text = Zeroizing::new(format!("Basic {}", base64.expose()));
    let mut value = HeaderValue::from_str(&text).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests;
