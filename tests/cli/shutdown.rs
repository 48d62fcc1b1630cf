//! The end of `run`: what runs is finished, nothing new is taken, a second signal ends at once.

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::harness::{
    Answer, Gate, Keybearer, RawClient, Setup, Step, Upstream, connection, eventually,
};

/// A keybearer with one request in flight, which the gate lets end.
async fn in_flight(grace: &str) -> (Upstream, Keybearer, RawClient, Gate) {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let answer = Answer(vec![
        Step::Read,
        Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf".into()),
        Step::Wait(gate.clone()),
        Step::Send("done".into()),
    ]);
    upstream.on("/base/slow", answer);
    let table = connection("p", &upstream.url("/base"), "auth = { type = \"none\" }");
    let setup = Setup::new().server(&format!("shutdown_grace = \"{grace}\""));
    let keybearer = setup.tables(&table).start().await;
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/slow").bytes()).await;
    client.until("half").await;
    (upstream, keybearer, client, gate)
}

#[tokio::test]
async fn a_signal_drains() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_upstream, mut keybearer, mut client, gate) = in_flight("10m").await;
        let mut idle = keybearer.caller().await;
        keybearer.get("/p/x").send_on(&mut idle).await;
        keybearer.signal(signal);
        keybearer.wait_for_readyz(503).await;
        assert_eq!(keybearer.ask("GET", "/healthz").send().await.status, 200);
        let refused = async || TcpStream::connect(keybearer.proxy()).await.err();
        eventually("new connections to be refused", refused).await;
        idle.closed().await;
        assert!(keybearer.running(), "a request is still in flight");
        gate.open();
        client.until("done").await;
        let exit = keybearer.exit().await;
        assert_eq!((exit.code, exit.signal), (Some(0), None), "{}", exit.stderr);
    }
}

#[tokio::test]
async fn without_requests_it_ends_at_once() {
    let table = connection("p", "http://127.0.0.1:1", "auth = { type = \"none\" }");
    let setup = Setup::new().server("shutdown_grace = \"10m\"");
    let mut keybearer = setup.tables(&table).start().await;
    let mut idle = keybearer.caller().await;
    keybearer.get("/unknown").send_on(&mut idle).await;
    keybearer.signal(Signal::TERM);
    assert_eq!(keybearer.exit().await.code, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (_upstream, mut keybearer, mut client, _gate) = in_flight("10m").await;
    keybearer.signal(Signal::TERM);
    keybearer.wait_for_readyz(503).await;
    keybearer.signal(Signal::TERM);
    keybearer.exit().await;
    client.closed().await;
}

#[tokio::test]
async fn grace_has_an_end() {
    let (_upstream, mut keybearer, mut client, _gate) = in_flight("300ms").await;
    keybearer.signal(Signal::TERM);
    keybearer.exit().await;
    client.closed().await;
}

#[tokio::test]
async fn a_reload_changes_the_grace() {
    let (_upstream, mut keybearer, mut client, _gate) = in_flight("10m").await;
    let text = std::fs::read_to_string(keybearer.setup().path("keybearer.toml")).unwrap();
    keybearer
        .setup()
        .replace("keybearer.toml", &text.replace("10m", "300ms"));
    assert_eq!(keybearer.reload().await.status, 200);
    keybearer.signal(Signal::TERM);
    keybearer.exit().await;
    client.closed().await;
}
