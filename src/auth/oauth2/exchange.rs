//! Exchanges with a connection's endpoints, each with what its settings say at that moment.

use std::sync::Arc;
use std::time::SystemTime;

use url::Url;

use super::OAuth2Renewal;
use crate::auth::courier::Courier;
use crate::auth::fetch::{EXCHANGE, Endpoint, FetchFault, Role};
use crate::auth::jwt::{BearerClaims, Signer};
use crate::auth::metadata::{self, Metadata};
use crate::auth::state::{Fault, Lapse};
use crate::auth::token_endpoint::{
    self, ClientProof, TokenAnswer, TokenFault, TokenGrant, TokenRequest,
};
use crate::connection::Connection;
use crate::connection::oauth2::{ClientAuthentication, Grant, JwtBearer, OAuth2, SigningKey};
use crate::secret::Secret;
use crate::store::Spool;
use crate::upstream::Upstreams;

/// The way to a connection's endpoints: the same that its requests take.
#[derive(Debug)]
pub(in crate::auth) struct Road {
    connection: Connection,
    upstreams: Arc<Upstreams>,
}

/// What a token is asked for with.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    Code {
        code: &'a Secret,
        redirect_uri: &'a str,
        verifier: Option<&'a Secret>,
    },
    Device(&'a Secret),
    /// With the spool for the answer, if it is to outlive this process.
    Refresh(&'a Secret, Option<&'a Arc<Spool>>),
    /// Nothing but our own credential.
    Unattended,
}

impl OAuth2Renewal {
    /// What the authorization server says of itself, asked once; none where no issuer is set.
    pub(super) async fn metadata(&self) -> Result<Option<&Metadata>, TokenFault> {
        let Some(issuer) = self
            .authorization_code()
            .and_then(|code| code.authorization_server.as_ref())
        else {
            return Ok(None);
        };
        let Road {
            connection,
            upstreams,
        } = &self.road;
        let discover = || metadata::discover(upstreams, connection, issuer, EXCHANGE);
        self.metadata.get_or_try_init(discover).await.map(Some)
    }

    async fn token_url(&self) -> Result<Url, TokenFault> {
        if let Some(url) = &self.settings.token_url {
            return Ok(url.clone());
        }
        let metadata = self.metadata().await?;
        // One of the two is set: compiling the configuration sees to it.
        let metadata = metadata.ok_or_else(|| missing("token_url", "token_endpoint"))?;
        match self.shows_certificate() {
            true => shown_to(metadata.token_for_certificates()),
            false => Ok(metadata.token_endpoint.clone()),
        }
    }

    /// Whether the connection's certificate proves the client.
    pub(super) fn shows_certificate(&self) -> bool {
        self.settings.client.authentication == ClientAuthentication::Tls
    }

    /// One token request; its answer is for whoever holds the grant.
    pub(super) async fn exchange(
        &self,
        ask: Ask<'_>,
        now: SystemTime,
    ) -> Result<TokenAnswer, ExchangeFault> {
        let mut settings = self.settings.clone();
        self.answers.fill(settings.secrets_mut(), now).await?;
        let url = self.token_url().await?;
        let endpoint = self.road.endpoint(Role::Token, &url)?;
        let signer = signer(&settings)?;
        let assertion = match (ask, &settings.grant) {
            (Ask::Unattended, Grant::JwtBearer(bearer)) => {
                Some(assertion(bearer, &settings, &url, now)?)
            }
            _ => None,
        };
        let grant = match (ask, &assertion) {
            (
                Ask::Code {
                    code,
                    redirect_uri,
                    verifier,
                },
                _,
            ) => TokenGrant::AuthorizationCode {
                code,
                redirect_uri,
                verifier,
            },
            (Ask::Device(code), _) => TokenGrant::DeviceCode(code),
            (Ask::Refresh(token, _), _) => TokenGrant::RefreshToken(token),
            (Ask::Unattended, Some(assertion)) => TokenGrant::JwtBearer(assertion),
            (Ask::Unattended, None) => TokenGrant::ClientCredentials,
        };
        let request = TokenRequest {
            grant,
            client_id: &settings.client.id,
            proof: proof(&settings, signer.as_ref(), url.as_str()),
            scopes: match settings.grant {
                // Google reads them in the assertion, and others in the form.
                Grant::AuthorizationCode(_) => &[],
                Grant::ClientCredentials | Grant::JwtBearer(_) => &settings.scopes,
            },
            audience: match settings.grant {
                Grant::JwtBearer(_) => None,
                _ => settings.audience.as_deref(),
            },
            resource: &settings.resource,
            params: &settings.params,
            field: &settings.token.field,
        };
        let answer = match (ask, &self.kept) {
            (Ask::Refresh(_, Some(spool)), Some(kept)) => {
                carried(&kept.courier, &endpoint, &request, spool, now).await
            }
            _ => token_endpoint::exchange(&endpoint, &request, now).await,
        };
        if answer.as_ref().is_err_and(TokenFault::is_misconfigured) {
            // A secret that was replaced at the provider is told anew by its command.
            self.answers.forget().await;
        }
        Ok(answer?)
    }
}

