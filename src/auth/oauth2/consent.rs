//! Consents under way: [`Consents`], from the link that a person is sent to until what came of it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth::credentials::Credential;
use crate::secret::{Origin, Secret};

/// How long a person may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How many consents of one time are remembered: the oldest gives way.
const MOST: usize = 1000;

/// All consents that are under way or just over.
#[derive(Debug, Default)]
pub struct Consents(Mutex<HashMap<String, Arc<Consent>>>);

/// One attempt of a person to link a connection.
#[derive(Debug)]
pub struct Consent {
    /// What it is known by: the `state` parameter (RFC 6749 section 10.12). Whoever knows it may see
    /// what came of it.
    pub id: String,
    /// The connection's name.
    pub connection: Arc<str>,
    pub(super) credential: Weak<Credential>,
    /// The code verifier (RFC 7636), for a consent that comes back with a code.
    pub(super) verifier: Option<Secret>,
    until: Instant,
    taken: Mutex<bool>,
    outcome: watch::Sender<Outcome>,
}

/// What came of a consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did not come to its end; why, and what to do.
    Failed(String),
    /// There are tokens, and they are stored.
    Linked,
    /// The person has not come back yet.
    Pending,
}

impl Consents {
    /// Begins one.
    pub(super) fn begin(
        &self,
        connection: &Arc<str>,
        credential: &Arc<Credential>,
        verifier: Option<Secret>,
    ) -> Result<Arc<Consent>, NoRandomness> {
        let now = Instant::now();
        let consent = Arc::new(Consent {
            id: random()?,
            connection: Arc::clone(connection),
            credential: Arc::downgrade(credential),
            verifier,
            until: now + PATIENCE,
            taken: Mutex::new(false),
            outcome: watch::Sender::new(Outcome::Pending),
        });
        let mut all = self.0.lock();
        // What came of it can be asked for a while longer.
        all.retain(|_, consent| now < consent.until + PATIENCE);
        if all.len() >= MOST
            && let Some(oldest) = all.values().min_by_key(|consent| consent.until)
        {
            let id = oldest.id.clone();
            all.remove(&id);
        }
        all.insert(consent.id.clone(), Arc::clone(&consent));
        Ok(consent)
    }

    /// The consent that `id` names.
    pub fn get(&self, id: &str) -> Option<Arc<Consent>> {
        self.0.lock().get(id).cloned()
    }

    /// The consent that a person comes back with: each once, and not for ever.
    pub fn take(&self, id: &str) -> Option<Arc<Consent>> {
        let consent = self.get(id)?;
        let first = !std::mem::replace(&mut *consent.taken.lock(), true);
        (first && Instant::now() < consent.until).then_some(consent)
    }
}

impl Consent {
    /// What came of it so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome.borrow().clone()
    }

    /// What came of it in the end.
    pub async fn ended(&self) -> Outcome {
        let mut changes = self.outcome.subscribe();
        // The sender lives as long as we do.
        match changes
            .wait_for(|outcome| *outcome != Outcome::Pending)
            .await
        {
            Ok(outcome) => outcome.clone(),
            Err(_) => Outcome::Pending,
        }
    }

    /// Says what came of it.
    pub(super) fn end(&self, outcome: Outcome) {
        match &outcome {
            Outcome::Failed(why) => {
                tracing::warn!(connection = &*self.connection, problem = %why, "Connection not linked");
            }
            Outcome::Linked => tracing::info!(connection = &*self.connection, "Connection linked"),
            Outcome::Pending => {}
        }
        self.outcome.send_replace(outcome);
    }
}

/// 256 bits that nobody can guess, as text for URLs; also a code verifier (RFC 7636 section 4.1).
fn random() -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// A new code verifier.
pub(super) fn verifier() -> Result<Secret, NoRandomness> {
    Ok(Secret::new(random()?, Origin::Issued))
}

/// Nothing can be begun that others must not guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers; look at its kernel log, and try again")]
pub struct NoRandomness;
