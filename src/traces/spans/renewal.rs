//! The spans of a renewal, and of what it asks.

use super::super::attribute::{number, text};
use super::super::renewal::{Asked, Renewed};
use super::super::wire;
use super::clock::Clock;
use super::frame::{Frame, Kind, flags};

/// Appends a renewal's spans; gives how many they are.
pub(super) fn write(renewed: &Renewed, clock: Clock, out: &mut Vec<u8>) -> usize {
    let context = renewed.context;
    let frame = Frame {
        context,
        parent: renewed.parent.map(|parent| parent.span),
        is_remote: false,
        kind: Kind::Internal,
        begun: clock.nanoseconds(renewed.begun),
        ended: clock.nanoseconds(renewed.ended),
        is_error: renewed.error.is_some(),
    };
    frame.write(out, |out| {
        wire::bytes(out, 5, b"renew credential");
        text(out, "keybearer.connection", &renewed.connection);
        if let Some(error) = renewed.error {
            text(out, "error.type", error);
        }
        for other in &renewed.others {
            wire::nested(out, 13, |out| {
                wire::bytes(out, 1, &other.trace.to_bytes());
                wire::bytes(out, 2, &other.span.to_bytes());
                wire::fixed32(out, 6, flags(*other, false));
            });
        }
    });
    for asked in &renewed.asked {
        write_asked(renewed, asked, clock, out);
    }
    1 + renewed.asked.len()
}

fn write_asked(renewed: &Renewed, asked: &Asked, clock: Clock, out: &mut Vec<u8>) {
    let is_refusal = asked.status.is_none_or(|status| status >= 400);
    let frame = Frame {
        context: renewed.context.child(),
        parent: Some(renewed.context.span),
        is_remote: false,
        kind: Kind::Client,
        begun: clock.nanoseconds(asked.begun),
        ended: clock.nanoseconds(asked.ended),
        is_error: is_refusal || asked.error.is_some(),
    };
    frame.write(out, |out| {
        wire::bytes(out, 5, asked.method.as_bytes());
        text(out, "http.request.method", asked.method);
        text(out, "url.full", &asked.url);
        text(out, "server.address", &asked.host);
        number(out, "server.port", asked.port.into());
        if let Some(status) = asked.status {
            number(out, "http.response.status_code", status.into());
        }
        match (asked.error, asked.status) {
            (Some(error), _) => text(out, "error.type", error),
            (None, Some(status @ 400..)) => text(out, "error.type", &status.to_string()),
            (None, _) => {}
        }
        text(out, "keybearer.connection", &renewed.connection);
    });
}
