//! `/login` and `/logout`: a person gives `admin.token` once, and gets a session.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{ConnectInfo, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use http::header::{HOST, LOCATION, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use maud::{Markup, html};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::guard::{Visitor, refuse};
use super::pages::{Depth, Shell};
use super::session::{LIFETIME, Means, NAME, Verdict};
use super::{Console, Ends};
use crate::config::Admin;
use crate::problem::{Kind, Problem};
use crate::request::guard::host_name;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// The path to go on to.
    next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Given {
    token: SecretString,
    csrf: String,
    next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Leaving {
    csrf: String,
}

/// The form.
pub(super) async fn page(
    Extension(visitor): Extension<Visitor>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let next = wanted.ok().and_then(|Query(wanted)| wanted.next);
    form(&visitor, StatusCode::OK, next.as_deref(), None)
}

/// Takes the token, and opens a session.
pub(super) async fn log_in(
    State(console): State<Arc<Console>>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    given: Result<Form<Given>, FormRejection>,
) -> Response {
    let Ok(Form(given)) = given else {
        let text = "send `token` and `csrf` as `application/x-www-form-urlencoded`";
        return refuse(&Problem::new(Kind::ContentMalformed, text));
    };
    // Whoever is to log in has no session that counts, and the form was made for none.
    let is_ours = console.sessions.is_csrf(given.csrf.as_bytes(), None)
        || console
            .sessions
            .is_csrf(given.csrf.as_bytes(), session(&console, &headers));
    let next = given.next.as_deref();
    if !is_ours {
        let why = "The form was too old; here is a new one.";
        return form(&visitor, StatusCode::FORBIDDEN, next, Some(why));
    }
    let admin = console.reader.take().admin.clone();
    let token = admin.as_ref().and_then(|admin| admin.token.as_ref());
    let (Some(admin), Some(token)) = (&admin, token) else {
        return go_on(next);
    };
    let presented = given.token.expose_secret().as_bytes();
    match console
        .sessions
        .judge(presented, token, Means::Form, ends.peer)
    {
        Verdict::Right => {}
        Verdict::TooMany(wait) => {
            let why = "Too many wrong tokens came from your address. Wait a minute.";
            let mut response = form(&visitor, StatusCode::TOO_MANY_REQUESTS, next, Some(why));
            let wait = HeaderValue::from(wait.as_secs() + 1);
            response.headers_mut().insert(RETRY_AFTER, wait);
            return response;
        }
        Verdict::Wrong => {
            let why = "This is not the token.";
            return form(&visitor, StatusCode::UNAUTHORIZED, next, Some(why));
        }
    }
    let Ok(session) = console.sessions.open(token, SystemTime::now()) else {
        let text = "the system gives no random numbers";
        return refuse(&Problem::new(Kind::Internal, text));
    };
    let mut response = go_on(next);
    set_cookie(
        &mut response,
        &session,
        LIFETIME.as_secs(),
        is_secure(admin, &headers),
    );
    response
}

/// Ends the session, as far as the browser is concerned.
pub(super) async fn log_out(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    given: Result<Form<Leaving>, FormRejection>,
) -> Response {
    let ours = given.is_ok_and(|Form(given)| {
        let session = session(&console, &headers);
        console.sessions.is_csrf(given.csrf.as_bytes(), session)
    });
    if !ours {
        let text = "send the page's `csrf` as `application/x-www-form-urlencoded`";
        return refuse(&Problem::new(Kind::OriginRefused, text));
    }
    let admin = console.reader.take().admin.clone();
    let mut response = StatusCode::SEE_OTHER.into_response();
    let location = HeaderValue::from_static("login");
    response.headers_mut().insert(LOCATION, location);
    let is_secure = admin.is_some_and(|admin| is_secure(&admin, &headers));
    set_cookie(&mut response, "", 0, is_secure);
    response
}

fn session<'h>(console: &Console, headers: &'h HeaderMap) -> Option<&'h str> {
    let admin = console.reader.take().admin.clone();
    let token = admin?.token?;
    console.sessions.of(headers, &token, SystemTime::now())
}

/// Whether the browser came in TLS, as far as the console can know: by the name that it is served under.
fn is_secure(admin: &Admin, headers: &HeaderMap) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host_name(host.to_str().ok()?));
    admin.public_url.scheme() == "https" && host == admin.public_url.host_str()
}

fn set_cookie(response: &mut Response, value: &str, lifetime: u64, is_secure: bool) {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie =
        format!("{NAME}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// To the page that was asked for first: a path of ours, and nothing that leads elsewhere.
fn go_on(next: Option<&str>) -> Response {
    let next = next.filter(|next| is_own_path(next));
    // Relative, as the console may be served below a path.
    let next = next.map_or("./".to_owned(), |next| format!(".{next}"));
    Redirect::to(&next).into_response()
}

fn is_own_path(next: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    next.starts_with('/') && !next.starts_with("//") && next.bytes().all(plain)
}

fn form(visitor: &Visitor, status: StatusCode, next: Option<&str>, why: Option<&str>) -> Response {
    let content = html! {
        h1 { "Log in" }
        form.login method="post" action="./login" {
            @if let Some(why) = why { p #why.problem role="alert" { (why) } }
            input type="hidden" name="csrf" value=(visitor.csrf);
            @if let Some(next) = next { input type="hidden" name="next" value=(next); }
            label for="token" { "Token" }
            input #token type="password" name="token" required autocomplete="current-password" autofocus
                aria-describedby="token-help" aria-invalid=[why.map(|_| "true")];
            p #token-help.note { "The value of " code { "admin.token" } " in keybearer's configuration." }
            button.primary type="submit" { "Log in" }
        }
    };
    let shell = Shell {
        title: "Log in",
        depth: Depth::Top,
        visitor,
        events: None,
        scripts: &[],
        banner: Markup::default(),
    };
    shell.page(status, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for ours in ["/", "/connections/a%20b", "/link/x"] {
            assert!(is_own_path(ours), "{ours}");
        }
        for other in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a b",
            "/\n",
        ] {
            assert!(!is_own_path(other), "{other}");
        }
    }
}
