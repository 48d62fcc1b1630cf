//! `/api/webhooks`, `/api/deliveries`: endpoints, and what becomes of what arrives at them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Console;
use super::connections::rfc3339;
use super::delivery::{self, Content, Masks};
use super::guard::refuse;
use crate::connection::webhook::Order;
use crate::problem::{Kind, Problem};
use crate::webhook::queue::{Fact, Id, Phase};
use crate::webhook::{self, Delivery, Fault, Webhooks};

/// As long as an earlier URL may stay good.
const LONGEST_OVERLAP: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long it does if nothing else is said.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// An endpoint, as the API tells it.
#[derive(Serialize)]
struct Endpoint {
    name: String,
    /// To hand out. Whoever has it may send, where nothing else is proved.
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier_ids: Option<EarlierIds>,
    target: String,
    verify: &'static str,
    ordered: bool,
    waiting: u64,
    bytes: u64,
    bytes_limit: u64,
    /// When the delivery arrived that waits longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
    /// That delivery, if the target did not take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<Blocked>,
}

/// URLs that were replaced, and are still good.
#[derive(Serialize)]
struct EarlierIds {
    count: usize,
    /// When the last of them ends.
    until: String,
}

#[derive(Serialize)]
struct Blocked {
    id: String,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Absent: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Endpoint {
    fn of(shown: webhook::Shown, now: SystemTime) -> Self {
        let endpoint = &shown.entry.endpoint;
        let blocked = shown.oldest.as_ref().filter(|(_, fact)| fact.attempts > 0);
        Self {
            name: endpoint.name.to_string(),
            earlier_ids: earlier(&shown, now).map(|(count, until)| EarlierIds {
                count,
                until: rfc3339(until),
            }),
            target: endpoint.target.to_string(),
            verify: endpoint.verify.kind,
            ordered: endpoint.order == Order::Arrival,
            waiting: shown.entry.gauge.waiting(),
            bytes: shown.entry.gauge.bytes(),
            bytes_limit: endpoint.limits.queue,
            oldest: shown.oldest.as_ref().map(|(id, _)| rfc3339(id.time())),
            blocked: blocked.map(|(id, fact)| Blocked {
                id: id.to_string(),
                attempts: fact.attempts,
                status: status(fact),
                error: error(fact),
                next: next(fact).map(rfc3339),
            }),
            url: shown.url,
        }
    }
}

/// How many earlier URLs of an endpoint are still good, and until when the last of them is.
pub(super) fn earlier(shown: &webhook::Shown, now: SystemTime) -> Option<(usize, SystemTime)> {
    let earlier = shown.entry.ids.earlier.iter();
    let hold = earlier.filter(|earlier| earlier.holds(now));
    let until = hold.clone().map(|earlier| earlier.until).max()?;
    Some((hold.count(), UNIX_EPOCH + Duration::from_secs(until)))
}

/// Where a delivery stands, as the API tells it.
#[derive(Serialize)]
struct Summary {
    id: String,
    received: String,
    state: Phase,
    attempts: u32,
    /// What it takes on disk.
    bytes: u64,
    changed: String,
    /// Of one that waits; absent: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Summary {
    fn of(id: Id, fact: &Fact) -> Self {
        Self {
            id: id.to_string(),
            received: rfc3339(id.time()),
            state: fact.phase,
            attempts: fact.attempts,
            bytes: fact.bytes,
            changed: rfc3339(time(fact.changed)),
            next: next(fact).map(rfc3339),
            status: status(fact),
            error: error(fact),
        }
    }
}

/// A delivery as a whole.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    summary: Summary,
    endpoint: String,
    #[serde(flatten)]
    sent: Option<Sent>,
}

/// What is sent, but secrets.
#[derive(Serialize)]
struct Sent {
    method: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
    content_length: usize,
    truncated: bool,
}

/// What is told of a delivery that was changed on disk, or sealed with another key.
pub(super) const UNREADABLE: &str =
    "what was kept of it cannot be read: it was changed, or sealed with another key";

impl Whole {
    fn of(console: &Console, delivery: &Delivery) -> Self {
        let mut summary = Summary::of(delivery.id, &delivery.fact);
        let sent = delivery.sent().map(|(head, content)| {
            let masks = Masks::by_name(console, &delivery.endpoint);
            let field = |(name, value): &(String, String)| {
                (name.clone(), masks.field(name, value).to_owned())
            };
            let Content {
                shown,
                length,
                truncated,
            } = Content::of(content);
            let (text, binary) = match shown {
                delivery::Shown::Text(text) => (Some(text.to_owned()), None),
                delivery::Shown::Binary(bytes) => (None, Some(BASE64_STANDARD.encode(bytes))),
            };
            Sent {
                method: head.method.clone(),
                path: head.rest.clone(),
                query: head.query.as_deref().map(|query| masks.query(query)),
                headers: head.fields.iter().map(field).collect(),
                content: text,
                content_base64: binary,
                content_length: length,
                truncated,
            }
        });
        if sent.is_none() {
            summary.error = Some(UNREADABLE.to_owned());
        }
        Self {
            summary,
            endpoint: delivery.endpoint.to_string(),
            sent,
        }
    }
}

