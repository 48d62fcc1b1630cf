//! What the console demands of a request: whom it comes from, and by what proof.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{AUTHORIZATION, COOKIE, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Ends;
use super::session::{Means, Sessions, Verdict, is_token};
use crate::config::Admin;
use crate::problem::{Kind, Problem};
use crate::proxy::serve::Bound;
use crate::request::guard::{Guard, HostName, host_name};
use crate::secret::Secret;

/// Paths that say nothing but whether we live: probes have no token.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Where providers send people back to.
const CALLBACK: &str = "/oauth/callback";

/// Where people give `admin.token`.
const LOGIN: &str = "/login";

/// Where they end their session.
const LOGOUT: &str = "/logout";

/// What is for programs, and for our own pages' scripts.
const NO_PAGES: [&str; 4] = ["/api/", "/assets/", EVENTS, "/metrics"];

/// Answers that go on.
pub(super) const EVENTS: &str = "/events";

/// Styles and scripts, which say nothing.
const ASSETS: &str = "/assets/";

/// What proves that our own page asks for a change.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// What the console demands of a request.
pub(super) struct Guards {
    origins: Guard,
    token: Option<Secret>,
    exposure: Exposure,
    sessions: Arc<Sessions>,
}

/// Whom a request comes from, for the pages to know.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// What the page proves itself with.
    pub(super) csrf: String,
    /// Whether there is a session to end.
    pub(super) has_session: bool,
}

/// Who can reach the listener that is really bound, whatever the configuration says by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposure {
    /// Others: a token is needed.
    Network,
    /// This machine alone.
    Machine,
}

impl Exposure {
    pub(super) fn of(listener: &Bound) -> Self {
        match listener {
            Bound::Tcp(_, address) if !address.ip().to_canonical().is_loopback() => Self::Network,
            Bound::Tcp(..) | Bound::Unix(..) => Self::Machine,
        }
    }
}

impl Guards {
    pub(super) fn new(settings: &Admin, exposure: Exposure, sessions: Arc<Sessions>) -> Self {
        let mut names: Vec<Box<str>> = ["localhost", "127.0.0.1", "::1"].map(Into::into).into();
        names.extend(
            settings
                .public_url
                .host_str()
                .map(|host| host.trim_matches(['[', ']']).into()),
        );
        names.extend(settings.listen.host_name().map(Into::into));
        Self {
            origins: Guard::new(Some(names), Vec::new()),
            token: settings.token.clone(),
            exposure,
            sessions,
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn admit(&self, request: &Request, ends: Ends) -> Result<Visitor, Problem> {
        let headers = request.headers();
        let path = request.uri().path();
        if !path.starts_with('/') {
            let detail = "the target is no absolute path";
            return Err(Problem::new(Kind::PathRefused, detail));
        }
        self.origins.host(host(headers)?, ends.local)?;
        let session = self.token.as_ref();
        let session = session.and_then(|token| self.sessions.of(headers, token, SystemTime::now()));
        let visitor = Visitor {
            csrf: self.sessions.csrf(session),
            has_session: session.is_some(),
        };
        if path == CALLBACK && request.method() == Method::GET {
            // Browsers come from the provider's site, and without a token: its `state` is the proof.
            return Ok(visitor);
        }
        if !is_visit(request) {
            self.origins.origin(headers)?;
        }
        let is_open = PROBES.contains(&path) || path == LOGIN || path.starts_with(ASSETS);
        if !is_open && session.is_none() {
            self.presents_token(headers, ends)?;
        }
        // Forms have their proof inside.
        if changes_state(request.method()) && ![LOGIN, LOGOUT].contains(&path) {
            self.is_our_page(headers, session)?;
        }
        Ok(visitor)
    }

    /// Whether who was let in with these fields would be still.
    pub(super) fn still_admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return self.exposure == Exposure::Machine;
        };
        let session = self.sessions.of(headers, token, SystemTime::now());
        session.is_some() || bearer(headers).is_some_and(|presented| is_token(presented, token))
    }

    /// Refuses what a browser sends without proof that one of our pages asked for it.
    fn is_our_page(&self, headers: &HeaderMap, session: Option<&str>) -> Result<(), Problem> {
        if !is_browser(headers) {
            return Ok(());
        }
        let mut proofs = headers.get_all(CSRF).iter();
        let (proof, none) = (proofs.next(), proofs.next());
        if none.is_none()
            && proof.is_some_and(|proof| self.sessions.is_csrf(proof.as_bytes(), session))
        {
            return Ok(());
        }
        let detail = "a browser sends the page's token with each change, in `X-CSRF-Token`; load the page anew, or use a client that is no browser, such as curl";
        Err(Problem::new(Kind::OriginRefused, detail))
    }

    fn presents_token(&self, headers: &HeaderMap, ends: Ends) -> Result<(), Problem> {
        let Some(token) = &self.token else {
            if self.exposure == Exposure::Machine {
                return Ok(());
            }
            let detail = "admin.token was taken away, but until a restart the network reaches this listener; set it again";
            return Err(Problem::new(Kind::Unauthorized, detail));
        };
        let detail = "send admin.token as `Authorization: Bearer …`, or log in on the page";
        let Some(presented) = bearer(headers) else {
            return Err(Problem::new(Kind::Unauthorized, detail));
        };
        match self
            .sessions
            .judge(presented, token, Means::Program, ends.peer)
        {
            Verdict::Right => Ok(()),
            Verdict::TooMany(wait) => Err(too_many(wait)),
            Verdict::Wrong => Err(Problem::new(Kind::Unauthorized, detail)),
        }
    }
}

