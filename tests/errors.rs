//! Bad input of every kind: one clear message that says what to do, and the right code.

mod configuration;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::harness::{Keybearer, Setup, connection};

fn to(base_url: &str, rest: &str) -> String {
    let rest = format!("auth = {{ type = \"bearer\", token = \"ours\" }}\nretries = 0\n{rest}");
    connection("p", base_url, &rest)
}

#[tokio::test]
async fn an_upstream_whose_name_is_unknown_is_told_as_such() {
    let table = to(
        "http://nowhere.invalid/base",
        "timeouts = { connect = \"20s\" }",
    );
    let keybearer = Keybearer::start(&table).await;
    let response = keybearer.get("/p/x").send().await;
    let detail = response.problem(502, "name-not-resolved", "dns_error");
    assert!(detail.contains("nowhere.invalid"), "{detail}");
    assert_eq!(response.json()["connection"], "p");
}

#[tokio::test]
async fn an_upstream_that_refuses_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let keybearer = Keybearer::start(&to(&format!("http://{address}"), "")).await;
    for request in [
        keybearer.get("/p/x"),
        keybearer.post("/p/x").body("text/plain", "x"),
    ] {
        let response = request.send().await;
        let detail = response.problem(502, "connection-refused", "connection_refused");
        assert!(detail.contains(&address.to_string()), "{detail}");
    }
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_times_out() {
    // With its queue full, Linux drops what asks for another connection.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _queued = TcpStream::connect(address).await.unwrap();
    let table = to(
        &format!("http://{address}"),
        "timeouts = { connect = \"300ms\" }",
    );
    let keybearer = Keybearer::start(&table).await;
    let response = keybearer.post("/p/x").body("text/plain", "x").send().await;
    let detail = response.problem(504, "connect-timeout", "connection_timeout");
    assert!(detail.contains("300ms"), "{detail}");
}

#[tokio::test]
async fn a_write_before_the_connection_is_retried_for_every_method() {
    // No byte reached the upstream, so POST may be sent again: both attempts are refused here.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let table = to(&format!("http://{address}"), "").replace("retries = 0", "retries = 3");
    let keybearer = Keybearer::start(&table).await;
    let response = keybearer
        .post("/p/x")
        .chunks("text/plain", &["a", "b"])
        .send()
        .await;
    response.problem(502, "connection-refused", "connection_refused");
}

#[tokio::test]
async fn files_that_others_may_write_are_refused() {
    for (mode, refused, why) in [
        (0o600, false, "its owner's alone"),
        (0o640, false, "readable by the group"),
        (0o644, false, "readable by all"),
        (0o660, true, "writable by the group"),
        (0o606, true, "writable by others"),
        (0o666, true, "writable by all"),
    ] {
        let setup = Setup::new().tables(&to("http://127.0.0.1:1", ""));
        setup.write("other.toml", &setup.text());
        let path = setup.path("other.toml");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let exit = setup.config("other.toml").run(&["check"]).await;
        assert_eq!(
            exit.code,
            Some(if refused { 2 } else { 0 }),
            "{why}: {}",
            exit.stderr
        );
        if refused {
            for word in ["other.toml", "writable", "chmod"] {
                assert!(
                    exit.stderr.contains(word),
                    "{why}: no {word} in {}",
                    exit.stderr
                );
            }
        }
    }
}

#[tokio::test]
async fn secret_files_that_cannot_be_read_are_named() {
    let auth = "auth = { type = \"bearer\", token = { file = \"secret\" } }";
    let table = connection("p", "http://127.0.0.1:1", auth);
    for (prepare, words, why) in [
        (
            (|_| {}) as fn(&Setup),
            &["secret", "does not exist"][..],
            "absent",
        ),
        (
            |setup| fs::create_dir(setup.path("secret")).unwrap(),
            &["secret", "folder"],
            "a folder",
        ),
        (
            |setup| setup.write("secret", ""),
            &["secret", "empty"],
            "empty",
        ),
        (
            |setup| setup.write("secret", "\n"),
            &["secret", "empty"],
            "a line end only",
        ),
        (
            |setup| fs::write(setup.path("secret"), [0xff, 0xfe]).unwrap(),
            &["secret", "UTF-8"],
            "no text",
        ),
        (
            |setup| setup.write("secret", "two\nlines\n"),
            &["secret"],
            "no field value",
        ),
    ] {
        let setup = Setup::new().tables(&table);
        prepare(&setup);
        for command in ["check", "run"] {
            let exit = setup.run(&[command]).await;
            assert_eq!(exit.code, Some(2), "{command}: {why}: {}", exit.stderr);
            for word in words {
                assert!(
                    exit.stderr.contains(word),
                    "{why}: no {word} in {}",
                    exit.stderr
                );
            }
            let place = "keybearer.toml:";
            assert!(exit.stderr.contains(place), "{why}: {}", exit.stderr);
            assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
        }
    }
}

#[tokio::test]
async fn a_console_for_others_needs_a_token() {
    for (lines, code) in [
        ("listen = \"0.0.0.0:0\"", 2),
        ("listen = \"0.0.0.0:0\"\ntoken = \"a-long-token\"", 0),
        ("listen = \"[::1]:0\"", 0),
        ("listen = \"0.0.0.0:0\"\ntoken = \"\"", 2),
    ] {
        let text = format!("[admin]\n{lines}\n{}", to("http://127.0.0.1:1", ""));
        let setup = Setup::new().file("admin.toml", &text).config("admin.toml");
        let exit = setup.run(&["check"]).await;
        assert_eq!(exit.code, Some(code), "{lines}: {}", exit.stderr);
        if code == 2 {
            assert!(exit.stderr.contains("token"), "{lines}: {}", exit.stderr);
        }
    }
}
