//! What all spans have: [`Frame`].

use super::super::context::{Context, SpanId};
use super::super::wire;

/// The numbers of `Span.SpanKind`.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// What all spans have.
pub(super) struct Frame {
    pub(super) context: Context,
    pub(super) parent: Option<SpanId>,
    /// Whether the parent is another process'.
    pub(super) is_remote: bool,
    pub(super) kind: Kind,
    pub(super) begun: u64,
    pub(super) ended: u64,
    pub(super) is_error: bool,
}

impl Frame {
    /// Appends the span: this, and what `rest` has of it.
    pub(super) fn write(&self, out: &mut Vec<u8>, rest: impl FnOnce(&mut Vec<u8>)) {
        const ERROR: u64 = 2;
        wire::nested(out, 2, |out| {
            wire::bytes(out, 1, &self.context.trace.to_bytes());
            wire::bytes(out, 2, &self.context.span.to_bytes());
            if let Some(parent) = self.parent {
                wire::bytes(out, 4, &parent.to_bytes());
            }
            wire::number(out, 6, self.kind as u64);
            wire::fixed64(out, 7, self.begun);
            wire::fixed64(out, 8, self.ended.max(self.begun));
            if self.is_error {
                wire::nested(out, 15, |out| wire::number(out, 3, ERROR));
            }
            wire::fixed32(out, 16, flags(self.context, self.is_remote));
            rest(out);
        });
    }
}

/// The flags of the trace, whether the parent is another process' and that this is known.
pub(super) fn flags(context: Context, is_remote: bool) -> u32 {
    const IS_KNOWN: u32 = 1 << 8;
    const IS_REMOTE: u32 = 1 << 9;
    u32::from(context.flags()) | IS_KNOWN | if is_remote { IS_REMOTE } else { 0 }
}
