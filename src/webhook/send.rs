//! One attempt: a delivery to its target, or through a connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::delivery::Head;
use super::queue::Id;
use crate::connection::Timeouts;
use crate::connection::network::Road;
use crate::connection::url::BaseUrl;
use crate::connection::webhook::{Endpoint, Target};
use crate::problem::PROXY_STATUS;
use crate::proxy::{Proxy, inward};
use crate::upstream::content::Content;
use crate::upstream::{Attempt, Upstream, Upstreams};

/// What a delivery is known by; the sender's own, where it sends one (Standard Webhooks).
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");

/// What browsers say of themselves: no browser sends webhooks, and the proxy would believe it.
const OF_BROWSERS: [HeaderName; 5] = [
    ORIGIN,
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-user"),
];

/// The longest answer that is read, in bytes; of a longer one nothing is wanted either.
const MAX_ANSWER: usize = 64 << 10;

/// The longest text that is kept of what went wrong, in characters.
const LONGEST_TOLD: usize = 500;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether another attempt would end alike.
    pub(super) is_final: bool,
    /// 0 where there was none.
    pub(super) status: u16,
    /// What went wrong, and what to do; empty if nothing did.
    pub(super) told: String,
    /// For how long no other attempt is wanted.
    pub(super) retry_after: Option<Duration>,
}

/// The way to an endpoint's target.
pub(super) enum Way {
    Connection {
        proxy: Arc<Proxy>,
        name: Arc<str>,
        path: Box<str>,
    },
    Server {
        upstream: Arc<Upstream>,
        url: BaseUrl,
    },
    /// There is none by these settings.
    Broken(String),
}

impl Way {
    pub(super) fn new(endpoint: &Endpoint, upstreams: &Upstreams, proxy: &Arc<Proxy>) -> Self {
        match &endpoint.target {
            Target::Connection { name, path } => Self::Connection {
                proxy: Arc::clone(proxy),
                name: Arc::clone(name),
                path: path.clone(),
            },
            Target::Url(url) => match upstreams.endpoint(&endpoint.tls, &Road::Direct, url) {
                Ok(Some(upstream)) => Self::Server {
                    upstream,
                    url: url.clone(),
                },
                Ok(None) => Self::Broken("`target` names no server".to_owned()),
                Err(error) => Self::Broken(format!(
                    "`tls` of the endpoint cannot be used ({error}); check its files"
                )),
            },
        }
    }

    /// Sends a delivery once.
    pub(super) async fn send(
        &self,
        id: Id,
        content: Zeroizing<Vec<u8>>,
        limit: Duration,
    ) -> Answer {
        let Some((head, at)) = Head::unpacked(&content) else {
            return Answer::unsendable();
        };
        let body = Bytes::from_owner(content).slice(at..);
        let sent = async {
            match self {
                Self::Connection { proxy, name, path } => {
                    through(proxy, name, path, id, &head, body).await
                }
                Self::Server { upstream, url } => {
                    direct(upstream, url, id, &head, body, limit).await
                }
                Self::Broken(why) => Answer::none(why.clone()),
            }
        };
        timeout(limit, sent).await.unwrap_or_else(|_| {
            Answer::none(format!(
                "it was not answered within {limit:?}; let the target answer first and work afterwards, or raise `timeout`"
            ))
        })
    }
}

impl Answer {
    pub(super) fn none(told: impl Into<String>) -> Self {
        Self {
            is_final: false,
            status: 0,
            told: told.into().chars().take(LONGEST_TOLD).collect(),
            retry_after: None,
        }
    }

    /// What no other attempt could send, either.
    fn unsendable() -> Self {
        Self {
            is_final: true,
            ..Self::none(
                "no request can be made of it: its path or a field is too long, or what was kept of it makes no sense",
            )
        }
    }

    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let told = match status.as_u16() {
            200..=299 => String::new(),
            300..=399 => format!("answered {status}; no redirect is followed: write the final URL"),
            401 | 403 => format!(
                "answered {status}; it wants a credential: deliver through a `connection` that has it"
            ),
            404 | 405 => format!("answered {status}; check the path"),
            413 => format!("answered {status}; let it take what `limits.request_body` takes"),
            _ => format!("answered {status}; its own log says why"),
        };
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| {
            let text = value.to_str().ok()?;
            // Seconds, or a date (RFC 9110 section 10.2.3).
            let date = || httpdate::parse_http_date(text).ok()?.elapsed().err();
            let seconds = text.parse().ok().map(Duration::from_secs);
            seconds.or_else(|| Some(date()?.duration()))
        });
        Self {
            is_final: false,
            status: status.as_u16(),
            told,
            retry_after,
        }
    }
}

