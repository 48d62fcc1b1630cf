//! Endpoints across reloads, restarts and rotations.

use super::{deliveries, endpoint, open, path, start, tables, told, wait_for, webhook};
use crate::harness::{Answer, Gate, Setup, Upstream, eventually};

#[tokio::test]
async fn an_endpoint_keeps_its_id_its_queue_and_its_place() {
    let target = Upstream::start().await;
    target.on("/down", Answer::sized("503 Service Unavailable", "", ""));
    let endpoints = open("hook", &target.url("/down")) + &open("other", &target.url("/other"));
    let keybearer = start(&endpoints).await;
    let hook = path(&keybearer, "hook").await;
    let other = path(&keybearer, "other").await;
    for content in ["1", "2", "3"] {
        assert_eq!(webhook(&keybearer, &hook, content).send().await.status, 202);
    }
    // Another endpoint comes and one goes; the first one's target moves.
    let changed = open("hook", &target.url("/up")) + &open("new", &target.url("/new"));
    keybearer.reconfigure(&tables(&changed)).await;
    let new = path(&keybearer, "new").await;
    assert_eq!(path(&keybearer, "hook").await, hook);
    assert_ne!(new, other);
    let gone = async || (webhook(&keybearer, &other, "x").send().await.status == 404).then_some(());
    eventually("the URL of an endpoint that is gone to be unknown", gone).await;
    wait_for(&keybearer, "hook", "delivered", 3).await;
    let up: Vec<_> = target
        .requests()
        .iter()
        .filter(|it| it.target() == "/up")
        .map(|it| it.text().to_owned())
        .collect();
    assert_eq!(up, ["1", "2", "3"]);
    // After a restart they are who they were; and so is the one that comes back.
    let (setup, exit) = keybearer.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let keybearer = setup
        .retold(&tables(&(changed + &open("other", &target.url("/other")))))
        .start()
        .await;
    for (name, known) in [("hook", hook), ("new", new), ("other", other)] {
        assert_eq!(path(&keybearer, name).await, known);
    }
    assert_eq!(deliveries(&keybearer, "hook").await.len(), 3);
}

#[tokio::test]
async fn an_invalid_configuration_changes_nothing() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    let hook = path(&keybearer, "hook").await;
    let broken = tables(&endpoint(
        "hook",
        "builtin:echo",
        "verify = { type = \"none\" }",
    ));
    let text = keybearer.setup().text_with(&broken);
    keybearer.setup().replace("keybearer.toml", &text);
    assert_eq!(keybearer.reload().await.status, 422);
    assert_eq!(webhook(&keybearer, &hook, "1").send().await.status, 202);
    target.wait_for_requests(1).await;
}

#[tokio::test]
async fn a_rotated_url_overlaps_the_one_before() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    let first = path(&keybearer, "hook").await;
    let rotate = async |overlap: &str| {
        let body = format!("{{\"overlap\":\"{overlap}\"}}");
        let request = keybearer.ask("POST", "/api/webhooks/hook/rotate");
        let answer = request.body("application/json", body).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        path(&keybearer, "hook").await
    };
    let send = async |path: &str| webhook(&keybearer, path, "{}").send().await.status;
    let second = rotate("1h").await;
    assert_ne!(first, second);
    assert_eq!((send(&first).await, send(&second).await), (202, 202));
    let third = rotate("0s").await;
    assert_eq!((send(&second).await, send(&third).await), (404, 202));
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    assert_eq!(path(&keybearer, "hook").await, third);
    let send = async |path: &str| webhook(&keybearer, path, "{}").send().await.status;
    assert_eq!(
        (send(&first).await, send(&second).await, send(&third).await),
        (404, 404, 202)
    );
}

#[tokio::test]
async fn its_public_url_is_what_is_shown() {
    let target = Upstream::start().await;
    let tables = tables("").replace(
        "[webhooks]\n",
        "[webhooks]\npublic_url = \"https://hooks.example.com/below/\"\n",
    );
    let keybearer = Setup::new()
        .tables(&(tables + &open("hook", &target.url("/"))))
        .start()
        .await;
    let path = path(&keybearer, "hook").await;
    let url = told(&keybearer, "hook").await["url"].clone();
    assert_eq!(url, format!("https://hooks.example.com/below{path}"));
}

