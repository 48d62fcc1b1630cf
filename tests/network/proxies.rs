//! Each kind of proxy, for cleartext and TLS upstreams: requests arrive, connections are kept, and no
//! password is seen anywhere.

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{through, with_login};
use crate::harness::{
    Answer, Authority, Certificate, Keybearer, LOGIN, Proxy, Setup, Upstream, connection,
};

/// Two upstreams: in cleartext, and in TLS.
struct Upstreams {
    authority: Authority,
    plain: Upstream,
    secure: Upstream,
}

impl Upstreams {
    async fn start() -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(&["127.0.0.1"]);
        Self {
            plain: Upstream::start().await,
            secure: Upstream::tls(&certificate).await,
            authority,
        }
    }

    /// The connections `plain` and `secure`, by way of this `network.proxy`.
    fn tables(&self, setup: &Setup, proxy: &str) -> String {
        setup.write("ca.pem", self.authority.pem());
        let defaults = "[defaults.tls]\nca_certificate = \"ca.pem\"\n";
        let rest =
            format!("auth = {{ type = \"bearer\", token = \"ours\" }}\nnetwork.proxy = {proxy}");
        let plain = connection("plain", &self.plain.url("/base"), &rest);
        let secure = connection("secure", &self.secure.url("/base"), &rest);
        [defaults, &plain, &secure].concat()
    }

    fn each(&self) -> [(&'static str, &Upstream); 2] {
        [("plain", &self.plain), ("secure", &self.secure)]
    }
}

/// What no output may hold: a part of the password, and the password in base64.
const CANARIES: [&str; 2] = ["hunter2", "bWU6aHVudGVyMi"];

fn assert_silent(text: &str, place: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "{place}: {text}");
    }
}

async fn assert_nothing_told(keybearer: Keybearer) {
    for target in ["/metrics", "/api/connections"] {
        let told = keybearer.ask("GET", target).send().await.text();
        assert_silent(&told, target);
    }
    let (setup, exit) = keybearer.stop().await;
    assert_silent(&(exit.stdout + &exit.stderr), "log");
    let check = setup.run(&["check"]).await;
    assert!(check.stdout.contains(" through "), "{}", check.stdout);
    assert_silent(&(check.stdout + &check.stderr), "check");
}

/// Small and large content both ways, on few connections, and WebSockets.
async fn carries(keybearer: &Keybearer, upstreams: &Upstreams) {
    let large = vec![b'x'; 3 << 20];
    for (name, upstream) in upstreams.each() {
        upstream.on("/base/large", Answer::download(3 << 20));
        upstream.on("/base/ws", Answer::web_socket());
        for _ in 0..5 {
            let request = keybearer.post(&format!("/{name}/x?q=%2F"));
            let response = request.body("text/plain", "hello").send().await;
            assert_eq!(response.text(), "ok", "{name}: {response:?}");
            let seen = upstream.last();
            assert_eq!((seen.method(), seen.target()), ("POST", "/base/x?q=%2F"));
            assert_eq!(seen.text(), "hello");
            assert_eq!(seen.header("authorization"), Some("Bearer ours"));
            assert_eq!(seen.header("proxy-authorization"), None);
            let host = upstream.address().to_string();
            assert_eq!(seen.header("host"), Some(host.as_str()));
        }
        let request = keybearer.post(&format!("/{name}/large"));
        let response = request.body("text/plain", &large).send().await;
        assert_eq!(response.body.len(), large.len(), "{name}");
        assert_eq!(upstream.last().body.len(), large.len(), "{name}");
        web_socket(keybearer, name).await;
    }
}

