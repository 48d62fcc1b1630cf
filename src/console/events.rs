//! `/events`: what changes on a page, as server-sent events (HTML Standard section 9.2).
//!
//! The page's regions are made again every second, and those that differ are sent: `update`, a JSON
//! object of element IDs and what is inside of them. The first event, `hello`, has what a page needs of
//! the process that it talks to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Console;
use super::gate::Right;
use super::guard::{Visitor, refuse};
use super::pages::list::Search;
use super::pages::{Region, agents, delivery, detail, list, webhook, webhooks};
use crate::problem::{Kind, Problem};

/// How often a page is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// After how long the browser asks again when the stream broke.
const AGAIN: Duration = Duration::from_secs(2);

/// What a browser shows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum View {
    Agents,
    Connection,
    Delivery,
    List,
    Webhook,
    Webhooks,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    view: View,
    #[serde(default)]
    name: String,
    /// Of a delivery.
    #[serde(default)]
    endpoint: String,
}

/// A page that is followed.
struct Followed {
    console: Arc<Console>,
    wanted: Wanted,
    search: Search,
    page: webhook::Page,
    csrf: String,
    right: Right,
    looks: Interval,
    /// Digests of what was sent.
    known: Option<HashMap<String, u64>>,
}

pub(super) async fn follow(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Extension(right): Extension<Right>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    search: Result<Query<Search>, QueryRejection>,
    page: Result<Query<webhook::Page>, QueryRejection>,
) -> Response {
    let Ok(Query(wanted)) = wanted else {
        let text = "ask for `view=list`, `view=agents`, `view=webhooks`, `view=connection` or `view=webhook` with a `name`, or `view=delivery` with a `name` and an `endpoint`";
        return refuse(&Problem::new(Kind::ContentMalformed, text));
    };
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let followed = Followed {
        console,
        wanted,
        search: search.map(|Query(search)| search).unwrap_or_default(),
        page: page.map(|Query(page)| page).unwrap_or_default(),
        csrf: visitor.csrf,
        right,
        looks,
        known: None,
    };
    let events = stream::unfold(followed, |mut followed| async move {
        let event = followed.next().await?;
        Some((Ok::<_, Infallible>(event), followed))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}

impl Followed {
    /// None once whoever follows would not be let in any more.
    async fn next(&mut self) -> Option<Event> {
        let Some(known) = &mut self.known else {
            self.known = Some(HashMap::new());
            let hello = json!({ "csrf": self.csrf, "version": env!("CARGO_PKG_VERSION") });
            let hello = Event::default().event("hello").data(hello.to_string());
            return Some(hello.retry(AGAIN));
        };
        loop {
            self.looks.tick().await;
            if !self.right.holds() {
                return None;
            }
            let (console, name) = (&self.console, &*self.wanted.name);
            let regions = match self.wanted.view {
                View::Agents => agents::regions(console),
                View::Connection => detail::regions(console, name),
                View::Delivery => delivery::regions(console, &self.wanted.endpoint, name).await,
                View::List => list::regions(console, &self.search),
                View::Webhook => webhook::regions(console, name, &self.page).await,
                View::Webhooks => webhooks::regions(console),
            };
            let changed = changed(known, regions);
            if !changed.is_empty() {
                let update = Value::Object(changed).to_string();
                return Some(Event::default().event("update").data(update));
            }
        }
    }
}

/// What differs from what was sent; the first time, all of it.
fn changed(known: &mut HashMap<String, u64>, regions: Vec<Region>) -> Map<String, Value> {
    let hasher = foldhash::fast::FixedState::default();
    let mut now = HashMap::with_capacity(regions.len());
    let mut changed = Map::new();
    for region in regions {
        let digest = hasher.hash_one(&region.mark);
        if known.get(&region.id) != Some(&digest) {
            changed.insert(region.id.clone(), region.inside().into());
        }
        now.insert(region.id, digest);
    }
    // Rows come with their table: they are not sent twice.
    *known = now;
    changed
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn only_what_differs_is_sent() {
        let mut known = HashMap::new();
        let mut sent = |regions| {
            let changed = changed(&mut known, regions);
            changed.keys().cloned().collect::<Vec<_>>()
        };
        let region = |id: &str, text: &str| Region::new(id, html! { (text) });
        assert_eq!(sent(vec![region("a", "1"), region("b", "1")]), ["a", "b"]);
        assert!(sent(vec![region("a", "1"), region("b", "1")]).is_empty());
        assert_eq!(sent(vec![region("a", "2"), region("b", "1")]), ["a"]);
        // Rows that are the same are no change, whatever stands in them.
        let rows = |text: &str| Region::rows("r", &["x".into()], html! { (text) });
        assert_eq!(sent(vec![rows("1")]), ["r"]);
        assert!(sent(vec![rows("2")]).is_empty());
    }
}
