//! A request of our own through a connection, told step by step: [`Trial`], which `keybearer test`,
//! `check --connect` and the console show.
//!
//! It takes the whole way that a caller's request takes, by a caller's connection of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, HOST};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::Proxy;
use super::inward::{exchange, host, routed_elsewhere};
use crate::connection::Connection;
use crate::connection::auth::Auth;
use crate::live::Live;
use crate::problem::PROXY_STATUS;
use crate::upstream::journey::Journey;

/// What is sent: nothing but a head, or nothing at all.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    /// After the connection's prefix.
    path: String,
    /// Whether it is sent, once it is known that it could be.
    pub sends: bool,
}

/// What cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unaskable {
    /// No method has such a name.
    #[error("the method is a word such as GET")]
    Method,
    /// No path looks so.
    #[error("the path starts with `/`, and is percent-encoded")]
    Path,
}

/// What came of a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The connection's name.
    pub connection: String,
    /// The request's method.
    pub method: String,
    /// The base URL and the path, without query.
    pub url: String,
    /// What was done, in this order, up to what failed.
    pub phases: Vec<Step>,
    /// Names of the fields and parameters that the connection's credential fills.
    pub injected: Vec<String>,
    /// Of the upstream's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// By how many seconds the upstream's clock is ahead of this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset: Option<i64>,
    /// Until the first certificate of the upstream's chain expires; negative if one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_days_left: Option<i64>,
    /// What went wrong, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Where a person can link the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// One phase of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Step {
    /// A word.
    pub phase: String,
    /// How long it took.
    pub milliseconds: f64,
    /// What came of it.
    pub outcome: String,
}

/// For all of it: whoever asked waits no longer.
const PATIENCE: Duration = Duration::from_secs(50);

/// No more of an answer is read.
const LONGEST: u64 = 10 << 20;

/// Clocks that differ by more break signatures and tokens.
const SKEW: u64 = 60;

