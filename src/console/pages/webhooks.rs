//! `/webhooks`: the endpoints for webhooks, and what waits for each.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::super::Console;
use super::super::guard::Visitor;
use super::parts::{columns, copied};
use super::words::age;
use super::{Depth, Region, Shell, banner, encoded};
use crate::connection::webhook::Order;
use crate::webhook::Shown;

/// What to begin with.
const SAMPLE: &str = r#"[webhooks]
listen = "127.0.0.1:8090"
public_url = "https://hooks.example.com"

[webhooks.endpoints.github]
target = "http://127.0.0.1:3000/github"
verify = { type = "github", secret = { env = "HOOK_SECRET" } }"#;

/// The page.
pub(in super::super) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let in_force = match &console.webhooks {
        Some(webhooks) => webhooks.in_force().await,
        None => Ok(()),
    };
    let content = html! {
        h1 { "Webhooks" }
        @if let Err(fault) = &in_force { p.problem { (fault) } }
        p { "Others send webhooks to an endpoint's URL. What proves who sent it is kept on disk, and delivered to the endpoint's target until that takes it." }
        div #endpoints { (endpoints(&console)) }
    };
    let shell = Shell::live(
        &console,
        &visitor,
        Depth::Top,
        "Webhooks",
        Some("view=webhooks"),
    );
    shell.page(StatusCode::OK, &content)
}

/// What can change on it.
pub(in super::super) fn regions(console: &Console) -> Vec<Region> {
    let (all, now) = all(console);
    // As a whole only when there are others: the buttons that copy stand in it.
    let settings = |shown: &Shown| {
        let endpoint = &shown.entry.endpoint;
        let (kind, target) = (endpoint.verify.kind, &endpoint.target);
        format!("{} {} {kind} {target}", endpoint.name, shown.url)
    };
    let rows: Vec<_> = all.iter().map(settings).collect();
    let mut regions = vec![
        Region::new("banner", banner(console)),
        Region::rows("endpoints", &rows, endpoints(console)),
    ];
    for shown in &all {
        let name = &shown.entry.endpoint.name;
        regions.push(Region::new(format!("s-{name}"), state(shown)));
        regions.push(Region::new(format!("q-{name}"), waiting(shown, now)));
    }
    regions
}

fn all(console: &Console) -> (Vec<Shown>, SystemTime) {
    match &console.webhooks {
        Some(webhooks) => (webhooks.endpoints(), webhooks.now()),
        None => (Vec::new(), SystemTime::UNIX_EPOCH),
    }
}

fn endpoints(console: &Console) -> Markup {
    let (all, now) = all(console);
    html! {
        @if all.is_empty() {
            (none(console.webhooks.is_some()))
        } @else {
            table.connections {
                caption.away { "Endpoints, by name" }
                (columns(&["Endpoint", "State", "Waiting", "URL to hand out", "Goes to"]))
                tbody {
                    @for shown in &all { (row(shown, now)) }
                }
            }
        }
    }
}

fn row(shown: &Shown, now: SystemTime) -> Markup {
    let endpoint = &shown.entry.endpoint;
    let name = &endpoint.name;
    html! {
        tr {
            th scope="row" {
                a href={ "webhooks/" (encoded(name)) } { (name) }
                div.target { "verify: " (endpoint.verify.kind) }
            }
            td id={ "s-" (name) } { (state(shown)) }
            td id={ "q-" (name) } { (waiting(shown, now)) }
            td { (copied(&format!("URL of {name}"), &shown.url)) }
            td.target { (endpoint.target) }
        }
    }
}

/// What to do where there is no endpoint.
fn none(listens: bool) -> Markup {
    html! {
        div.empty {
            @if listens {
                p { "No endpoint is configured: add one as below to the configuration. It is in force as soon as the file is saved." }
            } @else {
                p { "No webhooks are taken: " code { "[webhooks]" } " in the configuration says where they arrive, and which endpoints there are. After a restart their URLs stand here." }
            }
        }
        pre { code { (SAMPLE) } }
    }
}

/// Where an endpoint stands.
pub(super) fn state(shown: &Shown) -> Markup {
    let fails = (shown.oldest.as_ref()).is_some_and(|(_, fact)| fact.attempts > 0);
    let (class, word) = match (&shown.oldest, shown.entry.endpoint.order) {
        (None, _) => ("good", "Idle"),
        (Some(_), Order::Arrival) if fails => ("bad", "Blocked"),
        (Some(_), Order::Any) if fails => ("doubt", "Failing"),
        (Some(_), _) => ("busy", "Delivering"),
    };
    html! { span.state.(class) { (word) } }
}

/// How many deliveries wait, and since when.
pub(super) fn waiting(shown: &Shown, now: SystemTime) -> Markup {
    let count = shown.entry.gauge.waiting();
    html! {
        span.waiting { (count) " waiting" }
        @if let Some((id, _)) = &shown.oldest {
            ", the oldest arrived " (age(id.time(), now))
        }
    }
}
