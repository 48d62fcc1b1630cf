//! `/connections/NAME`: one connection, its last requests, and what can be done with it.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use tokio::time::Instant;

use super::super::Console;
use super::super::external_id;
use super::super::guard::Visitor;
use super::parts::{copied, scrolled, without_script};
use super::words::{bytes, countdown, duration, length, percent, rate, state};
use super::{Depth, Region, Shell, banner, encoded, plot, settings};
use crate::auth::state::State as Standing;
use crate::connection::Connection;
use crate::live::Live;
use crate::live::recent::{Entry, MOST};
use crate::shell::word;

/// What is told of each request.
const COLUMNS: [&str; 7] = [
    "When", "Request", "Status", "Duration", "Upstream", "Content", "Notes",
];

/// The page.
pub(in super::super) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let live = console.reader.take().live(&name).cloned();
    let shell = |title, events| Shell::live(&console, &visitor, Depth::Below, title, events);
    let Some(live) = live else {
        let why = html! {
            "There is no connection " code { (name) } ". " a href="../" { "All connections" }
        };
        return shell("No such connection", None).missing(&why);
    };
    let connection = &live.connection;
    let identity = told_identity(&console, connection).await;
    let now = SystemTime::now();
    let content = html! {
        nav.trail aria-label="Trail" { a href="../" { "Connections" } }
        h1 { (connection.name) }
        div #state { (standing(&console, &live, now)) }
        div.columns {
            section aria-labelledby="use" {
                h2 #use { "Use it" }
                div #reach { (reach(&console, connection)) }
            }
            (trial(connection))
            div #linking { (link(&live)) }
            (identity)
        }
        section aria-labelledby="hour" {
            h2 #hour { "Last hour" }
            div #plots { (plots(&console, &live)) }
        }
        section aria-labelledby="recent" {
            h2 #recent { "Recent requests" }
            p.note { "The last " (MOST) " since keybearer started; paths without their query." }
            (scrolled("Table of recent requests", &COLUMNS, Some("requests"), &requests(&live)))
        }
        section aria-labelledby="in-force" {
            h2 #in-force { "Settings in force" }
            div #settings { (settings::table(connection)) }
        }
    };
    let events = format!("view=connection&name={}", encoded(&connection.name));
    shell(&connection.name, Some(&events)).page(StatusCode::OK, &content)
}

/// What can change on it.
pub(in super::super) fn regions(console: &Console, name: &str) -> Vec<Region> {
    let live = console.reader.take().live(name).cloned();
    let mut regions = vec![Region::new("banner", banner(console))];
    let Some(live) = live else {
        let gone = html! { p.problem { "This connection is no longer configured." } };
        regions.push(Region::new("state", gone));
        return regions;
    };
    regions.push(Region::new(
        "state",
        standing(console, &live, SystemTime::now()),
    ));
    regions.push(Region::new("plots", plots(console, &live)));
    regions.push(Region::new("requests", requests(&live)));
    regions.push(Region::new("settings", settings::table(&live.connection)));
    regions.push(Region::new("reach", reach(console, &live.connection)));
    regions.push(Region::new("injected", injected(&live.connection)));
    // As a whole only where another page links it: what came of a button stands in it.
    let page = live.link_page.as_deref().unwrap_or_default().to_owned();
    regions.push(Region::rows("linking", &[page], link(&live)));
    if live.link_page.is_some() {
        regions.push(Region::new("link", link_words(&live)));
    }
    regions
}

/// Where apps find it.
fn reach(console: &Console, connection: &Connection) -> Markup {
    html! {
        p { "Apps call " (copied("prefix", connection.prefix.as_str())) " and reach " code { (connection.base_url) } "." }
        p { (copied("curl command", &curl(console, connection))) }
    }
}

fn standing(console: &Console, live: &Live, now: SystemTime) -> Markup {
    let connection = &live.connection;
    let status = live.authenticator.credential().map(|it| it.value.status());
    let standing = status.as_ref().map_or(Standing::Ready, |it| it.state(now));
    let lease = status.as_ref().and_then(|status| status.lease.as_ref());
    let problem = status.as_ref().and_then(|it| Some(&it.problem()?.detail));
    let failure = live
        .recent
        .as_ref()
        .and_then(|recent| recent.last_failure());
    html! {
        p {
            (state(standing)) " "
            span.target { (connection.auth.kind()) }
        }
        @if let Some(at) = lease.and_then(|lease| lease.expires) {
            p { "The credential ends " (countdown(at, now)) "." }
        }
        @if let Some(at) = lease.and_then(|lease| lease.renews) {
            p { "It is renewed " (countdown(at, now)) "." }
        }
        @if let Some(at) = status.as_ref().and_then(|status| status.retries) {
            p { "The next attempt is made " (countdown(at, now)) "." }
        }
        @if let Some(client) = &connection.tls.client {
            p { "The client certificate ends " (countdown(client.not_after(), now)) "." }
        }
        @if let Some(agent) = connection.road.agent() {
            @match console.agents.connected(agent) {
                0 => { p.problem { "The agent " (agent) " is not connected: start it in its network, or read its log." } }
                some => { p { "Agent " (agent) ": " (some) " connected." } }
            }
        }
        @if let Some(problem) = problem { p.problem { (problem) } }
        @if let Some(failure) = &failure && let Some(why) = &failure.problem {
            p.problem { "Last failed request, " (length(failure.figures.begun.elapsed())) " ago: " (why) }
        }
    }
}

