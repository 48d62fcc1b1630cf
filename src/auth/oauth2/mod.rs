//! OAuth 2.0 tokens on the engine: [`OAuth2Renewal`], which grant renews, and where tokens are kept.

pub mod consent;
mod kept;
pub mod link;
mod record;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use url::Url;

use self::record::Record;
use super::Fixed;
use super::commanded::Answers;
use super::engine::Renewal;
use super::fetch::{EXCHANGE, Endpoint, FetchFault, Role};
use super::jwt::{BearerClaims, Signer};
use super::lease::{Before, Lease};
use super::metadata::{self, Metadata};
use super::state::{Fault, Lapse};
use super::token_endpoint::{self, ClientProof, TokenAnswer, TokenFault, TokenGrant, TokenRequest};
use crate::connection::Connection;
use crate::connection::oauth2::{
    AuthorizationCode, ClientAuthentication, Grant, JwtBearer, OAuth2, SigningKey,
};
use crate::secret::Secret;
use crate::upstream::Upstreams;

pub(super) use self::kept::{GrantState, Kept};
pub(super) use self::record::key;

/// Gets tokens by one connection's settings.
#[derive(Debug)]
pub struct OAuth2Renewal {
    name: Arc<str>,
    settings: OAuth2,
    road: Road,
    kept: Option<Kept>,
    /// `{admin.public_url}/oauth/callback`; none without a console.
    redirect: Option<Url>,
    metadata: OnceCell<Metadata>,
    answers: Answers,
}

/// The way to a connection's endpoints: the same that its requests take.
#[derive(Debug)]
pub(super) struct Road {
    connection: Connection,
    upstreams: Arc<Upstreams>,
}

