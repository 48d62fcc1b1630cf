//! The end of `run` while a delivery is under way.

use rustix::process::Signal;

use super::{deliveries, endpoint, path, tables, wait_for, webhook};
use crate::harness::{Answer, Gate, Keybearer, Setup, Upstream};

/// A keybearer with a delivery under way, which the gate lets end; later ones are answered at once.
async fn under_way() -> (Upstream, Keybearer, Gate) {
    let target = Upstream::start().await;
    let gate = Gate::new();
    let slow = Answer::fields("").behind(&gate);
    target.on_each("/hook", [slow, Answer::ok("")]);
    let rest = "verify = { type = \"none\" }\ntimeout = \"10m\"";
    let hook = endpoint("hook", &target.url("/hook"), rest);
    let setup = Setup::new().server("shutdown_grace = \"10m\"");
    let keybearer = setup.tables(&tables(&hook)).start().await;
    let path = path(&keybearer, "hook").await;
    assert_eq!(webhook(&keybearer, &path, "1").send().await.status, 202);
    target.wait_for_requests(1).await;
    (target, keybearer, gate)
}

/// Asks it to end, and waits until it is about to.
async fn drain(keybearer: &mut Keybearer) {
    keybearer.signal(Signal::TERM);
    keybearer.wait_for_readyz(503).await;
    assert!(keybearer.running(), "a delivery is still under way");
}

#[tokio::test]
async fn what_is_under_way_is_waited_for_and_noted() {
    let (target, mut keybearer, gate) = under_way().await;
    drain(&mut keybearer).await;
    gate.open();
    let exit = keybearer.exit().await;
    assert_eq!((exit.code, exit.signal), (Some(0), None), "{}", exit.stderr);
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    path(&keybearer, "hook").await;
    wait_for(&keybearer, "hook", "delivered", 1).await;
    assert_eq!(target.count(), 1);
}

#[tokio::test]
async fn a_second_signal_waits_for_no_delivery_and_loses_none() {
    let (target, mut keybearer, _gate) = under_way().await;
    drain(&mut keybearer).await;
    keybearer.signal(Signal::TERM);
    let exit = keybearer.exit().await;
    assert_eq!((exit.code, exit.signal), (Some(1), None), "{}", exit.stderr);
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    target.wait_for_requests(2).await;
    wait_for(&keybearer, "hook", "delivered", 1).await;
    assert_eq!(deliveries(&keybearer, "hook").await[0]["attempts"], 1);
    assert_eq!(target.last().text(), "1");
}
