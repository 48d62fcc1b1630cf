//! AWS keys on the engine: [`AwsRenewal`].

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::assume::Found;
use super::external_id::ExternalIds;
use super::keys::Keys;
use super::sign::clock::Clock;
use super::sign::signer::Signer;
use super::source::KeySource;
use crate::auth::Fixed;
use crate::auth::engine::Renewal;
use crate::auth::lease::{Before, Lease};
use crate::auth::state::{Fault, Lapse};
use crate::connection::Connection;
use crate::connection::aws::{Aws, Source};
use crate::upstream::Upstreams;

/// Gets the keys that sign one connection's requests.
#[derive(Debug)]
pub(in crate::auth) struct AwsRenewal {
    settings: Aws,
    source: KeySource,
    /// The upstream's time, which keys come and go under.
    clock: Arc<Clock>,
    /// Keys that stand in the configuration: they are there at once, and there are no others.
    given: Option<Keys>,
}

impl AwsRenewal {
    pub(in crate::auth) fn new(
        connection: &Connection,
        settings: &Aws,
        upstreams: Arc<Upstreams>,
        external_ids: ExternalIds,
    ) -> Self {
        Self {
            settings: settings.clone(),
            source: KeySource::new(connection, settings, upstreams, external_ids),
            clock: Arc::default(),
            given: given(&settings.source),
        }
    }
}

impl AwsRenewal {
    fn lease(&self, (keys, end): Found, now: SystemTime) -> Result<Lease<Fixed>, Fault> {
        let signer = Signer::new(&self.settings, keys, Arc::clone(&self.clock));
        let signer = signer.map_err(|invalid| {
            let detail = format!("requests cannot be signed with these keys: {invalid}");
            Fault::new(Lapse::Misconfigured, detail)
        })?;
        let fixed = Fixed::signing(signer);
        Ok(Lease::new(fixed, now, end, Before::default()))
    }
}

#[async_trait]
impl Renewal<Fixed> for AwsRenewal {
    /// Sessions are not stored: they are had anew as quickly as they would be read.
    async fn recall(&self, now: SystemTime) -> Result<Option<Lease<Fixed>>, Fault> {
        let Some(keys) = &self.given else {
            return Ok(None);
        };
        let mut lease = self.lease((keys.clone(), None), now)?;
        lease.renewable = false;
        lease.refusal = Some(Arc::new(refused_given(keys)));
        Ok(Some(lease))
    }

    async fn renew(&self, now: SystemTime) -> Result<Lease<Fixed>, Fault> {
        let found = self.source.find(now).await?;
        let endless = found.1.is_none();
        let mut lease = self.lease(found, now)?;
        if endless {
            lease.refusal = Some(Arc::new(refused_found()));
        }
        Ok(lease)
    }
}

/// The keys of the configuration, unless a command tells them.
fn given(source: &Source) -> Option<Keys> {
    let Source::AccessKey(key) = source else {
        return None;
    };
    let secrets = [Some(&key.id), Some(&key.secret), key.session_token.as_ref()];
    let told = secrets
        .into_iter()
        .flatten()
        .any(|secret| secret.command().is_some());
    (!told).then(|| key.clone().into())
}

/// What it means that AWS refuses the keys of the configuration.
fn refused_given(keys: &Keys) -> Fault {
    let text = match keys.session_token {
        Some(_) => {
            "AWS says that these keys are not valid: they are temporary and have expired, or `session_token` is not the one that came with them; replace `access_key_id`, `secret_access_key` and `session_token`"
        }
        None => {
            "AWS says that these keys are not valid: the key was deleted or is inactive, or `secret_access_key` does not belong to `access_key_id`; replace both"
        }
    };
    Fault::new(Lapse::Misconfigured, text)
}

/// What it means that AWS refuses keys without an end that were found elsewhere.
fn refused_found() -> Fault {
    let text = "AWS says that the keys that were found are not valid: they were deleted, are inactive, or have expired; replace them where they come from";
    Fault::new(Lapse::Misconfigured, text)
}

#[cfg(test)]
mod tests;
