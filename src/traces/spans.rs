//! What a collector is sent: spans in the protocol of OpenTelemetry (OTLP 1), with the attributes of its
//! semantic conventions for HTTP, of which `docs/traces.md` has the table.

mod clock;
mod frame;
mod renewal;

use std::net::IpAddr;

use http::{Method, StatusCode, Version};

use self::clock::Clock;
use self::frame::{Frame, Kind};
use super::attribute::{boolean, number, text, text_in, text_of};
use super::handover::Ended;
use super::request::{Call, End, LONGEST_PATH, Noted};
use super::wire;
use crate::config;
use crate::connection::Connection;
use crate::connection::url::Destination;

/// Writes what is over, as long as one reading of the clocks is good for.
pub(super) struct Writer {
    clock: Clock,
    /// The address where the last request arrived, as text: most arrive at the same.
    local: Option<(IpAddr, String)>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::read(),
            local: None,
        }
    }

    /// Appends what is over to the spans of a message; gives how many they are.
    pub(super) fn write(&mut self, ended: Ended<'_>, out: &mut Vec<u8>) -> usize {
        match ended {
            Ended::Renewal(renewed) => renewal::write(renewed, self.clock, out),
            Ended::Request(noted, path) => self.write_request(noted, path, out),
        }
    }

    fn write_request(&mut self, noted: &Noted, path: &str, out: &mut Vec<u8>) -> usize {
        let clock = self.clock;
        let local = noted.end.local;
        let local = local.map(|local| (self.text_of(local.ip()), local.port()));
        write_server(noted, path, local, clock, out);
        let mut count = 1;
        for (resent, call) in noted.course.calls().enumerate() {
            write_client(noted, path, call, resent, clock, out);
            count += 1;
        }
        count
    }

    fn text_of(&mut self, address: IpAddr) -> &str {
        let known = self.local.take().filter(|(known, _)| *known == address);
        let (_, text) =
            (self.local).insert(known.unwrap_or_else(|| (address, address.to_string())));
        text
    }
}

/// What stands in a message before spans of this length in bytes, as `write` makes them: with these
/// behind it, the message is whole.
pub(super) fn head(settings: &config::Traces, instance: &str, length: usize) -> Vec<u8> {
    let mut scope = Vec::new();
    wire::nested(&mut scope, 1, |out| {
        wire::bytes(out, 1, b"keybearer");
        wire::bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
    });
    let mut inner = Vec::new();
    wire::nested(&mut inner, 1, |out| resource(settings, instance, out));
    wire::bytes(&mut inner, 3, SCHEMA);
    wire::begin(&mut inner, 2, scope.len() + length);
    inner.extend(scope);
    let mut head = Vec::new();
    wire::begin(&mut head, 1, inner.len() + length);
    head.extend(inner);
    head
}

/// Which version of the conventions the names of attributes are of.
const SCHEMA: &[u8] = b"https://opentelemetry.io/schemas/1.37.0";

fn write_server(
    noted: &Noted,
    path: &str,
    local: Option<(&str, u16)>,
    clock: Clock,
    out: &mut Vec<u8>,
) {
    let end = &noted.end;
    let is_server_error = end.status.is_some_and(|status| status.is_server_error());
    let frame = Frame {
        context: noted.context,
        parent: noted.course.parent,
        is_remote: noted.course.parent.is_some(),
        kind: Kind::Server,
        begun: clock.nanoseconds(end.begun),
        ended: clock.nanoseconds(end.ended),
        is_error: is_server_error || end.error.is_some(),
    };
    let (method, other) = method(&end.method);
    let route = end.connection.as_deref().and_then(|it| route(it, end));
    frame.write(out, |out| {
        if let Some(state) = noted.course.state() {
            wire::bytes(out, 3, state);
        }
        wire::nested(out, 5, |out| {
            out.extend_from_slice(method.unwrap_or("HTTP").as_bytes());
            if let Some(route) = route {
                out.push(b' ');
                out.extend_from_slice(route.as_bytes());
            }
        });
        text(out, "http.request.method", method.unwrap_or("_OTHER"));
        if let Some(other) = other {
            text(out, "http.request.method_original", other);
        }
        text(out, "url.scheme", "http");
        text(out, "url.path", cut(path));
        if let Some(route) = route {
            text(out, "http.route", route);
        }
        if let Some((address, port)) = local {
            text(out, "server.address", address);
            number(out, "server.port", port.into());
        }
        protocol(out, end.version);
        if let Some(status) = end.status {
            number(out, "http.response.status_code", status.as_u16().into());
        }
        match end.error {
            Some(error) => text(out, "error.type", error),
            None if is_server_error => error_status(out, end.status),
            None => {}
        }
        if let Some(connection) = &end.connection {
            text(out, "keybearer.connection", &connection.name);
        }
        if !end.is_whole {
            boolean(out, "keybearer.aborted", true);
        }
    });
}

