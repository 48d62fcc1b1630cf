//! One exchange with an endpoint of an authorization server: [`Endpoint`].
//!
//! It goes the way that the connection's own requests go, within a bounded time, for an answer of
//! bounded length, and follows no redirect: a form with a secret in it goes where the configuration
//! says, and nowhere else. What an answer means is known by the modules above.

mod traced;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER,
    USER_AGENT,
};
use http::request::Builder;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use url::Url;
use zeroize::Zeroizing;

use crate::connection::network::Road;
use crate::connection::proxy::Proxy;
use crate::connection::url::BaseUrl;
use crate::connection::{Connection, Timeouts, Tls};
use crate::upstream::body::{AnswerFault, UpstreamBody};
use crate::upstream::content::Content;
use crate::upstream::{Attempt, Upstream, Upstreams};

/// How long a whole exchange may take.
pub const EXCHANGE: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// An endpoint of an authorization server, and the way to it.
#[derive(Debug)]
pub struct Endpoint {
    role: Role,
    url: Url,
    base: BaseUrl,
    upstream: Arc<Upstream>,
    way: Way,
    limit: Duration,
}

/// How a connection's endpoints are reached and trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Its `server_name` is for the base URL alone.
    pub(super) tls: Tls,
    pub(super) road: Road,
    /// For the connection alone.
    pub(super) connect: Duration,
}

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// RFC 8628 section 3.1.
    DeviceAuthorization,
    /// RFC 8414 section 3.
    Metadata,
    /// RFC 6749 section 3.2.
    Token,
}

/// An endpoint's answer.
pub struct Answer {
    /// Its status code; never that of a redirect.
    pub status: StatusCode,
    /// The media type that it claims to have, lower case, without parameters.
    pub media_type: Option<Box<str>>,
    /// For how long no other request is wanted (RFC 9110 section 10.2.3).
    pub retry_after: Option<Duration>,
    /// What it says.
    pub content: Zeroizing<Vec<u8>>,
}

/// Why an exchange brought no answer; each says the endpoint, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    /// The network or the server failed, which may pass.
    #[error("{0}")]
    Unreachable(String),
    /// Another exchange would end alike.
    #[error("{0}")]
    Unusable(String),
}

impl Role {
    /// The key of the configuration that holds its URL.
    pub fn key(self) -> &'static str {
        match self {
            Self::DeviceAuthorization => "device_authorization_url",
            Self::Metadata => "authorization_server",
            Self::Token => "token_url",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeviceAuthorization => "device authorization endpoint",
            Self::Metadata => "authorization server metadata",
            Self::Token => "token endpoint",
        })
    }
}

impl Endpoint {
    /// The endpoint at `url`, on the way that `connection` takes; an exchange takes `limit` at most.
    ///
    /// # Errors
    /// The URL leads to no server, or the connection's certificates cannot be trusted.
    pub fn new(
        upstreams: &Upstreams,
        connection: &Connection,
        role: Role,
        url: &Url,
        limit: Duration,
    ) -> Result<Self, FetchFault> {
        let way = Way {
            tls: connection.tls.clone(),
            road: connection.road.clone(),
            connect: connection.timeouts.connect,
        };
        Self::on(upstreams, way, role, url, limit)
    }

    /// The same on a way that is known by itself.
    pub(super) fn on(
        upstreams: &Upstreams,
        way: Way,
        role: Role,
        url: &Url,
        limit: Duration,
    ) -> Result<Self, FetchFault> {
        let shown = shown(url);
        let unusable = |why: String| FetchFault::Unusable(format!("{role} {shown}: {why}"));
        let base = BaseUrl::parse(shown.as_str())
            .map_err(|_| unusable("its URL is not `https://…` or `http://…`".to_owned()))?;
        let upstream = upstreams
            .endpoint(&way.tls, &way.road, &base)
            .map_err(|error| unusable(format!("no TLS configuration can be made: {error}")))?
            .ok_or_else(|| unusable("its URL names no server".to_owned()))?;
        Ok(Self {
            role,
            url: url.clone(),
            base,
            upstream,
            way,
            limit,
        })
    }

