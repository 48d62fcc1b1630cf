//! Section 4: a change is noticed, checked whole, and published at once; or nothing changes.

mod load;

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use crate::harness::{
    Answer, Authority, Gate, Keybearer, Process, Setup, Step, Upstream, connection, eventually,
};

/// The connection `name` with this token.
fn bearer(name: &str, upstream: &Upstream, token: &str) -> String {
    let auth = format!("auth = {{ type = \"bearer\", token = {token} }}");
    connection(name, &upstream.url("/base"), &auth)
}

/// Waits until requests for `/p/x` carry this token.
async fn carries(keybearer: &Keybearer, upstream: &Upstream, token: &str) {
    let wanted = format!("Bearer {token}");
    let carried = async || {
        let response = keybearer.get("/p/x").send().await;
        assert_eq!(response.status, 200, "{}", response.text());
        (upstream.last().header("authorization") == Some(&wanted)).then_some(())
    };
    eventually(&format!("token {token}"), carried).await;
}

#[tokio::test]
async fn a_file_that_is_edited_in_place_is_read_again() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&bearer("p", &upstream, "\"one\"")).await;
    carries(&keybearer, &upstream, "one").await;
    for token in ["two", "three"] {
        let table = bearer("p", &upstream, &format!("\"{token}\""));
        let text = keybearer.setup().text_with(&table);
        keybearer.setup().write("keybearer.toml", &text);
        carries(&keybearer, &upstream, token).await;
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_is_read_again() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&bearer("p", &upstream, "\"one\"")).await;
    // More than once: after the first, the file is another inode than the one that was opened.
    for token in ["two", "three", "four"] {
        let table = bearer("p", &upstream, &format!("\"{token}\""));
        let text = keybearer.setup().text_with(&table);
        keybearer.setup().replace("keybearer.toml", &text);
        carries(&keybearer, &upstream, token).await;
    }
}

#[tokio::test]
async fn a_config_map_that_is_swapped_is_read_again() {
    let upstream = Upstream::start().await;
    let setup = Setup::new();
    let write = |version: &str, token: &str| {
        let table = bearer("p", &upstream, &format!("\"{token}\""));
        setup.write(
            &format!("map/{version}/keybearer.toml"),
            &setup.text_with(&table),
        );
    };
    write("..2026_1", "one");
    symlink("..2026_1", setup.path("map/..data")).unwrap();
    symlink("..data/keybearer.toml", setup.path("map/keybearer.toml")).unwrap();
    write("..2026_2", "two");
    write("..2026_3", "three");
    let keybearer = setup.config("map/keybearer.toml").start().await;
    carries(&keybearer, &upstream, "one").await;
    for (version, token) in [("..2026_2", "two"), ("..2026_3", "three")] {
        let map = keybearer.setup().path("map");
        symlink(version, map.join("..data_tmp")).unwrap();
        fs::rename(map.join("..data_tmp"), map.join("..data")).unwrap();
        carries(&keybearer, &upstream, token).await;
    }
}

#[tokio::test]
async fn a_secret_file_that_changes_is_read_again() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().file("secrets/token", "one\n");
    let table = bearer("p", &upstream, "{ file = \"secrets/token\" }");
    let keybearer = setup.tables(&table).start().await;
    carries(&keybearer, &upstream, "one").await;
    keybearer.setup().write("secrets/token", "two\n");
    carries(&keybearer, &upstream, "two").await;
    for token in ["three", "four"] {
        keybearer.setup().replace("secrets/token", token);
        carries(&keybearer, &upstream, token).await;
    }
}

#[tokio::test]
async fn an_authority_file_that_changes_is_read_again() {
    let (old, new) = (Authority::new(), Authority::new());
    let upstream = Upstream::tls(&new.issue(&["127.0.0.1"])).await;
    let setup = Setup::new().file("ca.pem", old.pem());
    let rest = "auth = { type = \"none\" }\ntls = { ca_certificate = \"ca.pem\" }";
    let table = connection("p", &upstream.url("/base"), rest);
    let keybearer = setup.tables(&table).start().await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 502);
    keybearer.setup().replace("ca.pem", new.pem());
    let trusted = async || (keybearer.get("/p/x").send().await.status == 200).then_some(());
    eventually("trust in the new authority", trusted).await;
}

#[tokio::test]
async fn included_files_come_and_go() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().top("include = [\"connections/*.toml\"]");
    let setup = setup.file("connections/p.toml", &bearer("p", &upstream, "\"one\""));
    let keybearer = setup.start().await;
    carries(&keybearer, &upstream, "one").await;
    let becomes = async |status: u16| {
        let done = async || (keybearer.get("/new/x").send().await.status == status).then_some(());
        eventually(&format!("{status} of the new connection"), done).await;
    };
    becomes(404).await;
    let table = bearer("new", &upstream, "\"two\"");
    keybearer.setup().write("connections/new.toml", &table);
    becomes(200).await;
    assert_eq!(upstream.last().header("authorization"), Some("Bearer two"));
    fs::remove_file(keybearer.setup().path("connections/new.toml")).unwrap();
    becomes(404).await;
    carries(&keybearer, &upstream, "one").await;
}

