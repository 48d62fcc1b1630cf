//! A real server for the tests of this floor, and the connection that leads to it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use super::fetch::{Endpoint, Role};
use crate::connection::allow::Allow;
use crate::connection::auth::Auth;
use crate::connection::network::Road;
use crate::connection::url::{BaseUrl, Prefix};
use crate::connection::{
    Connection, Cookies, HeaderCase, HttpVersion, Limits, Strip, Timeouts, Tls,
};
use crate::secret::{Origin, Secret};
use crate::upstream::Upstreams;

/// What a server received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) content: String,
}

/// An HTTP server that answers as it is told; it stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(
        answer: impl Fn(&Received) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&received);
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                    async move {
                        let request = receive(request).await;
                        let response = answer(&request).map(|text| Full::new(Bytes::from(text)));
                        record.lock().push(request);
                        Ok::<_, Infallible>(response)
                    }
                });
                let driver = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(driver);
            }
        });
        Self {
            address,
            received,
            task,
        }
    }

    /// A server that gives every request one answer.
    pub(crate) async fn saying(
        status: u16,
        media_type: &'static str,
        content: impl Into<String>,
    ) -> Self {
        let content = content.into();
        Self::start(move |_| response(status, media_type, &content)).await
    }

    pub(crate) fn url(&self, rest: &str) -> Url {
        format!("http://{}{rest}", self.address).parse().unwrap()
    }

    /// Its token endpoint.
    pub(crate) fn endpoint(&self) -> Endpoint {
        endpoint(&self.url("/token"), Duration::from_secs(20))
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    /// The only request there was.
    pub(crate) fn only(&self) -> Received {
        let [only] = <[_; 1]>::try_from(self.received()).unwrap();
        only
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(request: Request<Incoming>) -> Received {
    let (head, body) = request.into_parts();
    let content = body.collect().await.unwrap().to_bytes();
    Received {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        content: String::from_utf8(content.to_vec()).unwrap(),
    }
}

pub(crate) fn response(status: u16, media_type: &str, content: &str) -> Response<String> {
    Response::builder()
        .status(status)
        .header("content-type", media_type)
        .body(content.to_owned())
        .unwrap()
}

pub(crate) fn endpoint(url: &Url, limit: Duration) -> Endpoint {
    Endpoint::new(
        &Upstreams::default(),
        &connection(),
        Role::Token,
        url,
        limit,
    )
    .unwrap()
}

pub(crate) fn connection() -> Connection {
    Connection {
        name: "api".into(),
        prefix: Prefix::parse("/api").unwrap(),
        hosts: Vec::new(),
        base_url: BaseUrl::parse("https://api.example").unwrap(),
        auth: Auth::None,
        refresh_on: None,
        http: HttpVersion::Auto,
        cookies: Cookies::Strip,
        retries: 1,
        allow: Allow::default(),
        strip: Strip::default(),
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        tls: Tls::default(),
        road: Road::Direct,
        header_case: HeaderCase::Lower,
    }
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text, Origin::Literal)
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
