//! Secrets that commands tell, on the same engine.

use std::time::{Duration, SystemTime};

use super::{api, bearer, fine, form, machine, shown, token, wait_for_state};
use crate::harness::{Answer, Keybearer, Setup, Upstream, base64, eventually};

/// A program that counts its runs in a file and tells `secret-1`, `secret-2`, …
const COUNTING: &str = "n=$(cat count 2>/dev/null || echo 0); n=$((n + 1)); echo $n > count; ";

fn shell(script: &str, rest: &str) -> String {
    format!("{{ command = [\"sh\", \"-c\", '''{script}'''], {rest} }}")
}

/// Waits until requests carry another token than `before`.
async fn changes(keybearer: &Keybearer, resource: &Upstream, before: &str) -> String {
    eventually("another secret", async || {
        fine(keybearer.get("/p/x")).await;
        let now = bearer(&resource.last()).to_owned();
        (now != before).then_some(now)
    })
    .await
}

#[tokio::test]
async fn a_command_is_run_again_when_its_time_is_over() {
    let resource = Upstream::start().await;
    let command = shell(&format!("{COUNTING} echo secret-$n"), "ttl = \"1s\"");
    let auth = format!("type = \"bearer\"\ntoken = {command}");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    fine(keybearer.get("/p/x")).await;
    let mut last = bearer(&resource.last()).to_owned();
    assert!(last.starts_with("secret-"), "{last}");
    for _ in 0..2 {
        last = changes(&keybearer, &resource, &last).await;
    }
    // Without requests, too: no request is to wait.
    let runs = async || {
        let text = std::fs::read_to_string(keybearer.setup().path("count")).ok()?;
        text.trim().parse::<u32>().ok()
    };
    let before = runs().await.unwrap_or_default();
    eventually("more runs", async || {
        (runs().await? >= before + 2).then_some(())
    })
    .await;
    assert!(!keybearer.log().contains("secret-"));
}

#[tokio::test]
async fn json_tells_the_end() {
    let resource = Upstream::start().await;
    let soon = "\"$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%SZ)\"";
    let told = format!("printf '{{\"value\": \"secret-%s\", \"expires_at\": \"%s\"}}' $n {soon}");
    let command = shell(&format!("{COUNTING} {told}"), "format = \"v1.{}\"");
    let auth = format!("type = \"basic\"\nusername = \"me\"\npassword = {command}");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    for n in [1, 2] {
        let wanted = format!("Basic {}", base64(&format!("me:v1.secret-{n}")));
        eventually("its turn", async || {
            fine(keybearer.get("/p/x")).await;
            (resource.last().header("authorization") == Some(&wanted)).then_some(())
        })
        .await;
    }
    let told = shown(&keybearer, "p").await;
    let ends = told["credential_expires_at"].as_str().unwrap();
    let ends = humantime::parse_rfc3339(ends).unwrap();
    assert!(ends < SystemTime::now() + Duration::from_secs(3), "{told}");
}

#[tokio::test]
async fn a_failing_command_says_why_and_never_what_it_told() {
    let resource = Upstream::start().await;
    let script = "cat told; if [ -e fail ]; then echo 'permission denied' >&2; echo \"for $1\" >&2; exit 3; fi";
    let command = shell(script, "ttl = \"2s\"");
    let command = command.replace("''']", "''', \"sh\", \"the-argument\"]");
    let auth = format!("type = \"bearer\"\ntoken = {command}");
    let setup = Setup::new()
        .file("told", "the-secret-itself")
        .file("fail", "");
    let keybearer = setup
        .tables(&api("p", &resource.url(""), &auth, ""))
        .start()
        .await;
    let refused = eventually("a refusal", async || {
        let response = keybearer.get("/p/x").send().await;
        (response.json()["credential_state"] == "retrying").then_some(response)
    })
    .await;
    let detail = refused.problem(503, "credential-unavailable", "destination_unavailable");
    for part in ["`sh`", "exit code 3"] {
        assert!(detail.contains(part), "{detail}");
    }
    // What it complained of is for the operator.
    assert!(!detail.contains("permission denied"), "{detail}");
    let told = shown(&keybearer, "p").await["last_error"].to_string();
    for said in [&keybearer.log(), &told] {
        let complaint = "exit code 3: permission denied; for [redacted]";
        assert!(said.contains(complaint), "{said}");
    }
    assert!(refused.header("retry-after").is_some());
    std::fs::remove_file(keybearer.setup().path("fail")).unwrap();
    wait_for_state(&keybearer, "p", "ready").await;
    fine(keybearer.get("/p/x")).await;
    assert_eq!(bearer(&resource.last()), "the-secret-itself");
    // The old one until its end.
    keybearer.setup().write("fail", "");
    wait_for_state(&keybearer, "p", "stale").await;
    wait_for_state(&keybearer, "p", "retrying").await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 503);
    let told = shown(&keybearer, "p").await.to_string();
    for said in [keybearer.log(), told, detail] {
        for text in ["the-secret-itself", "the-argument", "cat told"] {
            assert!(!said.contains(text), "{said}");
        }
    }
}

