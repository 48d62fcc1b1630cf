//! `/deliveries/ID`: what one sender has sent, and what became of it.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::super::Console;
use super::super::delivery::{Content, MOST, Masks, Shown};
use super::super::guard::Visitor;
use super::super::webhooks::{UNREADABLE, next, of_delivery};
use super::parts::{columns, without_script};
use super::webhook::{class, phase, utc};
use super::words::{bytes, countdown};
use super::{Depth, Region, Shell, banner, encoded};
use crate::webhook::queue::{Fact, Id};
use crate::webhook::{Delivery, pretty};

/// The page.
pub(in super::super) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let shell = |title, events| Shell::live(&console, &visitor, Depth::Below, title, events);
    let found = async { of_delivery(&console, &id)?.delivery(&id).await };
    let delivery = match found.await {
        Ok(delivery) => delivery,
        Err(fault) => {
            let why = html! { (fault) ". " a href="../webhooks" { "All endpoints" } };
            return shell("No such delivery", None).missing(&why);
        }
    };
    let (endpoint, id) = (&delivery.endpoint, delivery.id);
    let events = format!("view=delivery&name={id}&endpoint={}", encoded(endpoint));
    let content = html! {
        nav.trail aria-label="Trail" {
            a href="../webhooks" { "Webhooks" } " / "
            a href={ "../webhooks/" (encoded(endpoint)) } { (endpoint) }
        }
        h1 { "Delivery " (id) }
        div #state { (standing(&console, endpoint, id, &delivery.fact)) }
        (replay(&console, endpoint, id))
        (sent(&console, &delivery))
    };
    shell(&id.to_string(), Some(&events)).page(StatusCode::OK, &content)
}

/// What can change on it; what was sent does not.
pub(in super::super) async fn regions(console: &Console, endpoint: &str, id: &str) -> Vec<Region> {
    let found = async {
        let webhooks = console.webhooks.as_ref()?;
        let id = id.parse().ok()?;
        Some((id, webhooks.fact(endpoint, id).await.ok()?))
    };
    let state = match found.await {
        Some((id, fact)) => standing(console, endpoint, id, &fact),
        None => html! { p.problem { "This delivery is no longer kept." } },
    };
    vec![
        Region::new("banner", banner(console)),
        Region::new("state", state),
    ]
}

fn is_configured(console: &Console, endpoint: &str) -> bool {
    let webhooks = console.webhooks.as_ref();
    webhooks.is_some_and(|webhooks| webhooks.endpoint(endpoint).is_ok())
}

fn standing(console: &Console, endpoint: &str, id: Id, fact: &Fact) -> Markup {
    let now = (console.webhooks.as_ref()).map_or_else(SystemTime::now, |webhooks| webhooks.now());
    html! {
        p {
            (phase(fact)) " Received " (utc(id.time())) " (UTC), "
            @match fact.attempts {
                0 => "not tried yet",
                1 => "tried once",
                count => { "tried " (count) " times" }
            }
            @if fact.status != 0 {
                ", last answered " span.status.(class(fact.status)) { (fact.status) }
            }
            "."
        }
        @if !fact.told.is_empty() { p.problem { (fact.told) } }
        @if let Some(at) = next(fact) { p { "It is tried again " (countdown(at.max(now), now)) "." } }
        @if !is_configured(console, endpoint) {
            p.problem { "Its endpoint is no longer configured, so it is not delivered until it is again." }
        }
    }
}

fn replay(console: &Console, endpoint: &str, id: Id) -> Markup {
    html! {
        @if is_configured(console, endpoint) {
            p {
                button.primary #replay type="button" data-api={ "../api/deliveries/" (id) "/replay" } { "Replay" }
                " " span #replayed role="status" {}
            }
            (without_script(&format!("keybearer webhooks replay {id}")))
        }
    }
}

fn sent(console: &Console, delivery: &Delivery) -> Markup {
    let Some((head, content)) = delivery.sent() else {
        return html! { p.problem { (UNREADABLE) } };
    };
    let masks = Masks::by_name(console, &delivery.endpoint);
    html! {
        section aria-labelledby="request" {
            h2 #request { "Request" }
            p {
                code {
                    (head.method)
                    @if !head.rest.is_empty() { " " (head.rest) }
                    @if let Some(query) = &head.query { " ?" (masks.query(query)) }
                }
                @if head.rest.is_empty() && head.query.is_none() { " to the endpoint's URL itself" }
            }
            @if head.fields.is_empty() { p { "It has no header fields." } } @else {
                table.fields {
                    caption.away { "Header fields" }
                    (columns(&["Field", "Value"]))
                    tbody {
                        @for (name, value) in &head.fields {
                            tr { th scope="row" { (name) } td { code { (masks.field(name, value)) } } }
                        }
                    }
                }
            }
        }
        section aria-labelledby="payload" {
            h2 #payload { "Content" }
            (payload(delivery.id, &Content::of(content)))
        }
    }
}

fn payload(id: Id, content: &Content<'_>) -> Markup {
    let length = bytes(content.length as u64);
    let indented = match content.shown {
        Shown::Text(text) if !content.truncated => pretty::indented(text),
        _ => None,
    };
    html! {
        @match content.shown {
            Shown::Text("") => p { "There is none." },
            Shown::Text(text) => {
                p.note {
                    (length)
                    @if content.truncated { ", of which the first " (bytes(MOST as u64)) " are shown" }
                    @if indented.is_some() { "; JSON, shown in lines" }
                }
                pre #content { (indented.as_deref().unwrap_or(text)) }
            }
            Shown::Binary(_) => p { (length) " that are no text. " code { "keybearer webhooks show " (id) " --json" } " has the first " (bytes(MOST as u64)) " in Base64." },
        }
    }
}
