//! An API refuses a token that has not come to its end: one renewal, one replay, and no storm.

use ring::digest::{SHA256, digest};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{api, bearer, fine, issuing, machine};
use crate::harness::{
    Answer, AuthorizationServer, AuthorizationSettings, Keybearer, OAuthClient, Request, Upstream,
    within,
};
use crate::http2::Http2Upstream;

const MEBIBYTE: usize = 1 << 20;

fn refusal() -> Answer {
    Answer::sized(
        "401 Unauthorized",
        "WWW-Authenticate: Bearer\r\nX-Own: yes\r\n",
        "the API's own no",
    )
}

/// A mebibyte in which no piece is like another, as text.
fn content() -> String {
    let numbers = (0..).map(|n: u32| format!("{n:08x}"));
    numbers.take(MEBIBYTE / 8).collect()
}

fn hex(content: &str) -> String {
    let hash = digest(&SHA256, content.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// With the content sized, and chunked.
fn both(request: &Request, content: &str) -> [Request; 2] {
    let pieces: Vec<_> = (0..content.len()).step_by(60_000).collect();
    let pieces = pieces
        .iter()
        .map(|&at| &content[at..content.len().min(at + 60_000)]);
    let pieces: Vec<_> = pieces.collect();
    let sized = request.clone().body("text/plain", content);
    [sized, request.clone().chunks("text/plain", &pieces)]
}

/// An API and a token endpoint that issues `one`, `two`, …; `rest` are keys of the connection.
async fn scripted(rest: &str) -> (Upstream, Upstream, Keybearer) {
    let endpoint = issuing(&["one", "two", "three", "four", "five"], 3600).await;
    let resource = Upstream::start().await;
    let auth = machine(&endpoint.url("/token"), "");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, rest)).await;
    (endpoint, resource, keybearer)
}

/// An authorization server, and the API that asks it about tokens.
async fn certified() -> (AuthorizationServer, Keybearer) {
    let client = OAuthClient::basic("id", "client secret").client_credentials();
    let server = AuthorizationServer::start(AuthorizationSettings::with(client)).await;
    let auth = machine(&server.token_url(), "");
    let table = api("p", server.resource_url(), &auth, "");
    (server, Keybearer::start(&table).await)
}

#[tokio::test]
async fn a_withdrawn_token_costs_one_renewal_and_the_content_is_sent_again() {
    let (server, keybearer) = certified().await;
    let content = content();
    fine(keybearer.get("/p/x")).await;
    // Withdrawn again at once: the last renewal has done its good by then.
    for (n, post) in both(&keybearer.post("/p/x?a=b"), &content)
        .into_iter()
        .enumerate()
    {
        assert_eq!(server.revoke_access_tokens().await, 1);
        let seen = fine(post).await.json();
        assert_eq!(seen["content"]["length"], MEBIBYTE);
        assert_eq!(seen["content"]["sha256"], hex(&content));
        assert_eq!(
            (&seen["method"], &seen["target"]),
            (&"POST".into(), &"/x?a=b".into())
        );
        let requests = server.token_requests("client_credentials").await;
        assert_eq!(requests.len(), n + 2);
        assert_eq!(
            server.resource_requests().await.1,
            n as u64 + 1,
            "refused once each"
        );
    }
}

#[tokio::test]
async fn a_refused_token_is_renewed_on_http2_too() {
    let endpoint = issuing(&["one", "two"], 3600).await;
    let resource = Http2Upstream::start().await;
    let auth = machine(&endpoint.url("/token"), "");
    let table = api("p", &resource.url(""), &auth, "http = \"2\"");
    let keybearer = Keybearer::start(&table).await;
    let content = content();
    // Refused at first, and sent again with another token; nothing is refused from then on.
    for post in both(&keybearer.post("/p/second"), &content) {
        assert_eq!(fine(post).await.text(), "ok");
        assert!(resource.last().body == content.as_bytes());
    }
    assert_eq!((endpoint.count(), resource.connections()), (2, 1));
}

#[tokio::test]
async fn content_is_sent_again_where_the_api_did_not_want_to_read_it() {
    let (endpoint, resource, keybearer) = scripted("").await;
    let content = content();
    for (n, post) in both(&keybearer.post("/p/x"), &content)
        .into_iter()
        .enumerate()
    {
        // It answers first, and reads what then still comes.
        let unread = Answer(refusal().0.into_iter().rev().collect());
        resource.on_each("/x", [unread, Answer::ok("taken")]);
        assert_eq!(fine(post).await.text(), "taken");
        let seen = resource.take();
        assert_eq!(seen.len(), 2);
        assert_eq!(hex(seen[1].text()), hex(&content));
        assert_ne!(bearer(&seen[0]), bearer(&seen[1]));
        assert_eq!(endpoint.count(), n + 2);
    }
}

