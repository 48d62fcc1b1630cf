//! The AWS SDKs' HTTP: [`RoadClient`] sends their requests the way that the connection's own go,
//! within a bounded time, for an answer of bounded length, and follows no redirect.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::{CONNECTION, DATE, HOST, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::offset::Offset;
use super::sign::clock::PLAUSIBLE;
use crate::auth::fetch::{EXCHANGE, FetchFault};
use crate::connection::url::{BaseUrl, Destination};
use crate::connection::{Connection, Timeouts, network};
use crate::traces::renewal::{self, Asked};
use crate::upstream::body::{AnswerFault, UpstreamBody};
use crate::upstream::content::Content;
use crate::upstream::{Attempt, Upstreams};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// An HTTP client for the AWS SDKs.
#[derive(Clone, Debug)]
pub(super) struct RoadClient(Arc<Road>);

/// The way to what a connection's credential needs: trusted and timed as its own requests are.
#[derive(Debug)]
struct Road {
    connection: Connection,
    upstreams: Arc<Upstreams>,
    /// By how much the clock of whoever answered last is ahead of this machine's.
    ahead: Mutex<Option<Offset>>,
}

/// A client with the timeouts that an SDK has set for its requests.
#[derive(Debug)]
struct Connector {
    road: Arc<Road>,
    connect: Option<Duration>,
    /// Until the head of an answer has come.
    read: Option<Duration>,
}

/// An SDK's request, and where it goes.
struct Outgoing {
    /// The scheme, host and port, as faults name them.
    origin: String,
    base: BaseUrl,
    request: Request<Content>,
}

impl RoadClient {
    pub(super) fn new(connection: &Connection, upstreams: Arc<Upstreams>) -> Self {
        Self(Arc::new(Road {
            connection: connection.clone(),
            upstreams,
            ahead: Mutex::new(None),
        }))
    }

    /// By how much the clock of whoever answered last is ahead of this machine's; none if the answer
    /// had no date, or was taken already.
    pub(super) fn take_ahead(&self) -> Option<Offset> {
        self.0.ahead.lock().take()
    }
}

impl HttpClient for RoadClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            road: Arc::clone(&self.0),
            connect: settings.connect_timeout(),
            read: settings.read_timeout(),
        })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let road = Arc::clone(&self.road);
        let own = road.connection.timeouts;
        let timeouts = Timeouts {
            connect: self.connect.map_or(own.connect, |sdk| sdk.min(own.connect)),
            read: self.read.unwrap_or(EXCHANGE),
            // The whole exchange ends before.
            write: EXCHANGE.saturating_mul(2),
            ..own
        };
        HttpConnectorFuture::new(async move {
            road.exchange(request, timeouts).await.map_err(told_to_sdk)
        })
    }
}

/// What may pass is an I/O error for the SDKs, some of which then try again.
fn told_to_sdk(fault: FetchFault) -> ConnectorError {
    match fault {
        FetchFault::Unreachable(_) => ConnectorError::io(fault.into()),
        FetchFault::Unusable(_) => ConnectorError::other(fault.into(), None),
    }
}

impl Road {
    async fn exchange(
        &self,
        request: HttpRequest,
        timeouts: Timeouts,
    ) -> Result<HttpResponse, FetchFault> {
        let outgoing = Outgoing::new(request)?;
        let (origin, base) = (outgoing.origin.clone(), outgoing.base.clone());
        let method = match *outgoing.request.method() {
            Method::GET => "GET",
            Method::PUT => "PUT",
            _ => "POST",
        };
        let sent = async {
            match timeout(EXCHANGE, self.send(outgoing, &timeouts)).await {
                Ok(answer) => answer,
                Err(_) => Err(FetchFault::Unreachable(format!(
                    "{origin}: it gave no whole answer within {EXCHANGE:?}; check that it runs, and what is between"
                ))),
            }
        };
        renewal::asked(sent, |outcome, begun, ended| {
            let (host, port) = base.place();
            Asked {
                method,
                // Paths of the services that tell a machine its own credentials may be as good as a key.
                url: format!("{base}/").into(),
                host: host.into(),
                port,
                begun,
                ended,
                status: outcome.as_ref().ok().map(|answer| answer.status().as_u16()),
                error: outcome.as_ref().err().map(FetchFault::word),
            }
        })
        .await
    }

