//! No output tells a secret: not a log at any level, not a check, a problem, a metric.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rustix::process::Signal;

use crate::harness::aws::Sts;
use crate::harness::{Answer, Keybearer, Process, RawClient, Setup, Upstream, connection};

/// Ours, one for each place that holds one; and the caller's.
const OURS: &str = "canary-ours-4b1d";
const CALLERS: &str = "canary-callers-9e2c";

/// A connection of every auth type, each with canaries from every source.
fn tables(base: &str) -> String {
    let env = "{ env = \"CANARY\" }";
    let file = "{ file = \"canary\" }";
    let literal = format!("\"{OURS}-literal\"");
    let types = [
        (
            "basic",
            format!("{{ type = \"basic\", username = \"me\", password = {env} }}"),
        ),
        (
            "user",
            format!("{{ type = \"basic\", username = {file}, password = {literal} }}"),
        ),
        ("bearer", format!("{{ type = \"bearer\", token = {file} }}")),
        (
            "header",
            format!("{{ type = \"header\", headers = {{ X-Key = {literal}, X-Two = {env} }} }}"),
        ),
        (
            "query",
            format!("{{ type = \"query\", params = {{ key = {env}, two = {literal} }} }}"),
        ),
        (
            "form",
            format!("{{ type = \"custom\", form = {{ key = {file} }} }}"),
        ),
        (
            "json",
            format!(
                "{{ type = \"custom\", json = {{ key = {env} }}, headers = {{ X-Key = {file} }} }}"
            ),
        ),
        (
            "format",
            "{ type = \"bearer\", token = { env = \"CANARY\", format = \"v1.{}.x\" } }".to_owned(),
        ),
        (
            "keys",
            format!(
                "{{ type = \"aws_access_key\", service = \"s3\", region = \"eu-west-1\", access_key_id = {env}, secret_access_key = {literal}, session_token = {file} }}"
            ),
        ),
        // The session's keys have the external ID in them, which is none itself.
        (
            "role",
            format!(
                "{{ type = \"aws_iam_role\", service = \"s3\", region = \"eu-west-1\", role_arn = \"arn:aws:iam::123456789012:role/r\", external_id = \"{OURS}\", sts_endpoint = \"{base}/sts\", source = {{ access_key_id = {env}, secret_access_key = {literal} }} }}"
            ),
        ),
    ];
    let tables = types.map(|(name, auth)| connection(name, base, &format!("auth = {auth}")));
    tables.concat()
}

const NAMES: [&str; 10] = [
    "basic", "user", "bearer", "header", "query", "form", "json", "format", "keys", "role",
];

fn setup(base: &str) -> Setup {
    Setup::new()
        .env("CANARY", format!("{OURS}-env"))
        .file("canary", &format!("{OURS}-file\n"))
        .env("ADMIN", format!("{OURS}-admin"))
        .tables(&tables(base))
}

/// Asserts that a text shows neither canary, plain or encoded.
fn silent(text: &str, whose: &str) {
    for canary in [OURS, CALLERS] {
        for form in forms(canary) {
            let at = text.find(&form);
            let line = at.map(|at| text[..at].lines().count());
            assert!(
                at.is_none(),
                "{whose} shows {form} ({canary}) in line {line:?}:\n{text}"
            );
        }
    }
}

/// How a canary looks plain, and in base64 at each of its three alignments.
pub fn forms(canary: &str) -> Vec<String> {
    let mut forms = vec![
        canary.to_owned(),
        canary.to_uppercase(),
        canary.replace('-', "%2D"),
    ];
    for skipped in 0..3 {
        let padded = format!("{}{canary}", "x".repeat(skipped));
        for encoded in [STANDARD.encode(&padded), URL_SAFE.encode(&padded)] {
            // The first and last groups mix with the neighbours'.
            forms.push(encoded[4..encoded.len() - 4].to_owned());
        }
    }
    forms
}

