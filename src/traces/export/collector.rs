//! One collector, and how it is spoken to: OTLP over HTTP, in binary (OTLP 1.9).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config;
use crate::connection::Timeouts;
use crate::connection::network::Road;
use crate::traces::context::{Context, TRACEPARENT};
use crate::traces::wire::{Value, fields};
use crate::upstream::content::Content;
use crate::upstream::{Attempt, Upstream, Upstreams};

/// How long is tried to send a batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long is waited before the second attempt, and twice as long before each other.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

const AGENT: &str = concat!("keybearer/", env!("CARGO_PKG_VERSION"));

/// Who takes spans.
pub(super) struct Collector {
    pub(super) settings: Arc<config::Traces>,
    upstream: Arc<Upstream>,
    target: Uri,
    fields: HeaderMap,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(super) struct Exported {
    /// How many of its spans were taken.
    pub(super) taken: usize,
    pub(super) lost: usize,
    /// Why any were lost, and what to do.
    pub(super) why: Option<String>,
}

/// Why an attempt failed.
struct Refused {
    why: String,
    /// When another may succeed; none if it will not.
    again: Option<Duration>,
}

impl Collector {
    /// # Errors
    /// It cannot be spoken to by these settings.
    pub(super) fn new(
        settings: &Arc<config::Traces>,
        upstreams: &Upstreams,
    ) -> Result<Self, String> {
        let base = &settings.endpoint;
        let upstream = upstreams.endpoint(&settings.tls, &Road::Direct, base);
        let upstream = upstream
            .map_err(|error| format!("`traces.tls` cannot be used ({error}); check its files"))?
            .ok_or("`traces.endpoint` names no server; set it to the URL of a collector")?;
        let path = format!("{}/v1/traces", base.path());
        let target = path
            .parse()
            .map_err(|_| "`traces.endpoint` has a path that cannot be sent")?;
        let mut fields = HeaderMap::new();
        fields.insert(HOST, base.host_field());
        fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let binary = HeaderValue::from_static("application/x-protobuf");
        fields.insert(CONTENT_TYPE, binary);
        for field in &settings.headers {
            let value = HeaderValue::from_str(field.value.expose());
            let mut value = value.map_err(|_| "a value of `traces.headers` cannot be sent")?;
            value.set_sensitive(true);
            fields.insert(HeaderName::clone(&field.name), value);
        }
        Ok(Self {
            settings: Arc::clone(settings),
            upstream,
            target,
            fields,
        })
    }

    /// Sends a message of so many spans, again where that may help.
    pub(super) async fn export(&self, message: Bytes, spans: usize) -> Exported {
        let until = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        loop {
            let refused = match timeout_at(until, self.post(message.clone())).await {
                Ok(Ok((rejected, why))) => {
                    let lost = rejected.min(spans);
                    let taken = spans - lost;
                    return Exported { taken, lost, why };
                }
                Ok(Err(refused)) => refused,
                Err(_) => Refused {
                    why: self.told(&format!("did not answer within {PATIENCE:?}; check that it runs, and that `traces.endpoint` is its OTLP/HTTP address")),
                    again: None,
                },
            };
            match refused.again.map(|wait| wait.max(pause)) {
                Some(wait) if Instant::now() + wait < until => sleep(wait).await,
                _ => {
                    return Exported {
                        taken: 0,
                        lost: spans,
                        why: Some(refused.why),
                    };
                }
            }
            pause *= 2;
        }
    }

    /// One attempt; gives how many spans were not taken, and why.
    async fn post(&self, message: Bytes) -> Result<(usize, Option<String>), Refused> {
        let mut request = Request::new(Content::held(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.fields.clone();
        // Where the way to the collector leads through keybearer, or whoever else traces, a batch is not
        // to cause another.
        let unsampled = Context::root(|_| false).traceparent();
        request.headers_mut().insert(TRACEPARENT, unsampled);
        let timeouts = Timeouts {
            read: PATIENCE,
            write: PATIENCE,
            ..Timeouts::default()
        };
        let attempt = Attempt {
            now: Instant::now(),
            fresh: false,
            repeatable: false,
        };
        let mut slot = Some(request);
        let sent = self.upstream.send(&mut slot, &timeouts, attempt);
        let response = sent.await.map_err(|failure| Refused {
            why: self.unreachable(failure.problem.detail()),
            again: Some(Duration::ZERO),
        })?;
        let (head, content) = response.into_parts();
        let content = Limited::new(content, MAX_ANSWER).collect().await;
        if !head.status.is_success() {
            return Err(self.refused(head.status, &head.headers));
        }
        // What was taken, was; what it says of the rest may be lost.
        let answer = content.map(|answer| answer.to_bytes()).unwrap_or_default();
        Ok(self.partly(&answer))
    }

    /// What stands in the way of an answer.
    fn unreachable(&self, detail: &str) -> String {
        let detail = detail
            .replace("base_url", "traces.endpoint")
            .replace(" tls.", " traces.tls.")
            .replace("the upstream", "the collector")
            .replace("upstream ", "collector ");
        format!("{detail}; check `traces.endpoint`, and that the collector runs")
    }

    fn refused(&self, status: StatusCode, headers: &HeaderMap) -> Refused {
        // The standard's list of what may pass.
        let may_pass = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        let wait = headers.get(RETRY_AFTER).and_then(|value| {
            let seconds = value.to_str().ok()?.parse().ok()?;
            // Longer than that it is not waited for, however long it may be.
            Some(Duration::from_secs(seconds).min(2 * PATIENCE))
        });
        let what = match status.as_u16() {
            401 | 403 => "check `traces.headers`",
            404 | 405 | 415 => {
                "check that `traces.endpoint` is the OTLP/HTTP address of a collector, without `/v1/traces`"
            }
            413 => "let it take messages of 1 MiB",
            429 => "lower `traces.sample`, or give it more room",
            300..=399 => "no redirect is followed: write the final URL into `traces.endpoint`",
            _ => "its own log says why",
        };
        Refused {
            why: self.told(&format!("answered {status}; {what}")),
            again: may_pass.then(|| wait.unwrap_or_default()),
        }
    }

    /// `ExportTracePartialSuccess`.
    fn partly(&self, answer: &[u8]) -> (usize, Option<String>) {
        let partly = fields(answer).find_map(|field| match field {
            (1, Value::Bytes(partly)) => Some(partly),
            _ => None,
        });
        let (mut rejected, mut message) = (0, "");
        for field in fields(partly.unwrap_or_default()) {
            match field {
                (1, Value::Number(count)) => rejected = usize::try_from(count).unwrap_or(0),
                (2, Value::Bytes(text)) => message = str::from_utf8(text).unwrap_or_default(),
                _ => {}
            }
        }
        // It may repeat what it was shown.
        let is_secret =
            (self.settings.headers.iter()).any(|field| message.contains(field.value.expose()));
        let message = if is_secret { "…" } else { message };
        let message: String = message
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        let why = || self.told(&format!("did not take all spans: {message}"));
        (rejected, (rejected > 0).then(why))
    }

    fn told(&self, what: &str) -> String {
        format!("the collector at {} {what}", self.settings.endpoint)
    }
}
