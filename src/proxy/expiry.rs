//! Whether an answer says that the credential has expired: [`is_sign`], by the connection's
//! `refresh_on`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::body::Answer;
use crate::connection::oauth2::{ExpirySignal, Member};
use crate::upstream::body::{AnswerFault, UpstreamBody};

/// How much of an answer's content a pattern is looked for in.
pub(super) const PATTERN_READS: usize = 8 << 10;

/// How long JSON content may be that is looked into.
const JSON_READS: usize = 64 << 10;

/// How long is waited for what is looked into: content that comes more slowly is a stream.
const PATIENCE: Duration = Duration::from_secs(1);

/// Media types of streams, which are not held back to be looked into.
const STREAMS: [&str; 7] = [
    "application/grpc",
    "application/json-seq",
    "application/jsonl",
    "application/stream+json",
    "application/x-ndjson",
    "application/x-json-stream",
    "text/event-stream",
];

/// The beginning of an answer's content, read already, and what follows.
pub(super) struct Peeked {
    pub(super) read: VecDeque<Frame<Bytes>>,
    /// How the reading ended, if it did not go well.
    pub(super) fault: Option<AnswerFault>,
    /// Whether the reader was given time to pass on what came before the fault.
    pub(super) flushed: bool,
    pub(super) rest: UpstreamBody,
}

impl Peeked {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.fault.is_some() && !std::mem::replace(&mut self.flushed, true) {
            // What was read is written before the fault is told, which ends the connection.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.fault.take() {
            Some(fault) => Poll::Ready(Some(Err(fault))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    pub(super) fn is_end(&self) -> bool {
        self.read.is_empty() && self.fault.is_none() && self.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let read = length(&self.read) as u64;
        match self.rest.size_hint().exact() {
            Some(rest) if self.fault.is_none() => SizeHint::with_exact(rest + read),
            _ => SizeHint::default(),
        }
    }
}

/// Whether an answer says that its credential has expired: 401, or what the connection lists.
///
/// Content that has to be looked at for that is read as far as is needed, and is handed on after.
pub(super) async fn is_sign(
    response: Response<Answer>,
    signals: Option<&[ExpirySignal]>,
) -> (bool, Response<Answer>) {
    let Some(signals) = signals else {
        return (response.status() == StatusCode::UNAUTHORIZED, response);
    };
    let (head, mut content) = response.into_parts();
    let fits = |signal: &&ExpirySignal| {
        signal.status.is_none_or(|status| status == head.status)
            && (signal.header.as_ref()).is_none_or(|name| head.headers.contains_key(name))
    };
    let mut found = false;
    for signal in signals.iter().filter(fits) {
        let wanted = match (&signal.body, &signal.json) {
            (None, None) => {
                found = true;
                break;
            }
            (_, Some(_)) if is_json(&head.headers) => JSON_READS,
            (Some(_), None) if is_readable(&head.headers) => PATTERN_READS,
            _ => continue,
        };
        let text;
        (text, content) = peek(content, wanted).await;
        if says(signal, &text) {
            found = true;
            break;
        }
    }
    (found, Response::from_parts(head, content))
}

fn says(signal: &ExpirySignal, text: &[u8]) -> bool {
    let start = &text[..text.len().min(PATTERN_READS)];
    let body = (signal.body.as_ref()).is_none_or(|pattern| pattern.0.is_match(start));
    body && (signal.json.as_ref()).is_none_or(|member| has(member, text))
}

fn has(member: &Member, text: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(text) else {
        return false;
    };
    match (json.pointer(&member.pointer), &member.equals) {
        (Some(found), Some(wanted)) => found == wanted,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Whether content can be looked into: it is neither encoded nor a stream without end.
pub(super) fn is_readable(headers: &HeaderMap) -> bool {
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let media = media(headers);
    plain && !STREAMS.iter().any(|stream| media.starts_with(stream))
}

fn is_json(headers: &HeaderMap) -> bool {
    is_readable(headers) && media(headers).contains("json")
}

fn media(headers: &HeaderMap) -> String {
    let media = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    media.unwrap_or_default().to_ascii_lowercase()
}

/// The first bytes of the content, as many as are wanted if there are so many, and all of it again.
pub(super) async fn peek(content: Answer, wanted: usize) -> (Bytes, Answer) {
    let mut peeked = match content {
        Answer::Upstream(rest) => Peeked {
            read: VecDeque::new(),
            fault: None,
            flushed: false,
            rest,
        },
        Answer::Peeked(peeked) => *peeked,
        // Our own answers say nothing of the upstream's credential.
        own @ (Answer::Nothing | Answer::Own(_)) => return (Bytes::new(), own),
    };
    let until = Instant::now() + PATIENCE;
    while length(&peeked.read) < wanted && peeked.fault.is_none() {
        let Ok(frame) = timeout_at(until, peeked.rest.frame()).await else {
            break;
        };
        match frame {
            Some(Ok(frame)) => peeked.read.push_back(frame),
            Some(Err(fault)) => peeked.fault = Some(fault),
            None => break,
        }
    }
    let mut text = BytesMut::with_capacity(length(&peeked.read));
    data(&peeked.read).for_each(|data| text.extend_from_slice(data));
    (text.freeze(), Answer::Peeked(Box::new(peeked)))
}

fn data(frames: &VecDeque<Frame<Bytes>>) -> impl Iterator<Item = &Bytes> {
    frames.iter().filter_map(Frame::data_ref)
}

fn length(frames: &VecDeque<Frame<Bytes>>) -> usize {
    data(frames).map(Bytes::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_found_by_pointer_and_value() {
        let member = |pointer: &str, equals| Member {
            pointer: pointer.into(),
            equals,
        };
        let text = br#"{"ok":false,"error":"invalid_auth","list":[{"code":190}]}"#;
        for (member, found) in [
            (member("/error", Some(json!("invalid_auth"))), true),
            (member("/error", Some(json!("ratelimited"))), false),
            (member("/error", None), true),
            (member("/list/0/code", Some(json!(190))), true),
            (member("/ok", Some(json!(false))), true),
            (member("/missing", None), false),
        ] {
            assert_eq!(has(&member, text), found, "{member:?}");
        }
        assert!(!has(&member("/error", None), b"<html>"));
    }
}
