//! OAuth 2.0 settings (RFC 6749), checked: which grant gets a token, from where, and how it is sent.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::auth::Parameter;
use crate::secret::Secret;

/// An OAuth 2.0 credential of any type, Microsoft's among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2 {
    /// The name that `type` has in the configuration.
    pub kind: &'static str,
    /// How a token is had.
    pub grant: Grant,
    /// Whom the authorization server takes us for.
    pub client: Client,
    /// The token endpoint; none where the authorization server's metadata name it.
    pub token_url: Option<Url>,
    /// Wanted scopes, in the order of the configuration.
    pub scopes: Vec<Box<str>>,
    /// For whom the token is (a parameter of Auth0 and others); of the assertion for a JWT bearer.
    pub audience: Option<Box<str>>,
    /// For which resources the token is (RFC 8707).
    pub resource: Vec<Box<str>>,
    /// Further form fields of token requests.
    pub params: Vec<Parameter>,
    /// Where the token goes in requests.
    pub token: TokenPlace,
    /// How long before its end a token is renewed; none: a tenth of its lifetime, 30 s at least and
    /// never more than half.
    pub refresh_before: Option<Duration>,
    /// The lifetime of a token that comes without one; none: it is used until it is refused.
    pub default_lifetime: Option<Duration>,
}

/// How a token is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A person consents once; refresh tokens keep it (RFC 6749 section 4.1, RFC 8628).
    AuthorizationCode(AuthorizationCode),
    /// The client's own credential is enough (RFC 6749 section 4.4).
    ClientCredentials,
    /// An assertion that we sign (RFC 7523 section 2.1).
    JwtBearer(JwtBearer),
}

/// What a consent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationCode {
    /// Where the person is sent; its own query is kept. None where metadata name it.
    pub authorization_url: Option<Url>,
    /// The issuer, whose metadata (RFC 8414, OpenID Connect Discovery) fill in absent URLs.
    pub authorization_server: Option<Url>,
    /// For machines without a browser (RFC 8628).
    pub device_authorization_url: Option<Url>,
    /// Proof that the code reached whom it was made for (RFC 7636).
    pub pkce: Pkce,
}

/// How the code verifier is shown (RFC 7636 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pkce {
    /// Not at all.
    Off,
    /// As it is.
    Plain,
    /// As its SHA-256.
    S256,
}

/// What the assertion of a JWT bearer grant says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtBearer {
    /// `iss`.
    pub issuer: Box<str>,
    /// `sub`.
    pub subject: Option<Box<str>>,
    /// What it is signed with.
    pub key: SigningKey,
}

/// The client, as it is registered at the authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `client_id`; empty for a JWT bearer grant, whose assertion names the issuer alone.
    pub id: Box<str>,
    /// How it proves to be itself.
    pub authentication: ClientAuthentication,
}

/// Client authentication (RFC 6749 section 2.3, RFC 7523 section 2.2, RFC 8705 section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `Authorization: Basic` with both parts form-encoded.
    Basic(Secret),
    /// None: a public client.
    None,
    /// `client_secret` in the form.
    Post(Secret),
    /// An assertion signed with the client's key.
    PrivateKeyJwt(SigningKey),
    /// The connection's own client certificate, shown in the handshake with the token endpoint.
    Tls,
}

/// A private key and how it signs assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: Secret,
    /// `kid`.
    pub id: Option<Box<str>>,
    /// `alg`; it fits the key.
    pub algorithm: Algorithm,
}

/// How assertions are signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

/// Where a token is read in the answer, and where it goes in requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlace {
    /// The members that lead to it in the token endpoint's answer.
    pub field: Vec<Box<str>>,
    /// The field that carries it.
    pub header: HeaderName,
    /// That field's name as it was written.
    pub written: Box<str>,
    /// What stands before and after the token.
    pub format: (Box<str>, Box<str>),
}

/// Signs of an answer that its credential has expired: all that is there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpirySignal {
    /// The status it has; any if none.
    pub status: Option<http::StatusCode>,
    /// A field it has.
    pub header: Option<HeaderName>,
    /// What its content's first 8 KiB match.
    pub body: Option<Pattern>,
    /// What its JSON content has.
    pub json: Option<Member>,
}

/// A regular expression, equal to one with the same text.
#[derive(Clone, Debug)]
pub struct Pattern(pub Arc<regex::bytes::Regex>);

/// A member of a JSON text: where (RFC 6901), and its value; any if none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The JSON Pointer.
    pub pointer: Box<str>,
    /// The text it equals.
    pub equals: Option<serde_json::Value>,
}

// === impl Pattern ===

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

// === impl Algorithm ===

impl Algorithm {
    /// The name of RFC 7518.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }
}
