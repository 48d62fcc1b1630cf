//! Credentials with a lifetime across reloads: [`Credentials`] keeps one [`Credential`] per
//! connection for as long as its settings stay equal.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use url::Url;

use super::aws::external_id::ExternalIds;
use super::aws::renewal::AwsRenewal;
use super::commanded::Commanded;
use super::courier::Courier;
use super::engine::{Renewal, Renewing};
use super::oauth2::consent::Consents;
use super::oauth2::{self, GrantState, Kept, OAuth2Renewal, Road};
use super::slot::{NoStore, StoreSlot};
use super::state::State;
use super::{Authenticator, Fixed, Invalid};
use crate::config;
use crate::connection::auth::Auth;
use crate::connection::aws::{ExternalId, Role, Source};
use crate::connection::oauth2::{Grant, OAuth2};
use crate::connection::{Connection, Tls};
use crate::metrics::{CredentialMetrics, Metrics};
use crate::store::{Key, Store};
use crate::traces::Traces;
use crate::upstream::Upstreams;

/// Makes credentials with a lifetime, and keeps them across reloads.
pub struct Credentials {
    /// None where everything is built but nothing is to run.
    runtime: Option<Handle>,
    upstreams: Arc<Upstreams>,
    metrics: Metrics,
    store: StoreSlot,
    consents: Arc<Consents>,
    /// Several of a name where one was replaced, or where a configuration was not published.
    known: Mutex<HashMap<Arc<str>, Vec<Known>>>,
    /// One lock per grant, whatever other settings change: a credential that was replaced may still
    /// be spending the refresh token.
    grants: Mutex<HashMap<Key, Weak<tokio::sync::Mutex<GrantState>>>>,
    /// Exchanges whose answers must not be lost.
    exchanges: TaskTracker,
    courier: Arc<Courier>,
    traces: Traces,
}

/// What a credential was made of, and itself while somebody uses it.
type Known = (Settings, Weak<Credential>);

/// A connection's credential that has a lifetime.
#[derive(Debug)]
pub struct Credential {
    /// Its value.
    pub value: Renewing<Fixed>,
    /// Who gets OAuth 2.0 tokens, if it is one.
    pub(super) oauth2: Option<Arc<OAuth2Renewal>>,
    metrics: CredentialMetrics,
    runtime: Option<Handle>,
}

/// All that a value depends on: one that was made for other settings is never used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    auth: Auth,
    /// How its endpoints are reached.
    road: Option<(Tls, Duration)>,
    redirect: Option<Url>,
}

impl Settings {
    fn of(connection: &Connection, redirect: Option<&Url>) -> Self {
        let auth = connection.auth.clone();
        let road = || Some((connection.tls.clone(), connection.timeouts.connect));
        // What commands tell depends on nothing else, nor do keys of the configuration.
        let (road, redirect) = match &auth {
            Auth::Aws(aws) if !matches!(aws.source, Source::AccessKey(_)) => (road(), None),
            Auth::OAuth2(oauth2) => {
                let by_person = matches!(oauth2.grant, Grant::AuthorizationCode(_));
                (road(), redirect.filter(|_| by_person).cloned())
            }
            _ => (None, None),
        };
        Self {
            auth,
            road,
            redirect,
        }
    }
}

