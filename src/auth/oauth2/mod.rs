//! OAuth 2.0 tokens on the engine: [`OAuth2Renewal`], which grant renews, and where tokens are kept.

pub mod consent;
mod exchange;
mod kept;
pub mod link;
mod record;

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
