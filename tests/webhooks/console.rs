//! The console's API and its pages without a browser: what is told of webhooks, and what is not.

use serde_json::{Value, json};

use super::shown::{endpoint, hook, id, latest, request, send};
use crate::harness::{Answer, Keybearer, Setup, Upstream, eventually};
use crate::linking;

async fn get(keybearer: &Keybearer, path: &str) -> Value {
    let answer = keybearer.ask("GET", path).send().await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

#[tokio::test]
async fn an_endpoint_is_told_with_what_waits() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&hook(&upstream.url("/in"), "")).await;
    let shown = get(&keybearer, "/api/webhooks").await["endpoints"][0].take();
    let url = shown["url"].as_str().unwrap().to_owned();
    assert_eq!(
        shown,
        json!({
            "name": "hook", "url": url, "target": upstream.url("/in"), "verify": "none",
            "ordered": true, "waiting": 0, "bytes": 0, "bytes_limit": 256 << 20,
        })
    );
    let (_, secret) = url.rsplit_once("/hooks/").unwrap();
    assert_eq!(secret.len(), 32);
    // One that is not taken is what the others wait for.
    upstream.on("/in", Answer::sized("500 Internal Server Error", "", "no"));
    send(&keybearer, "hook", "{\"n\":1}").await;
    send(&keybearer, "hook", "{\"n\":2}").await;
    let shown = eventually("it to be blocked", async || {
        let shown = endpoint(&keybearer, "hook").await;
        shown["blocked"].is_object().then_some(shown)
    });
    let shown = shown.await;
    let blocked = &shown["blocked"];
    assert_eq!(
        (&shown["waiting"], &blocked["status"]),
        (&json!(2), &json!(500))
    );
    assert!(
        blocked["error"]
            .as_str()
            .unwrap()
            .starts_with("answered 500")
    );
    for time in [&shown["oldest"], &blocked["next"]] {
        humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
    }
    assert!(shown["bytes"].as_u64().unwrap() > 0);
    let page = keybearer.ask("GET", "/webhooks/hook").send().await.text();
    assert!(
        page.contains("Blocked") && page.contains("answered 500"),
        "{page}"
    );
    upstream.on("/in", Answer::ok(""));
    latest(&keybearer, "hook", "delivered").await;
    assert_eq!(endpoint(&keybearer, "hook").await["waiting"], 0);
    let log = keybearer.log();
    assert!(!log.contains(secret), "the URL is a capability: {log}");
}

#[tokio::test]
async fn deliveries_are_listed_by_state_and_page() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&hook(&upstream.url("/in"), "max_attempts = 1")).await;
    for n in 0..3 {
        send(&keybearer, "hook", &n.to_string()).await;
        latest(&keybearer, "hook", "delivered").await;
    }
    upstream.on("/in", Answer::sized("410 Gone", "", ""));
    send(&keybearer, "hook", "3").await;
    let failed = latest(&keybearer, "hook", "failed").await;
    assert_eq!(
        (&failed["status"], &failed["attempts"]),
        (&json!(410), &json!(1))
    );
    assert_eq!(failed["next"], Value::Null);
    let list = async |query: &str| {
        let path = format!("/api/webhooks/hook/deliveries{query}");
        match get(&keybearer, &path).await["deliveries"].take() {
            Value::Array(listed) => listed,
            other => panic!("{other}"),
        }
    };
    let all = list("").await;
    assert_eq!(all.len(), 4);
    assert_eq!(all[0], failed, "the latest first");
    assert_eq!(all[1]["status"], 200);
    assert_eq!(all[1]["error"], Value::Null);
    assert_eq!(list("?state=failed").await, all[..1]);
    assert_eq!(list("?state=delivered&limit=2").await, all[1..3]);
    let before = format!("?before={}&limit=200", id(&all[2]));
    assert_eq!(list(&before).await, all[3..]);
    let nil = "?before=00000000-0000-0000-0000-000000000000";
    assert_eq!(list(nil).await, Vec::<Value>::new());
    assert_eq!(list("?state=waiting").await, Vec::<Value>::new());
    for query in [
        "state=x",
        "state=",
        "before=x",
        "before=",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1&limit=2",
        "other=1",
    ] {
        let path = format!("/api/webhooks/hook/deliveries?{query}");
        let answer = keybearer.ask("GET", &path).send().await;
        let detail = answer.problem(400, "content-malformed", "http_request_error");
        assert!(
            detail.contains("`limit` a number from 1 to 200"),
            "{detail}"
        );
    }
    // The page takes what it understands.
    let page = keybearer.ask("GET", "/webhooks/hook?state=failed&before=x");
    let page = page.send().await.text();
    assert!(
        page.contains(id(&failed)) && !page.contains(id(&all[1])),
        "{page}"
    );
}

