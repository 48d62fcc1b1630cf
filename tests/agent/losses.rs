//! Agents that are killed, stopped, or asked to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::process::Signal;

use super::erp;
use crate::harness::{Answer, Gate, Request, Response, Site, Step, Upstream, eventually};
use crate::http2::Http2Upstream;

/// GETs one after the other until it is told to stop; gives all answers.
struct Caller {
    stop: Arc<AtomicBool>,
    answers: tokio::task::JoinHandle<Vec<Response>>,
}

impl Caller {
    fn start(site: &Site) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let request: Request = site.keybearer.get("/erp/");
        let stopped = Arc::clone(&stop);
        let answers = tokio::spawn(async move {
            let mut answers = Vec::new();
            while !stopped.load(SeqCst) {
                answers.push(request.send().await);
            }
            answers
        });
        Self { stop, answers }
    }

    async fn answers(self) -> Vec<Response> {
        self.stop.store(true, SeqCst);
        self.answers.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_fail_only_while_no_agent_is_connected() {
    let upstream = Upstream::start().await;
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let first = site.agent(&["127.0.0.1:*"]).await;
    let callers: Vec<_> = (0..8).map(|_| Caller::start(&site)).collect();
    upstream.wait_for_requests(50).await;
    first.signal(Signal::KILL);
    site.wait_for_connected(0).await;
    let response = site.keybearer.get("/erp/").send().await;
    response.problem(502, "agent-absent", "destination_unavailable");
    let _second = site.agent(&["127.0.0.1:*"]).await;
    let before = upstream.count();
    upstream.wait_for_requests(before + 50).await;
    let mut all = Vec::new();
    for caller in callers {
        let answers = caller.answers().await;
        assert_eq!(answers.last().unwrap().status, 200);
        all.extend(answers);
    }
    let failed: Vec<_> = all.iter().filter(|answer| answer.status != 200).collect();
    assert!(!failed.is_empty(), "it was never away");
    for answer in failed {
        let detail = answer.own();
        assert_eq!(answer.status, 502, "{detail}");
        assert!(
            detail.contains("agent `dc`") || detail.contains("broke the connection"),
            "{detail}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_takes_over_at_once() {
    let upstream = Upstream::start().await;
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let first = site.agent(&["127.0.0.1:*"]).await;
    let _second = site.agent(&["127.0.0.1:*"]).await;
    let callers: Vec<_> = (0..8).map(|_| Caller::start(&site)).collect();
    upstream.wait_for_requests(50).await;
    let shown = site.standing().await;
    for instance in shown["instances"].as_array().unwrap() {
        assert!(
            instance["streams"].as_u64() > Some(0),
            "they share the load: {shown}"
        );
    }
    first.signal(Signal::KILL);
    site.wait_for_connected(1).await;
    let before = upstream.count();
    upstream.wait_for_requests(before + 50).await;
    for caller in callers {
        for answer in caller.answers().await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_stopped_is_noticed_and_comes_back() {
    let upstream = Upstream::start().await;
    let site = Site::start(&erp(
        &upstream.url(""),
        "timeouts.connect = \"500ms\"\nretries = 0",
    ))
    .await;
    let agent = site.agent(&["127.0.0.1:*"]).await;
    agent.signal(Signal::STOP);
    let response = site.keybearer.get("/erp/").send().await;
    let detail = response.problem(504, "connect-timeout", "connection_timeout");
    assert!(detail.contains("agent `dc` made no connection"), "{detail}");
    site.wait_for_connected(0).await;
    site.keybearer
        .logged(&["Agent lost", "nothing was heard"])
        .await;
    let response = site.keybearer.get("/erp/").send().await;
    response.problem(502, "agent-absent", "destination_unavailable");
    agent.signal(Signal::CONT);
    site.wait_for_connected(1).await;
    assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
}

#[tokio::test]
async fn an_agent_notices_a_proxy_that_is_stopped() {
    let site = Site::start("").await;
    let agent = site.agent(&["127.0.0.1:*"]).await;
    site.keybearer.signal(Signal::STOP);
    agent.logged(&["Disconnected", "nothing was heard"]).await;
    site.keybearer.signal(Signal::CONT);
    site.wait_for_connected(1).await;
}

#[tokio::test]
async fn an_agent_dials_again_when_the_proxy_has_been_away() {
    let upstream = Upstream::start().await;
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let agent = site.agent(&["127.0.0.1:*"]).await;
    let port = site.agents.port();
    let (setup, _) = site.keybearer.kill().await;
    agent.logged(&["Disconnected"]).await;
    agent.logged(&["Not connected", "cannot be reached"]).await;
    // The same port again, as it stands in the agent's arguments.
    let text = Site::tables("", &erp(&upstream.url(""), ""));
    let text = text.replace(
        "listen = \"127.0.0.1:0\"",
        &format!("listen = \"127.0.0.1:{port}\""),
    );
    let setup = setup.retold(&text);
    let keybearer = setup.start().await;
    keybearer.logged(&["Agent connected"]).await;
    assert_eq!(keybearer.get("/erp/").send().await.status, 200);
}

#[tokio::test]
async fn what_runs_is_finished_when_an_agent_is_asked_to_end() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let held = vec![
        Step::Read,
        Step::Send(answer.into()),
        Step::Wait(gate.clone()),
        Step::Send("ok".into()),
    ];
    upstream.on("/held", Answer(held));
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    let mut first = site.agent(&["127.0.0.1:*"]).await;
    let mut caller = site.keybearer.caller().await;
    caller.send(site.keybearer.get("/erp/held").bytes()).await;
    upstream.wait_for_requests(1).await;
    // One that is kept for the next request does not hold the agent.
    assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
    let _second = site.agent(&["127.0.0.1:*"]).await;
    first.signal(Signal::TERM);
    first.logged(&["Draining"]).await;
    site.wait_for_connected(1).await;
    let states = site.standing().await["instances"].to_string();
    assert!(states.contains("draining"), "{states}");
    for _ in 0..5 {
        assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
    }
    assert!(first.running(), "something still runs through it");
    gate.open();
    let response = caller.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let exit = first.exit().await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(!exit.stderr.contains("Cutting off"), "{exit:?}");
}

#[tokio::test]
async fn http2_moves_to_another_agent_when_its_own_is_asked_to_end() {
    let upstream = Http2Upstream::start().await;
    let site = Site::start(&erp(&upstream.url(""), "http = \"2\"")).await;
    let mut first = site.agent(&["127.0.0.1:*"]).await;
    let mut caller = site.keybearer.caller().await;
    caller.send(site.keybearer.get("/erp/hold").bytes()).await;
    let held = async || (upstream.shared().begun.load(SeqCst) == 1).then_some(());
    eventually("the request", held).await;
    let _second = site.agent(&["127.0.0.1:*"]).await;
    first.signal(Signal::TERM);
    site.wait_for_connected(1).await;
    // The connection that is there leads through the first.
    eventually("a request on a connection of its own", async || {
        assert_eq!(site.keybearer.get("/erp/").send().await.text(), "ok");
        (upstream.connections() == 2).then_some(())
    })
    .await;
    assert!(first.running(), "something still runs through it");
    upstream.release(1).await;
    assert_eq!(caller.response().await.text(), "ok");
    let exit = first.exit().await;
    assert!(!exit.stderr.contains("Cutting off"), "{exit:?}");
    assert_eq!(site.keybearer.get("/erp/").send().await.text(), "ok");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_second_signal_or_the_end_of_the_grace_cuts_off_what_runs() {
    let upstream = Upstream::start().await;
    upstream.on("/stall", Answer::stall());
    let site = Site::start(&erp(&upstream.url(""), "")).await;
    for (grace, signals, code) in [("30s", 2, 1), ("100ms", 1, 0)] {
        let args = [
            "--name",
            "dc",
            "--token-file",
            "token",
            "--allow",
            "127.0.0.1:*",
        ];
        let mut agent = site.start_agent(&[&args[..], &["--shutdown-grace", grace]].concat());
        site.wait_for_connected(1).await;
        let before = upstream.count();
        let mut caller = site.keybearer.caller().await;
        caller
            .send(site.keybearer.post("/erp/stall").content("x").bytes())
            .await;
        upstream.wait_for_requests(before + 1).await;
        agent.signal(Signal::TERM);
        agent.logged(&["Draining"]).await;
        if signals == 2 {
            agent.signal(Signal::INT);
        }
        let exit = agent.exit().await;
        assert_eq!(exit.code, Some(code), "{exit:?}");
        assert!(
            exit.stderr.contains("Cutting off what still runs"),
            "{exit:?}"
        );
        let response = caller.response().await;
        assert_eq!(response.status, 502, "{response:?}");
        site.wait_for_connected(0).await;
    }
    eventually("the end of upstream connections", async || {
        (upstream.ended() == upstream.connections()).then_some(())
    })
    .await;
}
