//! OAuth 2.0 tokens on the engine: [`OAuth2Renewal`], which grant renews, and where tokens are kept.

pub mod consent;
mod exchange;
mod kept;
pub mod link;
mod record;
mod refresh;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use url::Url;

use self::exchange::{Ask, ExchangeFault};
use self::record::Record;
use super::Fixed;
use super::commanded::Answers;
use super::engine::Renewal;
use super::lease::{Before, Lease};
use super::metadata::Metadata;
use super::state::{Fault, Lapse};
use crate::connection::oauth2::{AuthorizationCode, Grant, OAuth2};

pub(super) use self::exchange::Road;
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

/// A refresh token is used at least so often, as it lapses if it is not.
const UNUSED: Duration = Duration::from_secs(24 * 3600);

/// What is told where a token is over and nobody but a person can get another.
const NOT_RENEWED: &str = "the token has come to its end and the provider gave no refresh token; link the connection again";

/// What is told where such a token is refused before.
const REFUSED: &str = "the token was refused, and the provider gave no refresh token; link the connection again if that goes on";

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
            lease.refusal = Some(Arc::new(self.refused()));
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

    fn not_linked(&self) -> Fault {
        let detail = format!(
            "nobody has consented yet; run `keybearer link {}` or open the link's page on the console",
            self.name
        );
        Fault::new(Lapse::NotLinked, detail)
    }

    /// What it means that a token is refused for which there is no other.
    fn refused(&self) -> Fault {
        Fault::new(Lapse::Reauthorize, self.in_words(REFUSED))
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
        let record = kept.recall().await?.ok_or_else(|| self.not_linked())?;
        let mut lease = self.lease(&record)?;
        if lease.is_live(now) {
            if record.note.is_some() {
                // The answer may be there already. And where it is lost, providers that take a refresh
                // token twice do so for a moment only.
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
