//! Step 8: what of an answer reaches the caller.

use url::Url;

use super::{p, pair};
use crate::harness::{Answer, Keybearer, Upstream, connection};

/// What becomes of a `Location`.
#[derive(Clone, Copy)]
enum Becomes {
    /// Stays, byte for byte.
    Itself,
    /// Leads to this path at keybearer.
    Ours(&'static str),
}
use Becomes::{Itself, Ours};

const LOCATIONS: &[(&str, Becomes, &str)] = &[
    ("{url}/base/a", Ours("/p/a"), "below the base"),
    ("{url}/base", Ours("/p"), "the base itself"),
    ("{url}/base/", Ours("/p/"), "the base and a slash"),
    ("{url}/base?x=1", Ours("/p?x=1"), "the base and a query"),
    (
        "{url}/base/a%2Fb?x=%20+#f",
        Ours("/p/a%2Fb?x=%20+#f"),
        "byte for byte",
    ),
    (
        "{url}/base//a;v=1/",
        Ours("/p//a;v=1/"),
        "empty segments and parameters",
    ),
    ("/base/a", Ours("/p/a"), "without an authority"),
    ("/base", Ours("/p"), "the base without an authority"),
    ("//{address}/base/a", Ours("/p/a"), "without a scheme"),
    (
        "HTTP://{address}/base/a",
        Ours("/p/a"),
        "schemes have no letter case",
    ),
    ("{url}/basement", Itself, "half a segment is another path"),
    ("{url}/other", Itself, "beside the base"),
    ("{url}/", Itself, "above the base"),
    ("/other", Itself, "beside the base, without an authority"),
    (
        "/basement/a",
        Itself,
        "half a segment, without an authority",
    ),
    ("https://elsewhere.example/base/a", Itself, "another host"),
    (
        "//elsewhere.example/base/a",
        Itself,
        "another host, without a scheme",
    ),
    ("http://127.0.0.1:1/base/a", Itself, "another port"),
    ("http://127.0.0.1/base/a", Itself, "the scheme's own port"),
    ("https://{address}/base/a", Itself, "another scheme"),
    (
        "{url}@elsewhere.example/base/a",
        Itself,
        "our address as userinfo",
    ),
    (
        "{url}.elsewhere.example/base/a",
        Itself,
        "our address as a subdomain",
    ),
    ("next", Itself, "relative"),
    ("../next", Itself, "relative, upwards"),
    ("?page=2", Itself, "only a query"),
    ("mailto:a@b.example", Itself, "no place to go"),
];

#[tokio::test]
async fn a_location_below_the_base_leads_to_the_prefix() {
    let (upstream, keybearer) = pair("").await;
    let here = Url::parse(&format!("http://{}/p/dir/x", keybearer.proxy())).unwrap();
    for field in ["Location", "Content-Location"] {
        for (written, becomes, why) in LOCATIONS {
            let written = written
                .replace("{url}", &upstream.url(""))
                .replace("{address}", &upstream.address().to_string());
            let lines = format!("{field}: {written}\r\n");
            upstream.on("/base/dir/x", Answer::sized("302 Found", &lines, ""));
            upstream.take();
            let response = keybearer.get("/p/dir/x").send().await;
            let became = response.header(field).expect(field);
            match becomes {
                Itself => assert_eq!(became, written, "{field}: {why}"),
                Ours(path) => {
                    let leads = here.join(became).unwrap();
                    let wanted = here.join(path).unwrap();
                    assert_eq!(leads, wanted, "{field}: {written}: {why}");
                }
            }
            assert_eq!(upstream.count(), 1, "a redirect was followed");
        }
    }
}

#[tokio::test]
async fn a_location_at_a_host_of_its_own_has_no_prefix() {
    let upstream = Upstream::start().await;
    let rest = "hosts = [\"own.localhost\"]\nauth = { type = \"none\" }";
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), rest)).await;
    let lines = format!("Location: {}\r\n", upstream.url("/base/a"));
    upstream.on("/base/x", Answer::sized("302 Found", &lines, ""));
    for (host, target, leads) in [
        ("own.localhost", "/x", "http://own.localhost/a"),
        ("localhost", "/p/x", "http://localhost/p/a"),
    ] {
        let response = keybearer.get(target).host(host).send().await;
        let here = Url::parse(&format!("http://{host}{target}")).unwrap();
        let location = here.join(response.header("location").unwrap()).unwrap();
        assert_eq!(location.as_str(), leads);
    }
}

#[tokio::test]
async fn a_location_below_an_empty_base_leads_to_the_prefix() {
    let upstream = Upstream::start().await;
    let rest = "auth = { type = \"none\" }";
    let keybearer = Keybearer::start(&connection("p", &upstream.url(""), rest)).await;
    for (written, becomes) in [("/a", "/p/a"), ("/", "/p/"), ("/p/a", "/p/p/a")] {
        let lines = format!("Location: {written}\r\n");
        upstream.on("/x", Answer::sized("302 Found", &lines, ""));
        let response = keybearer.get("/p/x").send().await;
        let here = Url::parse(&format!("http://{}/p/x", keybearer.proxy())).unwrap();
        let location = here.join(response.header("location").unwrap()).unwrap();
        assert_eq!(location.path(), becomes, "{written}");
    }
}

