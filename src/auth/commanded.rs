//! Secrets that commands tell: [`Commanded`] renews a credential by running them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::command::{self, CommandFault, Told};
use super::engine::Renewal;
use super::lease::{Before, Lease};
use super::state::{Fault, Lapse};
use super::{Fixed, Invalid};
use crate::connection::auth::Auth;
use crate::secret::{Command, Secret};

/// A credential of which at least one secret is told by a command.
pub(super) struct Commanded {
    auth: Auth,
}

impl Commanded {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth }
    }
}

#[async_trait]
impl Renewal<Fixed> for Commanded {
    async fn recall(&self, _: SystemTime) -> Result<Option<Lease<Fixed>>, Fault> {
        Ok(None)
    }

    async fn renew(&self, now: SystemTime) -> Result<Lease<Fixed>, Fault> {
        let mut auth = self.auth.clone();
        // What a command told before is not asked for here: renewing means asking again.
        let expires = Answers::default().fill(auth.secrets_mut(), now).await?;
        let fixed = Fixed::build(&auth).map_err(unusable)?;
        Ok(Lease::new(fixed, now, expires, Before::default()))
    }
}

/// What commands told, for as long as it holds.
#[derive(Default)]
pub(super) struct Answers(Mutex<HashMap<Arc<Command>, Told>>);

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl Answers {
    /// Puts what their commands tell in place of secrets; gives the time when the first of them
    /// ends, if there is one.
    ///
    /// # Errors
    /// A command told nothing.
    pub(super) async fn fill(
        &self,
        secrets: Vec<&mut Secret>,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, Fault> {
        let mut first = None;
        for secret in secrets {
            let Some(command) = secret.command().cloned() else {
                continue;
            };
            let (value, expires) = self.told(&command, now).await?;
            *secret = value;
            first = Some(first.map_or(expires, |first: SystemTime| first.min(expires)));
        }
        Ok(first)
    }

    /// Forgets what commands told: it was of no use.
    pub(super) async fn forget(&self) {
        self.0.lock().await.clear();
    }

    async fn told(
        &self,
        command: &Arc<Command>,
        now: SystemTime,
    ) -> Result<(Secret, SystemTime), Fault> {
        // Held while the command runs: waiting for it is what everybody else would do, too.
        let mut known = self.0.lock().await;
        if let Some(told) = known.get(command).filter(|told| now < told.expires_at) {
            return Ok((told.value.clone(), told.expires_at));
        }
        let told = command::run(command, now).await.map_err(failed)?;
        let answer = (told.value.clone(), told.expires_at);
        known.insert(Arc::clone(command), told);
        Ok(answer)
    }
}

fn failed(fault: CommandFault) -> Fault {
    Fault {
        for_callers: Some(fault.brief()),
        ..Fault::new(Lapse::Passing, fault.to_string())
    }
}

fn unusable(invalid: Invalid) -> Fault {
    let detail = format!("what the command told cannot be sent: {invalid}");
    Fault {
        retry_after: Some(Duration::from_secs(10)),
        ..Fault::new(Lapse::Passing, detail)
    }
}
