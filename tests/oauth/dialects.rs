//! What token endpoints say in their own ways: read where it can be, and told where it cannot.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{answer, api, bearer, fine, machine, shown, wait_for_state};
use crate::harness::{Answer, Gate, Keybearer, Step, Upstream, eventually};

/// A token endpoint that answers so, an API, and a connection with these further keys of `auth`.
async fn answering(answer: Answer, rest: &str) -> (Upstream, Upstream, Keybearer) {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    endpoint.on("/token", answer);
    let auth = machine(&endpoint.url("/token"), rest);
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    (endpoint, resource, keybearer)
}

/// The token that a request carries, and for how many seconds it is good; none if nobody knows.
async fn read(answer: Answer, rest: &str) -> (String, Option<u64>) {
    let (endpoint, resource, keybearer) = answering(answer, rest).await;
    fine(keybearer.get("/p/x")).await;
    let shown = shown(&keybearer, "p").await;
    assert_eq!(
        (&shown["state"], endpoint.count()),
        (&"ready".into(), 1),
        "{shown}"
    );
    let left = shown["credential_expires_at"].as_str().map(|text| {
        let ends = humantime::parse_rfc3339(text).unwrap();
        let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
        // Rounded up, as the API tells whole seconds of the past.
        (left + Duration::from_millis(1500)).as_secs()
    });
    (bearer(&resource.last()).to_owned(), left)
}

fn typed(media: &str, content: &str) -> Answer {
    Answer::sized("200 OK", &format!("Content-Type: {media}\r\n"), content)
}

