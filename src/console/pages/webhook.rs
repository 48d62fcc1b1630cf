//! `/webhooks/NAME`: one endpoint, its URL, and what has arrived at it.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use super::super::Console;
use super::super::guard::Visitor;
use super::super::webhooks::{earlier, next, of_endpoint};
use super::parts::{copied, scrolled, without_script};
use super::webhooks::{state, waiting};
use super::words::{bytes, countdown, length};
use super::{Depth, Region, Shell, banner, encoded, settings};
use crate::connection::webhook::Order;
use crate::webhook::queue::{Fact, Id, Phase};
use crate::webhook::{Fault, Shown};

/// Deliveries of one page.
const PER_PAGE: usize = 100;

/// What is told of each.
const COLUMNS: [&str; 6] = [
    "Received (UTC)",
    "Delivery",
    "State",
    "Attempts",
    "Next attempt",
    "Last answer",
];

/// Which deliveries are looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Page {
    #[serde(rename = "state")]
    only: Only,
    /// Those that arrived before this one; empty: the latest.
    before: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Only {
    #[default]
    #[serde(alias = "")]
    All,
    Delivered,
    Failed,
    Waiting,
}

impl Only {
    const ALL: [(Self, &'static str); 4] = [
        (Self::All, "all"),
        (Self::Waiting, "waiting"),
        (Self::Delivered, "delivered"),
        (Self::Failed, "failed"),
    ];

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(only, _)| *only == self);
        found.map_or("all", |(_, name)| name)
    }

    fn phase(self) -> Option<Phase> {
        match self {
            Self::All => None,
            Self::Delivered => Some(Phase::Delivered),
            Self::Failed => Some(Phase::Failed),
            Self::Waiting => Some(Phase::Waiting),
        }
    }
}

impl Page {
    fn query(&self, before: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if self.only != Only::All {
            query.append_pair("state", self.only.name());
        }
        if !before.is_empty() {
            query.append_pair("before", before);
        }
        query.finish()
    }
}

/// What the page shows of an endpoint.
struct Seen {
    shown: Shown,
    listed: Result<Vec<(Id, Fact)>, Fault>,
    now: SystemTime,
}

impl Seen {
    async fn take(console: &Console, name: &str, page: &Page) -> Result<Self, Fault> {
        let webhooks = of_endpoint(console, name).await?;
        let shown = webhooks.endpoint(name)?;
        let before = page.before.parse().ok();
        let listed = webhooks.deliveries(name, page.only.phase(), before, PER_PAGE);
        Ok(Self {
            shown,
            listed: listed.await,
            now: webhooks.now(),
        })
    }
}

/// The page.
pub(in super::super) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
) -> Response {
    let page = page.map(|Query(page)| page).unwrap_or_default();
    let shell = |title, events| Shell::live(&console, &visitor, Depth::Below, title, events);
    let seen = match Seen::take(&console, &name, &page).await {
        Ok(seen) => seen,
        Err(fault) => {
            let why = html! { (fault) ". " a href="../webhooks" { "All endpoints" } };
            return shell("No such endpoint", None).missing(&why);
        }
    };
    let name = &seen.shown.entry.endpoint.name;
    let content = html! {
        nav.trail aria-label="Trail" { a href="../webhooks" { "Webhooks" } }
        h1 { (name) }
        div #state { (standing(&seen)) }
        div.columns {
            section aria-labelledby="url-heading" {
                h2 #url-heading { "URL" }
                div #url { (url(&seen)) }
                (rotation(name))
            }
            section aria-labelledby="in-force" {
                h2 #in-force { "Settings in force" }
                div #settings { (settings(&seen)) }
            }
        }
        section aria-labelledby="arrived" {
            h2 #arrived { "Deliveries" }
            form.search method="get" action=(encoded(name)) {
                label for="only" { "Show" }
                select #only name="state" {
                    @for (only, name) in Only::ALL {
                        option value=(name) selected[only == page.only] { (name) }
                    }
                }
                button type="submit" { "Show" }
            }
            (scrolled("Table of deliveries", &COLUMNS, Some("deliveries"), &deliveries(&seen, &page)))
            div #pager { (pager(&seen, &page)) }
        }
    };
    let query = page.query(&page.before);
    let events = format!("view=webhook&name={}&{query}", encoded(name));
    shell(name, Some(&events)).page(StatusCode::OK, &content)
}

/// What can change on it.
pub(in super::super) async fn regions(console: &Console, name: &str, page: &Page) -> Vec<Region> {
    let mut regions = vec![Region::new("banner", banner(console))];
    let Ok(seen) = Seen::take(console, name, page).await else {
        let gone = html! { p.problem { "This endpoint is no longer configured." } };
        regions.push(Region::new("state", gone));
        return regions;
    };
    regions.push(Region::new("state", standing(&seen)));
    regions.push(Region::new("url", url(&seen)));
    regions.push(Region::new("settings", settings(&seen)));
    regions.push(Region::new("deliveries", deliveries(&seen, page)));
    regions.push(Region::new("pager", pager(&seen, page)));
    regions
}

