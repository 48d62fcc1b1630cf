//! What proxies refuse, and proxies that are not there: told by the hop that it happened at.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{through, with_login};
use crate::harness::{
    Answer, Authority, Keybearer, LOGIN, Proxy, Setup, Step, Upstream, free_address,
};

/// A TLS upstream by way of a proxy at this address, and the problem of a request to it.
async fn problem_of(proxy: &str) -> (u16, String, String) {
    let setup = Setup::new().file("proxy", proxy);
    let tables = through("https://127.0.0.1:9/base", "{ file = \"proxy\" }", "");
    let keybearer = setup.tables(&tables).start().await;
    told(&keybearer).await
}

/// Status, type and detail of what a request gets.
async fn told(keybearer: &Keybearer) -> (u16, String, String) {
    let response = keybearer.get("/p/x").send().await;
    let json = response.json();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    let slug = text("type").rsplit(':').next().unwrap().to_owned();
    (response.status, slug, text("detail"))
}

#[tokio::test]
async fn wrong_and_missing_credentials_are_told_apart_and_are_never_a_407() {
    let plain = Upstream::start().await;
    let secure = Upstream::tls(&Authority::new().issue(&["127.0.0.1"])).await;
    let tiny = Proxy::tinyproxy("BasicAuth me hunter2-tiny").await;
    let (squid, socks) = (Proxy::squid("").await, Proxy::microsocks().await);
    // tinyproxy answers requests that it reads with 401, as if it was the server.
    for (proxy, asked_for) in [
        (&tiny, &[&secure][..]),
        (&squid, &[&plain, &secure]),
        (&socks, &[&plain, &secure]),
    ] {
        for upstream in asked_for {
            for (login, word) in [
                (Some("me:canary-4c1f"), "refused the user name and password"),
                (None, "asks for a user name and password"),
            ] {
                let url = login.map_or(proxy.url(), |login| proxy.url_with(login));
                let setup = Setup::new().file("proxy", &url);
                let tables = through(&upstream.url("/base"), "{ file = \"proxy\" }", "");
                let keybearer = setup.tables(&tables).start().await;
                let (status, slug, detail) = told(&keybearer).await;
                assert_eq!((status, &*slug), (502, "proxy-authentication"), "{detail}");
                assert!(
                    detail.starts_with(&format!("proxy {}: ", proxy.url())),
                    "{detail}"
                );
                assert!(detail.contains(word), "{detail}");
                assert!(detail.contains("network.proxy"), "{detail}");
                let (_, exit) = keybearer.stop().await;
                assert!(!format!("{detail}{}", exit.stderr).contains("canary-4c1f"));
            }
        }
    }
    assert_eq!((plain.count(), secure.connections()), (0, 0));
}

#[tokio::test]
async fn a_target_that_the_rules_forbid_is_told_with_its_port() {
    let upstream = Upstream::tls(&Authority::new().issue(&["127.0.0.1"])).await;
    let barred = upstream.address().port();
    let tiny = Proxy::tinyproxy("ConnectPort 443").await;
    let squid = Proxy::squid(&format!(
        "acl barred port {barred}\nhttp_access deny barred"
    ))
    .await;
    let danted = Proxy::danted(barred).await;
    for (proxy, login) in [(tiny, ""), (squid, LOGIN), (danted, "")] {
        let (setup, written) = with_login(&proxy, login);
        let tables = through(&upstream.url("/base"), written, "");
        let keybearer = setup.tables(&tables).start().await;
        let (status, slug, detail) = told(&keybearer).await;
        assert_eq!((status, &*slug), (502, "proxy-refused"), "{detail}");
        assert!(
            detail.starts_with(&format!("proxy {}: ", proxy.url())),
            "{detail}"
        );
        assert!(detail.contains(&upstream.address().to_string()), "{detail}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_upstream_that_the_proxy_cannot_reach_is_told_as_such() {
    let (squid, socks) = (Proxy::squid("").await, Proxy::microsocks().await);
    for (proxy, slugs) in [(squid, ["unreachable"]), (socks, ["connection-refused"])] {
        let (status, slug, detail) = problem_of(&proxy.url_with(LOGIN)).await;
        assert_eq!(status, 502, "{detail}");
        assert!(slugs.contains(&&*slug), "{slug}: {detail}");
        assert!(
            detail.starts_with(&format!("proxy {}: ", proxy.url())),
            "{detail}"
        );
        assert!(
            detail.contains("127.0.0.1:9") && detail.contains("base_url"),
            "{detail}"
        );
    }
}

/// A server that speaks first, and not what is expected.
async fn greeting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.ok();
            // Until the other side closes.
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    });
    address
}

