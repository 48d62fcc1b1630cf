//! No output tells what was sent to a provider or came from it: a whole story, told by logs at
//! `trace`, answers, pages, commands and the store's file.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use super::{authorization_url, begin, call, parameter, setup, shown};
use crate::harness::{Answer, Keybearer, Recorded, Setup, Upstream, connection, eventually};
use crate::secrets::forms;

/// What a provider's server does to a request that it does not like: it repeats all of it.
const REPEATS: [fn(&Recorded) -> String; 5] = [
    |request| answer("400 Bad Request", "application/json", &described(request)),
    |request| answer("503 Service Unavailable", "text/html", &repeated(request)),
    |request| answer("200 OK", "application/json", &described(request)),
    |request| answer("200 OK", "text/plain", &repeated(request)),
    |request| {
        let fields = format!("text/plain\r\nLocation: /?{}", request.text());
        answer("302 Found", &fields, &repeated(request))
    },
];

fn answer(status: &str, content_type: &str, content: &str) -> String {
    let length = content.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{content}"
    )
}

/// The whole request: decoded, as it came, and its credential.
fn repeated(request: &Recorded) -> String {
    let form = url::form_urlencoded::parse(&request.body);
    let decoded: Vec<_> = form
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let credential = request.header("authorization").unwrap_or_default();
    format!("{} {} {credential}", decoded.join(" "), request.text())
}

fn described(request: &Recorded) -> String {
    let text = repeated(request);
    json!({ "error": "invalid_grant", "error_description": text, "error_uri": text }).to_string()
}

/// Tokens of a name.
fn tokens(name: &str) -> Answer {
    let content = json!({
        "access_token": format!("canary-access-{name}"),
        "refresh_token": format!("canary-refresh-{name}"),
        "id_token": format!("canary-identity-{name}"),
        "token_type": "Bearer", "expires_in": 3600,
    });
    Answer::sized(
        "200 OK",
        "Content-Type: application/json\r\n",
        &content.to_string(),
    )
}

/// The ways of a client to prove to be itself.
const CLIENTS: [(&str, &str); 4] = [
    (
        "basic",
        "type = \"oauth2_client_credentials\", client_id = \"id\", client_secret = { env = \"CLIENT_SECRET\" }",
    ),
    (
        "post",
        "type = \"oauth2_client_credentials\", client_id = \"id\", client_secret = { env = \"CLIENT_SECRET\" }, client_auth = \"post\", params = { tenant = \"canary-param %&\" }",
    ),
    (
        "signs",
        "type = \"oauth2_client_credentials\", client_id = \"id\", client_auth = \"private_key_jwt\", algorithm = \"ES256\", private_key = { file = \"key.pem\" }",
    ),
    (
        "bears",
        "type = \"oauth2_jwt_bearer\", issuer = \"id\", algorithm = \"ES256\", private_key = { file = \"key.pem\" }",
    ),
];

/// A connection per client and misbehaviour, and people's ones.
fn tables(upstream: &Upstream) -> String {
    let mut tables = String::new();
    for (client, auth) in CLIENTS {
        for (index, repeat) in REPEATS.iter().enumerate() {
            let name = format!("{client}{index}");
            let path = format!("/token/{name}");
            upstream.on_each(&path, [tokens(&name), Answer::of(*repeat)]);
            let auth = format!(
                "auth = {{ {auth}, token_url = \"{}\" }}",
                upstream.url(&path)
            );
            tables += &connection(&name, &upstream.url(&format!("/api/{name}")), &auth);
        }
    }
    for index in 0..REPEATS.len() {
        let name = format!("drive{index}");
        let urls = ["authorization_url", "token_url", "device_authorization_url"];
        let urls =
            urls.map(|key| format!("{key} = \"{}\"", upstream.url(&format!("/{key}/{name}"))));
        let auth = format!(
            "auth = {{ type = \"oauth2_authorization_code\", {}, client_id = \"id\", client_secret = {{ env = \"CLIENT_SECRET\" }} }}",
            urls.join(", ")
        );
        tables += &connection(&name, &upstream.url(&format!("/api/{name}")), &auth);
    }
    tables
}