#[test]
fn the_search_finds_what_it_is_for() {
    for text in [
        format!("token {OURS}-env"),
        format!("Basic {}", STANDARD.encode(format!("me:{OURS}-env"))),
        format!("Basic {}", STANDARD.encode(format!("m:{CALLERS}"))),
        format!("Basic {}", STANDARD.encode(format!(":{OURS}"))),
    ] {
        let found = [OURS, CALLERS].iter().flat_map(|canary| forms(canary));
        assert!(found.into_iter().any(|form| text.contains(&form)), "{text}");
    }
    silent("nothing of the kind", "this");
}

/// Sends every kind of request that works or fails, and gives all that callers were told.
async fn exercise(keybearer: &Keybearer, upstream: &Upstream) -> String {
    let mut told = String::new();
    for name in NAMES {
        let request = |target: &str| {
            keybearer
                .post(&format!("/{name}{target}"))
                .header("Authorization", &format!("Bearer {CALLERS}"))
                .header("Cookie", &format!("session={CALLERS}"))
                .header("X-Api-Key", CALLERS)
                .header("X-Key", CALLERS)
        };
        let content = match name {
            "json" => ("application/json", "{\"a\":1}".to_owned()),
            _ => ("application/x-www-form-urlencoded", "a=1".to_owned()),
        };
        for target in [
            format!("/x?access_token={CALLERS}&key={CALLERS}"),
            "/silence".to_owned(),
            "/nonsense".to_owned(),
            format!("/..?key={CALLERS}"),
        ] {
            let response = request(&target).body(content.0, &content.1).send().await;
            // What the upstream sees is another matter: it gets the credential.
            told += &String::from_utf8_lossy(&response.head.raw);
            told += &response.text();
        }
        let odd = format!("{{\"key\":\"{CALLERS}\",");
        let response = request("/odd").body("text/odd", &odd).send().await;
        told += &response.text();
        let response = request("/odd").body(content.0, &odd).send().await;
        told += &response.text();
    }
    for raw in [
        format!("GET /basic/x?key={CALLERS} HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        format!("GET /basic/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: {CALLERS}\0\r\n\r\n"),
        format!(
            "GET /{CALLERS}-is-no-prefix HTTP/1.1\r\nHost: localhost\r\nAuthorization : {CALLERS}\r\n\r\n"
        ),
    ] {
        let mut client = RawClient::connect(keybearer.proxy()).await;
        client.send(&raw).await;
        client.response().await;
    }
    assert!(upstream.count() > 0);
    told
}

#[tokio::test]
async fn no_log_at_any_level_shows_a_secret() {
    for (level, text_logs) in [
        ("trace", false),
        ("trace", true),
        ("debug", false),
        ("info", true),
    ] {
        let upstream = Upstream::start().await;
        upstream.on("/base/silence", Answer::silence());
        upstream.on("/base/nonsense", Answer::raw("nonsense\r\n\r\n"));
        upstream.on("/base/sts", Sts::issues::<3600>());
        upstream.on("/base/sts/", Sts::issues::<3600>());
        let setup = setup(&upstream.url("/base")).arg("--log-level").arg(level);
        let setup = if text_logs { setup.text_logs() } else { setup };
        let mut keybearer = setup.start().await;
        let told = exercise(&keybearer, &upstream).await;
        silent(&told, "an answer");
        for what in [OURS, "x-amz-security-token: token/ASIA"] {
            let received = upstream.requests().iter().any(|request| {
                let head = String::from_utf8_lossy(&request.head.raw);
                head.contains(what)
            });
            assert!(received, "the upstream does get it: {what}");
        }
        let metrics = keybearer.ask("GET", "/metrics").send().await;
        silent(&metrics.text(), "a metric");
        let bad = keybearer.setup().text() + "\n[connections.bad]\nbase_url = 1\n";
        keybearer.setup().replace("keybearer.toml", &bad);
        let response = keybearer.reload().await;
        assert_eq!(response.status, 422);
        silent(&response.text(), "a refused reload");
        keybearer.signal(Signal::TERM);
        let exit = keybearer.exit().await;
        // A raw target is a path, which access lines may show; a canary there is no credential.
        let log = exit.stderr.replace(&format!("{CALLERS}-is-no-prefix"), "");
        silent(&log, &format!("the log at {level}"));
        silent(&exit.stdout, "standard output");
    }
}

#[tokio::test]
async fn no_check_shows_a_secret() {
    let setup = setup("http://127.0.0.1:1/base").admin("token = { env = \"ADMIN\" }");
    for args in [
        &["check"][..],
        &["check", "--json"],
        &["check", "--log-level", "trace"],
    ] {
        let exit = setup.run(args).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        silent(&(exit.stdout + &exit.stderr), &format!("{args:?}"));
    }
}

/// Mistakes around a literal secret: the line is shown, its secret is not.
#[tokio::test]
async fn no_message_about_a_mistake_shows_a_secret() {
    let auths = [
        format!("auth = {{ type = \"bearer\", tokn = \"{OURS}\" }}"),
        format!("auth = {{ type = \"bearer\", token = \"{OURS}\\n\" }}"),
        format!("auth = {{ type = \"bearer\", token = \"{OURS}\", extra = 1 }}"),
        format!("auth = {{ type = \"bearer\", token = [\"{OURS}\"] }}"),
        format!("auth = {{ type = \"bearr\", token = \"{OURS}\" }}"),
        format!("auth = {{ type = \"basic\", username = \"a:b\", password = \"{OURS}\" }}"),
        format!("auth = {{ type = \"basic\", username = \"{OURS}:\", password = \"x\" }}"),
        format!("auth = {{ type = \"header\", headers = {{ \"X Y\" = \"{OURS}\" }} }}"),
        format!("auth = {{ type = \"header\", headers = {{ X = \"{OURS}\\u0000\" }} }}"),
        format!("auth = {{ type = \"header\", headers = \"{OURS}\" }}"),
        format!(
            "auth = {{ type = \"query\", params = {{ k = {{ env = \"ABSENT\", format = \"{OURS}{{}}\" }} }} }}"
        ),
        format!("auth = {{ type = \"query\", params = {{ k = \"{OURS}\", k = \"{OURS}\" }} }}"),
        format!("auth = {{ type = \"bearer\", token = \"{OURS}\" "),
        format!("auth = {{ type = \"bearer\", token = \"{OURS}\n\" }}"),
        format!("auth = \"{OURS}\""),
        format!("auth = {{ type = \"none\" }}\ntoken = \"{OURS}\""),
        format!("auth = {{ type = \"none\" }}\npassword = \"{OURS}\""),
        format!("[connections.p.auth]\ntype = \"bearer\"\ntoken = \"{OURS}\"\ntokn = \"{OURS}\""),
        format!("auth = {{ type = \"oauth2_client_credentials\", client_secret = \"{OURS}\" }}"),
    ];
    for auth in auths {
        let text = connection("p", "http://127.0.0.1:1", &auth);
        let setup = Setup::new().file("bad.toml", &text).config("bad.toml");
        for args in [
            &["check"][..],
            &["check", "--json"],
            &["run", "--log-level", "trace"],
        ] {
            let exit = setup.run(args).await;
            assert_eq!(exit.code, Some(2), "{auth}: {}", exit.stderr);
            silent(
                &(exit.stdout + &exit.stderr),
                &format!("{args:?} of {auth}"),
            );
        }
    }
}

#[tokio::test]
async fn a_base_url_with_a_password_is_refused_without_showing_it() {
    let text = connection(
        "p",
        &format!("https://me:{OURS}@x.example"),
        "auth = { type = \"none\" }",
    );
    let setup = Setup::new().file("bad.toml", &text).config("bad.toml");
    let exit = setup.run(&["check"]).await;
    assert_eq!(exit.code, Some(2));
    silent(&(exit.stdout + &exit.stderr), "a message");
}

#[tokio::test]
async fn no_argument_or_environment_of_the_process_is_echoed() {
    let setup = setup("http://127.0.0.1:1/base");
    let mut command = setup.command(&["--help"]);
    let exit = Process::run(&mut command).await;
    silent(&(exit.stdout + &exit.stderr), "help");
}
