//! Names: answers that change, fail and come back, and who waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::through;
use crate::harness::{
    Answer, Keybearer, NameServer, Proxy, Setup, Step, Upstream, connection, eventually,
};
use crate::http2::{Http2Upstream, Manners};

/// A connection to a name, without an answer kept for it.
fn p(name: &str, port: u16, rest: &str) -> String {
    let rest = format!("auth = {{ type = \"bearer\", token = \"ours\" }}\n{rest}");
    connection("p", &format!("http://{name}:{port}/base"), &rest)
}

async fn asking(server: &NameServer, tables: &str) -> Keybearer {
    Setup::new()
        .server(&server.line())
        .tables(tables)
        .start()
        .await
}

/// Answers, and lets nobody keep the connection.
fn once() -> Answer {
    let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    Answer::raw(text).then(Step::Close)
}

#[tokio::test]
async fn connections_follow_an_answer_that_changes() {
    let old = Upstream::start().await;
    let port = old.address().port();
    let new = Upstream::at(&format!("127.0.0.2:{port}")).await;
    let server = NameServer::start("127.0.0.1 moving.test").await;
    let keybearer = asking(&server, &p("moving.test", port, "")).await;
    // One that stays open: nothing but the answer leads away from it.
    for _ in 0..3 {
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
    }
    assert_eq!((old.connections(), old.ended()), (1, 0));
    server.change("127.0.0.2 moving.test");
    eventually("requests at the new address", async || {
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
        (new.count() > 0).then_some(())
    })
    .await;
    old.wait_for_ended(1).await;
    let before = old.count();
    for _ in 0..3 {
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
    }
    assert_eq!((old.count(), new.connections()), (before, 1));
}