async fn web_socket(keybearer: &Keybearer, name: &str) {
    let mut caller = keybearer.caller().await;
    let head = format!(
        "GET /{name}/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    caller.send(head).await;
    let answer = caller.head().await.unwrap();
    assert_eq!(answer.part(1), "101", "{name}: {answer:?}");
    let mut socket =
        WebSocketStream::from_raw_socket(caller.into_stream(), Role::Client, None).await;
    socket.send(Message::text("over")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("over"));
}

#[tokio::test]
async fn tinyproxy_leads_to_both_and_connections_are_kept() {
    let upstreams = Upstreams::start().await;
    let proxy = Proxy::tinyproxy("BasicAuth me hunter2-tiny").await;
    let (setup, written) = with_login(&proxy, "me:hunter2-tiny");
    let tables = upstreams.tables(&setup, written);
    let keybearer = setup.tables(&tables).start().await;
    carries(&keybearer, &upstreams).await;
    // One for requests, one for the WebSocket.
    assert_eq!(upstreams.secure.connections(), 2);
    let to = |upstream: &Upstream| format!("CONNECT {} HTTP/1.1", upstream.address());
    assert_eq!(proxy.log().matches(&to(&upstreams.secure)).count(), 2);
    assert_eq!(proxy.log().matches(&to(&upstreams.plain)).count(), 1);
    let absolute = format!("POST {} HTTP/1.1", upstreams.plain.url("/base/x?q=%2F"));
    proxy.logged(&absolute).await;
    assert_nothing_told(keybearer).await;
}

#[tokio::test]
async fn squid_leads_to_both_and_connections_are_kept() {
    let upstreams = Upstreams::start().await;
    let proxy = Proxy::squid("").await;
    let (setup, written) = with_login(&proxy, LOGIN);
    let tables = upstreams.tables(&setup, written);
    let keybearer = setup.tables(&tables).start().await;
    carries(&keybearer, &upstreams).await;
    assert_eq!(upstreams.secure.connections(), 2);
    assert_nothing_told(keybearer).await;
}

#[tokio::test]
async fn socks_proxies_lead_to_both_and_connections_are_kept() {
    for (proxy, login, scheme) in [
        (Proxy::microsocks().await, Some(LOGIN), "socks5"),
        (Proxy::danted(1).await, None, "socks5h"),
    ] {
        let upstreams = Upstreams::start().await;
        let url = login.map_or(proxy.url(), |login| proxy.url_with(login));
        assert!(url.starts_with(scheme));
        let setup = Setup::new().file("proxy", &url);
        let tables = upstreams.tables(&setup, "{ file = \"proxy\" }");
        let keybearer = setup.tables(&tables).start().await;
        carries(&keybearer, &upstreams).await;
        for (name, upstream) in upstreams.each() {
            assert_eq!(upstream.connections(), 2, "{name}");
        }
        assert_nothing_told(keybearer).await;
    }
}

/// TLS in front of a proxy.
async fn behind_tls(certificate: &Certificate, proxy: &Proxy) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, to) = (certificate.acceptor(), proxy.address());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut near = acceptor.accept(stream).await.ok()?;
                let mut far = TcpStream::connect(to).await.ok()?;
                tokio::io::copy_bidirectional(&mut near, &mut far)
                    .await
                    .ok()
            });
        }
    });
    format!("https://{address}")
}

#[tokio::test]
async fn a_proxy_in_tls_leads_to_both() {
    let upstreams = Upstreams::start().await;
    let proxy = Proxy::tinyproxy("").await;
    let certificate = upstreams.authority.issue(&["127.0.0.1"]);
    let url = behind_tls(&certificate, &proxy).await;
    let setup = Setup::new();
    let tables = upstreams.tables(&setup, &format!("\"{url}\""));
    let keybearer = setup.tables(&tables).start().await;
    carries(&keybearer, &upstreams).await;
    assert_eq!(upstreams.secure.connections(), 2);
}

#[tokio::test]
async fn a_proxy_in_tls_that_is_not_trusted_is_told_as_such() {
    let upstreams = Upstreams::start().await;
    let proxy = Proxy::tinyproxy("").await;
    for (certificate, word) in [
        (Authority::new().issue(&["127.0.0.1"]), "tls.ca_certificate"),
        (
            upstreams.authority.issue(&["proxy.example"]),
            "network.proxy",
        ),
    ] {
        let url = behind_tls(&certificate, &proxy).await;
        let setup = Setup::new();
        let tables = upstreams.tables(&setup, &format!("\"{url}\""));
        let keybearer = setup.tables(&tables).start().await;
        for (name, upstream) in upstreams.each() {
            let response = keybearer.get(&format!("/{name}/x")).send().await;
            let detail = response.problem(502, "tls-certificate", "tls_certificate_error");
            assert!(detail.starts_with(&format!("proxy {url}: ")), "{detail}");
            assert!(detail.contains(word), "{detail}");
            assert_eq!(upstream.count(), 0);
        }
    }
}

#[tokio::test]
async fn names_are_resolved_by_the_proxy_that_is_asked_for_it() {
    let upstream = Upstream::start().await;
    let port = upstream.address().port();
    let proxy = Proxy::danted(1).await;
    // Of no use here, where nobody is to be asked.
    let dns = crate::harness::free_address();
    let keybearer = Setup::new()
        .server(&format!("dns = [\"{dns}\"]"))
        .tables(&through(
            &format!("http://ip6-localhost.invalid:{port}/base"),
            &format!("\"{}\"", proxy.url()),
            "",
        ))
        .start()
        .await;
    // It says that it knows no such name: so it was asked.
    let response = keybearer.get("/p/x").send().await;
    let detail = response.problem(502, "unreachable", "destination_unavailable");
    assert!(detail.contains("ip6-localhost.invalid"), "{detail}");
    assert!(detail.contains(&proxy.url()), "{detail}");
}
