//! Sessions of people, as a client sees them that writes its own requests.

use super::table;
use crate::harness::{Keybearer, RawClient, Request, Response, Setup, Upstream, eventually};

const TOKEN: &str = "canary-admin-token-83ab";

async fn start(more: &str) -> (Upstream, Keybearer) {
    let upstream = Upstream::start().await;
    let setup = Setup::new().admin(&format!("token = \"{TOKEN}\"\n{more}"));
    let keybearer = setup.tables(&table(&upstream)).start().await;
    (upstream, keybearer)
}

/// What a page's field is.
fn field<'p>(page: &'p str, before: &str) -> &'p str {
    let (_, rest) = page
        .split_once(before)
        .unwrap_or_else(|| panic!("{before}: {page}"));
    rest.split_once('"').unwrap().0
}

const CSRF_INPUT: &str = "name=\"csrf\" value=\"";
const CSRF_META: &str = "name=\"csrf-token\" content=\"";

async fn form_token(keybearer: &Keybearer) -> String {
    let page = keybearer.ask("GET", "/login").send().await;
    assert_eq!(page.status, 200);
    field(&page.text(), CSRF_INPUT).to_owned()
}

async fn give(keybearer: &Keybearer, token: &str, more: &str) -> Response {
    let csrf = form_token(keybearer).await;
    let request = keybearer.ask("POST", "/login");
    let form = format!("csrf={csrf}&token={token}{more}");
    let request = request.body("application/x-www-form-urlencoded", form);
    request.send().await
}

/// The cookie of a new session, and the CSRF token of its pages.
async fn session(keybearer: &Keybearer) -> (String, String) {
    let inside = give(keybearer, TOKEN, "").await;
    assert_eq!(inside.status, 303, "{inside:?}");
    let cookie = inside.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = keybearer
        .ask("GET", "/")
        .header("Cookie", &cookie)
        .send()
        .await;
    assert_eq!(page.status, 200);
    let csrf = field(&page.text(), CSRF_META).to_owned();
    (cookie, csrf)
}

#[tokio::test]
async fn a_session_is_for_reading_and_its_pages_may_change() {
    let (_upstream, keybearer) = start("").await;
    let (cookie, csrf) = session(&keybearer).await;
    let (_, other) = session(&keybearer).await;
    for path in [
        "/",
        "/connections/p",
        "/agents",
        "/metrics",
        "/api/connections",
        "/api/status",
    ] {
        let get = |request: Request| async move { request.send().await.status };
        assert_eq!(
            get(keybearer.ask("GET", path).header("Cookie", &cookie)).await,
            200,
            "{path}"
        );
        assert_eq!(get(keybearer.ask("GET", path)).await, 401, "{path}");
        let broken = cookie.replace('=', "=x");
        assert_eq!(
            get(keybearer.ask("GET", path).header("Cookie", &broken)).await,
            401,
            "{path}"
        );
    }
    for (method, path) in [
        ("POST", "/api/reload"),
        ("POST", "/api/connections/p/test"),
        ("POST", "/api/external-id"),
        ("POST", "/api/connections/p/link"),
        ("DELETE", "/api/connections/p/link"),
    ] {
        let ask = async |proof: Option<&str>| {
            let request = keybearer.ask(method, path).header("Cookie", &cookie);
            let request = match proof {
                Some(proof) => request.header("X-CSRF-Token", proof),
                None => request,
            };
            request.send().await.status
        };
        for wrong in [None, Some(""), Some("x"), Some(&*other), Some(&*cookie)] {
            assert_eq!(ask(wrong).await, 403, "{method} {path} {wrong:?}");
        }
        assert_ne!(ask(Some(&csrf)).await, 403, "{method} {path}");
    }
}

