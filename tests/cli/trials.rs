//! `keybearer test`, `keybearer check --connect` and what they ask the console for: a request of our
//! own, told phase by phase.

use serde_json::{Value, json};

use crate::harness::{
    Answer, Authority, Exit, Keybearer, LOGIN, Proxy, Setup, Site, Upstream, connection,
};
use crate::linking::{World, setup};

const TOKEN: &str = "canary-token-41d7";

const BEARER: &str = "auth = { type = \"bearer\", token = \"canary-token-41d7\" }";

/// The phases that were told, in their order.
fn phases(trial: &Value) -> Vec<&str> {
    let phases = trial["phases"].as_array().unwrap();
    let names = phases.iter().map(|phase| phase["phase"].as_str().unwrap());
    names.collect()
}

async fn tested(keybearer: &Keybearer, args: &[&str]) -> Exit {
    let all: Vec<&str> = ["test"].iter().chain(args).copied().collect();
    keybearer.spawn(&all).exit().await
}

fn json_of(exit: &Exit) -> Value {
    serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{}{}", exit.stdout, exit.stderr))
}

/// A TLS upstream of a private authority, and the connection `p` to it.
async fn secured() -> (Upstream, Setup) {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["localhost"])).await;
    let url = format!("https://localhost:{}/base", upstream.address().port());
    let rest = format!("{BEARER}\ntls = {{ ca_certificate = \"ca.pem\" }}");
    let setup = setup()
        .file("ca.pem", authority.pem())
        .tables(&connection("p", &url, &rest));
    (upstream, setup)
}

