//! The controls of a field: tied to its label, its help and its errors by ids.

use maud::{Markup, html};

use super::fields::{Content, Field, Input, Literal, Need};

/// A field, whose ids begin with the group that it stands in.
pub(super) fn field_of(group: &str, field: &Field) -> Markup {
    let id = format!("f-{group}-{}", field.key.replace(['.', '_'], "-"));
    match field.input {
        Input::Choice(words) => labelled(
            &id,
            field,
            "choice",
            &html! {
                select id=(id) data-part="value" aria-describedby=(described(&id)) {
                    @for (index, word) in words.iter().enumerate() {
                        // The first is what holds if nothing is said.
                        option value=(if index == 0 { "" } else { *word }) { (word) }
                    }
                }
            },
        ),
        Input::Text(example) => labelled(
            &id,
            field,
            "text",
            &html! {
                input id=(id) type="text" data-part="value" required[field.need == Need::Required] placeholder=(example) spellcheck="false" autocapitalize="none" aria-describedby=(described(&id));
            },
        ),
        Input::OneOrMore => labelled(&id, field, "one-or-more", &lines(&id)),
        Input::Texts => labelled(&id, field, "list", &lines(&id)),
        Input::File(content) => file(&id, field, content),
        Input::Secret(literal) => secret(&id, field, literal),
        Input::Secrets => secrets(&id, field),
    }
}

/// Texts, one a line.
fn lines(id: &str) -> Markup {
    html! {
        textarea id=(id) data-part="value" rows="3" spellcheck="false" autocapitalize="none" aria-describedby=(described(id)) {}
    }
}

fn labelled(id: &str, field: &Field, input: &str, control: &Markup) -> Markup {
    html! {
        div.field data-field=(field.key) data-input=(input) {
            label for=(id) { (field.label) @if field.need == Need::Required { " " (required()) } }
            (control)
            p.help id={ (id) "-help" } { (field.help) }
            (error(id))
        }
    }
}

pub(super) fn required() -> Markup {
    html! { span.required { "(required)" } }
}

pub(super) fn described(id: &str) -> String {
    format!("{id}-help {id}-error")
}

/// Where what is wrong with a field is told.
pub(super) fn error(id: &str) -> Markup {
    html! { p.error id={ (id) "-error" } data-part="error" {} }
}

/// A field of several controls, which its legend names together.
fn group(id: &str, field: &Field, input: &str, content: &Markup) -> Markup {
    html! {
        fieldset.field data-field=(field.key) data-input=(input) aria-describedby=(described(id)) {
            legend { (field.label) @if field.need == Need::Required { " " (required()) } }
            p.help id={ (id) "-help" } { (field.help) }
            (content)
            (error(id))
        }
    }
}

fn file(id: &str, field: &Field, content: Content) -> Markup {
    let what = match content {
        Content::Pem => "Its content, to try it now (PEM)",
        Content::Pkcs12 => "Its content, to try it now (base64)",
    };
    group(
        id,
        field,
        "file",
        &html! {
            label for={ (id) "-path" } { "Path, where keybearer runs" }
            input id={ (id) "-path" } type="text" data-part="value" spellcheck="false" autocapitalize="none" aria-describedby=(described(id));
            label for={ (id) "-trial" } { (what) }
            textarea id={ (id) "-trial" } data-part="trial" rows="3" spellcheck="false" autocomplete="off" aria-describedby=(described(id)) {}
        },
    )
}

fn secret(id: &str, field: &Field, literal: Literal) -> Markup {
    group(
        id,
        field,
        "secret",
        &html! {
            (source(id, literal))
            @if literal == Literal::Key {
                label for={ (id) "-trial" } { "The key itself, to try it now: it is not kept" }
                textarea id={ (id) "-trial" } data-part="trial" rows="3" spellcheck="false" autocomplete="off" aria-describedby=(described(id)) {}
            } @else {
                (trial(id, id))
            }
        },
    )
}

/// Where a secret comes from.
fn source(id: &str, literal: Literal) -> Markup {
    let written = match literal {
        Literal::Any | Literal::Url => Some("Plain text, in the configuration"),
        Literal::Empty => Some("Nowhere: it is empty"),
        Literal::Key | Literal::No => None,
    };
    let env = html! { option value="env" { "An environment variable of keybearer" } };
    html! {
        label for={ (id) "-source" } { "Comes from" }
        select id={ (id) "-source" } data-part="source" aria-describedby=(described(id)) {
            @if literal == Literal::Key { option value="file" { "A file" } (env) }
            @else if let (Some(text), Literal::Any | Literal::Url) = (written, literal) {
                option value="text" { (text) } (env) option value="file" { "A file" }
            }
            @else {
                (env) option value="file" { "A file" }
                @if let Some(text) = written { option value="empty" { (text) } }
            }
        }
        label for={ (id) "-value" } data-part="value-label" { "Name, path or text" }
        input id={ (id) "-value" } type="text" data-part="value" spellcheck="false" autocapitalize="none" autocomplete="off" aria-describedby=(described(id));
        details data-part="format-box" {
            summary { "Format" }
            label for={ (id) "-format" } { "A text around it, with {} where it goes" }
            input id={ (id) "-format" } type="text" data-part="format" spellcheck="false" autocapitalize="none" autocomplete="off" placeholder="Token {}" aria-describedby=(described(id));
        }
    }
}

/// For a value that is typed in; `group` has the help and the errors.
fn trial(id: &str, group: &str) -> Markup {
    html! {
        label for={ (id) "-trial" } data-part="trial-label" { "The value itself, to try it now: it is not kept" }
        input id={ (id) "-trial" } type="password" data-part="trial" autocomplete="off" aria-describedby=(described(group));
    }
}

fn secrets(id: &str, field: &Field) -> Markup {
    group(
        id,
        field,
        "secrets",
        &html! {
            div data-part="rows" { (row(&format!("{id}-0"), id)) }
            button type="button" data-part="add" { "Add another" }
        },
    )
}

/// A name with what it carries; `group` has the help and the errors.
pub(super) fn row(id: &str, group: &str) -> Markup {
    html! {
        fieldset data-part="row" aria-describedby=(described(group)) {
            legend { "Entry" }
            label for={ (id) "-name" } { "Name" }
            input id={ (id) "-name" } type="text" data-part="name" spellcheck="false" autocapitalize="none" autocomplete="off" aria-describedby=(described(group));
            label for={ (id) "-source" } { "Comes from" }
            select id={ (id) "-source" } data-part="source" {
                option value="env" { "An environment variable of keybearer" }
                option value="file" { "A file" }
                option value="text" { "Plain text, in the configuration" }
            }
            label for={ (id) "-value" } { "Name of the variable, path or text" }
            input id={ (id) "-value" } type="text" data-part="value" spellcheck="false" autocapitalize="none" autocomplete="off" aria-describedby=(described(group));
            details data-part="format-box" {
                summary { "Format" }
                label for={ (id) "-format" } { "A text around it, with {} where it goes" }
                input id={ (id) "-format" } type="text" data-part="format" spellcheck="false" autocapitalize="none" autocomplete="off" placeholder="Token {}";
            }
            (trial(id, group))
            button type="button" data-part="remove" { "Remove this entry" }
        }
    }
}