#[tokio::test]
async fn a_delivery_is_told_with_fields_and_content() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&hook(&upstream.url("/in"), "")).await;
    let url = endpoint(&keybearer, "hook").await["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let sent = request(&url, "/a%2Fb?c=d&e")
        .header("Authorization", "Bearer canary")
        .header("Cookie", "canary=1")
        .header("X-Event", "push")
        .body("application/json", "{\"é\":1.10}");
    assert_eq!(sent.send().await.status, 202);
    let summary = latest(&keybearer, "hook", "delivered").await;
    let path = format!("/api/deliveries/{}", id(&summary));
    let mut shown = get(&keybearer, &path).await;
    let headers = shown["headers"].take();
    let has = |name: &str, value: &str| {
        let mut all = headers.as_array().unwrap().iter();
        all.any(|field| *field == json!([name, value]))
    };
    assert!(has("authorization", "…") && has("cookie", "…"), "{headers}");
    assert!(has("x-event", "push") && has("content-type", "application/json"));
    for (key, value) in summary.as_object().unwrap() {
        assert_eq!(shown[key], *value, "{key}");
    }
    for (key, value) in [
        ("endpoint", json!("hook")),
        ("method", json!("POST")),
        ("path", json!("/a%2Fb")),
        ("query", json!("c=d&e")),
        ("content", json!("{\"é\":1.10}")),
        ("content_length", json!(11)),
        ("truncated", json!(false)),
    ] {
        assert_eq!(shown[key], value, "{key}");
    }
    let page = format!("/deliveries/{}", id(&summary));
    let page = keybearer.ask("GET", &page).send().await.text();
    assert!(page.contains("&quot;é&quot;: 1.10\n}"), "in lines: {page}");
    assert!(!page.contains("canary"), "{page}");

    for (content, shown_as) in [
        (&b"\xff\x00"[..], json!({ "content_base64": "/wA=" })),
        (b"", json!({ "content": "" })),
        (b"<b>", json!({ "content": "<b>" })),
    ] {
        let answer = request(&url, "").content(content).send().await;
        assert_eq!(answer.status, 202);
        let id = latest(&keybearer, "hook", "delivered").await;
        let shown = get(
            &keybearer,
            &format!("/api/deliveries/{}", id["id"].as_str().unwrap()),
        )
        .await;
        for (key, value) in shown_as.as_object().unwrap() {
            assert_eq!(shown[key], *value, "{shown}");
        }
        let page = format!("/deliveries/{}", id["id"].as_str().unwrap());
        let page = keybearer.ask("GET", &page).send().await.text();
        assert!(!page.contains("<b>"), "{page}");
    }
    let long = "é".repeat(200 << 10);
    assert_eq!(request(&url, "").content(&long).send().await.status, 202);
    let summary = latest(&keybearer, "hook", "delivered").await;
    let shown = get(&keybearer, &format!("/api/deliveries/{}", id(&summary))).await;
    assert_eq!(shown["content"].as_str().unwrap().len(), 256 << 10);
    assert_eq!(
        (&shown["truncated"], &shown["content_length"]),
        (&json!(true), &json!(400 << 10))
    );
    let page = format!("/deliveries/{}", id(&summary));
    let page = keybearer.ask("GET", &page).send().await.text();
    assert!(page.contains("of which the first 256"), "{}", &page[..4000]);
}