#[tokio::test]
async fn sighup_reloads() {
    let upstream = Upstream::start().await;
    let mut keybearer = Keybearer::start(&bearer("p", &upstream, "\"one\"")).await;
    let before = keybearer
        .metrics()
        .await
        .sum("keybearer_config_reloads_total");
    keybearer.signal(Signal::HUP);
    let counted = async || {
        let now = keybearer
            .metrics()
            .await
            .sum("keybearer_config_reloads_total");
        (now > before).then_some(())
    };
    eventually("a reload", counted).await;
    carries(&keybearer, &upstream, "one").await;
    assert!(keybearer.running());
}

#[tokio::test]
async fn the_api_answers_once_the_change_is_in_force() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&bearer("p", &upstream, "\"start\"")).await;
    let generation = async || {
        let metrics = keybearer.metrics().await;
        metrics.value("keybearer_config_generation", &[]).unwrap()
    };
    let mut last = generation().await;
    for n in 0..10 {
        let table = bearer("p", &upstream, &format!("\"t{n}\""));
        keybearer.reconfigure(&table).await;
        keybearer.get("/p/x").send().await;
        let carried = format!("Bearer t{n}");
        assert_eq!(
            upstream.last().header("authorization"),
            Some(carried.as_str())
        );
        let now = generation().await;
        assert!(now > last, "generation {now} after {last}");
        last = now;
    }
}

#[tokio::test]
async fn an_invalid_configuration_changes_nothing_and_says_why() {
    let upstream = Upstream::start().await;
    let good = bearer("p", &upstream, "\"one\"");
    let keybearer = Keybearer::start(&good).await;
    let bad = "[connections.a]\nbase_ulr = \"http://127.0.0.1\"\nauth = { type = \"none\" }\n\
               [connections.b]\nbase_url = \"ftp://x\"\nauth = { type = \"bearer\", token = { env = \"ABSENT_VARIABLE\" } }\n";
    let text = keybearer.setup().text_with(bad);
    let line = 1 + text
        .lines()
        .position(|line| line.starts_with("base_ulr"))
        .unwrap();
    keybearer.setup().replace("keybearer.toml", &text);
    let response = keybearer.reload().await;
    assert_eq!(response.status, 422, "{}", response.text());
    for word in ["base_ulr", "base_url", "ftp://x", "ABSENT_VARIABLE"] {
        assert!(
            response.text().contains(word),
            "{word}: {}",
            response.text()
        );
    }
    carries(&keybearer, &upstream, "one").await;
    let success = async || {
        let metrics = keybearer.metrics().await;
        metrics.value("keybearer_config_last_reload_success", &[])
    };
    assert_eq!(success().await, Some(0.0));
    let place = format!("keybearer.toml:{line}:");
    keybearer.logged(&[&place, "base_ulr"]).await;
    let mut check = keybearer
        .setup()
        .command(&["check", "--config", "keybearer.toml"]);
    let exit = Process::run(&mut check).await;
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains(&place), "{}", exit.stderr);
    keybearer.reconfigure(&good).await;
    assert_eq!(success().await, Some(1.0));
}

#[tokio::test]
async fn what_did_not_change_keeps_its_connections_and_counters() {
    let (same, other) = (Upstream::start().await, Upstream::start().await);
    let tables = |token: &str| {
        bearer("same", &same, "\"one\"") + &bearer("other", &other, &format!("\"{token}\""))
    };
    let keybearer = Keybearer::start(&tables("one")).await;
    for n in 0..5 {
        assert_eq!(keybearer.get("/same/x").send().await.status, 200);
        assert_eq!(keybearer.get("/other/x").send().await.status, 200);
        keybearer.reconfigure(&tables(&format!("t{n}"))).await;
    }
    assert_eq!((same.count(), same.connections()), (5, 1));
    let metrics = keybearer.metrics().await;
    let counted = metrics.value("keybearer_requests_total", &[("connection", "same")]);
    assert_eq!(counted, Some(5.0));
}

#[tokio::test]
async fn a_request_in_flight_ends_as_it_began() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let answer = Answer(vec![
        Step::Read,
        Step::Wait(gate.clone()),
        Step::Send(
            "HTTP/1.1 302 Found\r\nLocation: /base/next\r\nContent-Length: 4\r\n\r\n".into(),
        ),
        Step::Wait(gate.clone()),
        Step::Send("done".into()),
    ]);
    upstream.on("/base/slow", answer);
    let keybearer = Keybearer::start(&bearer("p", &upstream, "\"one\"")).await;
    let mut client = keybearer.caller().await;
    client.send(keybearer.get("/p/slow").bytes()).await;
    upstream.wait_for_requests(1).await;
    keybearer
        .reconfigure(&bearer("gone", &upstream, "\"two\""))
        .await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 404);
    gate.open();
    gate.open();
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (302, "done"));
    assert!(response.header("location").unwrap().ends_with("/p/next"));
}

#[tokio::test]
async fn what_needs_a_restart_is_said_so() {
    let upstream = Upstream::start().await;
    let table = bearer("p", &upstream, "\"one\"");
    let keybearer = Keybearer::start(&table).await;
    let text = keybearer
        .setup()
        .text_with(&bearer("p", &upstream, "\"two\""));
    let listen = "listen = [\"127.0.0.1:0\"]";
    assert!(text.contains(listen));
    let text = text.replace(listen, "listen = [\"127.0.0.1:0\", \"[::1]:0\"]");
    keybearer.setup().replace("keybearer.toml", &text);
    assert_eq!(keybearer.reload().await.status, 200);
    keybearer
        .logged(&["WARN", "server.listen", "restart"])
        .await;
    carries(&keybearer, &upstream, "two").await;
}
