//! Step 1, guards: Host. A page on a name that is rebound to 127.0.0.1 sends that name.

use super::row::{Expect, Row, reaches, row};
use crate::harness::{Request, Setup, Upstream, connection};

/// Names that are ours, names that are not, and what is no name.
pub fn rows() -> Vec<Row> {
    let ours = [
        ("localhost", "allowed by default"),
        ("LOCALHOST", "names have no letter case"),
        ("localhost:{port}", "with its port"),
        ("LocalHost:{port}", "both"),
        ("127.0.0.1", "address"),
        ("{proxy}", "address and port, as curl sends it"),
        ("[::1]", "IPv6 address"),
        ("[::1]:{port}", "IPv6 address and port"),
    ];
    let foreign = [
        ("evil.example", "a rebound name"),
        ("evil.example:{port}", "a rebound name with our port"),
        ("localhost.evil.example", "ours as a subdomain"),
        (
            "evil.localhost",
            "a subdomain of ours that no connection has",
        ),
        ("xlocalhost", "ends in ours"),
        ("127.0.0.1.nip.io", "our address as a subdomain"),
        ("127.0.0.2", "another address"),
        ("[::2]", "another IPv6 address"),
        ("2130706433", "our address as a number"),
        ("0x7f.1", "our address in hexadecimal"),
    ];
    let malformed = [
        ("", "empty"),
        ("user@localhost", "with userinfo"),
        ("localhost@evil.example", "foreign behind userinfo"),
        ("evil.example@localhost", "ours behind userinfo"),
        ("localhost:port", "a port that is no number"),
        ("localhost:99999999", "a port that is none"),
        ("localhost/p", "with a path"),
        ("localhost, evil.example", "a list"),
        ("localhost evil.example", "two words"),
        ("localhost:80:80", "two ports"),
        ("{upstream}.example", "the upstream's address, then a name"),
        ("[::1", "half a bracket"),
    ];
    let request = |host: &str| format!("GET /p/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut rows = Vec::new();
    for (host, reason) in ours {
        rows.push(row(reason, request(host), reaches("/base/x")));
    }
    for (host, reason) in foreign {
        rows.push(row(reason, request(host), Expect::Refused(&[421])));
    }
    for (host, reason) in malformed {
        rows.push(row(reason, request(host), Expect::Refused(&[400, 421])));
    }
    for (lines, reason) in [
        ("", "HTTP/1.1 without Host"),
        ("Host: localhost\r\nHost: localhost\r\n", "Host twice"),
        ("Host: localhost\r\nHost: evil.example\r\n", "two Hosts"),
        (
            "Host: evil.example\r\nHost: localhost\r\n",
            "two Hosts, ours last",
        ),
        (
            "host: localhost\r\nHOST: localhost\r\n",
            "Host twice in other cases",
        ),
    ] {
        let request = format!("GET /p/x HTTP/1.1\r\n{lines}\r\n");
        rows.push(row(reason, request, Expect::Closed(&[400])));
    }
    rows
}

#[tokio::test]
async fn all_addresses_at_once_are_no_name_of_ours() {
    // Browsers let any web page ask 0.0.0.0 without saying that it is another site.
    let upstream = Upstream::start().await;
    let table = connection("p", &upstream.url("/base"), "auth = { type = \"none\" }");
    let text = Setup::new().tables(&table).text();
    let text = text.replacen("listen = [\"127.0.0.1:0\"]", "listen = [\"0.0.0.0:0\"]", 1);
    let keybearer = Setup::new()
        .config("wide.toml")
        .file("wide.toml", &text)
        .start()
        .await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], keybearer.proxy().port()));
    for (host, status) in [("0.0.0.0", 421), ("127.0.0.1", 200), ("localhost", 200)] {
        let request = Request::new(address, "GET", "/p/x").host(host);
        assert_eq!(request.send().await.status, status, "{host}");
    }
}