#[tokio::test]
async fn a_proxy_that_is_none_is_told_as_such() {
    let nobody = free_address();
    let other = Upstream::start().await;
    other.on("127.0.0.1:9", Answer::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"));
    let closing = Upstream::start().await;
    closing.on("127.0.0.1:9", Answer::silence());
    let negotiating = Upstream::start().await;
    let refusal = "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n";
    negotiating.on("127.0.0.1:9", Answer::raw(refusal));
    let slow = Upstream::start().await;
    slow.on(
        "127.0.0.1:9",
        Answer::raw("HTTP/1.1 504 Slow\r\nContent-Length: 0\r\n\r\n"),
    );
    for (address, scheme, want, words) in [
        (
            nobody,
            "http",
            (502, "connection-refused"),
            &["refused the connection", "network.proxy"][..],
        ),
        (
            nobody,
            "socks5",
            (502, "connection-refused"),
            &["refused the connection", "network.proxy"],
        ),
        (
            other.address(),
            "http",
            (502, "protocol-error"),
            &["does not answer in HTTP", "network.proxy"],
        ),
        (
            greeting().await,
            "socks5",
            (502, "protocol-error"),
            &["does not answer in SOCKS 5"],
        ),
        (greeting().await, "https", (502, "tls-protocol"), &["TLS"]),
        (
            closing.address(),
            "http",
            (502, "connection-terminated"),
            &["closed the connection"],
        ),
        (
            negotiating.address(),
            "http",
            (502, "proxy-authentication"),
            &["NTLM or Negotiate", "Basic only"],
        ),
        (
            slow.address(),
            "http",
            (504, "connect-timeout"),
            &["504", "127.0.0.1:9"],
        ),
    ] {
        let url = format!("{scheme}://{address}");
        let (status, slug, detail) = problem_of(&url).await;
        assert_eq!((status, &*slug), want, "{detail}");
        assert!(detail.starts_with(&format!("proxy {url}: ")), "{detail}");
        for word in words {
            assert!(detail.contains(word), "{word}: {detail}");
        }
    }
    let (status, slug, detail) = problem_of("http://proxy.invalid:3128").await;
    assert_eq!((status, &*slug), (502, "name-not-resolved"), "{detail}");
    assert!(
        detail.contains("proxy http://proxy.invalid:3128: ") && detail.contains("network.proxy"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_given_up_in_time() {
    let silent = Upstream::start().await;
    silent.on("127.0.0.1:9", Answer(vec![Step::WaitForClose]));
    for scheme in ["http", "https", "socks5"] {
        let url = format!("{scheme}://{}", silent.address());
        let setup = Setup::new();
        let rest = "retries = 0\ntimeouts.connect = \"400ms\"";
        let tables = through("https://127.0.0.1:9/base", &format!("\"{url}\""), rest);
        let keybearer = setup.tables(&tables).start().await;
        let (status, slug, detail) = told(&keybearer).await;
        assert_eq!((status, &*slug), (504, "connect-timeout"), "{detail}");
        assert!(detail.starts_with(&format!("proxy {url}: ")), "{detail}");
        assert!(detail.contains("400ms"), "{detail}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_killed_is_named_and_used_again_when_it_is_back() {
    let authority = Authority::new();
    let secure = Upstream::tls(&authority.issue(&["127.0.0.1"])).await;
    let plain = Upstream::start().await;
    for upstream in [&plain, &secure] {
        upstream.on("/base/stall", Answer::stall());
        let proxy = Proxy::tinyproxy("").await;
        let setup = Setup::new().file("ca.pem", authority.pem());
        let rest = "retries = 0\n[defaults]\ntls.ca_certificate = \"ca.pem\"";
        let tables = through(
            &upstream.url("/base"),
            &format!("\"{}\"", proxy.url()),
            rest,
        );
        let keybearer = setup.tables(&tables).start().await;
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.get("/p/stall").bytes()).await;
        upstream.wait_for_requests(1).await;
        let url = proxy.url();
        proxy.kill().await;
        let response = caller.response().await;
        let detail = response.problem(502, "connection-terminated", "connection_terminated");
        assert!(detail.contains(&url), "{detail}");
        let response = keybearer.get("/p/x").send().await;
        let detail = response.problem(502, "connection-refused", "connection_refused");
        assert!(detail.starts_with(&format!("proxy {url}: ")), "{detail}");

        let other = Proxy::tinyproxy("").await;
        let tables = through(
            &upstream.url("/base"),
            &format!("\"{}\"", other.url()),
            rest,
        );
        keybearer.reconfigure(&tables).await;
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok");
        other.logged(&upstream.address().to_string()).await;
    }
}
