//! `[traces]`: the collector that gets spans.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderName;

use super::auth::field_name;
use super::secret::{Secrets, field_value};
use super::tls::Authorities;
use crate::config::Traces;
use crate::config::fault::Fault;
use crate::config::mask::without_userinfo_and_query;
use crate::config::section::{Context, Entry, Section};
use crate::connection::Tls;
use crate::connection::auth::Field;
use crate::connection::url::{BaseUrl, Destination};

/// Fields that the exporter writes itself.
const OURS: [&str; 4] = [
    "content-type",
    "content-encoding",
    "traceparent",
    "tracestate",
];

/// `[traces]`; none if there are to be none.
pub(super) fn traces<'a>(
    section: Option<&Section<'a>>,
    context: &'a Context<'a>,
    secrets: &Secrets<'a>,
) -> Option<Arc<Traces>> {
    let section = section?;
    let endpoint = section.parse("endpoint", endpoint);
    if !section.has("endpoint") {
        let message = "`[traces]` needs an `endpoint`, the OTLP/HTTP address of a collector";
        section.missing("endpoint", message);
    }
    let headers = headers(section, secrets);
    let sample = section.ratio("sample").unwrap_or(1.0);
    let service_name = section.parse("service_name", |text| match text.trim() {
        "" => Err("`service_name` is empty"),
        _ => Ok(text.into()),
    });
    let attributes = attributes(section);
    let tls = section.section("tls");
    if let (Some(entry), Some(endpoint)) = (section.entry("tls"), &endpoint)
        && !endpoint.is_tls()
    {
        let message = "`tls` has no use, as `endpoint` is not `https://`";
        section.report("tls", Fault::at(entry.key_place, message));
    }
    let tls = Authorities::new(context, secrets).tls(tls.as_ref(), &Tls::default());
    Some(Arc::new(Traces {
        endpoint: endpoint?,
        headers,
        sample,
        service_name: service_name.unwrap_or_else(|| "keybearer".into()),
        attributes,
        tls,
    }))
}

fn endpoint(text: &str) -> Result<BaseUrl, String> {
    let base = BaseUrl::parse(text).map_err(|_| {
        let text = without_userinfo_and_query(text);
        format!("`{text}` is no collector; write `http://HOST:PORT` or `https://HOST:PORT`, without user name and query")
    })?;
    if *base.destination() == Destination::Echo {
        return Err("`builtin:echo` is no collector; write `http://HOST:PORT`".to_owned());
    }
    if base.path().ends_with("/v1/traces") {
        return Err("`/v1/traces` is appended to `endpoint`; leave it out".to_owned());
    }
    Ok(base)
}

fn headers<'a>(section: &Section<'a>, secrets: &Secrets<'a>) -> Vec<Field> {
    let Some(table) = section.section("headers") else {
        return Vec::new();
    };
    let mut taken = HashSet::new();
    let entries = table.entries();
    let fields = entries
        .iter()
        .filter_map(|entry| field(&table, entry, secrets, &mut taken));
    fields.collect()
}

fn field<'a>(
    table: &Section<'a>,
    entry: &Entry<'a>,
    secrets: &Secrets<'a>,
    taken: &mut HashSet<HeaderName>,
) -> Option<Field> {
    let refuse = |message: String| {
        table.report(entry.key, Fault::at(entry.key_place, message));
    };
    let name = match field_name(entry.key) {
        Ok(name) if OURS.contains(&name.as_str()) => {
            refuse(format!("`{}` is what keybearer sets itself", entry.key));
            None
        }
        Ok(name) if !taken.insert(name.clone()) => {
            refuse(format!("`{}` is set twice", entry.key));
            None
        }
        Ok(name) => Some(name),
        Err(error) => {
            refuse(error.to_string());
            None
        }
    };
    let value = secrets.take_at_load(table, entry.key)?;
    if let Err(error) = field_value(&value) {
        let message = format!("`{}` {error}", entry.key);
        table.report(entry.key, Fault::at(entry.place, message));
        return None;
    }
    Some(Field {
        name: name?,
        written: entry.key.into(),
        value,
    })
}

fn attributes(section: &Section<'_>) -> Vec<(Box<str>, Box<str>)> {
    let Some(table) = section.section("attributes") else {
        return Vec::new();
    };
    let mut attributes = Vec::new();
    for entry in table.entries() {
        match entry.key {
            "" => table.report("", Fault::at(entry.key_place, "an attribute has a name")),
            "service.name" => {
                let message = "`service.name` is set by `service_name`";
                table.report(entry.key, Fault::at(entry.key_place, message));
            }
            name => attributes.extend(entry.text().map(|text| (name.into(), text.text.into()))),
        }
    }
    attributes
}