#[tokio::test]
async fn a_refused_secret_is_asked_for_again() {
    let resource = Upstream::start().await;
    resource.on_each(
        "/x",
        [
            Answer::sized("401 Unauthorized", "", "no"),
            Answer::ok("yes"),
        ],
    );
    let command = shell(&format!("{COUNTING} echo secret-$n"), "ttl = \"1h\"");
    let auth = format!("type = \"header\"\nheaders = {{ X-Key = {command} }}");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    assert_eq!(fine(keybearer.get("/p/x")).await.text(), "yes");
    let seen = resource.requests();
    let keys: Vec<_> = seen.iter().map(|request| request.header("x-key")).collect();
    assert_eq!(keys, [Some("secret-1"), Some("secret-2")]);
    // One that tells the same again is not worth a second request.
    resource.on("/y", Answer::sized("401 Unauthorized", "", "no"));
    keybearer.setup().write("count", "1");
    eventually("the renewal to be worth it", async || {
        let response = keybearer.get("/p/y").send().await;
        (response.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn trailers_are_announced_only_where_some_may_follow() {
    let resource = Upstream::start().await;
    let command = shell("echo secret", "ttl = \"1h\"");
    let auth = format!("type = \"header\"\nheaders = {{ X-Key = {command} }}");
    // Content is kept for a second request, and streamed.
    let tables = api("kept", &resource.url(""), &auth, "")
        + &api("streamed", &resource.url(""), "type = \"none\"", "");
    let keybearer = Keybearer::start(&tables).await;
    for name in ["kept", "streamed"] {
        let long = keybearer.post(&format!("/{name}/x"));
        let long = long.header("Trailer", "X-Sum").body("text/plain", "x");
        fine(long).await;
        assert_eq!(resource.last().header("trailer"), None, "{name}");
        let chunked = format!(
            "POST /{name}/x HTTP/1.1\r\nHost: localhost\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"
        );
        let mut client = keybearer.caller().await;
        client.send(chunked).await;
        assert_eq!(client.response_to("POST").await.status, 200);
        assert_eq!(resource.last().header("trailer"), Some("x-sum"), "{name}");
    }
}

#[tokio::test]
async fn a_command_tells_a_clients_secret() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    endpoint.on_each("/token", ["one", "two", "three"].map(|text| token(text, 2)));
    let command = shell(&format!("{COUNTING} echo client-secret-$n"), "ttl = \"1h\"");
    let auth = machine(&endpoint.url("/token"), "client_auth = \"post\"");
    let auth = auth.replace("\"client secret\"", &command);
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    fine(keybearer.get("/p/x")).await;
    endpoint.wait_for_requests(2).await;
    let sent: Vec<_> = endpoint.requests().iter().map(form).collect();
    // Two tokens, one run: its time is not over.
    assert_eq!(sent[0]["client_secret"], "client-secret-1");
    assert_eq!(sent[1]["client_secret"], "client-secret-1");
    assert!(!keybearer.log().contains("client-secret-"));
}

#[tokio::test]
async fn a_clients_secret_that_was_changed_is_asked_for_again() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let refused = Answer::sized("401 Unauthorized", "", r#"{"error":"invalid_client"}"#);
    endpoint.on_each("/token", [refused, token("one", 3600)]);
    let command = shell(&format!("{COUNTING} echo client-secret-$n"), "ttl = \"1h\"");
    let auth = machine(&endpoint.url("/token"), "client_auth = \"post\"");
    let auth = auth.replace("\"client secret\"", &command);
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    eventually("a token", async || {
        let response = keybearer.get("/p/x").send().await;
        (response.status == 200).then_some(())
    })
    .await;
    let sent: Vec<_> = endpoint.requests().iter().map(form).collect();
    assert_eq!(sent[1]["client_secret"], "client-secret-2");
}
