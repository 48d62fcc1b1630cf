//! What is told of a credential that has a lifetime.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Families, note_end};

/// One connection's part of what is told of credentials with a lifetime.
#[derive(Clone, Debug)]
pub struct CredentialMetrics {
    families: Arc<Families>,
    name: Arc<str>,
}

impl CredentialMetrics {
    pub(super) fn new(families: Arc<Families>, name: Arc<str>) -> Self {
        Self { families, name }
    }

    /// The connection's name.
    pub fn connection(&self) -> &str {
        &self.name
    }

    /// Counts an attempt to renew it.
    pub fn renewed(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.families
            .token_refreshes
            .with_label_values(&[&*self.name, result])
            .inc();
    }

    /// Notes when the value in use ends; none if nobody knows.
    pub fn expires(&self, at: Option<SystemTime>) {
        note_end(&self.families.token_expiry, &self.name, at);
    }

    /// Notes which of `all` states it is in.
    pub fn state(&self, current: &str, all: impl Iterator<Item = &'static str>) {
        for state in all {
            self.families
                .credential_state
                .with_label_values(&[&*self.name, state])
                .set((state == current).into());
        }
    }

    /// Forgets a credential that is no longer there, with its states.
    pub fn forget(&self, all: impl Iterator<Item = &'static str>) {
        self.expires(None);
        for result in ["success", "failure"] {
            let labels = [&*self.name, result];
            let _ = self.families.token_refreshes.remove_label_values(&labels);
        }
        for state in all {
            let labels = [&*self.name, state];
            let _ = self.families.credential_state.remove_label_values(&labels);
        }
    }
}
