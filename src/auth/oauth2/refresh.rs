//! How a refresh token is spent: once, whatever ends this process meanwhile.
//!
//! What is on disk at which moment, and what the next start makes of it, stands in [`courier`].

use std::time::SystemTime;

use tokio::time::Instant;

use super::exchange::Ask;
use super::record::{Before, Note, Record};
use super::{GrantState, Kept, NOT_RENEWED, OAuth2Renewal};
use crate::auth::Fixed;
use crate::auth::courier;
use crate::auth::lease::Lease;
use crate::auth::state::{Fault, Lapse};
use crate::auth::token_endpoint::late::Late;
use crate::secret::Secret;
use crate::store::Found;

/// What came of an exchange that began before.
enum Settled {
    /// A token that is to be used.
    Token(Box<Lease<Fixed>>),
    /// Another refresh token, which is stored.
    Changed,
    /// Nothing: the one that is stored is to be shown, perhaps once more since then.
    Open(Option<Before>),
}

impl OAuth2Renewal {
    /// Spends the refresh token that is stored now, whoever stored it.
    pub(super) async fn refresh(
        &self,
        kept: &Kept,
        now: SystemTime,
    ) -> Result<Lease<Fixed>, Fault> {
        let began = Instant::now();
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
            let before = match self.settle(kept, &mut grant, &record, now).await? {
                Settled::Token(lease) => return Ok(*lease),
                Settled::Changed => {
                    record = kept.read().await?.ok_or_else(|| self.not_linked())?;
                    continue;
                }
                Settled::Open(before) => before,
            };
            // What was waited for may have taken long, and lifetimes and assertions count from now.
            let now = now + began.elapsed();
            let spool = kept.spool().await;
            record.note = Some(Note {
                at: now,
                before,
                spool: spool.as_ref().map(|spool| spool.key().clone()),
            });
            kept.note(&record).await?;
            let ask = Ask::Refresh(&token, spool.as_ref());
            let refused = match self.exchange(ask, now).await {
                Ok(answer) => {
                    let lifetime = self.settings.default_lifetime;
                    grant.unsaved = Some(Record::new(answer, Some(token), now, lifetime));
                    let saved = self.save(kept, &mut grant, now).await?;
                    return saved.ok_or_else(|| self.over());
                }
                Err(fault) => fault,
            };
            if let Some(next) = refused.refresh_token() {
                self.keep_only(kept, &mut grant, record, next, now).await?;
                return Err(refused.into_fault());
            }
            if !refused.is_grant_dead() {
                return Err(refused.into_fault());
            }
            // Another replica may have spent it: then what it got is in the store.
            match kept.read().await? {
                Some(newer) if newer.refresh_token != Some(token) => record = newer,
                _ => {
                    let detail = refused.into_fault().detail;
                    return Err(self.dead(kept, record, &detail).await);
                }
            }
        }
    }

    /// Takes what came of an exchange that began before this process, or before it gave up waiting.
    async fn settle(
        &self,
        kept: &Kept,
        grant: &mut GrantState,
        record: &Record,
        now: SystemTime,
    ) -> Result<Settled, Fault> {
        let Some(note) = &record.note else {
            return Ok(Settled::Open(None));
        };
        let unanswered = |cut_off| {
            let this = Before {
                at: note.at,
                cut_off,
            };
            Settled::Open(note.before.or(Some(this)))
        };
        let answer = match kept.spooled(note).await? {
            Found::Nothing => return Ok(Settled::Open(note.before)),
            Found::Mark => return Ok(unanswered(true)),
            Found::Unknown => return Ok(unanswered(false)),
            Found::Answer(answer) => answer,
        };
        let Some(Ok(answer)) = courier::read(&answer) else {
            return Ok(unanswered(false));
        };
        let token = record.refresh_token.clone();
        match Late::read(&answer, &self.settings.token.field, note.at) {
            Late::Token(answer) => {
                let lifetime = self.settings.default_lifetime;
                grant.unsaved = Some(Record::new(answer, token, note.at, lifetime));
                let saved = self.save(kept, grant, now).await?;
                let expired = saved.is_none();
                tracing::info!(connection = %self.name, expired, "Answer of an earlier refresh taken");
                let token = saved.map(Box::new);
                Ok(token.map_or(Settled::Changed, Settled::Token))
            }
            Late::RefreshToken(next) => {
                self.keep_only(kept, grant, record.clone(), next, now)
                    .await?;
                Ok(Settled::Changed)
            }
            Late::Dead(code) => {
                let detail = format!("the token endpoint refused the refresh token (`{code}`)");
                Err(self.dead(kept, record.clone(), &detail).await)
            }
            Late::Nothing => Ok(Settled::Open(note.before)),
        }
    }

    /// Stores a refresh token of an answer that is of no use otherwise: the one before is spent.
    async fn keep_only(
        &self,
        kept: &Kept,
        grant: &mut GrantState,
        mut record: Record,
        next: Secret,
        now: SystemTime,
    ) -> Result<(), Fault> {
        record.refresh_token = Some(next);
        record.note = None;
        grant.unsaved = Some(record);
        self.save(kept, grant, now).await.map(drop)
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

    /// A grant that is no longer good; what was noted of its last exchange is settled by that.
    async fn dead(&self, kept: &Kept, mut record: Record, detail: &str) -> Fault {
        let before = record.note.and_then(|note| note.before);
        record.note = before.map(|before| Note {
            at: before.at,
            before: Some(before),
            spool: None,
        });
        // Else the next start says the same once more.
        if kept.note(&record).await.is_ok() {
            kept.clear().await;
        }
        let cause = before.map_or_else(String::new, |before| {
            let what = match before.cut_off {
                true => "was cut off before its answer was stored",
                false => "brought no answer that could be stored",
            };
            format!(
                "; a refresh of {} {what}, which may be why: its refresh token was then used up",
                humantime::format_rfc3339_seconds(before.at)
            )
        });
        let detail = format!(
            "{detail}{cause}; link the connection again (`keybearer link {}`)",
            self.name
        );
        Fault::new(Lapse::Reauthorize, detail)
    }
}
