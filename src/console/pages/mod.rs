//! The web page: server-rendered, readable without a script, which only keeps it up to date.
//!
//! A page is made of [`Region`]s. Its script listens to [`super::events`], where the same regions are
//! made again, and puts in those that differ.

pub(super) mod agents;
pub(super) mod delivery;
pub(super) mod detail;
pub(super) mod list;
mod parts;
mod plot;
mod settings;
pub(super) mod webhook;
pub(super) mod webhooks;
mod words;

use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::Console;
use super::guard::Visitor;
use crate::live::reload::{LastLoad, Rejected, place};

/// A part of a page that is replaced when it changes: what is inside of the element of this id.
pub(super) struct Region {
    pub(super) id: String,
    /// What it is told from its last state by.
    pub(super) mark: String,
    /// None if it is the mark.
    inside: Option<String>,
}

impl Region {
    pub(super) fn new(id: impl Into<String>, inside: Markup) -> Self {
        Self {
            id: id.into(),
            mark: inside.into_string(),
            inside: None,
        }
    }

    /// One that changes as a whole only when it has other rows: these are regions of their own.
    pub(super) fn rows(id: &str, rows: &[String], inside: Markup) -> Self {
        Self {
            id: id.to_owned(),
            mark: rows.join(" "),
            inside: Some(inside.into_string()),
        }
    }

    pub(super) fn inside(&self) -> &str {
        self.inside.as_deref().unwrap_or(&self.mark)
    }
}

/// A connection's name as a segment of a path.
pub(super) fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// How far a page lies below the console's root: its links are relative, so that they lead right where
/// a reverse proxy serves the console below a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// `/`, `/agents` and the like.
    Top,
    /// `/connections/NAME` and the like.
    Below,
}

impl Depth {
    pub(super) fn root(self) -> &'static str {
        match self {
            Self::Top => "./",
            Self::Below => "../",
        }
    }
}

/// What keeps a page up to date.
const LIVE: &[&str] = &["console.js"];

/// What stands around a page's own content.
pub(super) struct Shell<'a> {
    pub(super) title: &'a str,
    pub(super) depth: Depth,
    pub(super) visitor: &'a Visitor,
    /// What the page's events are asked for by, after `/events?`; none if it has none.
    pub(super) events: Option<&'a str>,
    /// Its scripts; none on the form of a login, and where providers lead people back to.
    pub(super) scripts: &'a [&'a str],
    /// The banner's content; see [`banner`].
    pub(super) banner: Markup,
}

impl<'a> Shell<'a> {
    /// Around a page that is kept up to date by `events`, if it has them.
    pub(super) fn live(
        console: &Console,
        visitor: &'a Visitor,
        depth: Depth,
        title: &'a str,
        events: Option<&'a str>,
    ) -> Self {
        Self {
            title,
            depth,
            visitor,
            events,
            scripts: LIVE,
            banner: banner(console),
        }
    }

    /// The page that stands where there is nothing of the name that was asked for.
    pub(super) fn missing(&self, why: &Markup) -> Response {
        let content = html! { h1 { (self.title) } p { (why) } };
        self.page(StatusCode::NOT_FOUND, &content)
    }

    /// The whole page.
    pub(super) fn page(&self, status: StatusCode, content: &Markup) -> Response {
        let root = self.depth.root();
        let events = self.events.map(|events| format!("{root}events?{events}"));
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="csrf-token" content=(self.visitor.csrf);
                    title { (self.title) " - keybearer" }
                    link rel="icon" type="image/svg+xml" href={ (root) "assets/icon.svg" };
                    link rel="stylesheet" href={ (root) "assets/console.css" };
                    @for script in self.scripts {
                        script src={ (root) "assets/" (script) } defer {}
                    }
                }
                body data-root=(root) data-events=[events] {
                    a.skip href="#main" { "Skip to content" }
                    header {
                        nav aria-label="Console" {
                            a.brand href=(root) { "keybearer" }
                            a href=(root) { "Connections" }
                            a href={ (root) "agents" } { "Agents" }
                            a href={ (root) "webhooks" } { "Webhooks" }
                            a href={ (root) "new" } { "New connection" }
                        }
                        p.live role="status" id="live" {}
                        @if self.visitor.has_session {
                            form method="post" action={ (root) "logout" } {
                                input type="hidden" name="csrf" value=(self.visitor.csrf);
                                button.quiet type="submit" { "Log out" }
                            }
                        }
                    }
                    div #banner role="alert" { (self.banner) }
                    main #main tabindex="-1" { (content) }
                    footer { p { "keybearer " (env!("CARGO_PKG_VERSION")) } }
                }
            }
        };
        (status, Html(page.into_string())).into_response()
    }
}

/// Everything that is wrong with files that were not taken; nothing if they were.
pub(super) fn banner(console: &Console) -> Markup {
    rejected(&console.reloader.last())
}

fn rejected(last: &LastLoad) -> Markup {
    let errors: Vec<(Option<String>, String, Option<String>)> = match last.rejected.as_deref() {
        None => return html! {},
        Some(Rejected::Build(error)) => vec![(None, error.to_string(), None)],
        Some(Rejected::Config(diagnostics)) => {
            let diagnostics = diagnostics.as_slice().iter();
            diagnostics
                .map(|found| {
                    let hint = found.hint().map(str::to_owned);
                    (Some(place(found)), found.message().to_owned(), hint)
                })
                .collect()
        }
    };
    let count = errors.len();
    html! {
        section.rejected {
            h2 { "The last reload was rejected" }
            p {
                "What was in force before goes on. "
                @if count == 1 { "Mend this and save the file:" }
                @else { "Mend these " (count) " and save the files:" }
            }
            ul {
                @for (place, message, hint) in &errors {
                    li {
                        @if let Some(place) = place { code { (place) } " " }
                        (message)
                        @if let Some(hint) = hint { " " span.hint { "Hint: " (hint) } }
                    }
                }
            }
        }
    }
}