#[tokio::test]
async fn a_store_that_forgets_is_refused() {
    let tables = "[store]\ntype = \"memory\"\n[webhooks]\nlisten = \"127.0.0.1:0\"\n";
    let exit = Setup::new().tables(tables).run(&["run"]).await;
    assert_eq!(exit.code, Some(2));
    assert!(
        exit.stderr
            .contains("webhooks are kept until they are delivered"),
        "{}",
        exit.stderr
    );
    assert!(exit.stderr.contains("set it to `file`"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_queue_that_is_damaged_is_told_and_left_alone() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    path(&keybearer, "hook").await;
    let (setup, _) = keybearer.stop().await;
    setup.write(
        "store/webhooks.redb",
        "no database at all, but long enough to be looked at",
    );
    let exit = setup.run(&["run"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("webhooks.redb"), "{}", exit.stderr);
    assert!(exit.stderr.contains("move it away"), "{}", exit.stderr);
    let left = std::fs::read_to_string(setup.path("store/webhooks.redb")).unwrap();
    assert!(left.starts_with("no database"));
}

#[tokio::test]
async fn an_endpoint_that_comes_back_at_once_keeps_its_order() {
    let target = Upstream::start().await;
    let gate = Gate::new();
    let slow = Answer::fields("").behind(&gate);
    target.on_each("/hook", [slow, Answer::ok("")]);
    let hook = open("hook", &target.url("/hook"));
    let keybearer = start(&hook).await;
    let path = path(&keybearer, "hook").await;
    for content in ["1", "2"] {
        assert_eq!(webhook(&keybearer, &path, content).send().await.status, 202);
    }
    target.wait_for_requests(1).await;
    // Away and back, while the first delivery is under way.
    keybearer
        .reconfigure(&tables(&open("other", &target.url("/other"))))
        .await;
    let gone = async || {
        let told = keybearer.ask("GET", "/api/webhooks/hook").send().await;
        (told.status == 404).then_some(())
    };
    eventually("the endpoint to be gone", gone).await;
    keybearer.reconfigure(&tables(&hook)).await;
    assert_eq!(super::path(&keybearer, "hook").await, path);
    assert_eq!(webhook(&keybearer, &path, "3").send().await.status, 202);
    assert_eq!(target.count(), 1, "nothing overtakes the one under way");
    gate.open();
    wait_for(&keybearer, "hook", "delivered", 3).await;
    let texts: Vec<_> = target
        .requests()
        .iter()
        .map(|it| it.text().to_owned())
        .collect();
    assert_eq!(texts, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_queue_that_is_moved_away_is_told_and_nothing_is_lost_into_it() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    let path = path(&keybearer, "hook").await;
    assert_eq!(webhook(&keybearer, &path, "1").send().await.status, 202);
    wait_for(&keybearer, "hook", "delivered", 1).await;
    let store = keybearer.setup().path("store");
    std::fs::rename(store.join("webhooks.redb"), store.join("moved.redb")).unwrap();
    let answer = webhook(&keybearer, &path, "2").send().await;
    answer.problem(503, "webhook-not-kept", "proxy_internal_error");
    assert_eq!(answer.header("retry-after"), Some("30"));
    keybearer.logged(&["was moved, removed or replaced"]).await;
    // A new one is made, and the next finds its place there.
    let taken = async || (webhook(&keybearer, &path, "3").send().await.status == 202).then_some(());
    eventually("a new queue", taken).await;
    target.wait_for_requests(2).await;
    assert_eq!(target.last().text(), "3");
    assert!(store.join("webhooks.redb").exists());
    wait_for(&keybearer, "hook", "delivered", 1).await;
    assert_eq!(told(&keybearer, "hook").await["waiting"], 0);
}
