//! What stands before every path of the console.

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, ORIGIN, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use subtle::ConstantTimeEq;

use super::Local;
use crate::config::Admin;
use crate::live::Reader;
use crate::problem::{Kind, Problem};
use crate::proxy::serve::Bound;
use crate::request::guard::{Guard, HostName, host_name};
use crate::secret::Secret;

/// Paths that say nothing but whether we live: probes have no token.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Where providers send people back to.
const CALLBACK: &str = "/oauth/callback";

/// Pages from which people consent.
const LINK_PAGES: &str = "/link/";

/// What the console demands of a request.
pub(super) struct Guards {
    origins: Guard,
    token: Option<Secret>,
    exposure: Exposure,
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
    pub(super) fn new(settings: &Admin, exposure: Exposure) -> Self {
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
        }
    }

    fn admit(&self, request: &Request, local: Local) -> Result<(), Problem> {
        let headers = request.headers();
        self.origins.host(host(headers)?, local.0)?;
        if request.uri().path() == CALLBACK && request.method() == Method::GET {
            // Browsers come from the provider's site, and without a token: its `state` is the proof.
            return Ok(());
        }
        if !is_visit_to_link(request) {
            self.origins.origin(headers)?;
        }
        if changes_state(request.method()) && is_browser(headers) {
            let detail =
                "this page has no token for changes; use a client that is no browser, such as curl";
            return Err(Problem::new(Kind::OriginRefused, detail));
        }
        if PROBES.contains(&request.uri().path()) {
            return Ok(());
        }
        self.authenticate(request)
    }

    fn authenticate(&self, request: &Request) -> Result<(), Problem> {
        let Some(token) = &self.token else {
            if self.exposure == Exposure::Machine {
                return Ok(());
            }
            let detail = "admin.token was taken away, but until a restart the network reaches this listener; set it again";
            return Err(Problem::new(Kind::Unauthorized, detail));
        };
        let presented = request
            .headers()
            .get(AUTHORIZATION)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        let presented = presented
            .split_at_checked(7)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        if presented.is_some_and(|(_, presented)| presented.ct_eq(token.expose().as_bytes()).into())
        {
            return Ok(());
        }
        let detail = if request.uri().path().starts_with(LINK_PAGES) {
            "a browser cannot send admin.token; run `keybearer link` with the connection's name where keybearer runs, and open the URL that it prints"
        } else {
            "send admin.token as `Authorization: Bearer …`"
        };
        Err(Problem::new(Kind::Unauthorized, detail))
    }
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

/// Whether a person follows a link to the page of a connection's link, perhaps on another site's page:
/// such as that of an app which got the 503. It changes nothing, and cannot be framed.
fn is_visit_to_link(request: &Request) -> bool {
    let headers = request.headers();
    let is = |name: &str, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|found| found == value) && values.next().is_none()
    };
    request.method() == Method::GET
        && request.uri().path().starts_with(LINK_PAGES)
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

/// Whether a browser sent it: browsers mark what they send, and keep cookies.
fn is_browser(headers: &HeaderMap) -> bool {
    let marks = |name: &HeaderName| {
        name == ORIGIN || name == COOKIE || name.as_str().starts_with("sec-fetch-")
    };
    headers.keys().any(marks)
}

pub(super) async fn check(
    State((reader, exposure)): State<(Reader, Exposure)>,
    ConnectInfo(local): ConnectInfo<Local>,
    request: Request,
    next: Next,
) -> Response {
    // As a reload may change the token, it is looked at anew for each request.
    let guards = reader
        .take()
        .admin
        .as_ref()
        .map(|admin| Guards::new(admin, exposure));
    let admitted = match guards {
        Some(guards) => guards.admit(&request, local),
        None => Err(Problem::new(
            Kind::NoRoute,
            "admin.listen was switched off; a restart ends the listener",
        )),
    };
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(problem) => refuse(&problem),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
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
        Guards::new(&settings, Exposure::Machine)
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
            .admit(&request, Local(None))
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
    fn browsers_change_nothing_and_programs_do() {
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
