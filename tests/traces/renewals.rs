//! Renewals of credentials, in the trace of the request that waits for one.

use serde_json::json;

use super::{PARENT, TRACE, told, traceparent};
use crate::aws::assuming;
use crate::harness::aws::Sts;
use crate::harness::{
    Answer, AuthorizationServer, AuthorizationSettings, Collector, Gate, Keybearer, OAuthClient,
    Request, Setup, Span, Upstream, connection, eventually, wait_for_state,
};
use crate::oauth::{api, issuing, link, machine, personal};

fn in_the_trace(request: Request) -> Request {
    request.header("traceparent", &traceparent("01"))
}

/// Waits for so many spans of the caller's trace, and gives them.
async fn of_the_trace(collector: &Collector, count: usize) -> Vec<Span> {
    let what = format!("{count} spans of the trace");
    let spans = eventually(&what, async || {
        let mut spans = collector.spans();
        spans.retain(|span| span.trace == TRACE);
        (spans.len() >= count).then_some(spans)
    });
    let spans = spans.await;
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

fn kinds(spans: &[Span]) -> Vec<(&str, &str)> {
    let kinds = spans.iter().map(|span| (span.kind, &*span.span.name));
    kinds.collect()
}

fn is_before(first: &Span, second: &Span) -> bool {
    first.span.end_time_unix_nano <= second.span.start_time_unix_nano
}

#[tokio::test]
async fn a_request_that_waits_for_its_first_token_shows_why() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let (endpoint, gate) = (Upstream::start().await, Gate::new());
    let members =
        json!({ "access_token": "canary-token", "token_type": "Bearer", "expires_in": 600 });
    let members = members.to_string();
    let issued = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{members}",
        members.len()
    );
    endpoint.on("/token", Answer::raw(issued).behind(&gate));
    let auth = machine(&endpoint.url("/token?tenant=canary-query"), "");
    let tables = api("api", &upstream.url(""), &auth, "")
        + &connection("echo", "builtin:echo", "")
        + &collector.table("");
    let setup = Setup::new().server("threads = 1").tables(&tables);
    let keybearer = setup.start().await;
    endpoint.wait_for_requests(1).await;
    let mut callers = Vec::new();
    for path in ["/api/first", "/api/second"] {
        let mut caller = keybearer.caller().await;
        caller.send(in_the_trace(keybearer.get(path)).bytes()).await;
        callers.push(caller);
        // One thread: what came before has been looked at.
        keybearer.get("/echo/").send().await;
    }
    gate.open();
    for caller in &mut callers {
        assert_eq!(caller.response().await.status, 200);
    }
    let spans = of_the_trace(&collector, 6).await;
    let of_path = |path: &str| {
        let mut servers = spans.iter().filter(|it| it.attribute("url.path") == path);
        servers.next().unwrap()
    };
    let (first, second) = (of_path("/api/first"), of_path("/api/second"));
    let renewal = spans.iter().find(|it| it.kind == "INTERNAL").unwrap();
    assert_eq!(renewal.span.name, "renew credential");
    assert_eq!(
        (&first.parent, &renewal.parent),
        (&PARENT.to_owned(), &first.id)
    );
    // It began before anybody asked, and the second waits as well.
    let linked = renewal.span.links.iter();
    let linked: Vec<_> = linked.map(|it| &it.span_id).collect();
    assert_eq!(linked, [&second.span.span_id]);
    assert_eq!(renewal.attributes(), ["keybearer.connection=api"]);
    let asked = spans.iter().find(|it| it.parent == renewal.id).unwrap();
    assert_eq!((asked.kind, &*asked.span.name), ("CLIENT", "POST"));
    assert_eq!(
        asked.attributes(),
        [
            "http.request.method=POST",
            "http.response.status_code=200",
            "keybearer.connection=api",
            "server.address=127.0.0.1",
            &format!("server.port={}", endpoint.address().port()),
            &format!("url.full={}", endpoint.url("/token")),
        ]
    );
    assert!(!renewal.is_error() && !asked.is_error());
    for server in [first, second] {
        let call = spans
            .iter()
            .find(|it| it.kind == "CLIENT" && it.parent == server.id);
        assert!(is_before(renewal, call.unwrap()), "{spans:#?}");
    }
    let text = collector.text();
    assert!(
        !text.contains("canary") && !text.contains("client secret"),
        "{text}"
    );
    let requests = endpoint.requests();
    assert_eq!(requests[0].header("traceparent"), None, "nobody else's");
}