impl Ask {
    /// A request by its method and path.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn new(method: &str, path: &str) -> Result<Self, Unaskable> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Unaskable::Method)?;
        let is_path = (path.is_empty() || path.starts_with('/')) && !path.contains('#');
        if !is_path || format!("/{path}").parse::<Uri>().is_err() {
            return Err(Unaskable::Path);
        }
        Ok(Self {
            method,
            path: path.to_owned(),
            sends: true,
        })
    }

    /// One that harms nobody, for the sake of its answer; it is not sent if the connection does not
    /// let it through.
    pub fn harmless(connection: &Connection) -> Self {
        let allow = &connection.allow;
        let mut methods = [Method::HEAD, Method::GET, Method::OPTIONS].into_iter();
        let method = methods.find(|method| allow.permits_method(method));
        let path = ["", "/"].into_iter().find(|path| allow.permits_path(path));
        Self {
            sends: method.is_some() && path.is_some(),
            method: method.unwrap_or_default(),
            path: path.unwrap_or_default().to_owned(),
        }
    }

    /// The method and the path.
    pub fn parts(&self) -> (&str, &str) {
        (self.method.as_str(), &self.path)
    }

    fn path_without_query(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

impl Trial {
    /// Sends a request through a connection: how the upstream is reached, by a connection of its
    /// own; whether there is a credential; then the request itself, with its answer.
    pub async fn run(proxy: &Arc<Proxy>, live: &Arc<Live>, ask: &Ask) -> Self {
        let mut trial = Self::prepared(&live.connection, ask);
        if timeout(PATIENCE, trial.go(proxy, live, ask)).await.is_err() {
            trial.failure = Some(format!(
                "it took longer than {PATIENCE:?}; the last phase shows how far it came"
            ));
        }
        trial
    }

    /// One that came to nothing.
    pub fn failed(connection: &Connection, ask: &Ask, failure: String) -> Self {
        Self {
            failure: Some(failure),
            ..Self::prepared(connection, ask)
        }
    }

    /// Whether the upstream answered, and took the request for a good one.
    pub fn is_success(&self) -> bool {
        self.failure.is_none()
            && self
                .status
                .is_some_and(|status| (200..400).contains(&status))
    }

    /// Whether the upstream answered, and took the credential: that there is nothing at the path, or
    /// nothing for this account, is no fault of the connection.
    pub fn is_answered(&self) -> bool {
        let refused = |status: u16| matches!(status, 401 | 407) || status >= 500;
        self.status
            .map_or(self.failure.is_none(), |status| !refused(status))
    }

    fn prepared(connection: &Connection, ask: &Ask) -> Self {
        let placement = connection.auth.placement();
        let headers = placement
            .headers
            .iter()
            .map(|name| name.as_str().to_owned());
        let params = placement.params.iter().map(|name| format!("?{name}"));
        let signed = ["x-amz-date", "x-amz-content-sha256"].map(str::to_owned);
        let signed = matches!(connection.auth, Auth::Aws(_)).then_some(signed);
        Self {
            connection: connection.name.to_string(),
            method: ask.method.to_string(),
            url: format!("{}{}", connection.base_url, ask.path_without_query()),
            phases: Vec::new(),
            injected: headers
                .chain(params)
                .chain(signed.into_iter().flatten())
                .collect(),
            status: None,
            clock_offset: None,
            certificate_days_left: None,
            failure: None,
            link: None,
        }
    }

    async fn go(&mut self, proxy: &Arc<Proxy>, live: &Arc<Live>, ask: &Ask) {
        if self.reach(live).await && self.fetch(live).await && ask.sends {
            self.send(proxy, live, ask).await;
        }
    }

    /// Whether the upstream can be reached.
    async fn reach(&mut self, live: &Live) -> bool {
        let Some(upstream) = &live.upstream else {
            return true;
        };
        let mut journey = Journey::recorded();
        let reached = upstream
            .probe(&live.connection.timeouts, &mut journey)
            .await;
        for leg in journey.legs() {
            self.step(leg.phase.name(), leg.took, leg.outcome.clone());
        }
        let peer = journey.peer();
        self.certificate_days_left = peer.and_then(|peer| peer.days_left(SystemTime::now()));
        if let Err(problem) = reached {
            self.failure = Some(problem.detail().to_owned());
            return false;
        }
        true
    }

    /// Whether there is a credential.
    async fn fetch(&mut self, live: &Live) -> bool {
        let Some(credential) = live.authenticator.credential() else {
            return true;
        };
        let began = Instant::now();
        if let Err(unavailable) = live.authenticator.wait().await {
            self.failure = Some(format!("no credential: {}", unavailable.detail));
            self.link.clone_from(&live.link_page);
            return false;
        }
        let status = credential.value.status();
        let expires = status.lease.as_ref().and_then(|lease| lease.expires);
        let outcome = match expires.and_then(|at| at.duration_since(SystemTime::now()).ok()) {
            Some(left) => {
                let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
                format!("valid for {left}")
            }
            None => "valid".to_owned(),
        };
        self.step("credential", began.elapsed(), outcome);
        true
    }

    async fn send(&mut self, proxy: &Arc<Proxy>, live: &Live, ask: &Ask) {
        let began = Instant::now();
        let target = target(live, ask);
        if let Some(other) = routed_elsewhere(proxy, live, &target) {
            self.failure = Some(format!(
                "requests of this path go to the connection `{other}`, by its `hosts` or its longer prefix; try another path"
            ));
            return;
        }
        let answered = match request(ask, target) {
            Ok(request) => exchange(proxy, request).await,
            Err(error) => Err(error.to_string()),
        };
        let response = match answered {
            Ok(response) => response,
            Err(error) => {
                self.failure = Some(format!("the request was not answered: {error}"));
                return;
            }
        };
        let (head, content) = response.into_parts();
        let is_ours = head.headers.get_all(PROXY_STATUS).iter().any(is_ours);
        self.step("request", began.elapsed(), head.status.to_string());
        let began = Instant::now();
        let (content, length) = collected(content).await;
        if is_ours {
            self.refused(&content, head.status);
            return;
        }
        self.status = Some(head.status.as_u16());
        self.step("content", began.elapsed(), length);
        self.clock_offset = clock_offset(&head.headers, SystemTime::now());
        self.judge(head.status);
    }

    /// What a problem of ours says.
    fn refused(&mut self, content: &[u8], status: StatusCode) {
        #[derive(Default, Deserialize)]
        struct Told {
            detail: Option<String>,
            link: Option<String>,
        }
        let told: Told = serde_json::from_slice(content).unwrap_or_default();
        self.failure = Some(told.detail.unwrap_or_else(|| status.to_string()));
        self.link = told.link;
    }

    /// What the upstream's own refusal means.
    fn judge(&mut self, status: StatusCode) {
        let skewed = self
            .clock_offset
            .filter(|offset| offset.unsigned_abs() > SKEW)
            .map(|offset| {
                format!("; its clock and this machine's differ by {offset} s, which breaks tokens and signatures: set this one by NTP")
            });
        let text = match status.as_u16() {
            401 | 407 => {
                "the upstream did not take the credential; check the connection's `auth`, and that it is still valid there"
            }
            403 => {
                "the upstream knows the credential but forbids this request; give its account the right to it, or try another path"
            }
            500.. => "the upstream itself failed; ask those who run it",
            _ => return,
        };
        self.failure = Some(format!("{status}: {text}{}", skewed.unwrap_or_default()));
    }

    fn step(&mut self, phase: &str, took: Duration, outcome: String) {
        self.phases.push(Step {
            phase: phase.to_owned(),
            milliseconds: (took.as_secs_f64() * 1e5).round() / 100.0,
            outcome,
        });
    }
}

/// What a caller would ask for.
fn target(live: &Live, ask: &Ask) -> String {
    let prefix = live.connection.prefix.to_string();
    match (prefix.as_str(), ask.path.as_str()) {
        ("/", "") => "/".to_owned(),
        ("/", path) => path.to_owned(),
        (prefix, path) => format!("{prefix}{path}"),
    }
}

fn request(ask: &Ask, target: String) -> Result<Request<Empty<Bytes>>, http::Error> {
    Request::builder()
        .method(ask.method.clone())
        .uri(target)
        .header(HOST, host())
        .body(Empty::new())
}

fn is_ours(value: &http::HeaderValue) -> bool {
    value.as_bytes().starts_with(b"keybearer;")
}

/// The beginning of an answer's content, and how long it is in words.
async fn collected(mut content: Incoming) -> (Vec<u8>, String) {
    /// More of it is not looked at.
    const KEPT: usize = 64 << 10;
    let (mut kept, mut length) = (Vec::new(), 0_u64);
    while let Some(frame) = content.frame().await {
        let Ok(frame) = frame else {
            return (kept, format!("broke off after {length} bytes"));
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len() as u64;
        if kept.len() < KEPT {
            kept.extend_from_slice(&data);
        }
        if length > LONGEST {
            return (kept, format!("more than {LONGEST} bytes"));
        }
    }
    (kept, format!("{length} bytes"))
}

/// In whole seconds.
fn clock_offset(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    let signed = |seconds: u64| i64::try_from(seconds).ok();
    match date.duration_since(now) {
        Ok(ahead) => signed(ahead.as_secs()),
        Err(behind) => signed(behind.duration().as_secs()).map(|seconds| -seconds),
    }
}