/// The prefix that routed a request; none where its `Host` did.
fn route<'c>(connection: &'c Connection, end: &End) -> Option<&'c str> {
    match connection.prefix.as_str() {
        "" if connection.hosts.is_empty() => Some("/"),
        prefix if end.prefix_len == prefix.len() && !prefix.is_empty() => Some(prefix),
        _ => None,
    }
}

fn write_client(
    noted: &Noted,
    path: &str,
    call: &Call,
    resent: usize,
    clock: Clock,
    out: &mut Vec<u8>,
) {
    let end = &noted.end;
    let status = call.answer.map(|(status, _)| status);
    let is_error = status.is_none_or(is_refusal) || call.error.is_some();
    let frame = Frame {
        context: noted.context.with(call.span),
        parent: Some(noted.context.span),
        is_remote: false,
        kind: Kind::Client,
        begun: clock.nanoseconds(call.begun),
        ended: clock.nanoseconds(call.ended.unwrap_or(end.ended)),
        is_error,
    };
    let (method, other) = method(&end.method);
    frame.write(out, |out| {
        if let Some(state) = noted.course.state() {
            wire::bytes(out, 3, state);
        }
        wire::bytes(out, 5, method.unwrap_or("HTTP").as_bytes());
        text(out, "http.request.method", method.unwrap_or("_OTHER"));
        if let Some(other) = other {
            text(out, "http.request.method_original", other);
        }
        if let Some(connection) = &end.connection {
            let rest = path.get(end.prefix_len..).unwrap_or_default();
            upstream(out, connection, rest);
            text(out, "keybearer.connection", &connection.name);
        }
        if resent > 0 {
            number(out, "http.request.resend_count", resent as u64);
        }
        if let Some((status, version)) = call.answer {
            number(out, "http.response.status_code", status.as_u16().into());
            protocol(out, version);
        }
        match call.error {
            Some(error) => text(out, "error.type", error),
            None if status.is_none() => text(out, "error.type", "cancelled"),
            None if is_error => error_status(out, status),
            None => {}
        }
    });
}

fn cut(path: &str) -> &str {
    &path[..path.floor_char_boundary(LONGEST_PATH)]
}

/// Where requests of a connection go, with what follows the prefix in the caller's path.
fn upstream(out: &mut Vec<u8>, connection: &Connection, rest: &str) {
    let base = &connection.base_url;
    let Destination::Server { scheme, host, port } = base.destination() else {
        return;
    };
    // An IPv6 address stands in brackets.
    let (open, close) = match host.contains(':') {
        true => ("[", "]"),
        false => ("", ""),
    };
    let number_of_port;
    let (colon, written_port) = match *port == scheme.default_port() {
        true => ("", ""),
        false => {
            number_of_port = port.to_string();
            (":", number_of_port.as_str())
        }
    };
    let rest = match rest {
        "" if base.path().is_empty() || base.ends_with_slash() => "/",
        rest => cut(rest),
    };
    let url = [
        scheme.as_str(),
        "://",
        open,
        host,
        close,
        colon,
        written_port,
        base.path(),
        rest,
    ];
    text_of(out, "url.full", url);
    text(out, "server.address", host);
    number(out, "server.port", (*port).into());
}

fn resource(settings: &config::Traces, instance: &str, out: &mut Vec<u8>) {
    let ours = [
        ("service.name", &*settings.service_name),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", instance),
    ];
    let own = |name: &str| settings.attributes.iter().any(|(key, _)| **key == *name);
    for (name, value) in ours.into_iter().filter(|(name, _)| !own(name)) {
        text_in(out, 1, name, value);
    }
    for (name, value) in &settings.attributes {
        text_in(out, 1, name, value);
    }
}

/// The method as the conventions know it, and what it was if they do not.
fn method(method: &Method) -> (Option<&str>, Option<&str>) {
    /// An original one is cut behind that, as it is the caller's.
    const LONGEST: usize = 32;
    let text = method.as_str();
    match text {
        "CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT" | "TRACE" => {
            (Some(text), None)
        }
        // A method is ASCII (RFC 9110 section 9.1).
        _ => (None, text.get(..LONGEST).or(Some(text))),
    }
}

fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn error_status(out: &mut Vec<u8>, status: Option<StatusCode>) {
    if let Some(status) = status {
        text(out, "error.type", status.as_str());
    }
}

fn protocol(out: &mut Vec<u8>, version: Version) {
    let version = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    text(out, "network.protocol.version", version);
}