fn standing(seen: &Seen) -> Markup {
    let Seen { shown, now, .. } = seen;
    let is_ordered = shown.entry.endpoint.order == Order::Arrival;
    let refused = shown.oldest.as_ref().filter(|(_, fact)| fact.attempts > 0);
    html! {
        p { (state(shown)) " " (waiting(shown, *now)) }
        @if let Some((id, fact)) = refused {
            p.problem {
                "The delivery " a href={ "../deliveries/" (id) } { (id) } " was not taken: " (fact.told)
                @if is_ordered { ". Those that arrived after it wait for it." }
            }
            @if let Some(at) = next(fact) { p { "It is tried again " (countdown(at.max(*now), *now)) "." } }
        }
    }
}

fn url(seen: &Seen) -> Markup {
    let Seen { shown, now, .. } = seen;
    html! {
        p { (copied("URL", &shown.url)) }
        @if shown.entry.endpoint.verify.kind == "none" {
            p.note { "Nothing else is proved: whoever knows this URL can send. Give it to the sender only." }
        }
        @if let Some((count, until)) = earlier(shown, *now) {
            p {
                @if count == 1 { "One earlier URL is good until " }
                @else { (count) " earlier URLs are good, the last until " }
                (utc(until)) " (UTC)."
            }
        }
    }
}

fn rotation(name: &str) -> Markup {
    html! {
        form #rotate data-api={ "../api/webhooks/" (encoded(name)) "/rotate" } {
            label for="overlap" { "When there is another URL, this one ends" }
            select #overlap name="overlap" {
                option value="1h" { "after an hour" }
                option value="24h" selected { "after a day" }
                option value="7d" { "after a week" }
                option value="30d" { "after 30 days" }
                option value="0s" { "at once" }
            }
            button type="submit" { "Make another URL" }
            p #rotated role="status" {}
        }
        (without_script(&format!("keybearer webhooks rotate {name}")))
    }
}

fn settings(seen: &Seen) -> Markup {
    let endpoint = &seen.shown.entry.endpoint;
    let gauge = &seen.shown.entry.gauge;
    let rows = [
        ("Target", endpoint.target.to_string()),
        ("Verified by", endpoint.verify.kind.to_owned()),
        (
            "Order",
            match endpoint.order {
                Order::Arrival => "of arrival, one at a time",
                Order::Any => "any, several at a time",
            }
            .to_owned(),
        ),
        ("Attempts at most", endpoint.max_attempts.to_string()),
        ("Timeout of one", length(endpoint.timeout)),
        ("Kept for", length(endpoint.retain)),
        (
            "Stored",
            format!(
                "{} of {}",
                bytes(gauge.bytes()),
                bytes(endpoint.limits.queue)
            ),
        ),
        ("Longest content", bytes(endpoint.limits.request_body)),
    ];
    settings::list(rows)
}

fn deliveries(seen: &Seen, page: &Page) -> Markup {
    html! {
        @match &seen.listed {
            Err(fault) => tr { td colspan="6" { span.problem { (fault) } } },
            Ok(listed) if listed.is_empty() => tr {
                td colspan="6" {
                    @if page.only == Only::All && page.before.is_empty() {
                        "None yet: give the URL above to the sender, or try it with "
                        code { "curl -i --data '{}' URL" } "."
                    } @else { "None like this." }
                }
            },
            Ok(listed) => @for (id, fact) in listed { (delivery(*id, fact, seen.now)) },
        }
    }
}

fn delivery(id: Id, fact: &Fact, now: SystemTime) -> Markup {
    html! {
        tr {
            td { (utc(id.time())) }
            td { a href={ "../deliveries/" (id) } { code { (id) } } }
            td { (phase(fact)) }
            td { (fact.attempts) }
            td {
                @match (fact.phase, next(fact)) {
                    (Phase::Waiting, Some(at)) => (countdown(at.max(now), now)),
                    (Phase::Waiting, None) => "at once",
                    _ => "-",
                }
            }
            td {
                @if fact.status != 0 { span.status.(class(fact.status)) { (fact.status) } " " }
                @if !fact.told.is_empty() { span.problem { (fact.told) } }
            }
        }
    }
}

/// Where a delivery stands.
pub(super) fn phase(fact: &Fact) -> Markup {
    let (class, word) = match fact.phase {
        Phase::Delivered => ("good", "Delivered"),
        Phase::Failed => ("bad", "Failed"),
        Phase::Waiting if fact.attempts > 0 => ("doubt", "Waiting"),
        Phase::Waiting => ("busy", "Waiting"),
    };
    html! { span.state.(class) { (word) } }
}

/// What a status looks like.
pub(super) fn class(status: u16) -> &'static str {
    match status {
        200..=299 => "good",
        300..=499 => "doubt",
        _ => "bad",
    }
}

/// A time of the clock; it stays what it is, so that it can be compared with a log.
pub(super) fn utc(at: SystemTime) -> Markup {
    let at = humantime::format_rfc3339_seconds(at).to_string();
    let words = at.replace('T', " ");
    html! { time datetime=(at) { (words.trim_end_matches('Z')) } }
}

fn pager(seen: &Seen, page: &Page) -> Markup {
    let name = encoded(&seen.shown.entry.endpoint.name);
    let listed = seen.listed.as_deref().unwrap_or_default();
    let last = listed.last().filter(|_| listed.len() == PER_PAGE);
    html! {
        @if last.is_some() || !page.before.is_empty() {
            nav.pager aria-label="Pages" {
                @if !page.before.is_empty() {
                    a rel="first" href={ (name) "?" (page.query("")) } { "Latest" }
                }
                @if let Some((id, _)) = last {
                    a rel="next" href={ (name) "?" (page.query(&id.to_string())) } { "Earlier" }
                }
            }
        }
    }
}
