//! External IDs: [`ExternalIds`] makes each once and keeps it, [`Told`] is what a person needs to know
//! of one.
//!
//! A role that demands an external ID can be assumed for whoever knows it, and so by nobody who only
//! knows the role's name (the confused deputy). It is no secret, but it has to stay the same: a role's
//! trust policy names it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::auth::state::{Fault, Lapse};
use crate::connection::Connection;
use crate::connection::auth::Auth;
use crate::connection::aws::ExternalId;
use crate::connection::aws::partition::Partition;
use crate::store::{Key, Store, StoreError};

/// The external IDs of this deployment. Clones share them.
#[derive(Clone, Debug)]
pub struct ExternalIds(Arc<Inside>);

struct Inside {
    store: Store,
    /// Those that are on disk. Locked while one is made: whoever comes then gets the same.
    known: Mutex<HashMap<Key, Box<str>>>,
}

impl ExternalIds {
    /// Those that a store keeps; one store has one of these.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Inside {
            store,
            known: Mutex::default(),
        }))
    }

    /// What is sent with `AssumeRole`; none if none is to be. One that is generated is made now if it
    /// never was, and is on disk before this returns.
    ///
    /// # Errors
    /// The store fails, or holds something else.
    pub async fn resolve(&self, id: &ExternalId) -> Result<Option<Box<str>>, Fault> {
        let scope = match id {
            ExternalId::Generated(scope) => scope,
            ExternalId::Given(id) => return Ok(Some(id.clone())),
            ExternalId::None => return Ok(None),
        };
        let key = match scope {
            Some(scope) => Key::new(format!("aws/external-id/{scope}")),
            None => Key::new("aws/external-id"),
        };
        let inside = Arc::clone(&self.0);
        // Detached: one that is given up in between could be written after the next one was told.
        let kept = tokio::spawn(async move { inside.get_or_make(key).await }).await;
        let kept = kept.unwrap_or_else(|_| Err(passing("making it broke off".to_owned())));
        kept.map(Some)
    }
}

impl Inside {
    async fn get_or_make(&self, key: Key) -> Result<Box<str>, Fault> {
        let mut known = self.known.lock().await;
        if let Some(id) = known.get(&key) {
            return Ok(id.clone());
        }
        let id: Box<str> = match self.store.get(&key).await.map_err(unstored)? {
            Some(bytes) => parse(&bytes, &key)?,
            None => {
                let id = generate()?;
                let put = self.store.put(&key, id.as_bytes()).await;
                put.map_err(unstored)?;
                tracing::info!(key = %key, "External ID made");
                id
            }
        };
        known.insert(key, id.clone());
        Ok(id)
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalIds")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

fn parse(bytes: &[u8], key: &Key) -> Result<Box<str>, Fault> {
    let text = str::from_utf8(bytes).unwrap_or_default();
    match ExternalId::given(text) {
        Ok(ExternalId::Given(id)) => Ok(id),
        _ => {
            let detail = format!(
                "what the store has as `{key}` is no external ID; put a backup of the store in place"
            );
            Err(Fault::new(Lapse::Misconfigured, detail))
        }
    }
}

/// A new one, of 128 bits: nobody guesses it, and no other deployment has it.
fn generate() -> Result<Box<str>, Fault> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| passing("the system gives no random numbers".to_owned()))?;
    Ok(format!("keybearer-{:032x}", u128::from_be_bytes(bytes)).into())
}

fn unstored(error: StoreError) -> Fault {
    passing(error.to_string())
}

fn passing(why: String) -> Fault {
    let detail = format!("the external ID cannot be kept: {why}");
    Fault::new(Lapse::Passing, detail)
}

/// An external ID, and what it is for: what the console tells, and `keybearer external-id` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The ID.
    pub external_id: String,
    /// Whose it is; none: the whole deployment's.
    pub scope: Option<String>,
    /// The roles that are assumed with it.
    pub roles: Vec<ToldRole>,
    /// What each of them needs as its trust policy, once its principal is filled in.
    pub trust_policy: TrustPolicy,
}

/// A role that is assumed with an external ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldRole {
    /// The connection that assumes it.
    pub connection: String,
    /// The role.
    pub role_arn: String,
}

/// A trust policy as IAM takes it, members in the order of its documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrustPolicy {
    version: String,
    statement: [Statement; 1],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: String,
    principal: Principal,
    action: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Principal {
    #[serde(rename = "AWS")]
    aws: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    string_equals: ExternalIdEquals,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ExternalIdEquals {
    #[serde(rename = "sts:ExternalId")]
    external_id: String,
}

impl Told {
    /// The generated ID of a scope, with the roles among these connections that are assumed with it.
    ///
    /// # Errors
    /// As [`ExternalIds::resolve`].
    pub async fn of(
        scope: Option<&str>,
        ids: &ExternalIds,
        connections: &[Arc<Connection>],
    ) -> Result<Self, Fault> {
        let id = ExternalId::Generated(scope.map(Box::from));
        let external_id = ids.resolve(&id).await?.unwrap_or_default().into_string();
        let roles: Vec<_> = (connections.iter())
            .flat_map(|connection| roles(connection, &id))
            .collect();
        let partition = roles.first().and_then(|role| role.partition());
        Ok(Self {
            trust_policy: TrustPolicy::new(&external_id, partition.unwrap_or("aws")),
            external_id,
            scope: scope.map(str::to_owned),
            roles,
        })
    }
}

impl ToldRole {
    fn partition(&self) -> Option<&'static str> {
        let id = self.role_arn.split(':').nth(1)?;
        Some(Partition::of_id(id)?.id)
    }
}

impl TrustPolicy {
    fn new(external_id: &str, partition: &str) -> Self {
        let statement = Statement {
            effect: "Allow".to_owned(),
            principal: Principal {
                // No ARN, so that IAM refuses it until somebody has thought about it.
                aws: format!("arn:{partition}:iam::ACCOUNT_ID:role/KEYBEARER"),
            },
            action: "sts:AssumeRole".to_owned(),
            condition: Condition {
                string_equals: ExternalIdEquals {
                    external_id: external_id.to_owned(),
                },
            },
        };
        Self {
            version: "2012-10-17".to_owned(),
            statement: [statement],
        }
    }
}

/// The roles of a connection that are assumed with `id`.
fn roles(connection: &Connection, id: &ExternalId) -> Vec<ToldRole> {
    let Auth::Aws(aws) = &connection.auth else {
        return Vec::new();
    };
    let roles = aws.source.roles().filter(|role| role.external_id == *id);
    roles
        .map(|role| ToldRole {
            connection: connection.name.to_string(),
            role_arn: role.arn.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