#[tokio::test]
async fn an_api_that_always_refuses_is_asked_twice_and_its_answer_passes() {
    let (endpoint, resource, keybearer) = scripted("").await;
    resource.on("/x", refusal());
    let asked = keybearer.post("/p/x").body("text/plain", "content");
    let response = asked.send().await;
    assert_eq!(
        (response.status, response.text().as_str()),
        (401, "the API's own no")
    );
    assert_eq!(response.header("x-own"), Some("yes"));
    assert_eq!(response.header("proxy-status"), None);
    let seen = resource.take();
    assert_eq!(seen.iter().map(bearer).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(seen[1].text(), "content");
    for _ in 0..10 {
        assert_eq!(asked.send().await.status, 401);
    }
    assert_eq!((resource.count(), endpoint.count()), (10, 2));
}

#[tokio::test]
async fn a_path_that_always_refuses_costs_no_renewal_per_request() {
    let limits = "limits = { signed_body = \"64KiB\" }";
    let (endpoint, resource, keybearer) = scripted(limits).await;
    resource.on("/forbidden", refusal());
    for _ in 0..10 {
        fine(keybearer.get("/p/fine")).await;
        assert_eq!(keybearer.get("/p/forbidden").send().await.status, 401);
    }
    assert_eq!(endpoint.count(), 2);
    // Neither where the request cannot be sent again, which would show that it is refused itself.
    let long = keybearer
        .post("/p/forbidden")
        .body("text/plain", "x".repeat(100 << 10));
    for _ in 0..10 {
        fine(keybearer.get("/p/fine")).await;
        assert_eq!(long.send().await.status, 401);
    }
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
async fn many_that_are_refused_at_once_share_one_renewal() {
    let (server, keybearer) = certified().await;
    fine(keybearer.get("/p/x")).await;
    server.revoke_access_tokens().await;
    let requests = (0..50).map(|_| tokio::spawn(fine(keybearer.get("/p/x"))));
    let requests: Vec<_> = requests.collect();
    for request in requests {
        request.await.unwrap();
    }
    assert_eq!(server.token_requests("client_credentials").await.len(), 2);
}

#[tokio::test]
async fn content_that_is_not_kept_is_not_sent_again() {
    let limits = "limits = { signed_body = \"64KiB\" }";
    let (endpoint, resource, keybearer) = scripted(limits).await;
    let content = &content()[..200_000];
    for (n, post) in both(&keybearer.post("/p/x"), content)
        .into_iter()
        .enumerate()
    {
        resource.on_each("/x", [refusal(), Answer::ok("taken")]);
        let response = post.send().await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (401, "the API's own no")
        );
        let seen = resource.take();
        assert_eq!((seen.len(), seen[0].text()), (1, content));
        fine(post).await;
        let seen = resource.take();
        assert_eq!(
            (bearer(&seen[0]), endpoint.count()),
            (["two", "three"][n], n + 2)
        );
    }
    let short = keybearer
        .post("/p/y")
        .body("text/plain", &content[..64 << 10]);
    resource.on_each("/y", [refusal(), Answer::ok("taken")]);
    assert_eq!(fine(short).await.text(), "taken");
}

#[tokio::test]
async fn a_web_socket_is_not_opened_twice() {
    let (endpoint, resource, keybearer) = scripted("").await;
    resource.on_each("/ws", [refusal(), Answer::web_socket()]);
    let url = format!("ws://{}/p/ws", keybearer.proxy());
    let open = async || {
        let request = url.as_str().into_client_request().unwrap();
        let stream = keybearer.caller().await.into_stream();
        within(
            "the handshake",
            tokio_tungstenite::client_async(request, stream),
        )
        .await
    };
    match open().await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
            assert_eq!(response.status().as_u16(), 401);
        }
        other => panic!("{:?}", other.map(|(_, response)| response)),
    }
    assert_eq!((resource.count(), endpoint.count()), (1, 2));
    let (_, response) = open().await.unwrap();
    assert_eq!(response.status().as_u16(), 101);
    assert_eq!(bearer(&resource.last()), "two");
}

#[tokio::test]
async fn uploads_that_are_always_refused_cost_few_renewals() {
    let tokens: Vec<_> = (0..30).map(|n| n.to_string()).collect();
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
    let (endpoint, resource) = (issuing(&tokens, 3600).await, Upstream::start().await);
    resource.on("/forbidden", refusal());
    let auth = machine(&endpoint.url("/token"), "");
    let limits = "limits = { signed_body = \"1KiB\" }";
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, limits)).await;
    let upload = keybearer
        .post("/p/forbidden")
        .body("text/plain", "x".repeat(2000));
    for _ in 0..20 {
        fine(keybearer.get("/p/fine")).await;
        assert_eq!(upload.send().await.status, 401);
    }
    assert!(endpoint.count() <= 6, "{} token requests", endpoint.count());
}