/// All that was told, by whom.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn add(&mut self, who: &str, text: impl AsRef<[u8]>) {
        let text = String::from_utf8_lossy(text.as_ref()).into_owned();
        self.0.push((who.to_owned(), text));
    }

    async fn ask(&mut self, keybearer: &Keybearer, method: &str, path: &str) -> u16 {
        let response = keybearer.ask(method, path).send().await;
        self.add(path, [&response.head.raw[..], &response.body].concat());
        response.status
    }

    /// A caller's request; gives the status.
    async fn call(&mut self, keybearer: &Keybearer, name: &str) -> u16 {
        let response = call(keybearer, &format!("/{name}/x")).await;
        self.add(name, [&response.head.raw[..], &response.body].concat());
        response.status
    }

    async fn run(&mut self, keybearer: &Keybearer, args: &[&str]) -> Option<i32> {
        let exit = keybearer.spawn(args).exit().await;
        self.add(&format!("{args:?}"), exit.stdout + &exit.stderr);
        exit.code
    }
}

/// The upstream refuses a token once, then takes the next.
fn refuses_once(upstream: &Upstream, name: &str) {
    let refused = Answer::sized("401 Unauthorized", "", "");
    upstream.on_each(&format!("/api/{name}/x"), [refused, Answer::ok("fine")]);
}

/// Tokens that nobody consented to: a first one, then a refused one and a server that repeats.
async fn unattended(told: &mut Told, keybearer: &Keybearer, upstream: &Upstream) {
    for (client, _) in CLIENTS {
        for index in 0..REPEATS.len() {
            let name = format!("{client}{index}");
            assert_eq!(told.call(keybearer, &name).await, 200);
            refuses_once(upstream, &name);
            assert_eq!(told.call(keybearer, &name).await, 401, "{name}");
            let said = shown(keybearer, &name).await["last_error"].to_string();
            assert!(said.contains("/token/"), "{name}: {said}");
        }
    }
}

/// A consent that the provider spoils, one that goes well, a refusal, a rotation, a spoilt refresh.
async fn people(told: &mut Told, keybearer: &Keybearer, upstream: &Upstream) {
    for (index, repeat) in REPEATS.iter().enumerate() {
        let name = format!("drive{index}");
        let token_url = format!("/token_url/{name}");
        assert_eq!(told.call(keybearer, &name).await, 503);
        told.ask(keybearer, "GET", &format!("/link/{name}")).await;
        for (answer, status) in [(Answer::of(*repeat), 502), (tokens(&name), 200)] {
            upstream.on(&token_url, answer);
            let url = authorization_url(keybearer, &name).await;
            let state = parameter(&url, "state").unwrap();
            let code = format!("canary-code-{index}-{status}");
            let path = format!("/oauth/callback?code={code}&state={state}");
            let response = keybearer.ask("GET", &path).send().await;
            assert_eq!(response.status, status, "{response:?}");
            told.add("callback", &response.body);
            let path = format!("/api/connections/{name}/link/{state}");
            told.ask(keybearer, "GET", &path).await;
        }
        assert_eq!(told.call(keybearer, &name).await, 200);
        let next = tokens(&format!("{name}-next"));
        upstream.on_each(&token_url, [next, Answer::of(*repeat)]);
        refuses_once(upstream, &name);
        assert_eq!(told.call(keybearer, &name).await, 200, "replayed");
        refuses_once(upstream, &name);
        told.call(keybearer, &name).await;
        told.call(keybearer, &name).await;
    }
}

/// Device codes: an endpoint that spoils them, a decision that it spoils, and one that goes well.
async fn devices(told: &mut Told, keybearer: &Keybearer, upstream: &Upstream) {
    let code = json!({
        "device_code": "canary-device-code", "user_code": "ABCD-EFGH", "interval": 1,
        "verification_uri": "https://provider.example/device", "expires_in": 60,
    });
    let code = Answer::sized(
        "200 OK",
        "Content-Type: application/json\r\n",
        &code.to_string(),
    );
    let path = "/device_authorization_url/drive0";
    for repeat in REPEATS {
        upstream.on(path, Answer::of(repeat));
        assert_eq!(
            told.run(keybearer, &["link", "drive0", "--device"]).await,
            Some(1)
        );
    }
    upstream.on(path, code);
    for (answer, exit) in [(Answer::of(REPEATS[0]), 1), (tokens("device"), 0)] {
        upstream.on("/token_url/drive0", answer);
        assert_eq!(
            told.run(keybearer, &["link", "drive0", "--device"]).await,
            Some(exit)
        );
    }
}

