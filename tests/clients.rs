//! Real clients: what they send by default goes through.

use std::process::Command;

use crate::harness::{
    Answer, Exit, Keybearer, Process, Setup, Step, Upstream, base64, connection, python,
};

async fn pair() -> (Upstream, Keybearer) {
    let upstream = Upstream::start().await;
    let auth = "auth = { type = \"basic\", username = \"me\", password = \"ours\" }";
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), auth)).await;
    (upstream, keybearer)
}

async fn curl(args: &[&str]) -> Exit {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--noproxy",
        "*",
    ]);
    let exit = Process::run(command.args(args)).await;
    assert_eq!(exit.code, Some(0), "curl {args:?}: {}", exit.stderr);
    exit
}

#[tokio::test]
async fn curl_gets_with_our_credential_instead_of_its_own() {
    let (upstream, keybearer) = pair().await;
    let url = format!("http://localhost:{}/p/hello?x=1", keybearer.proxy().port());
    let exit = curl(&["-4", "-u", "mine:mine", "-b", "a=1", &url]).await;
    assert_eq!(exit.stdout, "ok");
    let seen = upstream.last();
    assert_eq!(seen.target(), "/base/hello?x=1");
    let ours = format!("Basic {}", base64("me:ours"));
    assert_eq!(seen.header("authorization"), Some(ours.as_str()));
    assert_eq!(seen.header("cookie"), None);
}

#[tokio::test]
async fn curl_uploads_what_it_asks_leave_for() {
    let (upstream, keybearer) = pair().await;
    let content: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    let setup = Setup::new().file("content", &content);
    let path = setup.path("content");
    let url = format!("http://{}/p/up", keybearer.proxy());
    let file = format!("@{}", path.display());
    let expect = ["-H", "Expect: 100-continue", "--expect100-timeout", "25"];
    for args in [
        &["-T", path.to_str().unwrap()][..],
        &["--data-binary", &file],
        &["--data-binary", &file, "-H", "Transfer-Encoding: chunked"],
    ] {
        let exit = curl(&[&expect[..], args, &[&url]].concat()).await;
        assert_eq!(exit.stdout, "ok");
        let seen = upstream.last();
        assert!(seen.complete && seen.text() == content, "{args:?}");
    }
}

#[tokio::test]
async fn curl_sees_an_early_refusal() {
    let (upstream, keybearer) = pair().await;
    let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";
    upstream.on(
        "/base/up",
        Answer(vec![Step::Send(refusal.into()), Step::WaitForClose]),
    );
    let setup = Setup::new().file("content", &"x".repeat(4 << 20));
    let path = setup.path("content");
    let url = format!("http://{}/p/up", keybearer.proxy());
    let path = path.to_str().unwrap();
    let exit = curl(&[
        "-H",
        "Expect: 100-continue",
        "-w",
        " %{http_code}",
        "-T",
        path,
        &url,
    ])
    .await;
    assert_eq!(exit.stdout, "no 401");
}

#[tokio::test]
async fn curl_follows_a_rewritten_redirect() {
    let (upstream, keybearer) = pair().await;
    let lines = format!("Location: {}\r\n", upstream.url("/base/there"));
    upstream.on("/base/here", Answer::sized("302 Found", &lines, ""));
    upstream.on("/base/there", Answer::ok("arrived"));
    let url = format!("http://{}/p/here", keybearer.proxy());
    let exit = curl(&["-L", "-w", " %{url_effective}", &url]).await;
    let there = format!("arrived http://{}/p/there", keybearer.proxy());
    assert_eq!(exit.stdout, there);
}

#[tokio::test]
async fn curl_cannot_leave_the_base() {
    let (upstream, keybearer) = pair().await;
    let address = keybearer.proxy();
    for path in ["/p/../x", "/p/%2e%2e/x", "/p/..%2fx", "/p/..;/x"] {
        let url = format!("http://{address}{path}");
        let exit = curl(&["--path-as-is", "-w", " %{http_code}", &url]).await;
        assert!(exit.stdout.ends_with(" 400"), "{path}: {}", exit.stdout);
    }
    let proxy = format!("http://{address}");
    let exit = curl(&[
        "--proxy",
        &proxy,
        "--noproxy",
        "",
        "-w",
        " %{http_code}",
        "http://evil.example/p/x",
    ])
    .await;
    assert!(
        exit.stdout.ends_with(" 421"),
        "as a forward proxy: {}",
        exit.stdout
    );
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn curl_speaks_http_1_0_and_head() {
    let (_upstream, keybearer) = pair().await;
    let url = format!("http://{}/p/x", keybearer.proxy());
    assert_eq!(curl(&["--http1.0", &url]).await.stdout, "ok");
    let exit = curl(&["--head", &url]).await;
    assert!(exit.stdout.starts_with("HTTP/1.1 200"), "{}", exit.stdout);
}

#[tokio::test]
async fn httpx_works_unchanged() {
    let (upstream, keybearer) = pair().await;
    upstream.on("/base/big", Answer::download(3_000_000));
    upstream.on("/base/missing", Answer::sized("404 Not Found", "", "gone"));
    let lines = "Location: /base/get?a=1\r\n";
    upstream.on(
        "/base/redirect",
        Answer::sized("307 Temporary Redirect", lines, ""),
    );
    let url = format!("http://{}/p", keybearer.proxy());
    python::run("clients/httpx_client.py", &[&url]).await;
    let seen = upstream.requests();
    let ours = format!("Basic {}", base64("me:ours"));
    for request in &seen {
        assert_eq!(request.header("authorization"), Some(ours.as_str()));
        assert!(request.complete);
    }
    let find = |target: &str| {
        let found = seen.iter().find(|request| request.target() == target);
        found.unwrap_or_else(|| panic!("no {target} upstream"))
    };
    assert_eq!(find("/base/get?q=a+b%26c&e=").method(), "GET");
    assert_eq!(
        find("/base/json").text(),
        r#"{"a":"\u00e9"}"#.replace("\\u00e9", "é")
    );
    assert_eq!(find("/base/stream").body.len(), 1_000_000);
    assert_eq!(find("/base/form").text(), "a=1&b=%C3%A4+x");
}

#[tokio::test]
async fn websockets_works_unchanged() {
    let (upstream, keybearer) = pair().await;
    upstream.on("/base/ws", Answer::web_socket());
    let url = format!("ws://{}/p/ws", keybearer.proxy());
    python::run("clients/websockets_client.py", &[&url]).await;
    let ours = format!("Basic {}", base64("me:ours"));
    assert_eq!(upstream.last().header("authorization"), Some(ours.as_str()));
    upstream.wait_for_ended(1).await;
}