#[tokio::test]
async fn what_proves_the_sender_is_shown_nowhere() {
    const CANARY: &str = "canary-proof-7d21";
    let upstream = Upstream::start().await;
    let by_header =
        "verify = { type = \"header\", header = \"X-Proof\", secret = { env = \"PROOF\" } }";
    let by_query = format!(
        "[webhooks.endpoints.other]\ntarget = \"{}\"\nverify = {{ type = \"query\", param = \"my key\", secret = {{ env = \"PROOF\" }} }}",
        upstream.url("/other")
    );
    let tables = hook(&upstream.url("/in"), by_header) + &by_query;
    let keybearer = linking::setup()
        .tables(&tables)
        .env("PROOF", CANARY)
        .start()
        .await;
    let url = async |name: &str| {
        let shown = endpoint(&keybearer, name).await;
        shown["url"].as_str().unwrap().to_owned()
    };
    let header = request(&url("hook").await, "")
        .header("X-Proof", CANARY)
        .content("a");
    assert_eq!(header.send().await.status, 202);
    let encoded = format!("?a=1&%6dy+key={CANARY}");
    let query = request(&url("other").await, &encoded).content("b");
    assert_eq!(query.send().await.status, 202);
    let wrong = request(&url("hook").await, "")
        .header("X-Proof", "canary-wrong")
        .content("a");
    assert_eq!(wrong.send().await.status, 401);
    let mut paths = vec!["/webhooks".to_owned(), "/api/webhooks".to_owned()];
    let mut commands = vec![vec!["webhooks".to_owned()]];
    for name in ["hook", "other"] {
        let delivery = latest(&keybearer, name, "delivered").await;
        paths.push(format!("/webhooks/{name}"));
        paths.push(format!("/api/webhooks/{name}/deliveries"));
        for path in ["/deliveries", "/api/deliveries"] {
            paths.push(format!("{path}/{}", id(&delivery)));
        }
        for what in [name, id(&delivery)] {
            commands.push(["webhooks", "show", what].map(str::to_owned).into());
            commands.push(
                ["webhooks", "show", what, "--json"]
                    .map(str::to_owned)
                    .into(),
            );
        }
    }
    let look = async || {
        let mut seen = String::new();
        for path in &paths {
            seen += &keybearer.ask("GET", path).send().await.text();
        }
        for command in &commands {
            let words: Vec<_> = command.iter().map(String::as_str).collect();
            let exit = keybearer.spawn(&words).exit().await;
            seen += &(exit.stdout + &exit.stderr);
        }
        seen
    };
    let seen = look().await;
    assert!(
        seen.contains("x-proof: …") && seen.contains("?a=1&%6dy+key=…"),
        "{seen}"
    );
    assert!(
        seen.contains("<th scope=\"row\">x-proof</th><td><code>…</code></td>"),
        "{seen}"
    );
    assert!(!seen.contains("canary"), "{seen}");
    // Nor once nobody knows any more which values those were.
    keybearer
        .reconfigure(&hook(&upstream.url("/in"), "").replace("endpoints.hook", "endpoints.new"))
        .await;
    eventually("the endpoints to be gone", async || {
        let listed = get(&keybearer, "/api/webhooks").await;
        (listed["endpoints"][0]["name"] == "new").then_some(())
    })
    .await;
    let seen = look().await;
    assert!(
        seen.contains("x-proof") && seen.contains("no longer configured"),
        "{seen}"
    );
    assert!(!seen.contains("canary"), "{seen}");
    let log = keybearer.log();
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_delivery_is_replayed_by_the_api() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&hook(&upstream.url("/in"), "max_attempts = 1")).await;
    upstream.on("/in", Answer::sized("500 No", "", ""));
    send(&keybearer, "hook", "{}").await;
    let failed = latest(&keybearer, "hook", "failed").await;
    upstream.on("/in", Answer::ok(""));
    let path = format!("/api/deliveries/{}/replay", id(&failed));
    let answer = keybearer.ask("POST", &path).send().await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "endpoint": "hook" }))
    );
    latest(&keybearer, "hook", "delivered").await;
    let [first, second] = &upstream.requests()[..] else {
        panic!("{:?}", upstream.requests());
    };
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(second.text(), "{}");
    // A browser has to be on our page.
    let other = keybearer
        .ask("POST", &path)
        .header("Sec-Fetch-Site", "same-origin");
    assert_eq!(other.send().await.status, 403);
}

