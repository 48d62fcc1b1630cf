//! Where keys come from: [`KeySource`], by a connection's settings.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;

use super::assume::{Found, Sts};
use super::chain;
use super::external_id::ExternalIds;
use super::http::RoadClient;
use super::keys::Keys;
use super::offset::OffsetTime;
use crate::auth::commanded::Answers;
use crate::auth::state::{Fault, Lapse};
use crate::connection::aws::{AccessKey, Region, Role, Source};
use crate::connection::{Connection, aws};
use crate::upstream::Upstreams;

/// Gets keys by one connection's settings.
pub(super) struct KeySource {
    connection: Arc<str>,
    source: Source,
    /// Where STS is asked for a web identity's session, if nothing else says it.
    region: Box<str>,
    client: RoadClient,
    time: OffsetTime,
    external_ids: ExternalIds,
    answers: Answers,
}

/// Keys on their way.
type Finding<'a> = Pin<Box<dyn Future<Output = Result<Found, Fault>> + Send + 'a>>;

impl KeySource {
    pub(super) fn new(
        connection: &Connection,
        settings: &aws::Aws,
        upstreams: Arc<Upstreams>,
        external_ids: ExternalIds,
    ) -> Self {
        Self {
            connection: Arc::clone(&connection.name),
            source: settings.source.clone(),
            region: region(settings).into(),
            client: RoadClient::new(connection, upstreams),
            time: OffsetTime::default(),
            external_ids,
            answers: Answers::default(),
        }
    }

    /// Keys, and when they end.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn find(&self, now: SystemTime) -> Result<Found, Fault> {
        let found = self.of(&self.source, "", now).await;
        if found.is_err() || matches!(self.source, Source::AccessKey(_)) {
            // A secret that was replaced at AWS, or is over, is told anew by its command; one that signs
            // requests itself is renewed because it is over, or was refused.
            self.answers.forget().await;
        }
        found
    }

    /// Keys of a source that stands `under` this in `auth`.
    fn of<'a>(&'a self, source: &'a Source, under: &'a str, now: SystemTime) -> Finding<'a> {
        Box::pin(async move {
            match source {
                Source::AccessKey(key) => self.access_key(key, under, now).await,
                Source::Default => chain::find(&self.client, &self.time, &self.region).await,
                Source::Role(role) => self.role(role, under, now).await,
            }
        })
    }

    async fn access_key(
        &self,
        key: &AccessKey,
        under: &str,
        now: SystemTime,
    ) -> Result<Found, Fault> {
        let mut keys = Keys::from(key.clone());
        let mut secrets = vec![&mut keys.id, &mut keys.secret];
        secrets.extend(&mut keys.session_token);
        let end = self.answers.fill(secrets, now).await?;
        match unusable(&keys) {
            Some(what) => Err(Fault::new(
                Lapse::Passing,
                format!("`{under}{what}` cannot be sent: it is empty or has a control character"),
            )),
            None => Ok((keys, end)),
        }
    }

    async fn role(&self, role: &Role, under: &str, now: SystemTime) -> Result<Found, Fault> {
        let below = format!("{under}source.");
        let (keys, _) = self.of(&role.source, &below, now).await?;
        let external_id = self.external_ids.resolve(&role.external_id).await?;
        let sts = Sts {
            client: &self.client,
            time: &self.time,
            connection: &self.connection,
        };
        sts.assume(role, under, external_id.as_deref(), &keys).await
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySource")
            .field("connection", &self.connection)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl From<AccessKey> for Keys {
    fn from(key: AccessKey) -> Self {
        Self {
            id: key.id,
            secret: key.secret,
            session_token: key.session_token,
        }
    }
}

/// The key of a value that could not be sent.
fn unusable(keys: &Keys) -> Option<&'static str> {
    let bad = |text: &str| text.is_empty() || HeaderValue::from_str(text).is_err();
    if bad(keys.id.expose()) {
        return Some("access_key_id");
    }
    if bad(keys.secret.expose()) {
        return Some("secret_access_key");
    }
    let token = keys.session_token.as_ref();
    token
        .is_some_and(|token| bad(token.expose()))
        .then_some("session_token")
}

/// A region near the connection's: STS's global endpoint's where requests are signed for several.
fn region(settings: &aws::Aws) -> &str {
    if let Source::Role(role) = &settings.source {
        return &role.sts_region;
    }
    match &settings.region {
        Region::One(region) => region,
        Region::Set(set) => match set.split(',').next() {
            Some(first) if !first.contains('*') => first.trim(),
            _ => "us-east-1",
        },
    }
}

#[cfg(test)]
mod tests;
