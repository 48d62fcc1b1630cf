//! Requests of our own that take the whole way of a caller's: by a connection inside of this process.

use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::{Proxy, serve};
use crate::live::Live;
use crate::request::guard::HostName;

/// The `Host` that such a request has: the address at which it arrives is always ours.
pub fn host() -> String {
    serve::INSIDE.ip().to_string()
}

/// The connection that would get the request in place of this one.
pub(crate) fn routed_elsewhere(proxy: &Proxy, live: &Live, target: &str) -> Option<Arc<str>> {
    let snapshot = proxy.reader.take();
    let host = host();
    let path = target.split('?').next().unwrap_or_default();
    let found = snapshot
        .routes
        .by_host(HostName(&host))
        .or_else(|| snapshot.routes.by_path(path))?;
    let name = &found.target.connection.name;
    (*name != live.connection.name).then(|| Arc::clone(name))
}

/// Sends it as a caller would.
///
/// # Errors
/// It was not answered.
pub(crate) async fn exchange<B>(
    proxy: &Arc<Proxy>,
    request: Request<B>,
) -> Result<Response<Incoming>, String>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = serve::inside(proxy).map_err(|error| error.to_string())?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // It ends with the sender, and with the answer's content.
    tokio::spawn(driver);
    let answered = sender.send_request(request).await;
    answered.map_err(|error| error.to_string())
}