async fn direct(
    upstream: &Arc<Upstream>,
    url: &BaseUrl,
    id: Id,
    head: &Head,
    body: Bytes,
    limit: Duration,
) -> Answer {
    let target = joined(url.path(), url.ends_with_slash(), head);
    let request = request(head, id, target, url.host_field(), Content::held(body));
    let Some(request) = request else {
        return Answer::unsendable();
    };
    // The attempt as a whole ends before.
    let patience = limit.saturating_mul(2);
    let timeouts = Timeouts {
        read: patience,
        write: patience,
        ..Timeouts::default()
    };
    let attempt = Attempt {
        now: Instant::now(),
        fresh: false,
        // At least once is what is promised.
        repeatable: true,
    };
    let mut slot = Some(request);
    match upstream.send(&mut slot, &timeouts, attempt).await {
        Ok(response) => answered(response).await,
        Err(failure) => {
            let detail = failure.problem.detail().replace("base_url", "target");
            Answer::none(detail.replace("the upstream", "the target"))
        }
    }
}

async fn through(
    proxy: &Arc<Proxy>,
    name: &Arc<str>,
    path: &str,
    id: Id,
    head: &Head,
    body: Bytes,
) -> Answer {
    let live = proxy.reader().take().live(name).cloned();
    let Some(live) = live else {
        return Answer::none(format!("there is no connection `{name}` any more"));
    };
    let ends_with_slash = path.ends_with('/');
    let path = path.trim_end_matches('/');
    let base = format!("{}{path}", live.connection.prefix.as_str());
    let target = joined(&base, ends_with_slash, head);
    if let Some(other) = inward::routed_elsewhere(proxy, &live, &target) {
        return Answer::none(format!(
            "requests of this path go to the connection `{other}`, by its `hosts` or its longer prefix"
        ));
    }
    let Ok(host) = HeaderValue::try_from(inward::host()) else {
        return Answer::unsendable();
    };
    let Some(mut request) = request(head, id, target, host, Full::new(body)) else {
        return Answer::unsendable();
    };
    for name in OF_BROWSERS {
        request.headers_mut().remove(name);
    }
    match inward::exchange(proxy, request).await {
        Ok(response) => told_by_proxy(response).await,
        Err(error) => Answer::none(format!("it was not answered: {error}")),
    }
}

/// What a target answered.
async fn answered<B: Body>(response: Response<B>) -> Answer
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, content) = response.into_parts();
    // Read, so that the connection can be used again.
    let _ = Limited::new(content, MAX_ANSWER).collect().await;
    Answer::of(head.status, &head.headers)
}

/// The same by way of the proxy, which may have answered by itself.
async fn told_by_proxy(response: Response<Incoming>) -> Answer {
    #[derive(Deserialize)]
    struct Told {
        detail: String,
    }
    let (head, content) = response.into_parts();
    let mut answer = Answer::of(head.status, &head.headers);
    let content = Limited::new(content, MAX_ANSWER).collect().await;
    let ours = |value: &HeaderValue| value.as_bytes().starts_with(b"keybearer;");
    if head.headers.get_all(PROXY_STATUS).iter().any(ours)
        && let Ok(content) = content
        && let Ok(Told { detail }) = serde_json::from_slice(&content.to_bytes())
    {
        answer.told = detail.chars().take(LONGEST_TOLD).collect();
    }
    answer
}

/// The target's path, what followed the endpoint's ID, and the query, byte for byte.
fn joined(base: &str, ends_with_slash: bool, head: &Head) -> String {
    let slash = match head.rest.is_empty() && (base.is_empty() || ends_with_slash) {
        true => "/",
        false => "",
    };
    let (mark, query) = match &head.query {
        Some(query) => ("?", query.as_str()),
        None => ("", ""),
    };
    [base, slash, &head.rest, mark, query].concat()
}

fn request<B>(
    head: &Head,
    id: Id,
    target: String,
    host: HeaderValue,
    content: B,
) -> Option<Request<B>>
where
    B: Body,
{
    let mut request = Request::new(content);
    *request.method_mut() = Method::from_bytes(head.method.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    let mut headers = head.headers();
    if let Some(length) = request.body().size_hint().exact()
        && (length > 0 || request.method() == Method::POST)
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    headers.insert(HOST, host);
    if !headers.contains_key(WEBHOOK_ID) {
        let id = HeaderValue::try_from(id.to_string()).ok()?;
        headers.insert(WEBHOOK_ID, id);
    }
    *request.headers_mut() = headers;
    Some(request)
}
