//! What went wrong with an upstream, as hyper tells it, in words for the caller.

use std::error::Error;
use std::io;

use rustls::AlertDescription;

use super::content::ContentFault;
use crate::problem::{Kind, Problem};

/// An attempt that brought no answer.
#[derive(Debug)]
pub struct Failure {
    /// What the caller is told if there is no other attempt.
    pub problem: Problem,
    /// Whether there may be one.
    pub retry: Retry,
    /// The alert that the upstream ended TLS with, if it did.
    pub alert: Option<AlertDescription>,
}

/// Whether a failed attempt may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing reached the upstream.
    Always,
    /// The upstream may have acted on it: only where acting twice is acting once.
    Idempotent,
    /// Another attempt would fail alike.
    Never,
}

impl Failure {
    /// An attempt that failed in the way that `retry` says.
    #[cold]
    pub fn new(problem: Problem, retry: Retry) -> Self {
        Self {
            problem,
            retry,
            alert: None,
        }
    }

    /// Tells hyper's errors apart.
    pub fn from_hyper(error: &hyper::Error) -> Self {
        if let Some(fault) = find::<ContentFault>(error) {
            return Self::new(content_problem(fault), Retry::Never);
        }
        if error.is_parse_too_large() {
            let text = "the head of the upstream's answer is larger than keybearer reads";
            return Self::never(Kind::ResponseHeadTooLarge, text);
        }
        if error.is_parse() {
            let text = format!(
                "the upstream's answer is not HTTP/1.1 ({}); check scheme and port of base_url",
                chain(error)
            );
            return Self::never(Kind::ProtocolError, &text);
        }
        let io = find::<io::Error>(error);
        let text = match io {
            Some(io) => format!("the upstream broke the connection before it answered ({io})"),
            None => "the upstream closed the connection before it answered".to_owned(),
        };
        Self {
            problem: Problem::new(Kind::ConnectionTerminated, text),
            retry: Retry::Idempotent,
            alert: io.and_then(alert),
        }
    }

    fn never(kind: Kind, text: &str) -> Self {
        Self::new(Problem::new(kind, text), Retry::Never)
    }
}

/// The answer to content that could not be read or sent whole.
pub fn content_problem(fault: &ContentFault) -> Problem {
    let too_large = |limit, key| {
        let text = format!("the content is longer than {limit} bytes; raise {key} if it may be");
        Problem::new(Kind::ContentTooLarge, text)
    };
    let problem = match fault {
        ContentFault::Caller(_) | ContentFault::Superseded => {
            let text = "the request's content broke off or is not framed as HTTP asks";
            Problem::new(Kind::MalformedRequest, text)
        }
        ContentFault::Malformed(malformed) => {
            let text = format!(
                "the request's `aws-chunked` content is broken: {malformed}; it was not sent on whole"
            );
            Problem::new(Kind::ContentMalformed, text)
        }
        ContentFault::Mismatch(mismatch) => {
            let text = format!("the request's content cannot be sent as `aws-chunked`: {mismatch}");
            Problem::new(Kind::ContentMalformed, text)
        }
        ContentFault::Stalled(read) => {
            let text = format!("the request's content stopped for timeouts.read ({read:?})");
            Problem::new(Kind::CallerTimeout, text)
        }
        ContentFault::TooLarge(limit) => too_large(limit, "limits.request_body"),
        ContentFault::TooLargeToHold(limit) => too_large(limit, "limits.signed_body"),
    };
    problem.closing()
}

/// The first cause of this type.
pub(super) fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref())
}

/// What TLS says of an error of its stream.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The alert that ended TLS.
pub(super) fn alert(error: &io::Error) -> Option<AlertDescription> {
    match tls_error(error)? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// An error and its causes, joined with `: `.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let texts =
        std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string);
    texts.collect::<Vec<_>>().join(": ")
}
