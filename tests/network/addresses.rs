//! Names with several addresses, and what the system's own files say.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{
    Answer, Keybearer, NameServer, Setup, Step, Upstream, connection, eventually,
};

fn p(name: &str, port: u16) -> String {
    let rest = "auth = { type = \"none\" }\nretries = 0";
    connection("p", &format!("http://{name}:{port}/base"), rest)
}

fn once() -> Answer {
    let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    Answer::raw(text).then(Step::Close)
}

#[tokio::test]
async fn a_dead_address_does_not_hide_one_that_lives() {
    let upstream = Upstream::start().await;
    upstream.on("/base/x", once());
    let port = upstream.address().port();
    for (records, why) in [
        ("127.0.0.2 x.test\n127.0.0.1 x.test", "nobody listens there"),
        ("192.0.2.1 x.test\n127.0.0.1 x.test", "nobody is there"),
        (
            "::1 x.test\n127.0.0.1 x.test",
            "nobody listens at the IPv6 address",
        ),
        (
            "2001:db8::1 x.test\n127.0.0.1 x.test",
            "there is no way to the IPv6 address",
        ),
        (
            "192.0.2.1 x.test\n192.0.2.2 x.test\n2001:db8::1 x.test\n127.0.0.1 x.test",
            "all",
        ),
    ] {
        let server = NameServer::start(records).await;
        let setup = Setup::new().server(&server.line());
        let keybearer = setup.tables(&p("x.test", port)).start().await;
        for _ in 0..6 {
            let began = Instant::now();
            let response = keybearer.get("/p/x").send().await;
            assert_eq!(response.status, 200, "{why}: {response:?}");
            assert!(began.elapsed() < Duration::from_secs(3), "{why}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_has_ipv6_only_is_found_by_name() {
    let upstream = Upstream::at("[::1]:0").await;
    let port = upstream.address().port();
    let server = NameServer::start("::1 six.test\n127.0.0.1 both.test\n::1 both.test").await;
    for name in ["six.test", "both.test", "localhost", "a.localhost"] {
        let setup = Setup::new().server(&server.line());
        let keybearer = setup.tables(&p(name, port)).start().await;
        assert_eq!(keybearer.get("/p/x").send().await.text(), "ok", "{name}");
    }
    assert_eq!(server.asked("localhost") + server.asked("a.localhost"), 0);
}

/// A setup in which the system's files are these of its folder.
fn with_files(resolv_conf: &str, hosts: &str) -> Setup {
    let may = Command::new("unshare").args(["-m", "true"]).status();
    assert!(
        may.is_ok_and(|status| status.success()),
        "this test mounts files over those of /etc for one process, which takes the privileges of root (CAP_SYS_ADMIN)"
    );
    let setup = Setup::new()
        .file("resolv.conf", resolv_conf)
        .file("hosts", hosts);
    let folder = setup.path("");
    let script = format!(
        "for file in resolv.conf hosts; do mount --bind '{0}'/$file \"$(readlink -f /etc/$file)\" || exit 9; done; exec \"$0\" \"$@\"",
        folder.display()
    );
    setup.wrapped(&["unshare", "-m", "sh", "-c", &script])
}

/// A DNS server at the port that `resolv.conf` means, on a loopback address of its own.
async fn at_port_53(lines: &str) -> NameServer {
    for _ in 0..20 {
        let [a, b] = crate::harness::free_address().port().to_be_bytes();
        let address = SocketAddr::from(([127, 77, a, b.max(1)], 53));
        if let Some(server) = NameServer::at(address, lines).await {
            return server;
        }
    }
    panic!("no DNS server at port 53: it takes the privileges of root (CAP_NET_BIND_SERVICE)");
}

async fn eventually_ok(keybearer: &Keybearer, what: &str) {
    eventually(what, async || {
        let response = keybearer.get("/p/x").send().await;
        (response.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn resolv_conf_says_who_is_asked_and_for_what_and_may_change() {
    let upstream = Upstream::start().await;
    upstream.on("/base/x", once());
    let server = at_port_53("127.0.0.1 short.corp.test").await;
    let text = |search: &str| {
        format!(
            "search {search}\nnameserver {}\noptions ndots:1\n",
            server.address().ip()
        )
    };
    let port = upstream.address().port();
    let setup = with_files(&text("other.test"), "127.0.0.1 localhost\n");
    let keybearer = setup.tables(&p("short", port)).start().await;
    let response = keybearer.get("/p/x").send().await;
    response.problem(502, "name-not-resolved", "dns_error");
    assert!(server.asked("short.other.test") > 0);
    keybearer.setup().write("resolv.conf", &text("corp.test"));
    eventually_ok(&keybearer, "the other search domain").await;
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_may_change() {
    let upstream = Upstream::start().await;
    upstream.on("/base/x", once());
    let server = at_port_53("127.0.0.9 here.test").await;
    let resolv_conf = format!("nameserver {}\n", server.address().ip());
    let setup = with_files(&resolv_conf, "127.0.0.1 localhost\n127.0.0.8 here.test\n");
    let keybearer = setup
        .tables(&p("here.test", upstream.address().port()))
        .start()
        .await;
    let response = keybearer.get("/p/x").send().await;
    let detail = response.problem(502, "connection-refused", "connection_refused");
    assert!(detail.contains("127.0.0.8"), "{detail}");
    keybearer
        .setup()
        .write("hosts", "127.0.0.1 localhost HERE.test # now\n");
    eventually_ok(&keybearer, "the other line").await;
    assert_eq!(server.asked("here.test"), 0);
}

#[tokio::test]
async fn a_system_without_a_dns_server_is_told_as_such() {
    let setup = with_files("# nothing\n", "127.0.0.1 localhost\n");
    let keybearer = setup.tables(&p("a.test", 9)).start().await;
    let response = keybearer.get("/p/x").send().await;
    let detail = response.problem(502, "name-not-resolved", "dns_error");
    assert!(
        detail.contains("/etc/resolv.conf") && detail.contains("server.dns"),
        "{detail}"
    );
}