/// What is presented as a token (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let presented = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, presented) = presented.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(presented)
}

/// Too many wrong tokens came.
pub(super) fn too_many(wait: Duration) -> Problem {
    let detail = "too many wrong tokens came from your address; none is looked at for a while";
    Problem::new(Kind::TooManyAttempts, detail).retry_after(Some(wait))
}

fn host(headers: &HeaderMap) -> Result<HostName<'_>, Problem> {
    let mut hosts = headers.get_all(http::header::HOST).iter();
    let one = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(host_name),
        _ => None,
    };
    one.map(HostName).ok_or_else(|| {
        Problem::new(
            Kind::MalformedRequest,
            "a request needs exactly one Host field",
        )
    })
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a person follows a link to one of our pages, perhaps on another site's page: such as that of
/// an app which got the 503, or a wiki's. It changes nothing, and its answer can be neither framed nor
/// read.
fn is_visit(request: &Request) -> bool {
    let headers = request.headers();
    let is = |name: &str, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|found| found == value) && values.next().is_none()
    };
    request.method() == Method::GET
        && is_page(request.uri().path())
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

/// Whether a path is one of the pages that people see.
pub(super) fn is_page(path: &str) -> bool {
    !NO_PAGES.iter().any(|other| path.starts_with(other))
}

/// Whether a browser sent it: browsers mark what they send, and keep cookies.
fn is_browser(headers: &HeaderMap) -> bool {
    let marks = |name: &HeaderName| {
        name == ORIGIN || name == COOKIE || name.as_str().starts_with("sec-fetch-")
    };
    headers.keys().any(marks)
}

/// A problem as an answer of the console.
pub(super) fn refuse(problem: &Problem) -> Response {
    let mut response = problem.to_response().map(Body::from);
    if problem.kind() == Kind::Unauthorized {
        let challenge = HeaderValue::from_static("Bearer realm=\"keybearer console\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Edit, Listen};
    use crate::secret::Origin;

    fn guards(token: Option<&str>) -> Guards {
        let settings = Admin {
            listen: Listen::Tcp {
                host: "127.0.0.1".into(),
                port: 9080,
            },
            public_url: "https://keys.example".parse().unwrap(),
            token: token.map(|token| Secret::new(token, Origin::Literal)),
            edit: Edit::Refused,
        };
        let sessions = Arc::new(Sessions::new().unwrap());
        Guards::new(&settings, Exposure::Machine, sessions)
    }

    #[test]
    fn a_listener_on_the_network_never_goes_without_a_token() {
        let guards = Guards {
            exposure: Exposure::Network,
            ..guards(None)
        };
        let get = |path| asked(&guards, "GET", path, &[("host", "localhost")]);
        assert_eq!(get("/metrics"), Some(Kind::Unauthorized));
        assert_eq!(get("/healthz"), None);
    }

    fn asked(guards: &Guards, method: &str, path: &str, fields: &[(&str, &str)]) -> Option<Kind> {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        guards
            .admit(&request, Ends::default())
            .err()
            .map(|problem| problem.kind())
    }

    #[test]
    fn only_own_names_are_answered() {
        let guards = guards(None);
        for (host, refused) in [
            ("localhost:9080", None),
            ("keys.example", None),
            ("evil.example", Some(Kind::HostRefused)),
            ("a b", Some(Kind::MalformedRequest)),
        ] {
            assert_eq!(
                asked(&guards, "GET", "/metrics", &[("host", host)]),
                refused,
                "{host}"
            );
        }
    }

    #[test]
    fn browsers_change_nothing_without_proof_and_programs_do() {
        let guards = guards(None);
        let post = |field: (&str, &str)| {
            asked(
                &guards,
                "POST",
                "/api/reload",
                &[("host", "localhost"), field],
            )
        };
        assert_eq!(post(("accept", "*/*")), None);
        for field in [
            ("origin", "http://localhost"),
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "no-cors"),
            ("cookie", "a=b"),
        ] {
            assert_eq!(post(field), Some(Kind::OriginRefused), "{field:?}");
        }
        let proof = guards.sessions.csrf(None);
        let by_page = |fields: &[(&str, &str)]| {
            let ours = [("host", "localhost"), ("origin", "http://localhost")];
            asked(&guards, "POST", "/api/reload", &[&ours, fields].concat())
        };
        assert_eq!(by_page(&[("x-csrf-token", &proof)]), None);
        let refused = Some(Kind::OriginRefused);
        assert_eq!(by_page(&[]), refused);
        assert_eq!(by_page(&[("x-csrf-token", "x")]), refused);
        let twice = [("x-csrf-token", &*proof), ("x-csrf-token", &*proof)];
        assert_eq!(by_page(&twice), refused);
        let elsewhere = [("sec-fetch-site", "cross-site"), ("x-csrf-token", &*proof)];
        assert_eq!(by_page(&elsewhere), refused);
    }

    #[test]
    fn a_token_is_asked_for_but_not_by_probes() {
        let guards = guards(Some("s3cret"));
        let get = |path, value| {
            asked(
                &guards,
                "GET",
                path,
                &[("host", "localhost"), ("authorization", value)],
            )
        };
        assert_eq!(get("/metrics", "Bearer s3cret"), None);
        assert_eq!(get("/metrics", "bearer s3cret"), None);
        for wrong in [
            "Bearer s3cre",
            "Bearer s3crets",
            "Basic s3cret",
            "Bearer",
            "",
        ] {
            assert_eq!(get("/metrics", wrong), Some(Kind::Unauthorized), "{wrong}");
        }
        assert_eq!(get("/healthz", ""), None);
    }
}