/// An exchange that is made by a process of its own.
async fn carried(
    courier: &Courier,
    endpoint: &Endpoint,
    request: &TokenRequest<'_>,
    spool: &Arc<Spool>,
    now: SystemTime,
) -> Result<TokenAnswer, TokenFault> {
    let mut prepared = request.prepare(endpoint, now)?;
    let authorization = prepared.authorization.take();
    let answer = courier.carry(endpoint, prepared.form(), authorization, spool);
    let answer = endpoint.traced("POST", answer);
    prepared.read(endpoint, &answer.await?, now)
}

/// Why there was no exchange, or no good end of it.
#[derive(Debug)]
pub(super) enum ExchangeFault {
    /// A secret that it needs was not told.
    Secret(Fault),
    Token(TokenFault),
}

// === impl Road ===

impl Road {
    pub(in crate::auth) fn new(connection: &Connection, upstreams: Arc<Upstreams>) -> Self {
        Self {
            connection: connection.clone(),
            upstreams,
        }
    }

    pub(super) fn endpoint(&self, role: Role, url: &Url) -> Result<Endpoint, FetchFault> {
        Endpoint::new(&self.upstreams, &self.connection, role, url, EXCHANGE)
    }
}

// === impl ExchangeFault ===

impl ExchangeFault {
    pub(super) fn is_grant_dead(&self) -> bool {
        matches!(self, Self::Token(fault) if fault.is_grant_dead())
    }

    /// A refresh token that came with an answer that is of no use.
    pub(super) fn refresh_token(&self) -> Option<Secret> {
        match self {
            Self::Token(TokenFault::Unusable { refresh_token, .. }) => refresh_token.clone(),
            Self::Secret(_) | Self::Token(_) => None,
        }
    }

    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::Secret(fault) => fault,
            Self::Token(fault) => {
                let lapse = if fault.is_misconfigured() || fault.is_grant_dead() {
                    Lapse::Misconfigured
                } else {
                    Lapse::Passing
                };
                Fault {
                    retry_after: fault.retry_after(),
                    ..Fault::new(lapse, fault.to_string())
                }
            }
        }
    }
}

impl From<Fault> for ExchangeFault {
    fn from(fault: Fault) -> Self {
        Self::Secret(fault)
    }
}

impl From<TokenFault> for ExchangeFault {
    fn from(fault: TokenFault) -> Self {
        Self::Token(fault)
    }
}

impl From<FetchFault> for ExchangeFault {
    fn from(fault: FetchFault) -> Self {
        Self::Token(fault.into())
    }
}

/// A place of the metadata where a certificate can be shown.
pub(super) fn shown_to(url: Result<Url, String>) -> Result<Url, TokenFault> {
    let url = url.map_err(TokenFault::unusable)?;
    match url.scheme() {
        "https" => Ok(url),
        _ => Err(TokenFault::unusable(format!(
            "the authorization server's metadata lead to `{url}`, which is not `https://`, so that no client certificate can be shown; write its `https://` URL into the connection"
        ))),
    }
}

pub(super) fn missing(key: &str, member: &str) -> TokenFault {
    TokenFault::unusable(format!(
        "the authorization server's metadata has no `{member}`; set `{key}` in the connection"
    ))
}

/// What signs the client's assertions, if it has a key.
pub(super) fn signer(settings: &OAuth2) -> Result<Option<Signer>, Fault> {
    match &settings.client.authentication {
        ClientAuthentication::PrivateKeyJwt(key) => signer_of(key).map(Some),
        _ => Ok(None),
    }
}

fn signer_of(key: &SigningKey) -> Result<Signer, Fault> {
    Signer::new(&key.key, key).map_err(|invalid| {
        let detail = format!("`private_key` cannot be used: it {invalid}");
        Fault::new(Lapse::Misconfigured, detail)
    })
}

pub(super) fn proof<'a>(
    settings: &'a OAuth2,
    signer: Option<&'a Signer>,
    url: &'a str,
) -> ClientProof<'a> {
    match (&settings.client.authentication, signer) {
        (ClientAuthentication::Basic(secret), _) => ClientProof::Basic(secret),
        (ClientAuthentication::Post(secret), _) => ClientProof::Post(secret),
        (ClientAuthentication::PrivateKeyJwt(_), Some(signer)) => ClientProof::PrivateKeyJwt {
            signer,
            audience: url,
        },
        (
            ClientAuthentication::None
            | ClientAuthentication::PrivateKeyJwt(_)
            | ClientAuthentication::Tls,
            _,
        ) => ClientProof::None,
    }
}

/// The assertion of a JWT bearer grant (RFC 7523 section 2.1).
fn assertion(
    bearer: &JwtBearer,
    settings: &OAuth2,
    url: &Url,
    now: SystemTime,
) -> Result<Secret, Fault> {
    let claims = BearerClaims {
        issuer: &bearer.issuer,
        subject: bearer.subject.as_deref(),
        audience: settings.audience.as_deref().unwrap_or(url.as_str()),
        scopes: &settings.scopes,
    };
    signer_of(&bearer.key)?
        .bearer_assertion(claims, now)
        .map_err(|error| Fault::new(Lapse::Passing, error.to_string()))
}
