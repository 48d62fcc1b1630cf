//! The IDs that endpoints' URLs have: 128 random bits, made once and kept in the store.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::store::{Key, Store, StoreError};

/// How many earlier IDs an endpoint may have: whoever rotates more often than that has no overlap in
/// mind.
const MOST: usize = 16;

/// An endpoint's ID, and those it had that are still good.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// The one to hand out.
    pub current: Box<str>,
    /// Earlier ones, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// An ID that was replaced.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The ID.
    pub id: Box<str>,
    /// Until when it is good, in seconds since 1970.
    pub until: u64,
}

/// Who knows an ID can send.
impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").finish_non_exhaustive()
    }
}

impl fmt::Debug for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Earlier")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Why there is no ID.
#[derive(Debug, thiserror::Error)]
pub enum NoId {
    /// The store has none to give, and takes none.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl Earlier {
    /// Whether it is good still.
    pub fn holds(&self, now: SystemTime) -> bool {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        since < Duration::from_secs(self.until)
    }
}

/// The IDs of an endpoint, made if it has none.
pub(super) async fn of(store: &Store, endpoint: &str) -> Result<Ids, NoId> {
    let key = key(endpoint);
    if let Some(kept) = store.get(&key).await?
        && let Ok(ids) = serde_json::from_slice(&kept)
    {
        return Ok(ids);
    }
    let ids = Ids {
        current: generate()?,
        earlier: Vec::new(),
    };
    put(store, &key, &ids).await?;
    Ok(ids)
}

/// Gives an endpoint another ID; those it had are good for `overlap` more, at the most.
pub(super) async fn rotate(
    store: &Store,
    endpoint: &str,
    overlap: Duration,
    now: SystemTime,
) -> Result<Ids, NoId> {
    let Ids { current, earlier } = of(store, endpoint).await?;
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = since.saturating_add(overlap).as_secs();
    let replaced = Earlier { id: current, until };
    let earlier = earlier.into_iter().map(|earlier| Earlier {
        until: earlier.until.min(until),
        ..earlier
    });
    let earlier = std::iter::once(replaced).chain(earlier);
    let ids = Ids {
        current: generate()?,
        earlier: earlier
            .filter(|earlier| earlier.holds(now))
            .take(MOST)
            .collect(),
    };
    put(store, &key(endpoint), &ids).await?;
    Ok(ids)
}

async fn put(store: &Store, key: &Key, ids: &Ids) -> Result<(), StoreError> {
    // Texts and numbers: nothing that cannot be written.
    let value = serde_json::to_vec(ids).unwrap_or_default();
    store.put(key, &value).await
}

fn key(endpoint: &str) -> Key {
    Key::new(format!("webhooks/{endpoint}"))
}

fn generate() -> Result<Box<str>, NoId> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoId::Random)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_id_stays_until_it_is_rotated_and_for_its_overlap() {
        let store = Store::memory();
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let first = of(&store, "github").await.unwrap();
        assert_eq!(first.current.len(), 32);
        assert_eq!(of(&store, "github").await.unwrap(), first);
        assert_ne!(of(&store, "other").await.unwrap(), first);
        let hour = Duration::from_secs(3600);
        let second = rotate(&store, "github", hour, now).await.unwrap();
        assert_ne!(second.current, first.current);
        assert_eq!(second.earlier[0].id, first.current);
        assert!(second.earlier[0].holds(now + hour - Duration::from_secs(1)));
        assert!(!second.earlier[0].holds(now + hour));
        assert_eq!(of(&store, "github").await.unwrap(), second);
        // An earlier one lives no longer than the one after it.
        let minute = Duration::from_secs(60);
        let third = rotate(&store, "github", minute, now).await.unwrap();
        assert!(
            third
                .earlier
                .iter()
                .all(|earlier| !earlier.holds(now + minute))
        );
        assert_eq!(third.earlier.len(), 2);
        let fourth = rotate(&store, "github", Duration::ZERO, now).await.unwrap();
        assert_eq!(fourth.earlier, []);
        let mut ids = fourth;
        for _ in 0..2 * MOST {
            ids = rotate(&store, "github", hour, now).await.unwrap();
        }
        assert_eq!(ids.earlier.len(), MOST);
    }
}
