//! The form's page: every field with its label and its line of help.
//!
//! It works without styles: groups are fieldsets, what belongs together is tied by ids, and the script
//! only hides the types of credential that are not chosen, and sends what was filled in.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use maud::{Markup, html};

use super::super::guard::Visitor;
use super::super::pages::{Depth, Shell, banner};
use super::Forms;
use super::controls::{error, field_of, required, row};
use super::fields::{AUTH_TYPES, AuthType, CONNECTION, NAME, NETWORK, Need, TLS, TYPE};
use crate::config::Edit;
use crate::config::source::Location;

const SCRIPT: &str = include_str!("../assets/form.js");

/// Stands in help for how browsers reach the console.
const PUBLIC_URL: &str = "{admin.public_url}";

/// What is put on the page.
pub(super) struct Page<'a> {
    pub(super) edit: Edit,
    pub(super) location: &'a Location,
    /// How browsers reach the console, without a slash at its end.
    pub(super) public_url: String,
}

pub(super) async fn new(
    State(forms): State<Arc<Forms>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let public_url = {
        let snapshot = forms.console.reader.take();
        let admin = snapshot.admin.as_ref();
        admin.map_or_else(String::new, |admin| admin.public_url.to_string())
    };
    let page = Page {
        edit: forms.edit(),
        location: forms.console.reloader.location(),
        public_url: public_url.trim_end_matches('/').to_owned(),
    };
    let shell = Shell {
        title: "New connection",
        depth: Depth::Top,
        visitor: &visitor,
        events: None,
        scripts: &["form.js"],
        banner: banner(&forms.console),
    };
    shell.page(StatusCode::OK, &content(&page))
}

pub(super) async fn script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// What stands in `<main>`.
pub(super) fn content(page: &Page<'_>) -> Markup {
    let edits = page.edit == Edit::Allowed;
    html! {
        h1 { "New connection" }
        p {
            "Fill in what the API's documentation asks for. Secrets do not go into the configuration: say where they are. "
            "You get the configuration to paste, and can try it first."
        }
        noscript {
            p.note {
                "Without JavaScript this form cannot be sent, and shows the fields of every type of authentication. "
                "They are named as in the configuration: write that by hand, then run " code { "keybearer check" } "."
            }
        }
        div #form-errors role="alert" tabindex="-1" {}
        form #new-connection autocomplete="off" novalidate data-edit=(edits) {
            fieldset {
                legend { "Connection" }
                (name())
                @for field in &CONNECTION { (field_of("connection", field)) }
            }
            fieldset {
                legend { "Authentication" }
                (auth_type())
                @for kind in &AUTH_TYPES { (of_type(kind, page)) }
            }
            details {
                summary { "TLS: client certificate, private CA" }
                fieldset {
                    legend { "TLS" }
                    @for field in &TLS { (field_of("tls", field)) }
                }
            }
            details {
                summary { "Private network: agent, proxy" }
                fieldset {
                    legend { "Private network" }
                    @for field in &NETWORK { (field_of("network", field)) }
                }
            }
            (request())
            p.actions {
                button type="submit" value="check" { "Check" } " "
                button type="submit" value="try" { "Check and try" }
                @if edits { " " button type="submit" value="write" { "Write it" } }
            }
            (where_it_goes(page))
        }
        (result())
        (row_template())
    }
}

fn where_it_goes(page: &Page<'_>) -> Markup {
    html! {
        p #where-it-goes .note {
            @match (page.edit, page.location) {
                (_, Location::Embedded) => {
                    "keybearer runs with its own default, which is in no file: paste the result into one, and start keybearer with that."
                }
                (Edit::Allowed, location) => {
                    "“Write it” adds it to " code { (location) } " and puts it in force."
                }
                (Edit::Refused, location) => {
                    "Paste the result into " code { (location) } "; with " code { "allow_edit = true" } " in " code { "[admin]" } " this page can write it."
                }
            }
        }
    }
}

fn name() -> Markup {
    let help = "Letters, digits, _, - and . between them: what logs, metrics and the path call it.";
    html! {
        div.field data-field=(NAME) data-input="text" {
            label for="f-name" { "Name " (required()) }
            input #f-name type="text" data-part="value" required placeholder="jira" spellcheck="false" autocapitalize="none" aria-describedby="f-name-help f-name-error";
            p.help #f-name-help { (help) }
            (error("f-name"))
        }
    }
}

