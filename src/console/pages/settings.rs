//! A connection's settings as they are in force; of secrets, only where they come from.

use std::time::Duration;

use maud::{Markup, Render, html};

use super::words::bytes;
use crate::connection::auth::Auth;
use crate::connection::network::Road;
use crate::connection::{Connection, Cookies, HeaderCase, HttpVersion};

/// Settings as names and values, in the configuration's words.
pub(super) fn table(connection: &Connection) -> Markup {
    list(rows(connection))
}

/// Names and values.
pub(super) fn list(rows: impl IntoIterator<Item = (impl Render, impl Render)>) -> Markup {
    html! {
        dl.settings {
            @for (name, value) in rows {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

fn rows(connection: &Connection) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |key: &str, value: String| rows.push((key.to_owned(), value));
    row("prefix", connection.prefix.to_string());
    if !connection.hosts.is_empty() {
        row("hosts", connection.hosts.join(", "));
    }
    row("base_url", connection.base_url.to_string());
    row("auth.type", connection.auth.kind().to_owned());
    for (key, secret) in connection.auth.secrets() {
        row(&format!("auth.{key}"), format!("from {}", secret.origin()));
    }
    let injected = injected(&connection.auth);
    if !injected.is_empty() {
        row("injected", injected);
    }
    match &connection.road {
        Road::Agent(name) => row("network.agent", name.to_string()),
        Road::Proxied(_) => {
            let proxy = connection.proxy().map(ToString::to_string);
            row(
                "network.proxy",
                proxy.unwrap_or_else(|| "not for this host".into()),
            );
        }
        Road::Direct => {}
    }
    for (key, secret) in connection.road.secrets() {
        row(key, format!("from {}", secret.origin()));
    }
    tls(connection, &mut row);
    row("allow", connection.allow.to_string());
    let strip = connection.strip.headers.iter().map(ToString::to_string);
    let strip = strip.chain(connection.strip.query.iter().map(|name| format!("?{name}")));
    let strip: Vec<_> = strip.collect();
    if !strip.is_empty() {
        row("strip", strip.join(", "));
    }
    let http = match connection.http {
        HttpVersion::Auto => "auto",
        HttpVersion::Http11 => "1.1",
        HttpVersion::Http2 => "2",
    };
    row("http", http.to_owned());
    let cookies = match connection.cookies {
        Cookies::Pass => "pass",
        Cookies::Strip => "strip",
    };
    row("cookies", cookies.to_owned());
    row("retries", connection.retries.to_string());
    let timeouts = &connection.timeouts;
    for (key, time) in [
        ("timeouts.connect", timeouts.connect),
        ("timeouts.read", timeouts.read),
        ("timeouts.write", timeouts.write),
        ("timeouts.idle", timeouts.idle),
    ] {
        row(key, human(time));
    }
    row("limits.request_body", bytes(connection.limits.request_body));
    row("limits.signed_body", bytes(connection.limits.signed_body));
    if connection.header_case == HeaderCase::Preserve {
        row("preserve_header_case", "true".to_owned());
    }
    rows
}

fn tls(connection: &Connection, row: &mut impl FnMut(&str, String)) {
    let tls = &connection.tls;
    if let Some(client) = &tls.client {
        let leaf = client.leaf();
        let words = format!("{} (issued by {})", leaf.subject, leaf.issuer);
        row("tls.client_certificate", words);
        row("tls.client_key", format!("from {}", client.origin()));
    }
    if let Some(authorities) = &tls.ca_certificate {
        row(
            "tls.ca_certificate",
            format!("{} of its own", authorities.len()),
        );
    }
    if let Some(name) = &tls.server_name {
        row("tls.server_name", name.to_str().into_owned());
    }
    row("tls.min_version", tls.min_version.name().to_owned());
}

/// Names of what the credential fills, never a value.
pub(super) fn injected(auth: &Auth) -> String {
    let placement = auth.placement();
    let headers = placement.headers.iter().map(ToString::to_string);
    let params = placement.params.iter().map(|name| format!("?{name}"));
    headers.chain(params).collect::<Vec<_>>().join(", ")
}

fn human(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