#[tokio::test]
async fn an_endpoint_gets_another_url() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&hook(&upstream.url("/in"), "")).await;
    let rotate = async |content: &str| {
        let asked = keybearer.ask("POST", "/api/webhooks/hook/rotate");
        asked.body("application/json", content).send().await
    };
    let url = |shown: &Value| shown["url"].as_str().unwrap().to_owned();
    let take = async |url: &str| request(url, "").content("x").send().await.status;
    let first = url(&endpoint(&keybearer, "hook").await);
    let shown = rotate("").await.json();
    let second = url(&shown);
    assert_ne!(first, second);
    assert_eq!(shown["earlier_ids"]["count"], 1);
    let until = shown["earlier_ids"]["until"].as_str().unwrap();
    let until = humantime::parse_rfc3339(until).unwrap();
    let left = until.duration_since(std::time::SystemTime::now()).unwrap();
    assert!(
        (86_000..=86_400).contains(&left.as_secs()),
        "a day: {left:?}"
    );
    let (_, secret) = first.rsplit_once('/').unwrap();
    assert!(!shown.to_string().contains(secret), "{shown}");
    assert_eq!((take(&first).await, take(&second).await), (202, 202));
    let third = url(&rotate("{\"overlap\":\"0s\"}").await.json());
    assert_eq!((take(&second).await, take(&third).await), (404, 202));
    for content in [
        "7",
        "x",
        "{\"overlap\":\"\"}",
        "{\"overlap\":\"366d\"}",
        "{\"overlap\":5}",
        "{\"over\":\"1h\"}",
    ] {
        let answer = rotate(content).await;
        answer.problem(400, "content-malformed", "http_request_error");
    }
    assert_eq!(url(&endpoint(&keybearer, "hook").await), third);
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    const ID: &str = "0199f0c2-7d5e-7000-8000-000000000000";
    let upstream = Upstream::start().await;
    for tables in ["", &hook(&upstream.url("/in"), "")] {
        let keybearer = Keybearer::start(tables).await;
        let listed = get(&keybearer, "/api/webhooks").await;
        assert_eq!(
            listed["endpoints"].as_array().unwrap().is_empty(),
            tables.is_empty()
        );
        let replay = format!("/api/deliveries/{ID}/replay");
        let delivery = format!("/api/deliveries/{ID}");
        for (method, path, words) in [
            ("GET", "/api/webhooks/no", "there is no endpoint `no`"),
            (
                "GET",
                "/api/webhooks/no/deliveries",
                "there is no endpoint `no`",
            ),
            (
                "POST",
                "/api/webhooks/no/rotate",
                "there is no endpoint `no`",
            ),
            ("GET", "/api/deliveries/no", "there is no delivery `no`"),
            ("GET", &delivery, "there is no delivery `0199f0c2"),
            ("POST", &replay, "there is no delivery `0199f0c2"),
        ] {
            let answer = keybearer.ask(method, path).send().await;
            let detail = answer.problem(404, "no-route", "destination_not_found");
            assert!(detail.starts_with(words), "{path}: {detail}");
        }
        for path in ["/webhooks/%3Cb%3E", "/deliveries/%3Cb%3E"] {
            let answer = keybearer.ask("GET", path).send().await;
            assert_eq!(answer.status, 404, "{path}");
            assert!(!answer.text().contains("<b>"), "{path}");
        }
        let page = keybearer.ask("GET", "/webhooks").send().await.text();
        assert_eq!(
            page.contains("No webhooks are taken"),
            tables.is_empty(),
            "{page}"
        );
        let sample = page.split("<pre><code>").nth(1);
        assert_eq!(sample.is_some(), tables.is_empty());
        if let Some((sample, _)) = sample.and_then(|rest| rest.split_once("</code>")) {
            let sample = sample.replace("&quot;", "\"");
            let setup = Setup::new().tables(&sample).env("HOOK_SECRET", "s");
            let checked = setup.run(&["check"]).await;
            assert_eq!(checked.code, Some(0), "{sample}\n{}", checked.stderr);
        }
    }
}