#[tokio::test]
async fn lifetimes() {
    let with = |members: Value| {
        let mut all = json!({ "access_token": "t", "token_type": "bEARER" });
        let members = members.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(members);
        answer(&all)
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for (members, rest, expected) in [
        (json!({ "expires_in": "3600" }), "", Some(3600)),
        (json!({ "expires_in": 3600.0 }), "", Some(3600)),
        (
            json!({ "expires_on": (now + 3600).to_string() }),
            "",
            Some(3600),
        ),
        (json!({}), "default_lifetime = \"20m\"", Some(1200)),
        (
            json!({ "expires_in": 0 }),
            "default_lifetime = \"20m\"",
            Some(1200),
        ),
        (json!({}), "", None),
        (json!({ "expires_in": 0 }), "", None),
        (json!({ "expires_in": null }), "", None),
        (json!({ "expires_in": "never" }), "", None),
    ] {
        let (token, left) = read(with(members.clone()), rest).await;
        assert_eq!(token, "t");
        let near = |(left, expected): (u64, u64)| left.abs_diff(expected) <= 3;
        let fits = left.is_some() == expected.is_some() && left.zip(expected).is_none_or(near);
        assert!(fits, "{members} {rest}: {left:?}");
    }
}

#[tokio::test]
async fn forms_and_texts() {
    let text = "access_token=a%2Fb&token_type=bearer&expires_in=3600&scope=";
    for media in [
        "application/x-www-form-urlencoded",
        "text/plain; charset=utf-8",
        "text/html",
    ] {
        assert_eq!(read(typed(media, text), "").await.0, "a/b", "{media}");
    }
    let text = "\u{feff} {\"access_token\": \"t\", \"expires_in\": 3600}\n";
    assert_eq!(read(typed("text/plain", text), "").await.0, "t");
    let raw = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{text}");
    assert_eq!(read(Answer::raw(raw).then(Step::Close), "").await.0, "t");
}

/// What is told of this answer: to the caller, by the API and in the log, without any secret.
async fn told(answer: Answer, state: &str) -> String {
    let (endpoint, resource, keybearer) =
        answering(answer, "params = { key = \"param-secret\" }").await;
    let shown = wait_for_state(&keybearer, "p", state).await;
    let refused = keybearer.get("/p/x").send().await;
    let detail = refused.problem(503, "credential-unavailable", "destination_unavailable");
    assert_eq!(refused.json()["credential_state"], state);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(shown["last_error"], *detail);
    assert!(detail.contains(&endpoint.url("/token")), "{detail}");
    assert_eq!(resource.count(), 0);
    let said = keybearer.log();
    assert!(said.contains("Credential not renewed"), "{said}");
    for text in [said, shown.to_string(), refused.text()] {
        for secret in [
            "client secret",
            "client%20secret",
            "param-secret",
            "aWQ6Y2xpZW50",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    detail
}

#[tokio::test]
async fn refusals() {
    let text = "bad secret 'client secret' (Basic aWQ6Y2xpZW50JTIwc2VjcmV0), key param-secret";
    let refused = json!({ "error": "invalid_client", "error_description": text });
    let detail = told(answer(&refused), "misconfigured").await;
    assert!(
        detail.contains("`invalid_client`") && detail.contains("[redacted]"),
        "{detail}"
    );
    assert!(detail.contains("client_id"), "{detail}");
    let busy = Answer::sized("503 Busy", "Retry-After: 3\r\n", "<html>busy</html>");
    let detail = told(busy, "retrying").await;
    assert!(detail.contains("503"), "{detail}");
    let none = told(answer(&json!({ "token": "t" })), "misconfigured").await;
    assert!(
        none.contains("`access_token`") && none.contains("token_field"),
        "{none}"
    );
}

#[tokio::test]
async fn what_is_no_answer_of_a_token_endpoint() {
    let page = told(typed("text/html", "<html>Log in</html>"), "misconfigured").await;
    assert!(
        page.contains("text/html") && page.contains("`token_url`"),
        "{page}"
    );
    let redirect = Answer::sized(
        "302 Found",
        "Location: https://else.example/token?a=b\r\n",
        "",
    );
    let detail = told(redirect, "misconfigured").await;
    assert!(
        detail.contains("https://else.example/token`") && detail.contains("token_url"),
        "{detail}"
    );
    let long = format!("{{\"access_token\": \"{}\"}}", "x".repeat(1 << 20));
    let detail = told(typed("application/json", &long), "misconfigured").await;
    assert!(detail.contains("1048576 bytes"), "{detail}");
    let control = answer(&json!({ "access_token": "a\r\nX-Evil: yes" }));
    let detail = told(control, "misconfigured").await;
    assert!(
        detail.contains("`access_token`") && !detail.contains("Evil"),
        "{detail}"
    );
    let silent = told(Answer::silence(), "retrying").await;
    assert!(!silent.contains("base_url"), "{silent}");
    let broken = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"access_token\": \"t\"";
    let detail = told(Answer::raw(broken).then(Step::Close), "retrying").await;
    assert!(detail.contains("broke off"), "{detail}");
}

#[tokio::test]
async fn an_endless_wait_has_an_end() {
    let (endpoint, resource, keybearer) = answering(Answer::stall(), "").await;
    for _ in 0..2 {
        let refused = keybearer.get("/p/x").send().await;
        refused.problem(503, "credential-unavailable", "destination_unavailable");
        assert_eq!(refused.json()["credential_state"], "refreshing");
    }
    assert_eq!((endpoint.count(), resource.count()), (1, 0));
}

#[tokio::test]
async fn a_wrong_configuration_is_put_right_at_the_provider() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let refused = Answer::sized("401 Unauthorized", "", r#"{"error":"invalid_client"}"#);
    let lasting = json!({ "access_token": "late", "expires_in": 3600 });
    endpoint.on_each("/token", [refused, answer(&lasting)]);
    let auth = machine(&endpoint.url("/token"), "");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    wait_for_state(&keybearer, "p", "misconfigured").await;
    let first = eventually("a token", async || {
        let response = keybearer.get("/p/x").send().await;
        (response.status == 200).then(|| bearer(&resource.last()).to_owned())
    });
    assert_eq!((first.await.as_str(), endpoint.count()), ("late", 2));
}

#[tokio::test]
async fn a_page_instead_of_a_token_is_outlived_by_the_old_one() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let gate = Gate::new();
    let page = typed("text/html", "<html>We are moving house</html>");
    let short = json!({ "access_token": "short", "expires_in": 8 });
    let lasting = json!({ "access_token": "lasting", "expires_in": 3600 });
    let last = answer(&lasting);
    let waiting = last.behind(&gate);
    endpoint.on_each("/token", [answer(&short), page, waiting]);
    let auth = machine(&endpoint.url("/token"), "");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    fine(keybearer.get("/p/x")).await;
    wait_for_state(&keybearer, "p", "stale").await;
    // Attempted again before the old one ends, and nobody has to ask.
    endpoint.wait_for_requests(3).await;
    fine(keybearer.get("/p/x")).await;
    assert_eq!(bearer(&resource.last()), "short");
    gate.open();
    wait_for_state(&keybearer, "p", "ready").await;
    fine(keybearer.get("/p/x")).await;
    assert_eq!(bearer(&resource.last()), "lasting");
}

#[tokio::test]
async fn a_token_that_comes_too_late_is_not_asked_for_in_a_rush() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let gate = Gate::new();
    let short = answer(&json!({ "access_token": "short", "expires_in": 0.2 }));
    let late = short.clone().behind(&gate);
    let lasting = json!({ "access_token": "lasting", "expires_in": 3600 });
    endpoint.on_each("/token", [late, answer(&lasting)]);
    let auth = machine(&endpoint.url("/token"), "");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    endpoint.wait_for_requests(1).await;
    let asked = SystemTime::now();
    eventually("its end", async || {
        (asked.elapsed().ok()? > Duration::from_millis(300)).then_some(())
    })
    .await;
    gate.open();
    let told = wait_for_state(&keybearer, "p", "retrying").await;
    let error = told["last_error"].as_str().unwrap();
    assert!(error.contains("lifetime"), "{error}");
    wait_for_state(&keybearer, "p", "ready").await;
    fine(keybearer.get("/p/x")).await;
    assert_eq!((bearer(&resource.last()), endpoint.count()), ("lasting", 2));
}
