//! The way of a request into the console: let in or not, led to the login, and what stands on every
//! answer.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::form_urlencoded;

use super::Ends;
use super::guard::{EVENTS, Exposure, Guards, is_page, refuse};
use super::session::Sessions;
use crate::live::Reader;
use crate::problem::{Kind, Problem};

/// Nothing but our own files, no frame around us, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Keeps windows of other sites apart from ours, and our files out of their pages (HTML Standard, Fetch
/// Standard).
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What the guards need to know.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) reader: Reader,
    pub(super) exposure: Exposure,
    pub(super) sessions: Arc<Sessions>,
}

impl Gate {
    /// As a reload may change the token, it is looked at anew each time; none if the console was switched
    /// off.
    fn guards(&self) -> Option<Guards> {
        let snapshot = self.reader.take();
        let admin = snapshot.admin.as_ref()?;
        Some(Guards::new(
            admin,
            self.exposure,
            Arc::clone(&self.sessions),
        ))
    }
}

/// By what somebody was let in whose answer goes on: sessions end, and tokens are changed.
#[derive(Clone)]
pub(super) struct Right {
    gate: Gate,
    headers: HeaderMap,
}

impl Right {
    /// Whether it holds still.
    pub(super) fn holds(&self) -> bool {
        let guards = self.gate.guards();
        guards.is_some_and(|guards| guards.still_admits(&self.headers))
    }
}

/// Stands before every path.
pub(super) async fn check(
    State(gate): State<Gate>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    mut request: Request,
    next: Next,
) -> Response {
    let admitted = match gate.guards() {
        Some(guards) => guards.admit(&request, ends),
        None => Err(Problem::new(
            Kind::NoRoute,
            "admin.listen was switched off; a restart ends the listener",
        )),
    };
    let mut response = match admitted {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            if request.uri().path() == EVENTS {
                let headers = request.headers().clone();
                request.extensions_mut().insert(Right { gate, headers });
            }
            next.run(request).await
        }
        Err(problem) if problem.kind() == Kind::Unauthorized => {
            login(&request).unwrap_or_else(|| refuse(&problem))
        }
        Err(problem) => refuse(&problem),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // With none at all, forms would be sent with the origin `null`.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Where to send a browser that may come in once its person has logged in.
fn login(request: &Request) -> Option<Response> {
    let accepts = request.headers().get(ACCEPT)?.to_str().ok()?;
    let path = request.uri().path();
    if request.method() != Method::GET || !is_page(path) || !accepts.contains("text/html") {
        return None;
    }
    let next: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    // Relative, as the console may be served below a path.
    let up = "../".repeat(path.matches('/').count().saturating_sub(1));
    Some(Redirect::to(&format!("./{up}login?next={next}")).into_response())
}
