//! Section 2, tls: whom a connection trusts, and what it says when it does not.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Authority, Certificate, Keybearer, Setup, Upstream, connection};

/// A connection that trusts `authority`, written beside the configuration.
fn trusting(setup: &Setup, name: &str, upstream: &Upstream, authority: &Authority) -> String {
    let file = format!("{name}.pem");
    setup.write(&file, authority.pem());
    let rest = format!(
        "auth = {{ type = \"bearer\", token = \"ours\" }}\ntls = {{ ca_certificate = \"{file}\" }}"
    );
    connection(name, &upstream.url("/base"), &rest)
}

async fn pair(authority: &Authority, certificate: &Certificate) -> (Upstream, Keybearer) {
    let upstream = Upstream::tls(certificate).await;
    let setup = Setup::new();
    let table = trusting(&setup, "p", &upstream, authority);
    (upstream, setup.tables(&table).start().await)
}

#[tokio::test]
async fn a_private_authority_is_trusted_and_its_connections_kept() {
    let authority = Authority::new();
    let (upstream, keybearer) = pair(&authority, &authority.issue(&["127.0.0.1"])).await;
    for _ in 0..5 {
        let request = keybearer.post("/p/x").body("text/plain", "hello");
        assert_eq!(request.send().await.text(), "ok");
    }
    let seen = upstream.last();
    assert_eq!((seen.target(), seen.text()), ("/base/x", "hello"));
    assert_eq!(seen.header("authorization"), Some("Bearer ours"));
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_as_such() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (certificate, words, why) in [
        (
            other.issue(&["127.0.0.1"]),
            &["ca_certificate"][..],
            "unknown authority",
        ),
        (ours.issue_expired(&["127.0.0.1"]), &["expired"], "expired"),
        (
            ours.issue(&["other.example"]),
            &["127.0.0.1", "server_name"],
            "another name",
        ),
    ] {
        let (upstream, keybearer) = pair(&ours, &certificate).await;
        let response = keybearer.get("/p/x").send().await;
        let detail = response.problem(502, "tls-certificate", "tls_certificate_error");
        for word in words {
            assert!(detail.contains(word), "{why}: {word} is not in: {detail}");
        }
        assert_eq!(response.json()["connection"], "p");
        assert_eq!(upstream.count(), 0, "{why}: nothing was sent");
    }
}

#[tokio::test]
async fn the_systems_roots_do_not_know_a_private_authority() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["127.0.0.1"])).await;
    let rest = "auth = { type = \"bearer\", token = \"ours\" }";
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), rest)).await;
    let response = keybearer.get("/p/x").send().await;
    let detail = response.problem(502, "tls-certificate", "tls_certificate_error");
    assert!(detail.contains("ca_certificate"), "what to do: {detail}");
}

#[tokio::test]
async fn another_server_name_is_asked_for_and_verified() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["jira.internal"])).await;
    for (server_name, status) in [("jira.internal", 200), ("other.internal", 502)] {
        let setup = Setup::new().file("ca.pem", authority.pem());
        let rest = format!(
            "auth = {{ type = \"none\" }}\ntls = {{ ca_certificate = \"ca.pem\", server_name = \"{server_name}\" }}"
        );
        let table = connection("p", &upstream.url("/base"), &rest);
        let keybearer = setup.tables(&table).start().await;
        let response = keybearer.get("/p/x").send().await;
        assert_eq!(response.status, status, "{}", response.text());
    }
    let seen = upstream.last();
    assert_eq!(seen.server_name.as_deref(), Some("jira.internal"));
    let address = upstream.address().to_string();
    assert_eq!(
        seen.header("host"),
        Some(address.as_str()),
        "Host stays the base URL's"
    );
}

#[tokio::test]
async fn a_name_is_resolved_and_sent() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["localhost"])).await;
    let setup = Setup::new().file("ca.pem", authority.pem());
    let port = upstream.address().port();
    let rest = "auth = { type = \"none\" }\ntls = { ca_certificate = \"ca.pem\" }";
    let table = connection("p", &format!("https://localhost:{port}/base"), rest);
    let keybearer = setup.tables(&table).start().await;
    let response = keybearer.get("/p/x").send().await;
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = upstream.last();
    assert_eq!(seen.server_name.as_deref(), Some("localhost"));
    let host = format!("localhost:{port}");
    assert_eq!(seen.header("host"), Some(host.as_str()));
}

#[tokio::test]
async fn connections_of_different_trust_never_share() {
    let (ours, other) = (Authority::new(), Authority::new());
    let upstream = Upstream::tls(&ours.issue(&["127.0.0.1"])).await;
    let setup = Setup::new();
    let tables =
        trusting(&setup, "right", &upstream, &ours) + &trusting(&setup, "wrong", &upstream, &other);
    let keybearer = setup.tables(&tables).start().await;
    for _ in 0..10 {
        assert_eq!(keybearer.get("/right/x").send().await.status, 200);
        let response = keybearer.get("/wrong/x").send().await;
        response.problem(502, "tls-certificate", "tls_certificate_error");
    }
    assert_eq!(upstream.count(), 10);
}

#[tokio::test]
async fn connections_of_different_names_never_share() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["one.internal", "two.internal"])).await;
    let setup = Setup::new().file("ca.pem", authority.pem());
    let tables = ["one", "two"].map(|name| {
        let rest = format!(
            "auth = {{ type = \"none\" }}\ntls = {{ ca_certificate = \"ca.pem\", server_name = \"{name}.internal\" }}"
        );
        connection(name, &upstream.url("/base"), &rest)
    });
    let keybearer = setup.tables(&tables.concat()).start().await;
    for _ in 0..5 {
        for name in ["one", "two"] {
            assert_eq!(
                keybearer.get(&format!("/{name}/x")).send().await.status,
                200
            );
            let server_name = format!("{name}.internal");
            assert_eq!(upstream.last().server_name, Some(server_name));
        }
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_no_tls_is_told_as_such() {
    // One that answers at once: a client's handshake never ends a head that `Upstream` would read.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let talking = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let rest = "auth = { type = \"none\" }\nretries = 0";
    let keybearer = Keybearer::start(&connection("p", &format!("https://{address}"), rest)).await;
    let response = keybearer.get("/p/x").send().await;
    response.problem(502, "tls-protocol", "tls_protocol_error");
    talking.abort();
}
