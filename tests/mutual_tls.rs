//! Section 2, tls: what a connection shows of itself, to a real nginx that asks for it.

mod alerts;
mod expiry;
mod files;
mod rotation;
mod token;

use crate::harness::nginx::{Nginx, Seen, TELL};
use crate::harness::{Authority, Certificate, Keybearer, Setup, connection};

/// A setup with `ca.pem`, which servers are trusted by.
fn setup(authority: &Authority) -> Setup {
    Setup::new().file("ca.pem", authority.pem())
}

/// A connection that shows what `NAME.pem` and `NAME.key` hold.
fn showing(name: &str, base_url: &str, more: &str) -> String {
    let tls = format!(
        "client_certificate = \"{name}.pem\"\nclient_key = {{ file = \"{name}.key\" }}\nca_certificate = \"ca.pem\"\n{more}"
    );
    connection(
        name,
        base_url,
        &format!("retries = 0\n[connections.{name}.tls]\n{tls}"),
    )
}

/// Writes what a connection shows, as a tool that renews certificates does.
fn put(setup: &Setup, name: &str, certificate: &Certificate) {
    setup.replace(&format!("{name}.pem"), certificate.pem());
    setup.replace(&format!("{name}.key"), certificate.key_pem());
}

/// What nginx says of a request.
async fn seen(keybearer: &Keybearer, name: &str) -> Seen {
    Seen::in_answer(&keybearer.get(&format!("/{name}/x")).send().await)
}

#[tokio::test]
async fn the_certificate_that_is_asked_for_is_shown() {
    let authority = Authority::new();
    let nginx = Nginx::start(&authority.issue(&["127.0.0.1"]), &[&authority], TELL).await;
    let setup = setup(&authority);
    put(&setup, "a", &authority.client("a", 0xA1));
    let keybearer = setup
        .tables(&showing("a", &nginx.url(""), ""))
        .start()
        .await;
    let first = seen(&keybearer, "a").await;
    assert_eq!((&*first.subject, &*first.serial), ("CN=a", "A1"));
    assert_eq!(first.protocol, "TLSv1.3");
    assert_eq!(seen(&keybearer, "a").await, first, "the same connection");
}

#[tokio::test]
async fn what_the_upstream_says_itself_of_a_certificate_passes() {
    let (ours, other) = (Authority::new(), Authority::new());
    let nginx = Nginx::start(&ours.issue(&["127.0.0.1"]), &[&ours], TELL).await;
    let setup = setup(&ours);
    put(&setup, "other", &other.client("other", 1));
    let absent = connection("absent", &nginx.url(""), "tls.ca_certificate = \"ca.pem\"");
    let tables = showing("other", &nginx.url(""), "") + &absent;
    let keybearer = setup.tables(&tables).start().await;
    for (name, words) in [
        ("other", "The SSL certificate error"),
        ("absent", "No required SSL certificate was sent"),
    ] {
        let response = keybearer.get(&format!("/{name}/x")).send().await;
        assert_eq!(response.status, 400, "{response:?}");
        assert!(response.text().contains(words), "{}", response.text());
        assert_eq!(response.header("proxy-status"), None, "nginx's own answer");
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_those_who_began_them() {
    let authority = Authority::new();
    // Each request on a connection of its own.
    let directives = format!("keepalive_timeout 0;\n{TELL}");
    let nginx = Nginx::start(&authority.issue(&["127.0.0.1"]), &[&authority], &directives).await;
    let setup = setup(&authority);
    let mut tables = String::new();
    for (name, more) in [("a", ""), ("b", ""), ("a2", "min_version = \"1.3\"")] {
        put(&setup, name, &authority.client(name, 7));
        tables += &showing(name, &nginx.url(""), more);
    }
    let keybearer = setup.tables(&tables).start().await;
    let mut connections = Vec::new();
    for round in 0..3 {
        for name in ["a", "b", "a2"] {
            let seen = seen(&keybearer, name).await;
            assert_eq!(
                seen.subject,
                format!("CN={name}"),
                "never another's session"
            );
            let expected = if round == 0 { "." } else { "r" };
            assert_eq!(seen.resumed, expected, "{name}, round {round}");
            connections.push(seen.connection);
        }
    }
    connections.sort();
    connections.dedup();
    assert_eq!(connections.len(), 9, "each on its own");
}

#[tokio::test]
async fn issuer_and_serial_number_do_not_make_two_connections_one() {
    // Two authorities of one name, and one that both upstream connections are made with.
    let (one, two) = (Authority::new(), Authority::new());
    let nginx = Nginx::start(&one.issue(&["127.0.0.1"]), &[&one, &two], TELL).await;
    let setup = setup(&one);
    put(&setup, "one", &one.client("app", 5));
    put(&setup, "two", &two.client("app", 5));
    put(&setup, "again", &one.client("app", 5));
    let names = ["one", "two", "again"];
    let tables = names.map(|name| showing(name, &nginx.url(""), "")).concat();
    let keybearer = setup.tables(&tables).start().await;
    let mut first = Vec::new();
    for name in names {
        first.push(seen(&keybearer, name).await);
    }
    for (n, name) in names.iter().enumerate() {
        assert_eq!((&*first[n].subject, &*first[n].serial), ("CN=app", "05"));
        for other in 0..n {
            assert_ne!(first[n].fingerprint, first[other].fingerprint);
            assert_ne!(first[n].connection, first[other].connection);
        }
        assert_eq!(
            seen(&keybearer, name).await,
            first[n],
            "kept apart, and kept"
        );
    }
}

#[tokio::test]
async fn connections_that_show_the_same_share() {
    let authority = Authority::new();
    let nginx = Nginx::start(&authority.issue(&["127.0.0.1"]), &[&authority], TELL).await;
    let setup = setup(&authority);
    let certificate = authority.client("app", 5);
    put(&setup, "one", &certificate);
    put(&setup, "two", &certificate);
    let tables = showing("one", &nginx.url(""), "") + &showing("two", &nginx.url(""), "");
    let keybearer = setup.tables(&tables).start().await;
    let one = seen(&keybearer, "one").await;
    assert_eq!(seen(&keybearer, "two").await, one);
}