/// A credential cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
pub enum CannotKeep {
    /// A value cannot stand where it belongs.
    #[error("a secret in `auth` cannot be sent: {0}")]
    Invalid(#[from] Invalid),
    /// The external ID that its role is assumed with has no place.
    #[error("its external ID cannot be stored: {0}")]
    ExternalId(NoStore),
    /// Tokens that have to outlive a restart have no place.
    #[error("its tokens cannot be stored: {0}")]
    Store(#[from] NoStore),
    /// The token endpoint cannot be reached by these settings.
    #[error("`tls` cannot be used for the token endpoint ({0}); check tls.ca_certificate")]
    Tls(#[from] rustls::Error),
}

impl Credentials {
    /// Credentials whose keepers run on `runtime`, and whose tokens are kept as `store` says; `courier`
    /// starts this executable, which has to know that command.
    pub fn new(
        runtime: Handle,
        upstreams: Arc<Upstreams>,
        metrics: Metrics,
        store: config::Store,
        courier: Courier,
    ) -> Self {
        Self {
            runtime: Some(runtime),
            upstreams,
            metrics,
            store: StoreSlot::new(store),
            consents: Arc::default(),
            known: Mutex::default(),
            grants: Mutex::default(),
            exchanges: TaskTracker::new(),
            courier: Arc::new(courier),
            traces: Traces::default(),
        }
    }

    /// The same, whose renewals are traced.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Credentials of which none is fetched, and for which no store is opened: to see whether a
    /// configuration can be built.
    pub fn rehearsed(upstreams: Arc<Upstreams>, metrics: Metrics) -> Self {
        Self {
            runtime: None,
            upstreams,
            metrics,
            store: StoreSlot::new(config::Store::Memory),
            consents: Arc::default(),
            known: Mutex::default(),
            grants: Mutex::default(),
            exchanges: TaskTracker::new(),
            courier: Arc::default(),
            traces: Traces::default(),
        }
    }

    /// The store, for whatever else has to outlive a restart. Blocks if it is not open yet.
    ///
    /// # Errors
    /// There is none.
    pub fn store(&self) -> Result<Store, NoStore> {
        self.store.open()
    }

    /// Exchanges under way whose answers must not be lost, such as a rotated refresh token. None is
    /// begun once this is closed.
    pub fn exchanges(&self) -> &TaskTracker {
        &self.exchanges
    }

    /// Consents that were begun.
    pub fn consents(&self) -> &Arc<Consents> {
        &self.consents
    }

    /// The external IDs that roles are assumed with. Blocks if no store is open yet.
    ///
    /// # Errors
    /// There is no place where they could be kept.
    pub fn external_ids(&self) -> Result<ExternalIds, NoStore> {
        match self.runtime {
            Some(_) => self.store.external_ids(),
            // Nothing is assumed, so nothing is made.
            None => Ok(ExternalIds::new(Store::memory())),
        }
    }

    /// What gives a connection's requests their credential: the one there is, if nothing changed
    /// that it depends on. `redirect` is where providers send people back to.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn build(
        &self,
        connection: &Connection,
        redirect: Option<&Url>,
    ) -> Result<Authenticator, CannotKeep> {
        if !connection.auth.is_renewed() {
            return Ok(Authenticator::fixed(&connection.auth)?);
        }
        let settings = Settings::of(connection, redirect);
        let mut known = self.known.lock();
        known.retain(|_, several| {
            several.retain(|(_, credential)| credential.strong_count() > 0);
            !several.is_empty()
        });
        let several = known.entry(Arc::clone(&connection.name)).or_default();
        let same = several
            .iter()
            .filter(|(known, _)| *known == settings)
            .filter_map(|(_, credential)| credential.upgrade())
            .find(|credential| !credential.value.is_retired());
        if let Some(credential) = same {
            return Ok(Authenticator::renewed(credential));
        }
        let credential = Arc::new(self.make(connection, redirect)?);
        several.push((settings, Arc::downgrade(&credential)));
        Ok(Authenticator::renewed(credential))
    }

    fn make(
        &self,
        connection: &Connection,
        redirect: Option<&Url>,
    ) -> Result<Credential, CannotKeep> {
        let metrics = self.metrics.credential(&connection.name);
        let (renewal, oauth2): (Arc<dyn Renewal<Fixed>>, _) = match &connection.auth {
            Auth::OAuth2(settings) => {
                let renewal = Arc::new(self.oauth2(connection, settings, redirect)?);
                (Arc::clone(&renewal) as _, Some(renewal))
            }
            Auth::Aws(settings) => {
                let generated = |role: &Role| matches!(role.external_id, ExternalId::Generated(_));
                let external_ids = match settings.source.roles().any(generated) {
                    true => self.external_ids().map_err(CannotKeep::ExternalId)?,
                    false => ExternalIds::new(Store::memory()),
                };
                let upstreams = Arc::clone(&self.upstreams);
                let renewal = AwsRenewal::new(connection, settings, upstreams, external_ids);
                (Arc::new(renewal), None)
            }
            auth => (Arc::new(Commanded::new(auth.clone())), None),
        };
        Ok(Credential {
            value: Renewing::new(renewal, metrics.clone(), self.traces.clone()),
            runtime: self.runtime.clone(),
            oauth2,
            metrics,
        })
    }

    fn oauth2(
        &self,
        connection: &Connection,
        settings: &OAuth2,
        redirect: Option<&Url>,
    ) -> Result<OAuth2Renewal, CannotKeep> {
        let kept = match settings.grant {
            Grant::AuthorizationCode(_) => Some(self.kept(&connection.name, settings)?),
            Grant::ClientCredentials | Grant::JwtBearer(_) => None,
        };
        let road = Road::new(connection, Arc::clone(&self.upstreams));
        Ok(OAuth2Renewal::new(
            &connection.name,
            settings,
            road,
            kept,
            redirect.cloned(),
        ))
    }
}

impl Credentials {
    fn kept(&self, name: &str, settings: &OAuth2) -> Result<Kept, CannotKeep> {
        let store = self.store.open()?;
        let key = oauth2::key(name, settings);
        let mut grants = self.grants.lock();
        grants.retain(|_, lock| lock.strong_count() > 0);
        let grant = grants.get(&key).and_then(Weak::upgrade).unwrap_or_default();
        grants.insert(key.clone(), Arc::downgrade(&grant));
        Ok(Kept {
            store,
            key,
            grant,
            exchanges: self.exchanges.clone(),
            courier: Arc::clone(&self.courier),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credential {
    /// Begins to fetch it, unless that has begun: once everything that it belongs to is in force.
    pub fn begin(&self) {
        if let Some(runtime) = &self.runtime {
            self.value.begin(runtime);
        }
    }

    /// Where it stands.
    pub fn state(&self, now: SystemTime) -> State {
        self.value.status().state(now)
    }

    /// Tells the metrics where it stands.
    pub fn measure(&self, now: SystemTime) {
        let all = State::ALL.into_iter().map(State::name);
        self.metrics.state(self.state(now).name(), all);
    }

    /// Forgets its metrics: for a connection that is no longer configured.
    pub fn forget_metrics(&self) {
        self.metrics.forget(State::ALL.into_iter().map(State::name));
    }
}