#[tokio::test]
async fn http2_follows_an_answer_that_changes() {
    let manners = Manners {
        streams: 100,
        requests: usize::MAX,
    };
    let old = Http2Upstream::mannered(manners, None).await;
    let port = old.address().port();
    let new = Http2Upstream::at(&format!("127.0.0.2:{port}"), manners, None).await;
    let server = NameServer::start("127.0.0.1 moving.test").await;
    let keybearer = asking(&server, &p("moving.test", port, "http = \"2\"")).await;
    for _ in 0..3 {
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
    }
    assert_eq!((old.connections(), new.connections()), (1, 0));
    server.change("127.0.0.2 moving.test");
    eventually("requests at the new address", async || {
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
        (new.connections() == 1).then_some(())
    })
    .await;
    assert_eq!(old.connections(), 1);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_told_and_found_when_it_comes() {
    let upstream = Upstream::start().await;
    let server = NameServer::start("").await;
    let tables = p("later.test", upstream.address().port(), "");
    let keybearer = asking(&server, &tables).await;
    let response = keybearer.get("/p/x").send().await;
    let detail = response.problem(502, "name-not-resolved", "dns_error");
    assert!(detail.contains("later.test"), "{detail}");
    assert!(detail.contains("there is no such name"), "{detail}");
    assert!(detail.contains("base_url"), "{detail}");
    server.change("127.0.0.1 later.test");
    eventually("the name to be found", async || {
        let response = keybearer.get("/p/x").send().await;
        (response.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn names_below_local_are_asked_for_like_others() {
    let upstream = Upstream::start().await;
    let port = upstream.address().port();
    let server = NameServer::start("127.0.0.1 jira.default.svc.cluster.local").await;
    let tables = p("jira.default.svc.cluster.local", port, "")
        + &p("other.local", port, "").replace("connections.p", "connections.q");
    let keybearer = asking(&server, &tables).await;
    assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
    let response = keybearer.get("/q/x").send().await;
    let detail = response.problem(502, "name-not-resolved", "dns_error");
    assert!(detail.contains("multicast DNS"), "{detail}");
}

#[tokio::test]
async fn many_names_are_found_that_are_the_first_to_be_asked_for() {
    const COUNT: usize = 20;
    let upstream = Upstream::start().await;
    let names: Vec<_> = (0..COUNT).map(|n| format!("n{n}.test")).collect();
    let server = NameServer::start(&format!("127.0.0.1 {}", names.join(" "))).await;
    let tables = names.iter().enumerate().map(|(n, name)| {
        let table = p(name, upstream.address().port(), "");
        table.replace("connections.p", &format!("connections.p{n}"))
    });
    let keybearer = asking(&server, &tables.collect::<String>()).await;
    let mut callers = Vec::new();
    for n in 0..COUNT {
        let mut caller = keybearer.caller().await;
        caller
            .send(keybearer.get(&format!("/p{n}/x")).bytes())
            .await;
        callers.push(caller);
    }
    for mut caller in callers {
        let response = caller.response().await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_question() {
    let upstream = Upstream::start().await;
    upstream.on("/base/x", once());
    let server = NameServer::start("127.0.0.1 busy.test").await;
    let tables = p("busy.test", upstream.address().port(), "");
    let keybearer = asking(&server, &tables).await;
    server.stop();
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let request = keybearer.get("/p/x");
            tokio::spawn(async move { request.send().await.status })
        })
        .collect();
    eventually("all callers to wait", async || {
        let metrics = keybearer.ask("GET", "/metrics").send().await;
        (metrics.status == 200 && !callers.iter().any(|c| c.is_finished())).then_some(())
    })
    .await;
    server.go_on();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 200);
    }
    let asked = server.asked("busy.test");
    assert!(
        (1..=3).contains(&asked),
        "asked {asked} times for 64 callers"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_serves_on_while_nobody_answers() {
    const CALLERS: usize = 64;
    let upstream = Upstream::start().await;
    upstream.on("/base/x", once());
    let server = NameServer::start("127.0.0.1 stale.test").await;
    let tables = p("stale.test", upstream.address().port(), "retries = 0");
    let keybearer = asking(&server, &tables).await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    let (done, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let request = keybearer.get("/p/x");
            let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
            tokio::spawn(async move {
                while !done.load(SeqCst) {
                    let response = request.send().await;
                    assert_eq!(response.status, 200, "{response:?}");
                    answered.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    server.stop();
    keybearer
        .logged(&["its last addresses serve on", "stale.test"])
        .await;
    let before = answered.load(SeqCst);
    let more = async || (answered.load(SeqCst) > before + 10 * CALLERS).then_some(());
    eventually("requests without a DNS server", more).await;
    let address = server.address();
    drop(server);
    let before = answered.load(SeqCst);
    let more = async || (answered.load(SeqCst) > before + 5 * CALLERS).then_some(());
    eventually("requests after the DNS server's end", more).await;
    let server = NameServer::at(address, "127.0.0.1 stale.test")
        .await
        .unwrap();
    keybearer
        .logged(&["Name resolved again", "stale.test"])
        .await;
    assert!(server.asked("stale.test") > 0);
    done.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let told = keybearer
        .log()
        .matches("its last addresses serve on")
        .count();
    assert_eq!(told, 1, "once for the whole outage");
}

#[tokio::test]
async fn a_lookup_that_hangs_holds_up_nobody_else() {
    let upstream = Upstream::start().await;
    let server = NameServer::start("127.0.0.1 slow.test").await;
    server.stop();
    let port = upstream.address().port();
    let slow = p("slow.test", port, "retries = 0\ntimeouts.connect = \"3s\"");
    let rest = "auth = { type = \"none\" }";
    let quick = connection("quick", &upstream.url("/quick"), rest);
    let keybearer = Setup::new()
        .server(&server.line())
        .server("threads = 1")
        .tables(&(slow + &quick))
        .start()
        .await;
    let mut waiting = keybearer.caller().await;
    waiting.send(keybearer.get("/p/x").bytes()).await;
    let began = Instant::now();
    let mut served = 0;
    let mut caller = keybearer.caller().await;
    while began.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        let response = keybearer.get("/quick/x").send_on(&mut caller).await;
        assert_eq!(response.text(), "ok");
        assert!(asked.elapsed() < Duration::from_secs(1));
        served += 1;
    }
    assert!(served > 20, "{served}");
    let response = waiting.response().await;
    let detail = response.problem(504, "connect-timeout", "connection_timeout");
    assert!(
        detail.contains("its name was not resolved within"),
        "{detail}"
    );
    assert!(detail.contains("3s"), "{detail}");
    // What was asked then is answered now, and nobody has to ask again.
    server.go_on();
    eventually("the name", async || {
        let response = keybearer.get("/p/x").send().await;
        (response.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn other_servers_are_asked_after_a_reload() {
    let upstream = Upstream::start().await;
    upstream.on("/base/x", once());
    let (one, other) = (
        NameServer::start("127.0.0.1 a.test").await,
        NameServer::start("127.0.0.9 a.test").await,
    );
    let tables = p("a.test", upstream.address().port(), "");
    let keybearer = asking(&one, &tables).await;
    assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
    let text = keybearer.setup().text().replace(&one.line(), &other.line());
    keybearer.setup().replace("keybearer.toml", &text);
    assert_eq!(keybearer.reload().await.status, 200);
    let response = keybearer.get("/p/x").send().await;
    let detail = response.problem(502, "connection-refused", "connection_refused");
    assert!(detail.contains("127.0.0.9"), "{detail}");
}

#[tokio::test]
async fn a_proxy_is_found_by_name_too() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::tinyproxy("").await;
    let server = NameServer::start("127.0.0.1 proxy.test").await;
    let url = format!("\"http://proxy.test:{}\"", proxy.address().port());
    let keybearer = asking(&server, &through(&upstream.url("/base"), &url, "")).await;
    assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
    proxy.logged(&upstream.url("/base/x")).await;
}
