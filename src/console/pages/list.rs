//! `/`: all connections, searched and paged.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded;

use super::super::Console;
use super::super::guard::Visitor;
use super::parts::{columns, copied};
use super::words::{countdown, duration, percent, rate, state};
use super::{Depth, Region, Shell, banner, encoded, plot};
use crate::auth::state::State as Standing;
use crate::live::{Live, Snapshot};

/// Connections of one page.
const PER_PAGE: usize = 50;

/// What is looked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Search {
    /// In name, prefix, base URL, auth type; empty for all.
    q: String,
    /// Whether only those are shown that somebody should look at.
    #[serde(rename = "show")]
    only: Only,
    /// From 1.
    page: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Only {
    #[default]
    #[serde(alias = "")]
    All,
    Attention,
}

/// What was found.
struct Found {
    shown: Vec<Arc<Live>>,
    matching: usize,
    all: usize,
    attention: usize,
    page: usize,
}

impl Search {
    fn find(&self, snapshot: &Snapshot, now: SystemTime) -> Found {
        let wanted = self.q.trim().to_lowercase();
        let mut matching: Vec<&Arc<Live>> = Vec::new();
        let (mut all, mut attention) = (0, 0);
        for live in snapshot.lives() {
            all += 1;
            let needs = needs_attention(live, now);
            attention += usize::from(needs);
            if (self.only == Only::All || needs) && matches(live, &wanted) {
                matching.push(live);
            }
        }
        matching.sort_unstable_by(|a, b| a.connection.name.cmp(&b.connection.name));
        let pages = matching.len().div_ceil(PER_PAGE).max(1);
        let page = self.page.clamp(1, pages);
        let shown = matching.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE);
        Found {
            shown: shown.map(|live| Arc::clone(live)).collect(),
            matching: matching.len(),
            all,
            attention,
            page,
        }
    }

    /// As the query of a link to another page of it.
    fn query(&self, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.q.is_empty() {
            query.append_pair("q", &self.q);
        }
        if self.only == Only::Attention {
            query.append_pair("show", "attention");
        }
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        query.finish()
    }
}

fn matches(live: &Live, wanted: &str) -> bool {
    let connection = &live.connection;
    let has = |text: &str| text.to_lowercase().contains(wanted);
    wanted.is_empty()
        || has(&connection.name)
        || has(connection.prefix.as_str())
        || has(&connection.base_url.to_string())
        || has(connection.auth.kind())
}

fn is_failing(live: &Live) -> bool {
    live.recent
        .as_ref()
        .is_some_and(|recent| recent.is_failing())
}

/// Whether somebody should look at it: no credential, one that is not renewed, an end that is near,
/// requests that fail.
fn needs_attention(live: &Live, now: SystemTime) -> bool {
    let status = live.authenticator.credential().map(|it| it.value.status());
    let state = status.map_or(Standing::Ready, |status| status.state(now));
    let is_well = matches!(state, Standing::Ready | Standing::Refreshing);
    let client = live.connection.tls.client.as_deref();
    let ends = client.is_some_and(|client| client.first_to_end().days_left(now) < 30);
    !is_well || ends || is_failing(live)
}

/// The page.
pub(in super::super) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    search: Result<Query<Search>, QueryRejection>,
) -> Response {
    let search = search.map(|Query(search)| search).unwrap_or_default();
    let now = SystemTime::now();
    let found = search.find(&console.reader.take(), now);
    let events = format!("view=list&{}", search.query(found.page));
    let content = html! {
        h1 { "Connections" }
        div #summary { (summary(&found)) }
        form.search method="get" action="./" role="search" {
            label for="q" { "Search" }
            input #q type="search" name="q" value=(search.q) autocomplete="off" placeholder="name, prefix, host, type";
            label for="show" { "Show" }
            select #show name="show" {
                option value="all" selected[search.only == Only::All] { "all" }
                option value="attention" selected[search.only == Only::Attention] { "what needs attention" }
            }
            button type="submit" { "Search" }
        }
        div #nothing { (nothing(&found)) }
        table.connections {
            caption.away { "Connections, by name" }
            (columns(&["Connection", "State", "Last hour", "Durations", "Actions"]))
            tbody #rows { (rows(&console, &found, now)) }
        }
        div #pager { (pager(&search, &found)) }
    };
    let shell = Shell::live(&console, &visitor, Depth::Top, "Connections", Some(&events));
    shell.page(StatusCode::OK, &content)
}