/// Refused, renewed and sent again, all of it in one trace.
#[tokio::test]
async fn a_refused_token_its_renewal_and_the_second_attempt_are_one_trace() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let endpoint = issuing(&["one", "two"], 3600).await;
    let expired = Answer::sized("401 Unauthorized", "", "");
    upstream.on_each("/x", [expired, Answer::ok("at last")]);
    let auth = machine(&endpoint.url("/token"), "");
    let tables = api("api", &upstream.url(""), &auth, "") + &collector.table("");
    let keybearer = Keybearer::start(&tables).await;
    wait_for_state(&keybearer, "api", "ready").await;
    let response = in_the_trace(keybearer.post("/api/x").content("again"))
        .send()
        .await;
    assert_eq!(response.text(), "at last");
    let spans = of_the_trace(&collector, 5).await;
    assert_eq!(
        kinds(&spans),
        [
            ("SERVER", "POST /api"),
            ("CLIENT", "POST"),
            ("INTERNAL", "renew credential"),
            ("CLIENT", "POST"),
            ("CLIENT", "POST"),
        ]
    );
    let [server, first, renewal, asked, second] = &spans[..] else {
        panic!("{spans:#?}");
    };
    for (child, parent) in [
        (first, server),
        (renewal, server),
        (asked, renewal),
        (second, server),
    ] {
        assert_eq!(child.parent, parent.id);
    }
    assert!(is_before(first, renewal) && is_before(renewal, second));
    assert_eq!(asked.attribute("url.full"), endpoint.url("/token"));
    let of = |span: &Span| {
        let names = [
            "http.response.status_code",
            "error.type",
            "http.request.resend_count",
        ];
        names.map(|name| span.attribute(name)).join(" ")
    };
    assert_eq!([first, second].map(of), ["401 401 ", "200  1"]);
    assert!(first.is_error() && !server.is_error());
    let requests = upstream.requests();
    assert_eq!(
        [told(&requests[0])[2], told(&requests[1])[2]],
        [&*first.id, &second.id]
    );
    let line = keybearer
        .logged(&["Credential refused by the upstream"])
        .await;
    assert!(line.contains(TRACE), "{line}");
    // The first renewal of all is nobody's, and has a trace of its own.
    let mut others = collector.spans();
    others.retain(|span| span.trace != TRACE);
    assert_eq!(
        kinds(&others),
        [("INTERNAL", "renew credential"), ("CLIENT", "POST")]
    );
    assert_eq!(others[0].parent, "");
    assert_eq!(
        (&others[1].trace, &others[1].parent),
        (&others[0].trace, &others[0].id)
    );
}

/// A refresh token is spent by a process of its own, and shown all the same.
#[tokio::test]
async fn a_refresh_by_a_process_of_its_own_is_in_the_trace() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let expired = Answer::sized("401 Unauthorized", "", "");
    upstream.on_each("/x", [expired, Answer::ok("at last")]);
    let client = OAuthClient::basic("app", "canary-secret").authorization_code("/oauth/callback");
    let server = AuthorizationServer::start(AuthorizationSettings::with(client)).await;
    let keys = "client_secret = \"canary-secret\"\nscopes = [\"openid\"]\n";
    let auth = personal(&server, "app", keys);
    let tables = api("api", &upstream.url(""), &auth, "") + &collector.table("");
    let keybearer = Keybearer::start(&tables).await;
    wait_for_state(&keybearer, "api", "not_linked").await;
    let page = link(&keybearer, "api", "jane").await;
    assert_eq!(page.status, 200, "{page:?}");
    let response = in_the_trace(keybearer.get("/api/x")).send().await;
    assert_eq!(response.text(), "at last");
    let spans = of_the_trace(&collector, 5).await;
    let [request, _, renewal, asked, _] = &spans[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!((renewal.kind, &renewal.parent), ("INTERNAL", &request.id));
    assert_eq!((asked.kind, &asked.parent), ("CLIENT", &renewal.id));
    assert_eq!(asked.attribute("url.full"), server.token_url());
    assert_eq!(asked.attribute("http.response.status_code"), "200");
    let text = collector.text();
    assert!(!text.contains("canary"), "{text}");
    for request in upstream.requests() {
        let token = request.header("authorization").unwrap().to_owned();
        let token = token.strip_prefix("Bearer ").unwrap();
        assert!(!text.contains(token), "{text}");
    }
}

#[tokio::test]
async fn a_renewal_that_fails_says_so_where_it_was_waited_for() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let endpoint = issuing(&["one"], 3600).await;
    upstream.on("/x", Answer::sized("401 Unauthorized", "", ""));
    let auth = machine(&endpoint.url("/token"), "");
    let tables = api("api", &upstream.url(""), &auth, "") + &collector.table("");
    let keybearer = Keybearer::start(&tables).await;
    wait_for_state(&keybearer, "api", "ready").await;
    endpoint.on("/token", Answer::sized("503 Busy", "", ""));
    let response = in_the_trace(keybearer.get("/api/x")).send().await;
    assert_eq!(response.status, 401, "the upstream's own");
    let spans = of_the_trace(&collector, 4).await;
    let errors: Vec<_> = spans
        .iter()
        .map(|span| span.attribute("error.type"))
        .collect();
    assert_eq!(errors, ["", "401", "retrying", "503"]);
    for (span, error) in spans.iter().zip(&errors) {
        assert_eq!(span.is_error(), !error.is_empty(), "{span:?}");
    }
}

#[tokio::test]
async fn sessions_of_a_role_are_shown_without_what_they_are_asked_with() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let sts = Sts::start::<3600>().await;
    let tables = assuming("s3", &upstream.url(""), &sts.url(), "") + &collector.table("");
    let keybearer = Keybearer::start(&tables).await;
    wait_for_state(&keybearer, "s3", "ready").await;
    let spans = collector.exactly(2).await;
    assert_eq!(
        kinds(&spans),
        [("INTERNAL", "renew credential"), ("CLIENT", "POST")]
    );
    assert_eq!(spans[1].attribute("url.full"), sts.url() + "/");
    let text = collector.text();
    assert!(!text.contains("ASIA") && !text.contains("secret"), "{text}");
}