fn auth_type() -> Markup {
    html! {
        div.field data-field=(TYPE) data-input="type" {
            label for="f-type" { "Type" }
            select #f-type data-part="value" aria-describedby="f-type-help f-type-error" {
                @for kind in &AUTH_TYPES { option value=(kind.name) { (kind.label) } }
            }
            p.help #f-type-help { "How the API is shown who calls. Its documentation says which." }
            (error("f-type"))
        }
    }
}

fn of_type(kind: &AuthType, page: &Page<'_>) -> Markup {
    let (rare, usual): (Vec<_>, Vec<_>) =
        (kind.fields.iter()).partition(|field| field.need == Need::Rare);
    let help = format!("{}-help", kind.name);
    html! {
        fieldset data-auth=(kind.name) aria-describedby=(help) {
            legend { (kind.label) }
            p.help id=(help) { (kind.help.replace(PUBLIC_URL, &page.public_url)) }
            @for field in usual { (field_of(kind.name, field)) }
            @if !rare.is_empty() {
                details {
                    summary { "More" }
                    @for field in rare { (field_of(kind.name, field)) }
                }
            }
        }
    }
}

/// What the script makes further rows of.
fn row_template() -> Markup {
    html! { template #row-template { (row("row", "row")) } }
}

/// The request of a trial.
fn request() -> Markup {
    html! {
        details {
            summary { "The request to try it with" }
            fieldset {
                legend { "Request" }
                label for="f-method" { "Method" }
                select #f-method aria-describedby="f-request-help" {
                    option value="" { "A harmless one" }
                    @for method in ["GET", "HEAD", "OPTIONS"] { option value=(method) { (method) } }
                }
                label for="f-path" { "Path after the base URL" }
                input #f-path type="text" placeholder="/user" spellcheck="false" autocapitalize="none" aria-describedby="f-request-help";
                p.help #f-request-help { "One that needs the credential and changes nothing tells most." }
            }
        }
    }
}

fn result() -> Markup {
    html! {
        section #result aria-labelledby="result-title" hidden {
            h2 #result-title tabindex="-1" { "Result" }
            p #result-status role="status" {}
            div #result-missing hidden {
                h3 { "Not there yet, where keybearer runs" }
                ul {}
            }
            div #result-trial hidden {
                h3 { "Trial" }
                p data-part="summary" {}
                table {
                    caption { "What was done, in this order" }
                    thead { tr { th scope="col" { "Phase" } th scope="col" { "Time" } th scope="col" { "Outcome" } } }
                    tbody {}
                }
                p data-part="injected" {}
                p.error data-part="failure" {}
            }
            h3 #result-toml-title { "Configuration" }
            p { button #copy type="button" { "Copy" } " " span #copied role="status" {} }
            pre #result-toml tabindex="0" aria-labelledby="result-toml-title" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::path::PathBuf;

    fn page() -> String {
        let location = Location::File(PathBuf::from("<k>.toml"));
        let page = Page {
            edit: Edit::Allowed,
            location: &location,
            public_url: "https://keys.example".to_owned(),
        };
        content(&page).into_string()
    }

    /// The values of an attribute.
    fn all<'p>(page: &'p str, attribute: &str) -> Vec<&'p str> {
        let start = format!(" {attribute}=\"");
        let parts = page.split(&start).skip(1);
        parts.map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[test]
    fn what_is_referred_to_is_there_once() {
        let page = page();
        let ids = all(&page, "id");
        let known: HashSet<_> = ids.iter().copied().collect();
        assert_eq!(known.len(), ids.len(), "an id twice");
        let referred = ["for", "aria-describedby", "aria-labelledby"];
        for attribute in referred {
            for reference in all(&page, attribute).iter().flat_map(|ids| ids.split(' ')) {
                // Those of the template are the script's to mend.
                let is_there = known.contains(reference) || reference.starts_with("row-");
                assert!(is_there, "{attribute}: no {reference}");
            }
        }
    }

    #[test]
    fn every_control_has_a_label() {
        let page = page();
        let labelled: HashSet<_> = all(&page, "for").into_iter().collect();
        for tag in ["<input", "<select", "<textarea"] {
            for control in page.split(tag).skip(1) {
                let end = control.find('>').unwrap();
                let id = all(&control[..end], "id");
                assert!(labelled.contains(id[0]), "{tag}{}", &control[..end]);
            }
        }
    }

    #[test]
    fn nothing_stands_in_the_way_of_a_strict_policy() {
        let page = page();
        for forbidden in [" style=", " onclick=", "<style", "javascript:", "<script"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("&lt;k&gt;.toml"), "paths are text");
        assert!(page.contains("Register https://keys.example/oauth/callback"));
        assert!(!page.contains(PUBLIC_URL));
    }
}
