//! Parts that several pages have: tables, and texts to copy.

use maud::{Markup, html};

/// The head of a table.
pub(super) fn columns(names: &[&str]) -> Markup {
    html! {
        thead {
            tr {
                @for name in names { th scope="col" { (name) } }
            }
        }
    }
}

/// A table that scrolls on its own where it is wider than the page. Its body has an id if it is a
/// [`Region`](super::Region).
pub(super) fn scrolled(label: &str, names: &[&str], id: Option<&str>, rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(label) {
            table.requests {
                (columns(names))
                tbody id=[id] { (rows) }
            }
        }
    }
}

/// A text, and a button that copies it.
pub(super) fn copied(label: &str, text: &str) -> Markup {
    html! {
        span.copied {
            code { (text) }
            button.copy type="button" data-copy=(text) aria-label={ "Copy " (label) } { "Copy" }
            span.away role="status" {}
        }
    }
}

/// What does the same on a command line, for whoever has no script.
pub(super) fn without_script(command: &str) -> Markup {
    html! {
        noscript { p { "This needs a script; or run " code { (command) } "." } }
    }
}