/// What can change on it.
pub(in super::super) fn regions(console: &Console, search: &Search) -> Vec<Region> {
    let now = SystemTime::now();
    let found = search.find(&console.reader.take(), now);
    let ids: Vec<_> = found.shown.iter().map(|live| row_id(live)).collect();
    let mut regions = vec![
        Region::new("banner", banner(console)),
        Region::new("summary", summary(&found)),
        Region::new("nothing", nothing(&found)),
        Region::new("pager", pager(search, &found)),
        // Which rows there are, and in what order.
        Region::rows("rows", &ids, rows(console, &found, now)),
    ];
    for live in &found.shown {
        regions.push(Region::new(row_id(live), row(console, live, now)));
    }
    regions
}

fn nothing(found: &Found) -> Markup {
    html! {
        @if found.shown.is_empty() {
            p.empty {
                @if found.all == 0 { "There is no connection yet. " }
                @else { "Nothing is like this. " a href="./" { "Show all" } }
            }
        }
    }
}

fn summary(found: &Found) -> Markup {
    html! {
        p {
            (found.all) " connection" @if found.all != 1 { "s" }
            @if found.attention > 0 {
                ", " a href="./?show=attention" { (found.attention) " need" @if found.attention == 1 { "s" } " attention" }
            }
            @if found.matching != found.all { "; " (found.matching) " shown" }
        }
    }
}

fn rows(console: &Console, found: &Found, now: SystemTime) -> Markup {
    html! {
        @for live in &found.shown {
            tr id=(row_id(live)) { (row(console, live, now)) }
        }
    }
}

fn row_id(live: &Live) -> String {
    format!("c-{}", live.connection.name)
}

fn row(console: &Console, live: &Live, now: SystemTime) -> Markup {
    let connection = &live.connection;
    let status = live.authenticator.credential().map(|it| it.value.status());
    let standing = status.as_ref().map_or(Standing::Ready, |it| it.state(now));
    let lease = status.as_ref().and_then(|status| status.lease.as_ref());
    let problem = status.as_ref().and_then(|it| Some(&it.problem()?.detail));
    let failing = live.recent.as_ref().filter(|recent| recent.is_failing());
    let failure = failing.and_then(|recent| recent.last_failure());
    let hour = console.histories.hour(&connection.name);
    let name = encoded(&connection.name);
    let needs_person = matches!(standing, Standing::NotLinked | Standing::Reauthorize);
    html! {
        th scope="row" {
            a id={ "to-" (connection.name) } href={ "connections/" (name) } { (connection.name) }
            div.prefix { (copied(&format!("prefix of {}", connection.name), connection.prefix.as_str())) }
            div.target { (connection.base_url) " · " (connection.auth.kind()) }
        }
        td {
            (state(standing))
            @if let Some(at) = lease.and_then(|lease| lease.expires) {
                div.expiry { "credential ends " (countdown(at, now)) }
            }
            @if let Some(client) = &connection.tls.client {
                div.expiry { "certificate ends " (countdown(client.not_after(), now)) }
            }
            @if let Some(road) = connection.road.agent() {
                @if console.agents.connected(road) == 0 {
                    div.problem { "agent " (road) " is not connected" }
                }
            }
            @match (problem, failure.as_ref().and_then(|failure| failure.problem.as_ref())) {
                (Some(problem), _) => div.problem { (problem) },
                (None, Some(problem)) => div.problem { "Requests fail: " (problem) },
                (None, None) => {}
            }
        }
        td {
            (plot::requests(&hour))
            div.figures { (rate(hour.rate)) " · " (percent(hour.error_rate().unwrap_or_default())) " errors" }
        }
        td {
            (plot::durations(&hour))
            div.figures {
                @match hour.whole {
                    Some((median, p99)) => { "p50 " (duration(median)) " · p99 " (duration(p99)) }
                    None => { "no requests" }
                }
            }
        }
        td { div.actions {
            @if needs_person && live.link_page.is_some() {
                a.button.primary id={ "link-" (connection.name) } href={ "link/" (name) } aria-label={ "Link your account: " (connection.name) } { "Link your account" }
            }
            a.button id={ "test-" (connection.name) } href={ "connections/" (name) "#test" } aria-label={ "Test " (connection.name) } { "Test" }
        } }
    }
}

fn pager(search: &Search, found: &Found) -> Markup {
    let pages = found.matching.div_ceil(PER_PAGE).max(1);
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages" {
                @if found.page > 1 {
                    a rel="prev" href={ "./?" (search.query(found.page - 1)) } { "Previous" }
                }
                span { "Page " (found.page) " of " (pages) }
                @if found.page < pages {
                    a rel="next" href={ "./?" (search.query(found.page + 1)) } { "Next" }
                }
            }
        }
    }
}