/// Everything that must not be told: what the servers were sent and what they gave.
fn canaries(upstream: &Upstream, setup: &Setup) -> BTreeSet<String> {
    let key = fs::read_to_string(setup.path(".local/state/keybearer/store.key")).unwrap();
    let pem = fs::read_to_string(setup.path("key.pem")).unwrap();
    let mut canaries = BTreeSet::from([
        "canary-".to_owned(),
        key.trim().to_owned(),
        pem.lines().nth(1).unwrap().to_owned(),
    ]);
    let secret = ["client_assertion", "assertion", "code_verifier"];
    for request in upstream.requests() {
        let form = url::form_urlencoded::parse(&request.body);
        let sent = form.filter(|(name, _)| secret.contains(&&**name));
        canaries.extend(sent.map(|(_, value)| value.into_owned()));
        let credential = request.header("authorization").unwrap_or_default();
        let (_, credential) = credential.split_once(' ').unwrap_or_default();
        canaries.extend((!credential.is_empty()).then(|| credential.to_owned()));
    }
    canaries
}

/// Nothing but the server's own requests shows a canary.
fn silent(told: &Told, canaries: &BTreeSet<String>) {
    let forms: Vec<_> = canaries.iter().flat_map(|canary| forms(canary)).collect();
    for (who, text) in &told.0 {
        for form in &forms {
            let at = text.find(form.as_str());
            let line = at.and_then(|at| text[..at].rfind('\n'));
            let shown = at.map(|at| &text[line.map_or(0, |line| line + 1)..at]);
            assert!(at.is_none(), "{who} shows {form} after {shown:?}");
        }
    }
}

async fn story(text_logs: bool) {
    let upstream = Upstream::start().await;
    let key = fs::read_to_string("tests/data/keys/p256.pem").unwrap();
    let tables = tables(&upstream);
    let setup = setup()
        .file("key.pem", &key)
        .tables(&tables)
        .arg("--log-level")
        .arg("trace");
    let setup = if text_logs { setup.text_logs() } else { setup };
    let keybearer = setup.start().await;
    let mut told = Told::default();
    unattended(&mut told, &keybearer, &upstream).await;
    people(&mut told, &keybearer, &upstream).await;
    devices(&mut told, &keybearer, &upstream).await;
    begin(&keybearer, "drive1").await;
    told.ask(&keybearer, "DELETE", "/api/connections/drive2/link")
        .await;
    for path in [
        "/api/connections",
        "/api/connections/drive0",
        "/metrics",
        "/healthz",
    ] {
        assert_eq!(told.ask(&keybearer, "GET", path).await, 200);
    }
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["check"],
        &["check", "--json"],
    ] {
        told.run(&keybearer, args).await;
    }
    let metrics = keybearer.metrics().await;
    assert!(metrics.has("keybearer_token_refreshes_total"));

    let (setup, exit) = keybearer.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    told.add("standard output", exit.stdout);
    told.add("the log", &exit.stderr);
    assert!(
        exit.stderr.contains("Credential renewed"),
        "{}",
        exit.stderr
    );
    let canaries = canaries(&upstream, &setup);
    assert!(canaries.len() > 40, "{canaries:?}");
    let folder = setup.path(".local/state/keybearer");
    told.add("the store", fs::read(folder.join("store.redb")).unwrap());

    // Once more, with what was kept.
    let keybearer = setup.start().await;
    let works = async || (call(&keybearer, "/drive0/x").await.status == 200).then_some(());
    eventually("a linked connection", works).await;
    let requests = upstream.requests();
    let mut calls = requests.iter().rev();
    let last = calls.find(|request| request.target() == "/api/drive0/x");
    let kept = last.unwrap().header("authorization");
    assert_eq!(kept, Some("Bearer canary-access-device"));
    let (_, exit) = keybearer.stop().await;
    told.add("the second log", exit.stderr);
    silent(&told, &canaries);
}

#[tokio::test]
async fn nothing_is_told_in_json() {
    story(false).await;
}

#[tokio::test]
async fn nothing_is_told_in_text() {
    story(true).await;
}