#[tokio::test]
async fn cookies_stay_out_unless_they_are_passed() {
    for (setting, kept) in [
        ("", false),
        ("cookies = \"strip\"", false),
        ("cookies = \"pass\"", true),
    ] {
        let (upstream, keybearer) = pair(setting).await;
        let lines = "Set-Cookie: a=1; Path=/\r\nset-cookie: b=2\r\n";
        upstream.on("/base/x", Answer::fields(lines));
        let response = keybearer.get("/p/x").header("Cookie", "c=3").send().await;
        let expected = if kept {
            vec!["a=1; Path=/", "b=2"]
        } else {
            vec![]
        };
        assert_eq!(response.head.all("set-cookie"), expected, "{setting}");
        let seen = upstream.last();
        assert_eq!(seen.header("cookie"), kept.then_some("c=3"), "{setting}");
    }
}

#[tokio::test]
async fn fields_of_the_upstream_hop_stay_there() {
    let (upstream, keybearer) = pair("").await;
    let lines = "Connection: keep-alive, X-Internal\r\nX-Internal: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-T\r\nUpgrade: h2c\r\n";
    upstream.on("/base/x", Answer::fields(lines));
    let response = keybearer.get("/p/x").send().await;
    for name in [
        "x-internal",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ] {
        assert_eq!(response.header(name), None, "{name}");
    }
    let connection = response.header("connection").unwrap_or_default();
    assert!(
        !connection.to_lowercase().contains("internal"),
        "{connection}"
    );
}

#[tokio::test]
async fn everything_else_of_an_answer_passes() {
    let (upstream, keybearer) = pair("").await;
    let fields = [
        ("Date", "Sun, 22 Nov 2026 06:00:00 GMT"),
        ("Server", "tests"),
        ("ETag", "\"x\""),
        ("Vary", "Accept"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Encoding", "gzip"),
        ("WWW-Authenticate", "Bearer realm=\"upstream\""),
        ("Retry-After", "3"),
        ("X-Empty", ""),
        ("Link", "</a>; rel=next"),
        ("Link", "</b>; rel=prev"),
    ];
    let lines = fields.map(|(name, value)| format!("{name}: {value}\r\n"));
    for status in [200, 201, 206, 299, 400, 401, 404, 407, 418, 429, 500, 503] {
        let answer = Answer::sized(
            &format!("{status} Said So"),
            &lines.concat(),
            "\u{1f}\u{8b}",
        );
        upstream.on("/base/x", answer);
        let response = keybearer.get("/p/x").send().await;
        assert_eq!(response.status, status);
        assert_eq!(response.text(), "\u{1f}\u{8b}");
        assert_eq!(response.header("proxy-status"), None, "it is not ours");
        for (name, value) in fields {
            assert!(response.head.all(name).contains(&value), "{status} {name}");
        }
        assert_eq!(response.head.all("link").len(), 2);
        assert_eq!(response.head.all("date").len(), 1);
    }
}

#[tokio::test]
async fn our_own_answers_say_so_and_name_the_connection() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&p(&upstream, "allow = { methods = [\"GET\"] }")).await;
    let response = keybearer.post("/p/x").body("text/plain", "x").send().await;
    let detail = response.problem(403, "not-allowed", "http_request_denied");
    assert!(detail.contains("POST"), "{detail}");
    assert_eq!(response.json()["connection"], "p");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let response = keybearer.request("HEAD", "/p/x").send().await;
    assert_eq!(response.status, 403);
    assert!(response.header("proxy-status").is_some() && response.body.is_empty());
}

#[tokio::test]
async fn a_refusal_of_the_upstream_is_not_taken_for_our_own() {
    // hyper's own refusals are replaced on their way out; they look like these.
    let (upstream, keybearer) = pair("").await;
    for status in ["400 Bad Request", "431 Request Header Fields Too Large"] {
        let answer = format!("HTTP/1.1 {status}\r\nX-Up: yes\r\nContent-Length: 0\r\n\r\n");
        upstream.on("/base/no", Answer::raw(answer));
        let mut client = keybearer.caller().await;
        for _ in 0..3 {
            let response = keybearer.get("/p/no").send_on(&mut client).await;
            assert_eq!(
                (response.header("x-up"), response.text().as_str()),
                (Some("yes"), "")
            );
        }
    }
    let head = "HTTP/1.1 400 Bad Request\r\nX-Up: yes\r\nContent-Length: 50\r\n\r\n";
    upstream.on("/base/head", Answer::raw(head));
    let mut client = keybearer.caller().await;
    for _ in 0..3 {
        client
            .send("HEAD /p/head HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        let response = client.response_to("HEAD").await;
        assert_eq!(
            (response.status, response.header("x-up")),
            (400, Some("yes"))
        );
    }
}

#[tokio::test]
async fn an_injected_parameter_does_not_come_back_in_a_reference() {
    let upstream = Upstream::start().await;
    let auth = "auth = { type = \"query\", params = { api_key = \"canary\" } }";
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), auth)).await;
    let link = upstream.url("/base/x?a=1&api_key=canary&page=2");
    let answer = format!(
        "HTTP/1.1 301 Moved\r\nLocation: /base/x/?a=1&api_key=canary\r\nLink: <{link}>; rel=\"next\"\r\nContent-Length: 0\r\n\r\n"
    );
    upstream.on("/base/x", Answer::raw(answer));
    let response = keybearer.get("/p/x?a=1").send().await;
    assert_eq!(response.header("location"), Some("/p/x/?a=1"));
    let link = response.header("link").unwrap();
    assert!(
        link.contains("?a=1&page=2>") && !link.contains("canary"),
        "{link}"
    );
}