#[tokio::test]
async fn another_token_ends_all_sessions() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().admin("token = { file = \"token\" }");
    let setup = setup.file("token", TOKEN).tables(&table(&upstream));
    let keybearer = setup.start().await;
    let (cookie, _) = session(&keybearer).await;
    keybearer.setup().replace("token", "another-token");
    crate::harness::eventually("the end of the session", async || {
        let request = keybearer
            .ask("GET", "/api/status")
            .header("Cookie", &cookie);
        (request.send().await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cookie_is_kept_from_scripts_and_other_sites() {
    let (_upstream, keybearer) = start("public_url = \"https://keys.example\"").await;
    let inside = give(&keybearer, TOKEN, "").await;
    let cookie = inside.header("set-cookie").unwrap();
    for attribute in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/",
        "; Max-Age=43200",
    ] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(
        !cookie.contains("Secure"),
        "a browser would drop it on this road: {cookie}"
    );
    let csrf = form_token(&keybearer).await;
    let form = format!("csrf={csrf}&token={TOKEN}");
    let request = keybearer.ask("POST", "/login").host("keys.example");
    let request = request.body("application/x-www-form-urlencoded", form);
    let cookie = request.send().await;
    assert!(
        cookie.header("set-cookie").unwrap().ends_with("; Secure"),
        "{cookie:?}"
    );
}

#[tokio::test]
async fn nobody_is_led_elsewhere_after_the_login() {
    let (_upstream, keybearer) = start("").await;
    for (next, location) in [
        ("%2Fconnections%2Fp", "./connections/p"),
        ("%2F%2Fevil.example", "./"),
        ("https%3A%2F%2Fevil.example", "./"),
        ("%2F%5Cevil.example", "./"),
        ("%2Fa%0D%0ASet-Cookie%3Ax", "./"),
    ] {
        let inside = give(&keybearer, TOKEN, &format!("&next={next}")).await;
        assert_eq!(inside.header("location"), Some(location), "{next}");
    }
}

#[tokio::test]
async fn wrong_tokens_are_counted_by_address() {
    let (_upstream, mut keybearer) = start("").await;
    let (cookie, _) = session(&keybearer).await;
    for _ in 0..10 {
        assert_eq!(give(&keybearer, "wrong", "").await.status, 401);
    }
    let refused = give(&keybearer, TOKEN, "").await;
    assert_eq!(refused.status, 429);
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    // Whoever is inside stays, and programs have an account of their own.
    let get = async |name: &str, value: &str| {
        let request = keybearer.ask("GET", "/api/status").header(name, value);
        request.send().await
    };
    assert_eq!(get("Cookie", &cookie).await.status, 200);
    assert_eq!(
        get("Authorization", &format!("Bearer {TOKEN}"))
            .await
            .status,
        200
    );
    for _ in 0..60 {
        assert_eq!(get("Authorization", "Bearer wrong").await.status, 401);
    }
    let refused = get("Authorization", &format!("Bearer {TOKEN}")).await;
    refused.problem(429, "too-many-attempts", "http_request_denied");
    assert!(refused.header("retry-after").is_some());
    assert!(!keybearer.log().contains("canary"), "{}", keybearer.log());
    assert!(keybearer.running());
}

#[tokio::test]
async fn a_form_of_another_page_is_not_taken() {
    let (_upstream, keybearer) = start("").await;
    for csrf in ["", "x", "AAAA"] {
        let form = format!("csrf={csrf}&token={TOKEN}");
        let request = keybearer.ask("POST", "/login");
        let request = request.body("application/x-www-form-urlencoded", form);
        let refused = request.send().await;
        assert_eq!(refused.status, 403, "{csrf}");
        assert!(refused.header("set-cookie").is_none());
    }
    let cross = keybearer
        .ask("POST", "/login")
        .header("Sec-Fetch-Site", "cross-site");
    assert_eq!(
        cross
            .body("application/x-www-form-urlencoded", "x")
            .send()
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn a_target_that_is_no_path_is_refused() {
    let (_upstream, mut keybearer) = start("").await;
    for target in ["*", "localhost:80", "http:"] {
        let mut client = RawClient::connect(keybearer.console()).await;
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
        client.send(head).await;
        assert_eq!(client.response().await.status, 400, "{target}");
    }
    let log = keybearer.log();
    assert!(keybearer.running() && !log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_page_is_followed_no_longer_than_its_session_lasts() {
    let (_upstream, keybearer) = start("").await;
    let (cookie, _) = session(&keybearer).await;
    for (field, value) in [
        ("Cookie", cookie),
        ("Authorization", format!("Bearer {TOKEN}")),
    ] {
        let mut client = RawClient::connect(keybearer.console()).await;
        let request = keybearer.ask("GET", "/events?view=list");
        client.send(request.header(field, &value).bytes()).await;
        client.until("event: update").await;
        let text = keybearer.setup().text();
        let other = text.replace(TOKEN, "another-token-of-the-console");
        keybearer.setup().replace("keybearer.toml", &other);
        // The end of its last chunk.
        client.until("\r\n0\r\n\r\n").await;
        keybearer.setup().replace("keybearer.toml", &text);
        eventually("the token is good again", async || {
            let again = keybearer.ask("GET", "/api/status");
            let again = again.header("Authorization", &format!("Bearer {TOKEN}"));
            (again.send().await.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn who_asks_for_a_page_is_led_to_the_form_and_who_asks_for_data_is_not() {
    let (_upstream, keybearer) = start("").await;
    for (path, location) in [
        ("/", Some("./login?next=%2F")),
        ("/connections/p", Some("./../login?next=%2Fconnections%2Fp")),
        ("/api/status", None),
        ("/events?view=list", None),
        ("/metrics", None),
    ] {
        let request = keybearer.ask("GET", path).header("Accept", "text/html,*/*");
        let answer = request.send().await;
        assert_eq!(answer.header("location"), location, "{path}");
        let status = if location.is_some() { 303 } else { 401 };
        assert_eq!(answer.status, status, "{path}");
    }
}
