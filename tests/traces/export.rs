//! How spans get to a collector, and what happens where they do not.

use super::{only, told, tracing};
use crate::harness::{
    Answer, Authority, Collector, Gate, Keybearer, Rotel, Setup, Upstream, connection, eventually,
    free_address, traces,
};

#[tokio::test]
async fn a_collector_that_others_run_takes_them() {
    let (behind, upstream) = (Collector::start().await, Upstream::start().await);
    let rotel = Rotel::start(&behind).await;
    let keybearer = tracing(&format!("http://{}", rotel.address), &upstream).await;
    keybearer.get("/api/").send().await;
    let spans = behind.exactly(2).await;
    let (server, client) = (
        only(&spans, "SERVER", "GET /api"),
        only(&spans, "CLIENT", "GET"),
    );
    assert_eq!((&client.trace, &client.parent), (&server.trace, &server.id));
    assert_eq!(told(&upstream.requests()[0])[2], client.id);
    let service = server
        .resource
        .iter()
        .find(|(name, _)| name == "service.name");
    assert_eq!(service.unwrap().1, "keybearer", "{}", rotel.log());
    counted(&keybearer, 2, 0).await;
}

/// Waits until so many spans were exported and dropped.
async fn counted(keybearer: &Keybearer, exported: u64, dropped: u64) {
    eventually("the counters", async || {
        let metrics = keybearer.metrics().await;
        let count = |result: &str| {
            let name = format!("keybearer_trace_spans_{result}_total");
            metrics.value(&name, &[]).unwrap_or_default()
        };
        let found = (count("exported"), count("dropped"));
        (found == (exported as f64, dropped as f64)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_sent_is_what_the_protocol_says() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let endpoint = collector.0.url("/otel/");
    let more = "headers = { X-Scope-OrgID = \"team\", Authorization = { env = \"KEY\", format = \"Bearer {}\" } }";
    let tables = connection("api", &upstream.url(""), "") + &traces(&endpoint, more);
    let setup = Setup::new().tables(&tables).env("KEY", "canary");
    let keybearer = setup.start().await;
    keybearer.get("/api/").send().await;
    collector.exactly(2).await;
    let sent = &collector.0.requests()[0];
    assert_eq!((sent.method(), sent.target()), ("POST", "/otel/v1/traces"));
    for (name, value) in [
        ("content-type", "application/x-protobuf"),
        ("x-scope-orgid", "team"),
        ("authorization", "Bearer canary"),
        ("host", &collector.0.address().to_string()),
    ] {
        assert_eq!(sent.header(name), Some(value), "{name}");
    }
    assert_eq!(told(sent)[3], "00", "an export is not traced");
    assert!(!keybearer.log().contains("canary"));
}

#[tokio::test]
async fn a_collector_behind_tls_is_verified_and_shown_a_certificate() {
    let upstream = Upstream::start().await;
    let authority = Authority::new();
    let behind = Collector(Upstream::tls(&authority.issue(&["127.0.0.1"])).await);
    let api = connection("api", &upstream.url(""), "");
    let trusting = behind.table("tls = { ca_certificate = \"ca.pem\" }");
    let setup = Setup::new().file("ca.pem", authority.pem());
    let keybearer = setup
        .tables(&(api.clone() + &behind.table("")))
        .start()
        .await;
    keybearer.get("/api/").send().await;
    let line = keybearer.logged(&["Traces not exported"]).await;
    assert!(line.contains("traces.tls.ca_certificate"), "{line}");
    assert_eq!(behind.0.count(), 0);
    keybearer.reconfigure(&(api + &trusting)).await;
    keybearer.get("/api/again").send().await;
    let spans = behind.exactly(2).await;
    assert_eq!(spans[0].attribute("url.path"), "/api/again");
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_told_of_and_delays_nobody() {
    let upstream = Upstream::start().await;
    let address = free_address();
    let keybearer = tracing(&format!("http://{address}"), &upstream).await;
    for _ in 0..20 {
        assert_eq!(keybearer.get("/api/").send().await.status, 200);
    }
    counted(&keybearer, 0, 40).await;
    let line = keybearer.logged(&["Traces not exported"]).await;
    for text in ["WARN", &address.to_string(), "traces.endpoint"] {
        assert!(line.contains(text), "{text}: {line}");
    }
    // Once a minute.
    keybearer.get("/api/").send().await;
    counted(&keybearer, 0, 42).await;
    assert_eq!(keybearer.log().matches("Traces not exported").count(), 1);
    // It comes back.
    let collector = Collector(Upstream::at(&address.to_string()).await);
    keybearer.get("/api/").send().await;
    collector.exactly(2).await;
    keybearer.logged(&["Traces exported again"]).await;
}

/// A collector that holds a batch back holds back nothing else, until there is too much.
#[tokio::test]
async fn a_collector_that_hangs_delays_nobody() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let gate = Gate::new();
    collector
        .0
        .on("/v1/traces", Answer::fields("").behind(&gate));
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    keybearer.get("/api/first").send().await;
    collector.exactly(2).await;
    for _ in 0..10 {
        assert_eq!(keybearer.get("/api/").send().await.status, 200);
    }
    assert_eq!(collector.0.count(), 1, "one message at a time");
    gate.open();
    gate.open();
    counted(&keybearer, 22, 0).await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_told() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let busy = Answer::sized("503 Busy", "Retry-After: 1\r\n", "");
    collector.0.on_each("/v1/traces", [busy, Answer::ok("")]);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    keybearer.get("/api/").send().await;
    counted(&keybearer, 2, 0).await;
    assert_eq!(collector.0.count(), 2);
    assert!(!keybearer.log().contains("Traces not exported"));
    // ExportTracePartialSuccess: one of the two was rejected.
    let partly = "\u{a}\u{9}\u{8}\u{1}\u{12}\u{5}quota";
    let partly = Answer::sized("200 OK", "", partly);
    let refused = Answer::sized("401 No", "", "");
    let never = Answer::sized("503 Never", "Retry-After: 18446744073709551615\r\n", "");
    collector.0.on_each("/v1/traces", [partly, refused, never]);
    keybearer.get("/api/").send().await;
    counted(&keybearer, 3, 1).await;
    let line = keybearer.logged(&["Traces not exported"]).await;
    assert!(line.contains("quota"), "{line}");
    keybearer.get("/api/").send().await;
    counted(&keybearer, 3, 3).await;
    assert_eq!(collector.0.count(), 4, "what is refused is not sent again");
    keybearer.get("/api/").send().await;
    counted(&keybearer, 3, 5).await;
    assert_eq!(collector.0.count(), 5, "nor when it would be too late");
}

#[tokio::test]
async fn the_end_waits_for_the_last_spans() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let keybearer = tracing(&collector.0.url(""), &upstream).await;
    for _ in 0..5 {
        keybearer.get("/api/").send().await;
    }
    let (_, exit) = keybearer.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(collector.spans().len(), 10);
}

#[tokio::test]
async fn a_reload_switches_it_on_and_off_and_leads_elsewhere() {
    let (one, two) = (Collector::start().await, Collector::start().await);
    let upstream = Upstream::start().await;
    let api = connection("api", &upstream.url(""), "");
    let keybearer = Keybearer::start(&api).await;
    keybearer.get("/api/untold").send().await;
    keybearer.reconfigure(&(api.clone() + &one.table(""))).await;
    keybearer.get("/api/one").send().await;
    let spans = one.exactly(2).await;
    assert_eq!(spans[0].attribute("url.path"), "/api/one");
    let other = two.table("service_name = \"other\"");
    keybearer.reconfigure(&(api.clone() + &other)).await;
    keybearer.get("/api/two").send().await;
    let spans = two.exactly(2).await;
    assert_eq!(spans[0].attribute("url.path"), "/api/two");
    assert_eq!(spans[0].resource[0].1, "other");
    keybearer.reconfigure(&api).await;
    keybearer.get("/api/untold").send().await;
    let requests = upstream.requests();
    assert_eq!(requests.last().unwrap().header("traceparent"), None);
    let (_, exit) = keybearer.stop().await;
    assert!(!exit.stderr.contains("restart"), "{}", exit.stderr);
    assert_eq!((one.spans().len(), two.spans().len()), (2, 2));
}

#[tokio::test]
async fn what_was_begun_before_it_was_switched_off_is_told_when_it_is_over() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let gate = Gate::new();
    let slow = Answer::raw("HTTP/1.1 204 No Content\r\n\r\n").behind(&gate);
    upstream.on("/slow", slow);
    let api = connection("api", &upstream.url(""), "");
    let keybearer = Keybearer::start(&(api.clone() + &collector.table(""))).await;
    let request = keybearer.get("/api/slow");
    let switched_off = async {
        upstream.wait_for_requests(1).await;
        keybearer.reconfigure(&api).await;
        // The exporter has nothing more to do, as far as it knows.
        keybearer.get("/api/untold").send().await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(request.send(), switched_off);
    assert_eq!(answer.status, 204);
    let spans = collector.exactly(2).await;
    assert_eq!(spans[0].attribute("url.path"), "/api/slow");
}

#[tokio::test]
async fn a_check_and_a_test_of_a_connection_tell_no_collector() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let tables = connection("api", &upstream.url(""), "") + &collector.table("");
    let setup = Setup::new().tables(&tables);
    for args in [&["check", "--connect"][..], &["test", "api"]] {
        let exit = setup.run(args).await;
        assert_eq!(
            exit.code,
            Some(0),
            "{args:?}: {}{}",
            exit.stdout,
            exit.stderr
        );
    }
    assert_eq!(collector.0.count(), 0);
}