    async fn send(
        &self,
        outgoing: Outgoing,
        timeouts: &Timeouts,
    ) -> Result<HttpResponse, FetchFault> {
        let Outgoing {
            origin,
            base,
            request,
        } = outgoing;
        let unusable = |why: &str| FetchFault::Unusable(format!("{origin}: {why}"));
        let unreachable = |why: &str| FetchFault::Unreachable(format!("{origin}: {why}"));
        let upstream = self
            .upstreams
            .endpoint(&self.connection.tls, self.way_to(&base), &base)
            .map_err(|error| unusable(&format!("no TLS configuration can be made: {error}")))?
            .ok_or_else(|| unusable("its URL names no server"))?;
        let began = SystemTime::now();
        let attempt = Attempt {
            now: Instant::now(),
            fresh: true,
            repeatable: false,
        };
        let response = upstream
            .send(&mut Some(request), timeouts, attempt)
            .await
            .map_err(|failure| unreachable(&reworded(failure.problem.detail())))?;
        let (head, body) = response.into_parts();
        *self.ahead.lock() = ahead(&head.headers, began);
        if head.status.is_redirection() && head.headers.contains_key(LOCATION) {
            return Err(unusable(&format!(
                "it redirects ({}), and no redirect is followed; write the final URL",
                head.status.as_u16()
            )));
        }
        let content = collect(body).await.map_err(|fault| match fault {
            Incomplete::Broken(fault) => unreachable(broken_off(&fault)),
            Incomplete::TooLong => unusable(&format!(
                "its answer is longer than {MAX_ANSWER} bytes; check that it is the right endpoint"
            )),
        })?;
        let answer = Response::from_parts(head, SdkBody::from(content));
        HttpResponse::try_from(answer)
            .map_err(|_| unusable("its answer has a field that is not text"))
    }
}

impl Road {
    /// The connection's way; but whatever tells this machine its own credentials is asked straight, as
    /// elsewhere these addresses are another machine's.
    fn way_to(&self, base: &BaseUrl) -> &network::Road {
        match base.destination() {
            Destination::Server { host, .. } if is_of_this_machine(host) => &network::Road::Direct,
            _ => &self.connection.road,
        }
    }
}

/// The metadata services of EC2, ECS and EKS, and what else answers on loopback.
fn is_of_this_machine(host: &str) -> bool {
    const EC2_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    const EKS_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23);
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local() || address.is_loopback(),
        Ok(IpAddr::V6(address)) => [EC2_IPV6, EKS_IPV6, Ipv6Addr::LOCALHOST].contains(&address),
        Err(_) => host == "localhost",
    }
}

impl Outgoing {
    fn new(request: HttpRequest) -> Result<Self, FetchFault> {
        let unusable = |why: &str| FetchFault::Unusable(format!("an AWS request {why}"));
        let request = request
            .try_into_http1x()
            .map_err(|_| unusable("cannot be sent"))?;
        let (mut head, body) = request.into_parts();
        let (Some(scheme), Some(authority)) = (head.uri.scheme_str(), head.uri.authority()) else {
            return Err(unusable("has no whole URL"));
        };
        // Without userinfo, which is neither sent nor shown.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let origin = format!("{scheme}://{host}");
        let base = BaseUrl::parse(&origin)
            .map_err(|_| FetchFault::Unusable(format!("{origin}: it is no `https://…` URL")))?;
        let Some(content) = body.bytes() else {
            return Err(unusable("has content that is streamed"));
        };
        let content = Bytes::from_owner(Zeroizing::new(content.to_vec()));
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let target = target.parse::<Uri>().map_err(|_| unusable("has no path"))?;
        head.uri = target;
        head.headers.insert(HOST, base.host_field());
        // Exchanges are minutes apart: a connection that is kept would be closed meanwhile.
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(Self {
            origin,
            base,
            request: Request::from_parts(head, Content::held(content)),
        })
    }
}

/// Why an answer's content is not there.
enum Incomplete {
    Broken(AnswerFault),
    TooLong,
}

async fn collect(mut body: UpstreamBody) -> Result<Vec<u8>, Incomplete> {
    let mut content = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Incomplete::Broken)?.into_data() else {
            continue;
        };
        if content.len() + data.len() > MAX_ANSWER {
            return Err(Incomplete::TooLong);
        }
        content.extend_from_slice(&data);
    }
    Ok(std::mem::take(&mut content))
}

fn broken_off(fault: &AnswerFault) -> &'static str {
    match fault {
        AnswerFault::Broken(_) | AnswerFault::Reset(_) => "its answer broke off",
        AnswerFault::Stalled => "it stopped sending its answer",
    }
}

/// The answer's date, seen from the middle of the exchange, as a server writes it while it answers.
fn ahead(headers: &HeaderMap, began: SystemTime) -> Option<Offset> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?;
    if !PLAUSIBLE.contains(&date) {
        return None;
    }
    let took = began.elapsed().unwrap_or_default();
    Some(Offset::between(began + took / 2, date))
}

/// What went wrong with an upstream, said of an endpoint: its host is named already, its URL stands
/// elsewhere, and neither `tls.server_name` nor `timeouts.read` is for it.
fn reworded(detail: &str) -> String {
    let text = match detail.strip_prefix("upstream ") {
        Some(rest) => rest.split_once(": ").map_or(rest, |(_, text)| text),
        None => detail,
    };
    let elsewhere = "if that is as it should be, set tls.server_name to a name it has";
    text.replace(elsewhere, "check the host of its URL")
        .replace("within timeouts.read", "in time")
        .replace("the upstream's", "its")
        .replace("the upstream", "it")
        .replace("base_url", "its URL")
}

#[cfg(test)]
mod tests;