/// When a delivery is tried next; none if it is not, or at once.
pub(super) fn next(fact: &Fact) -> Option<SystemTime> {
    let waits = fact.phase == Phase::Waiting && fact.due > 0;
    waits.then(|| time(fact.due))
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn status(fact: &Fact) -> Option<u16> {
    Some(fact.status).filter(|status| *status != 0)
}

fn error(fact: &Fact) -> Option<String> {
    Some(fact.told.clone()).filter(|told| !told.is_empty())
}

/// All endpoints, by name.
pub(super) async fn list(State(console): State<Arc<Console>>) -> Response {
    let listed = async {
        let mut endpoints = Vec::new();
        if let Some(webhooks) = &console.webhooks {
            webhooks.in_force().await?;
            let (all, now) = (webhooks.endpoints(), webhooks.now());
            endpoints.extend(all.into_iter().map(|shown| Endpoint::of(shown, now)));
        }
        Ok(json!({ "endpoints": endpoints }))
    };
    answer(listed.await)
}

/// One endpoint.
pub(super) async fn one(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Response {
    let found = async {
        let webhooks = of_endpoint(&console, &name).await?;
        let shown = webhooks.endpoint(&name)?;
        Ok(Endpoint::of(shown, webhooks.now()))
    };
    answer(found.await)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    state: Option<Phase>,
    before: Option<String>,
    limit: Option<usize>,
}

/// Deliveries of an endpoint, the latest first.
pub(super) async fn deliveries(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    const USUAL: usize = 50;
    const MOST: usize = 200;
    let read = |Query(wanted): Query<Wanted>| {
        let before = match wanted.before {
            Some(id) => Some(id.parse().ok()?),
            None => None,
        };
        let limit = wanted.limit.unwrap_or(USUAL);
        (1..=MOST)
            .contains(&limit)
            .then_some((wanted.state, before, limit))
    };
    let Some((state, before, limit)) = wanted.ok().and_then(read) else {
        let text = "`state` is `waiting`, `delivered` or `failed`, `before` a delivery's ID, `limit` a number from 1 to 200; each at most once, and nothing else is asked for";
        return refuse(&Problem::new(Kind::ContentMalformed, text));
    };
    let listed = async {
        let webhooks = of_endpoint(&console, &name).await?;
        let found = webhooks.deliveries(&name, state, before, limit).await?;
        let found = found.iter().map(|(id, fact)| Summary::of(*id, fact));
        Ok(json!({ "deliveries": found.collect::<Vec<_>>() }))
    };
    answer(listed.await)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default)]
    overlap: Option<String>,
}

/// Gives an endpoint another URL.
pub(super) async fn rotate(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    content: Bytes,
) -> Response {
    let wanted = match content.trim_ascii() {
        [] => Ok(Rotation::default()),
        content => serde_json::from_slice(content),
    };
    let overlap = wanted.ok().and_then(|Rotation { overlap }| match overlap {
        None => Some(OVERLAP),
        Some(text) => humantime::parse_duration(&text)
            .ok()
            .filter(|overlap| *overlap <= LONGEST_OVERLAP),
    });
    let Some(overlap) = overlap else {
        let text = r#"send no content, or {"overlap": "24h"}: how long the earlier URL stays good, 365 days at most; "0s" ends it at once"#;
        return refuse(&Problem::new(Kind::ContentMalformed, text));
    };
    let rotated = async {
        let webhooks = of_endpoint(&console, &name).await?;
        let shown = webhooks.rotate(&name, overlap).await?;
        Ok(Endpoint::of(shown, webhooks.now()))
    };
    answer(rotated.await)
}

/// One delivery.
pub(super) async fn delivery(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Response {
    let found = async {
        let delivery = of_delivery(&console, &id)?.delivery(&id).await?;
        Ok(Whole::of(&console, &delivery))
    };
    answer(found.await)
}

/// Has a delivery delivered again.
pub(super) async fn replay(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Response {
    let replayed = async {
        let endpoint = of_delivery(&console, &id)?.replay(&id).await?;
        Ok(json!({ "endpoint": *endpoint }))
    };
    answer(replayed.await)
}

/// What knows an endpoint, if any does.
pub(super) async fn of_endpoint<'a>(
    console: &'a Console,
    name: &str,
) -> Result<&'a Arc<Webhooks>, Fault> {
    let webhooks = console.webhooks.as_ref();
    let webhooks = webhooks.ok_or_else(|| Fault::NoEndpoint(name.to_owned()))?;
    webhooks.in_force().await?;
    Ok(webhooks)
}

/// What knows a delivery, if any does.
pub(super) fn of_delivery<'a>(console: &'a Console, id: &str) -> Result<&'a Arc<Webhooks>, Fault> {
    let webhooks = console.webhooks.as_ref();
    webhooks.ok_or_else(|| Fault::NoDelivery(id.to_owned()))
}

fn answer(told: Result<impl Serialize, Fault>) -> Response {
    match told {
        Ok(told) => Json(told).into_response(),
        Err(fault) => {
            let kind = match fault {
                Fault::NoEndpoint(_) | Fault::NoDelivery(_) => Kind::NoRoute,
                Fault::Id(_) | Fault::NotInForce | Fault::Queue(_) => Kind::Internal,
            };
            refuse(&Problem::new(kind, fault.to_string()))
        }
    }
}