    /// How it is reached.
    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    /// The proxy on its way, if there is one.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.upstream.proxy()
    }

    /// The DNS servers that are asked on its way; none: the system's.
    pub(super) fn dns(&self) -> Arc<[SocketAddr]> {
        self.upstream.dns()
    }

    /// How long an exchange may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Its URL as requests are sent to it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Sends a form, with the client's `Authorization` where it has one.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn post(
        &self,
        form: Zeroizing<Vec<u8>>,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, FetchFault> {
        let mut request = self.request(Method::POST).header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let content = Content::held(Bytes::from_owner(form));
        self.exchange(request, content).await
    }

    /// Asks for what it has to say.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn get(&self) -> Result<Answer, FetchFault> {
        self.exchange(self.request(Method::GET), Content::Empty)
            .await
    }

    fn request(&self, method: Method) -> Builder {
        let target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.base.host_field())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, HeaderValue::from_static(AGENT))
            // Exchanges are minutes apart: a connection that is kept would be closed meanwhile, and
            // a form that was sent on it could have been acted on.
            .header(CONNECTION, HeaderValue::from_static("close"))
    }

    async fn exchange(&self, request: Builder, content: Content) -> Result<Answer, FetchFault> {
        let request = request.body(content).map_err(|_| {
            self.unusable("its URL has characters that cannot be sent; percent-encode them")
        })?;
        let method = match request.method() {
            &Method::POST => "POST",
            _ => "GET",
        };
        let sent = async {
            match timeout(self.limit, self.send(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unreachable(&format!(
                    "it gave no whole answer within {:?}; check that it runs, and what is between",
                    self.limit
                ))),
            }
        };
        self.traced(method, sent).await
    }

    async fn send(&self, request: Request<Content>) -> Result<Answer, FetchFault> {
        let attempt = Attempt {
            now: Instant::now(),
            fresh: true,
            repeatable: false,
        };
        let timeouts = Timeouts {
            connect: self.way.connect,
            // `limit` ends what takes too long; these two would end it with a key that is not meant.
            read: self.limit.saturating_mul(2),
            write: self.limit.saturating_mul(2),
            ..Timeouts::default()
        };
        let sent = self
            .upstream
            .send(&mut Some(request), &timeouts, attempt)
            .await;
        let response =
            sent.map_err(|failure| self.unreachable(&self.reworded(failure.problem.detail())))?;
        self.expected(&response)?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            media_type: media_type(&head.headers),
            retry_after: head
                .headers
                .get(RETRY_AFTER)
                .and_then(|value| retry_after(value, SystemTime::now())),
            content: self.collect(body).await?,
        })
    }

    /// Refuses redirects, and content that would have to be unpacked.
    fn expected(&self, response: &Response<UpstreamBody>) -> Result<(), FetchFault> {
        let status = response.status();
        let location = response.headers().get(LOCATION);
        if status.is_redirection()
            && let Some(location) = location.and_then(|value| value.to_str().ok())
        {
            let to = self.url.join(location).map_or_else(
                |_| "a place that is no URL".to_owned(),
                |url| format!("`{}`", capped(shown(&url).as_str(), MAX_SHOWN)),
            );
            return Err(self.unusable(&format!(
                "it redirects ({}) to {to}, and no redirect is followed; write the final URL into `{}`",
                status.as_u16(),
                self.role.key()
            )));
        }
        let coding = response.headers().get(CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let text = "its answer is compressed, which was not asked for; switch that off there";
            return Err(self.unusable(text));
        }
        Ok(())
    }

    async fn collect(&self, mut body: UpstreamBody) -> Result<Zeroizing<Vec<u8>>, FetchFault> {
        let mut content = Zeroizing::new(Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|fault| self.broken_off(&fault))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if content.len() + data.len() > MAX_ANSWER {
                return Err(self.unusable(&format!(
                    "its answer is longer than {MAX_ANSWER} bytes; check `{}`",
                    self.role.key()
                )));
            }
            content.extend_from_slice(&data);
        }
        Ok(content)
    }

    fn broken_off(&self, fault: &AnswerFault) -> FetchFault {
        self.unreachable(match fault {
            AnswerFault::Broken(_) | AnswerFault::Reset(_) => "its answer broke off",
            AnswerFault::Stalled => "it stopped sending its answer",
        })
    }

    /// What went wrong with an upstream, said of an endpoint: its host is named already, its URL
    /// stands under another key, and `tls.server_name` is not for it.
    fn reworded(&self, detail: &str) -> String {
        let key = format!("`{}`", self.role.key());
        let text = match detail.strip_prefix("upstream ") {
            Some(rest) => rest.split_once(": ").map_or(rest, |(_, text)| text),
            None => detail,
        };
        let elsewhere = "if that is as it should be, set tls.server_name to a name it has";
        text.replace(elsewhere, &format!("check the host in {key}"))
            .replace("the upstream's", "its")
            .replace("the upstream", "it")
            .replace("base_url", &key)
    }

    pub(super) fn unreachable(&self, why: &str) -> FetchFault {
        FetchFault::Unreachable(format!("{self}: {why}"))
    }

    fn unusable(&self, why: &str) -> FetchFault {
        FetchFault::Unusable(format!("{self}: {why}"))
    }
}

/// What it is for, and its URL without userinfo and query.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.base)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("media_type", &self.media_type)
            .finish_non_exhaustive()
    }
}

const AGENT: &str = concat!("keybearer/", env!("CARGO_PKG_VERSION"));

/// The longest text of a server's that is shown, in characters.
const MAX_SHOWN: usize = 300;

/// The longest wait that is taken from a server.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A URL as it may be shown.
fn shown(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // They fail for URLs that can have no userinfo.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// A server's text, cut to a length at which it can be shown.
pub(super) fn capped(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn media_type(headers: &HeaderMap) -> Option<Box<str>> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next()?.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/+-._".contains(c);
    (!essence.is_empty() && essence.len() <= 100 && essence.chars().all(plain))
        .then(|| essence.to_ascii_lowercase().into())
}

/// Seconds or a date; a date that is past is no wait.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests;