#[tokio::test]
async fn a_request_is_told_phase_by_phase() {
    let (upstream, setup) = secured().await;
    let keybearer = setup.start().await;
    let exit = tested(&keybearer, &["p", "--path", "/x?a=1", "--method", "DELETE"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for text in [
        "p: DELETE https://localhost:",
        "/base/x\n",
        "resolve",
        "connect",
        "tls",
        "TLS 1.3",
        "days left",
        "request",
        "200 OK",
        "injected    authorization",
        "ms",
    ] {
        assert!(exit.stdout.contains(text), "no {text}: {}", exit.stdout);
    }
    let seen = upstream.last();
    assert_eq!((seen.method(), seen.target()), ("DELETE", "/base/x?a=1"));
    assert_eq!(
        seen.header("authorization"),
        Some("Bearer canary-token-41d7")
    );
    assert_eq!(upstream.count(), 1, "one request");

    let told = json_of(&tested(&keybearer, &["p", "--json"]).await);
    assert_eq!(
        phases(&told),
        ["resolve", "connect", "tls", "request", "content"]
    );
    assert_eq!(told["status"], 200);
    assert_eq!(told["injected"], json!(["authorization"]));
    assert!(
        told["certificate_days_left"].as_i64().unwrap() > 0,
        "{told}"
    );
    let (_, exit) = keybearer.stop().await;
    for text in [exit.stdout, exit.stderr, told.to_string()] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[tokio::test]
async fn what_is_not_2xx_or_3xx_ends_with_1() {
    let upstream = Upstream::start().await;
    let keybearer = setup()
        .tables(&connection("p", &upstream.url(""), BEARER))
        .start()
        .await;
    for (status, code, text) in [
        ("204 No Content", 0, ""),
        ("302 Found", 0, ""),
        ("404 Not Found", 1, ""),
        ("401 Unauthorized", 1, "did not take the credential"),
        ("403 Forbidden", 1, "forbids this request"),
        ("500 Internal Server Error", 1, "the upstream itself failed"),
    ] {
        upstream.on("/x", Answer::sized(status, "", ""));
        let exit = tested(&keybearer, &["p", "--path", "/x"]).await;
        assert_eq!(exit.code, Some(code), "{status}: {}", exit.stderr);
        assert!(exit.stdout.contains(status), "{}", exit.stdout);
        assert!(exit.stderr.contains(text), "{status}: {}", exit.stderr);
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_told() {
    let gone = Upstream::start().await;
    let (url, mute) = (gone.url(""), Upstream::start().await);
    drop(gone);
    let tables = [
        connection("gone", &url, BEARER),
        connection("nowhere", "http://nowhere.invalid", BEARER),
        connection(
            "cleartext",
            &mute.url("").replace("http:", "https:"),
            BEARER,
        ),
        connection(
            "narrow",
            &mute.url(""),
            &format!("{BEARER}\nallow = {{ paths = [\"/a\"] }}"),
        ),
    ];
    let keybearer = setup().tables(&tables.concat()).start().await;
    for (name, done, text) in [
        ("gone", &[][..], "refused the connection"),
        ("nowhere", &[], "not resolved"),
        ("cleartext", &["connect"], "TLS"),
        (
            "narrow",
            &["connect", "request"],
            "not in this connection's allow.paths",
        ),
    ] {
        let exit = tested(&keybearer, &[name, "--json"]).await;
        assert_eq!(exit.code, Some(1), "{name}");
        let told = json_of(&exit);
        assert_eq!(phases(&told), done, "{told}");
        let failure = told["failure"].as_str().unwrap();
        assert!(failure.contains(text), "{name}: {failure}");
    }
    assert_eq!(mute.count(), 0);
    let absent = tested(&keybearer, &["absent"]).await;
    assert_eq!(absent.code, Some(1), "{}", absent.stderr);
    assert!(absent.stderr.contains("no connection `absent`"));
    for args in [["p", "--method", "G T"], ["p", "--path", "no-slash"]] {
        let wrong = tested(&keybearer, &args).await;
        assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    }
}

#[tokio::test]
async fn a_connection_that_is_not_linked_says_how_to_link_it() {
    let World {
        server: _server,
        keybearer,
    } = World::start("").await;
    let exit = tested(&keybearer, &["drive"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    for text in ["no credential", "keybearer link drive", "/link/drive"] {
        assert!(exit.stderr.contains(text), "{}", exit.stderr);
    }
}

#[tokio::test]
async fn a_path_of_another_connection_is_not_asked_for() {
    let upstream = Upstream::start().await;
    let outer = connection("p", &upstream.url("/outer"), BEARER);
    let inner = connection("p-inner", &upstream.url("/inner"), BEARER);
    let inner = format!("{inner}prefix = \"/p/inner\"\n");
    let keybearer = Keybearer::start(&(outer + &inner)).await;
    let exit = tested(&keybearer, &["p", "--path", "/inner/x"]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    let told = "go to the connection `p-inner`";
    assert!(exit.stderr.contains(told), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(upstream.count(), 0);
    let exit = tested(&keybearer, &["p", "--path", "/other"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(upstream.last().target(), "/outer/other");
}

#[tokio::test]
async fn without_an_instance_it_is_tried_from_here() {
    let (upstream, setup) = secured().await;
    setup.write("keybearer.toml", &setup.text());
    let exit = setup.run(&["test", "p", "--path", "/x"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(
        exit.stderr.contains("Tried from here: nobody listens at"),
        "{}",
        exit.stderr
    );
    assert_eq!(upstream.last().target(), "/base/x");
    let exit = setup.run(&["test", "absent"]).await;
    assert!(
        exit.stderr.contains("no connection `absent`"),
        "{}",
        exit.stderr
    );
}

/// Both, with an instance and without: a connection that works, one that is refused, one that leads
/// nowhere.
#[tokio::test]
async fn check_tries_every_connection() {
    let (upstream, other) = (Upstream::start().await, Upstream::start().await);
    other.on("/", Answer::sized("401 Unauthorized", "", ""));
    let good = connection("good", &upstream.url(""), BEARER);
    let all = [
        good.clone(),
        connection("refused", &other.url(""), BEARER),
        connection("nowhere", "https://nowhere.invalid", BEARER),
    ];
    let setup = setup().tables(&all.concat());
    let exit = setup.run(&["check"]).await;
    assert_eq!(
        (exit.code, upstream.count()),
        (Some(0), 0),
        "it is not asked to"
    );
    let alone = setup.run(&["check", "--connect"]).await;
    assert!(
        alone.stderr.contains("Tried from here: nobody listens at"),
        "{}",
        alone.stderr
    );
    let keybearer = setup.start().await;
    let asked = keybearer.spawn(&["check", "--connect"]).exit().await;
    for exit in [alone, asked] {
        assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
        for text in [
            "good: /good -> ",
            "  ok\n",
            "failed: 401 Unauthorized",
            "not resolved",
        ] {
            assert!(exit.stdout.contains(text), "no {text}: {}", exit.stdout);
        }
        assert!(exit.stderr.contains("2 of 3 connections failed"));
        assert!(!(exit.stdout + &exit.stderr).contains(TOKEN));
    }
    let seen = upstream.requests();
    let methods: Vec<_> = seen.iter().map(|request| request.method()).collect();
    assert_eq!(methods, ["HEAD", "HEAD"]);
    let told = keybearer
        .spawn(&["check", "--connect", "--json"])
        .exit()
        .await;
    let told = json_of(&told);
    assert_eq!(told["connections"][0]["trial"]["status"], 200, "{told}");

    keybearer.reconfigure(&good).await;
    let exit = keybearer.spawn(&["check", "--connect"]).exit().await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
}

/// Where `allow` leaves nothing harmless to send, the way there is tried all the same.
#[tokio::test]
async fn check_sends_nothing_that_is_not_allowed() {
    let upstream = Upstream::start().await;
    let tables = [
        connection(
            "posts",
            &upstream.url(""),
            &format!("{BEARER}\nallow = {{ methods = [\"POST\"] }}"),
        ),
        connection(
            "gets",
            &upstream.url(""),
            &format!("{BEARER}\nallow = {{ methods = [\"GET\"] }}"),
        ),
    ];
    let exit = setup()
        .tables(&tables.concat())
        .run(&["check", "--connect"])
        .await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let seen = upstream.requests();
    let methods: Vec<_> = seen.iter().map(|request| request.method()).collect();
    assert_eq!(methods, ["GET"]);
    assert_eq!(upstream.connections(), 3, "one of each is a probe");
}

#[tokio::test]
async fn a_clock_that_differs_is_told() {
    let upstream = Upstream::start().await;
    upstream.on(
        "/x",
        Answer::sized(
            "401 Unauthorized",
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            "",
        ),
    );
    let keybearer = setup()
        .tables(&connection("p", &upstream.url(""), BEARER))
        .start()
        .await;
    let exit = tested(&keybearer, &["p", "--path", "/x"]).await;
    assert!(
        exit.stdout.contains("clock       the upstream's is -"),
        "{}",
        exit.stdout
    );
    assert!(exit.stderr.contains("NTP"), "{}", exit.stderr);
}

/// The console's own way to it.
#[tokio::test]
async fn the_api_runs_it() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), BEARER)).await;
    let ask = async |content: &str| {
        let request = keybearer.ask("POST", "/api/connections/p/test");
        request.body("application/json", content).send().await
    };
    let told = ask("").await.json();
    assert_eq!(
        (&told["status"], upstream.last().target()),
        (&json!(200), "/base")
    );
    let told = ask("{\"method\": \"POST\", \"path\": \"/x\"}").await.json();
    assert_eq!(told["method"], "POST");
    assert_eq!(upstream.take().len(), 2);
    let told = ask("{\"send\": false}").await.json();
    assert_eq!(told["status"], Value::Null);
    assert_eq!(upstream.count(), 0);
    for content in ["{\"methd\": 1}", "{\"method\": \"\"}", "{\"path\": \"x\"}"] {
        ask(content)
            .await
            .problem(400, "content-malformed", "http_request_error");
    }
}

/// What stands on the road is a phase of its own; and without an instance, no agent is there.
#[tokio::test]
async fn a_proxy_and_an_agent_are_phases() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["127.0.0.1"])).await;
    let proxy = Proxy::microsocks().await;
    let trust = "tls = { ca_certificate = \"upstream-ca.pem\" }";
    let tables = [
        connection(
            "proxied",
            &upstream.url(""),
            &format!(
                "{BEARER}\n{trust}\nnetwork.proxy = \"{}\"",
                proxy.url_with(LOGIN)
            ),
        ),
        connection(
            "inside",
            &upstream.url(""),
            &format!("{BEARER}\n{trust}\nnetwork.agent = \"dc\""),
        ),
    ];
    let setup = Setup::new().file("upstream-ca.pem", authority.pem());
    let site = Site::start_with(setup, "", &tables.concat()).await;
    let _agent = site.agent(&[&upstream.address().to_string()]).await;
    for (name, wanted) in [
        (
            "proxied",
            &["connect", "proxy", "tls", "request", "content"][..],
        ),
        ("inside", &["agent", "tls", "request", "content"]),
    ] {
        let path = format!("/api/connections/{name}/test");
        let told = site.keybearer.ask("POST", &path).send().await.json();
        assert_eq!(phases(&told), wanted, "{told}");
        assert_eq!(told["status"], 200, "{told}");
        assert!(!told.to_string().contains("hunter2"), "{told}");
    }
    let (setup, _) = site.keybearer.stop().await;
    let exit = setup.run(&["test", "inside"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("goes through the agent `dc`"),
        "{}",
        exit.stderr
    );
}