fn plots(console: &Console, live: &Live) -> Markup {
    let hour = console.histories.hour(&live.connection.name);
    html! {
        div.plots {
            figure {
                figcaption {
                    "Requests: " (rate(hour.rate)) " now, " (hour.total()) " in the last hour, "
                    (percent(hour.error_rate().unwrap_or_default())) " failed"
                }
                (plot::requests(&hour))
            }
            figure {
                figcaption {
                    "Durations: "
                    @match hour.whole {
                        Some((median, p99)) => { "median " (duration(median)) ", 99th percentile " (duration(p99)) }
                        None => { "no requests" }
                    }
                }
                (plot::durations(&hour))
            }
        }
    }
}

fn requests(live: &Live) -> Markup {
    let entries = live.recent.as_ref().map(|recent| recent.list());
    let entries = entries.unwrap_or_default();
    let (now, clock) = (Instant::now(), SystemTime::now());
    html! {
        @if entries.is_empty() {
            tr { td colspan="7" { "None yet." } }
        }
        @for entry in &entries {
            (request(entry, clock - now.saturating_duration_since(entry.figures.begun)))
        }
    }
}

fn request(entry: &Entry, at: SystemTime) -> Markup {
    let at = humantime::format_rfc3339_millis(at).to_string();
    // The clock alone: the whole is the element's own time.
    let clock = at.split_once('T').map_or(&*at, |(_, time)| time);
    let status = entry.figures.status.map(|status| status.as_u16());
    let class = match status {
        Some(200..400) => "good",
        Some(400..500) => "doubt",
        _ => "bad",
    };
    html! {
        tr {
            td { time datetime=(at) { (clock) } }
            td.path { code { (entry.method) " " (entry.path) } }
            td { span.status.(class) { @match status { Some(status) => (status), None => "caller left" } } }
            td { (duration(entry.figures.whole.as_secs_f64())) }
            td { @match entry.figures.upstream { Some(upstream) => (duration(upstream.as_secs_f64())), None => "-" } }
            td { (bytes(entry.figures.bytes)) }
            td {
                @if entry.figures.retries > 0 { span { "sent again " (entry.figures.retries) "×" } " " }
                @if entry.figures.replayed { span { "with a renewed credential" } " " }
                @if entry.figures.aborted && status.is_some() { span { "broke off" } " " }
                @if let Some(problem) = &entry.problem { span.problem { (problem) } }
            }
        }
    }
}

fn trial(connection: &Connection) -> Markup {
    let methods = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
    html! {
        section aria-labelledby="test" {
            h2 #test { "Test" }
            p { "Sends one request without content. Injected: " span #injected { (injected(connection)) } "." }
            form #trial data-api={ "../api/connections/" (encoded(&connection.name)) "/test" } {
                label for="method" { "Method" }
                select #method name="method" {
                    @for method in methods { option { (method) } }
                }
                label for="path" { "Path below the prefix" }
                input #path name="path" value="/" autocomplete="off" spellcheck="false";
                button.primary type="submit" { "Test" }
            }
            div #outcome aria-live="polite" {}
            (without_script(&format!("keybearer test {}", connection.name)))
        }
    }
}

/// The names of what is added.
fn injected(connection: &Connection) -> Markup {
    html! {
        @match &*settings::injected(&connection.auth) {
            "" => "nothing",
            names => code { (names) },
        }
    }
}

fn link_words(live: &Live) -> Markup {
    let status = live.authenticator.credential().map(|it| it.value.status());
    let is_linked = status.is_some_and(|status| status.lease.is_some());
    html! { @if is_linked { "Link again" } @else { "Link your account" } }
}

fn link(live: &Live) -> Markup {
    let Some(page) = &live.link_page else {
        return html! {};
    };
    let name = encoded(&live.connection.name);
    // The page's own address is the redirect URI's, with another path.
    let redirect = page
        .rsplit_once("/link/")
        .map(|(base, _)| format!("{base}/oauth/callback"));
    html! {
        section aria-labelledby="account" {
            h2 #account { "Account" }
            p {
                a.button.primary #link href={ "../link/" (name) } { (link_words(live)) }
                " "
                button #forget type="button" data-api={ "../api/connections/" (name) "/link" } { "Forget the tokens" }
            }
            p #forgotten role="status" {}
            @if let Some(redirect) = redirect {
                p { "Redirect URI, as it is registered with the provider: " (copied("redirect URI", &redirect)) }
            }
        }
    }
}

/// What a role's trust policy has to demand, where a role is assumed.
async fn told_identity(console: &Arc<Console>, connection: &Connection) -> Markup {
    let mut ids = Vec::new();
    let roles = connection.auth.aws().map(|aws| aws.source.roles());
    for role in roles.into_iter().flatten() {
        match external_id::resolve(console, &role.external_id).await {
            Ok(Some(id)) => ids.push(id),
            Ok(None) => {}
            Err(problem) => {
                return html! { section { h2 { "External ID" } p.problem { (problem.detail()) } } };
            }
        }
    }
    ids.dedup();
    html! {
        @if !ids.is_empty() {
            section aria-labelledby="external" {
                h2 #external { "External ID" }
                p { "The role's trust policy demands it; " code { "keybearer external-id" } " prints one to paste." }
                @for id in &ids { p { (copied("external ID", id)) } }
            }
        }
    }
}

/// The command that tries it from this machine.
fn curl(console: &Console, connection: &Connection) -> String {
    let prefix = connection.prefix.as_str();
    match console.listeners.first().map(String::as_str) {
        Some(address) if address.starts_with("unix:") => {
            let socket = word(address.trim_start_matches("unix:"));
            let url = word(format!("http://localhost{prefix}/"));
            format!("curl -i --unix-socket {socket} {url}")
        }
        Some(address) => {
            let address = address
                .replace("0.0.0.0:", "127.0.0.1:")
                .replace("[::]:", "[::1]:");
            format!("curl -i {}", word(format!("http://{address}{prefix}/")))
        }
        None => String::new(),
    }
}