/// What a token is asked for with.
#[derive(Clone, Copy)]
enum Ask<'a> {
    Code {
        code: &'a Secret,
        redirect_uri: &'a str,
        verifier: Option<&'a Secret>,
    },
    Device(&'a Secret),
    Refresh(&'a Secret),
    /// Nothing but our own credential.
    Unattended,
}

/// A refresh token is used at least so often, as it lapses if it is not.
const UNUSED: Duration = Duration::from_secs(24 * 3600);

/// What is told where a token is over and nobody but a person can get another.
const NOT_RENEWED: &str = "the token has come to its end and the provider gave no refresh token; link the connection again";

impl OAuth2Renewal {
    pub(super) fn new(
        name: &Arc<str>,
        settings: &OAuth2,
        road: Road,
        kept: Option<Kept>,
        redirect: Option<Url>,
    ) -> Self {
        Self {
            name: Arc::clone(name),
            settings: settings.clone(),
            road,
            kept,
            redirect,
            metadata: OnceCell::new(),
            answers: Answers::default(),
        }
    }

    /// Whether it takes a person to get a first token.
    pub fn is_linked_by_person(&self) -> bool {
        self.kept.is_some()
    }

    fn authorization_code(&self) -> Option<&AuthorizationCode> {
        match &self.settings.grant {
            Grant::AuthorizationCode(code) => Some(code),
            Grant::ClientCredentials | Grant::JwtBearer(_) => None,
        }
    }

    /// What the authorization server says of itself, asked once; none where no issuer is set.
    async fn metadata(&self) -> Result<Option<&Metadata>, TokenFault> {
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
        metadata
            .map(|metadata| metadata.token_endpoint.clone())
            .ok_or_else(|| missing("token_url", "token_endpoint"))
    }

    /// One token request; its answer is for whoever holds the grant.
    async fn exchange(&self, ask: Ask<'_>, now: SystemTime) -> Result<TokenAnswer, ExchangeFault> {
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
            (Ask::Refresh(token), _) => TokenGrant::RefreshToken(token),
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
        let answer = token_endpoint::exchange(&endpoint, &request, now).await;
        if answer.as_ref().is_err_and(TokenFault::is_misconfigured) {
            // A secret that was replaced at the provider is told anew by its command.
            self.answers.forget().await;
        }
        Ok(answer?)
    }

    fn lease(&self, record: &Record) -> Result<Lease<Fixed>, Fault> {
        let place = &self.settings.token;
        let (before, after) = &place.format;
        let token = record.token.expose();
        let mut text = zeroize::Zeroizing::new(String::with_capacity(
            before.len() + token.len() + after.len(),
        ));
        text.extend([&**before, token, after]);
        let fixed = Fixed::field(place.header.clone(), &text).map_err(|invalid| {
            let detail = format!("the token of `{}` cannot be sent: {invalid}", self.name);
            Fault::new(Lapse::Passing, detail)
        })?;
        let before = Before(self.settings.refresh_before);
        let mut lease = Lease::new(fixed, record.obtained, record.expires, before);
        if self.kept.is_some() && record.refresh_token.is_none() {
            lease.renews = lease.expires;
            lease.renewable = false;
        } else if lease.renews.is_none() && self.kept.is_some() {
            // Refresh tokens lapse that nobody uses.
            lease.renews = Some(record.obtained + UNUSED);
        }
        Ok(lease)
    }

    /// A token for which nobody has to be asked.
    async fn unattended(&self, now: SystemTime) -> Result<Lease<Fixed>, Fault> {
        let answer = self.exchange(Ask::Unattended, now).await;
        let answer = answer.map_err(ExchangeFault::into_fault)?;
        let lifetime = self.settings.default_lifetime;
        self.lease(&Record::new(answer, None, now, lifetime))
    }

    /// Spends the refresh token that is stored now, whoever stored it.
    async fn refresh(&self, kept: &Kept, now: SystemTime) -> Result<Lease<Fixed>, Fault> {
        let mut grant = kept.grant.lock().await;
        let _awaited = kept.begin()?;
        if let Some(lease) = self.save(kept, &mut grant, now).await? {
            return Ok(lease);
        }
        let mut record = kept.read().await?.ok_or_else(|| self.not_linked())?;
        loop {
            let Some(token) = record.refresh_token.clone() else {
                return Err(Fault::new(Lapse::Reauthorize, self.in_words(NOT_RENEWED)));
            };
            let unanswered = record.shown;
            if unanswered.is_none() {
                record.shown = Some(now);
                kept.note(&record).await?;
            }
            let refused = match self.exchange(Ask::Refresh(&token), now).await {
                Ok(answer) => {
                    let lifetime = self.settings.default_lifetime;
                    grant.unsaved = Some(Record::new(answer, Some(token), now, lifetime));
                    let saved = self.save(kept, &mut grant, now).await?;
                    return saved.ok_or_else(|| self.over());
                }
                Err(fault) => fault,
            };
            if let Some(next) = refused.refresh_token() {
                // What else is wrong with the answer, the old one is spent.
                record.refresh_token = Some(next);
                record.shown = None;
                grant.unsaved = Some(record);
                self.save(kept, &mut grant, now).await?;
                return Err(refused.into_fault());
            }
            if !refused.is_grant_dead() {
                return Err(refused.into_fault());
            }
            // Another replica may have spent it: then what it got is in the store.
            match kept.read().await? {
                Some(newer) if newer.refresh_token != Some(token) => record = newer,
                _ => return Err(self.dead(refused, unanswered)),
            }
        }
    }

    /// Stores what came of an exchange and is not stored yet; gives its token if that can be used.
    ///
    /// # Errors
    /// The store failed: what came is held, and nothing else is spent before it is stored.
    async fn save(
        &self,
        kept: &Kept,
        grant: &mut GrantState,
        now: SystemTime,
    ) -> Result<Option<Lease<Fixed>>, Fault> {
        let Some(record) = &grant.unsaved else {
            return Ok(None);
        };
        kept.write(record).await?;
        let lease = self.lease(record);
        grant.unsaved = None;
        Ok(Some(lease?).filter(|lease| lease.is_live(now)))
    }

    /// A token that was at its end when it came.
    fn over(&self) -> Fault {
        let detail = format!(
            "the token of `{}` was at its end before it was here; check its lifetime at the provider",
            self.name
        );
        Fault::new(Lapse::Passing, detail)
    }

    fn not_linked(&self) -> Fault {
        let detail = format!(
            "nobody has consented yet; run `keybearer link {}` or open the link's page on the console",
            self.name
        );
        Fault::new(Lapse::NotLinked, detail)
    }

    fn dead(&self, refused: ExchangeFault, unanswered: Option<SystemTime>) -> Fault {
        let detail = refused.into_fault().detail;
        let cause = unanswered.map_or_else(String::new, |at| {
            format!(
                "; a refresh of {} was cut off before its answer was stored, which may be why: its refresh token was then used up",
                humantime::format_rfc3339_seconds(at)
            )
        });
        let detail = format!(
            "{detail}{cause}; link the connection again (`keybearer link {}`)",
            self.name
        );
        Fault::new(Lapse::Reauthorize, detail)
    }

    fn in_words(&self, text: &str) -> String {
        format!("{text} (`keybearer link {}`)", self.name)
    }
}

#[async_trait]
impl Renewal<Fixed> for OAuth2Renewal {
    async fn recall(&self, now: SystemTime) -> Result<Option<Lease<Fixed>>, Fault> {
        let Some(kept) = &self.kept else {
            return Ok(None);
        };
        let record = kept.read().await?.ok_or_else(|| self.not_linked())?;
        let mut lease = self.lease(&record)?;
        if lease.is_live(now) {
            if record.shown.is_some() {
                // Providers that take a refresh token twice do so for a moment only.
                lease.renews = Some(now);
            }
            return Ok(Some(lease));
        }
        match record.refresh_token {
            Some(_) => Ok(None),
            None => Err(Fault::new(Lapse::Reauthorize, self.in_words(NOT_RENEWED))),
        }
    }

    async fn renew(&self, now: SystemTime) -> Result<Lease<Fixed>, Fault> {
        match &self.kept {
            Some(kept) => self.refresh(kept, now).await,
            None => self.unattended(now).await,
        }
    }
}

fn missing(key: &str, member: &str) -> TokenFault {
    TokenFault::unusable(format!(
        "the authorization server's metadata has no `{member}`; set `{key}` in the connection"
    ))
}

/// Why there was no exchange, or no good end of it.
#[derive(Debug)]
enum ExchangeFault {
    /// A secret that it needs was not told.
    Secret(Fault),
    Token(TokenFault),
}

impl ExchangeFault {
    fn is_grant_dead(&self) -> bool {
        matches!(self, Self::Token(fault) if fault.is_grant_dead())
    }

    /// A refresh token that came with an answer that is of no use.
    fn refresh_token(&self) -> Option<Secret> {
        match self {
            Self::Token(TokenFault::Unusable { refresh_token, .. }) => refresh_token.clone(),
            Self::Secret(_) | Self::Token(_) => None,
        }
    }

    fn into_fault(self) -> Fault {
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

// === impl Road ===

impl Road {
    pub(super) fn new(connection: &Connection, upstreams: Arc<Upstreams>) -> Self {
        Self {
            connection: connection.clone(),
            upstreams,
        }
    }

    fn endpoint(&self, role: Role, url: &Url) -> Result<Endpoint, FetchFault> {
        Endpoint::new(&self.upstreams, &self.connection, role, url, EXCHANGE)
    }
}

/// What signs the client's assertions, if it has a key.
fn signer(settings: &OAuth2) -> Result<Option<Signer>, Fault> {
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

fn proof<'a>(settings: &'a OAuth2, signer: Option<&'a Signer>, url: &'a str) -> ClientProof<'a> {
    match (&settings.client.authentication, signer) {
        (ClientAuthentication::Basic(secret), _) => ClientProof::Basic(secret),
        (ClientAuthentication::Post(secret), _) => ClientProof::Post(secret),
        (ClientAuthentication::PrivateKeyJwt(_), Some(signer)) => ClientProof::PrivateKeyJwt {
            signer,
            audience: url,
        },
        (ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt(_), _) => {
            ClientProof::None
        }
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
