//! Answers of a token endpoint that does as its script says: what is kept of them, and that nothing of
//! them is shown while they are on their way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::courier::{TAKEN, gone, spool};
use super::{SECRET, authorization_url, call, parameter, setup, wait_for_state};
use crate::harness::{
    Answer, Gate, Keybearer, RawClient, Recorded, Upstream, connection, eventually,
};
use crate::secrets::forms;

fn json_answer(content: &Value) -> Answer {
    let fields = "Content-Type: application/json\r\n";
    Answer::sized("200 OK", fields, &content.to_string())
}

/// Tokens of a name.
fn tokens(name: &str) -> Answer {
    json_answer(&json!({
        "access_token": format!("canary-access-{name}"),
        "refresh_token": format!("canary-refresh-{name}"),
        "token_type": "Bearer", "expires_in": 3600,
    }))
}

/// A caller who makes a refresh begin, and the process that makes it.
async fn refreshing(upstream: &Upstream, keybearer: &Keybearer) -> (RawClient, u32) {
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/drive/x").bytes()).await;
    let begun = async || (refreshed(upstream).len() == 1).then_some(());
    eventually("a refresh", begun).await;
    let [courier] = keybearer.couriers()[..] else {
        panic!("{:?}", keybearer.couriers());
    };
    (caller, courier)
}

/// A linked connection of which the API refuses the first token.
async fn scripted(upstream: &Upstream, second: Answer, more: &str) -> Keybearer {
    let auth = format!(
        "auth = {{ type = \"oauth2_authorization_code\", authorization_url = \"{}\", token_url = \"{}\", client_id = \"id\", client_secret = {{ env = \"CLIENT_SECRET\" }} }}",
        upstream.url("/authorize"),
        upstream.url("/token")
    );
    upstream.on_each("/token", [tokens("first"), second]);
    let keybearer = setup().tables(&(connection("drive", &upstream.url("/api"), &auth) + more));
    let keybearer = keybearer.arg("--log-level").arg("trace").start().await;
    let url = authorization_url(&keybearer, "drive").await;
    let state = parameter(&url, "state").unwrap();
    let path = format!("/oauth/callback?code=canary-code&state={state}");
    assert_eq!(keybearer.ask("GET", &path).send().await.status, 200);
    let refused = Answer::sized("401 Unauthorized", "", "");
    upstream.on_each("/api/x", [refused, Answer::ok("at last")]);
    keybearer
}

/// Fails if a secret of the exchange is in a text, in any form.
fn assert_silent(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for canary in ["canary-", SECRET] {
        for form in forms(canary) {
            assert!(!text.contains(&form), "{what} shows {form}");
        }
    }
}

/// What a process has open: the targets of its descriptors, as the system names them.
fn open_files(id: u32) -> BTreeSet<String> {
    let files = fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let targets = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    targets
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[tokio::test]
async fn a_courier_has_nothing_that_it_does_not_need_and_shows_nothing() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let keybearer = scripted(&upstream, tokens("second").behind(&gate), "").await;
    let (_caller, courier) = refreshing(&upstream, &keybearer).await;
    for name in ["cmdline", "environ"] {
        assert_silent(name, &fs::read(format!("/proc/{courier}/{name}")).unwrap());
    }
    let path = spool(keybearer.setup());
    assert_private(&path);
    assert_silent("the spool", &fs::read(&path).unwrap());
    // But for the spool, and the pipe for what that does not take. What we have open ourselves, all of
    // our children may have.
    let own = open_files(std::process::id());
    let ours = |name: &&String| **name != path.to_string_lossy() && !own.contains(*name);
    let open = [keybearer.id(), courier].map(open_files);
    let shared: Vec<_> = open[0].intersection(&open[1]).filter(ours).collect();
    let shared: Vec<_> = shared
        .iter()
        .filter(|name| !name.starts_with("anon_inode:"))
        .collect();
    assert!(
        shared.len() == 1 && shared[0].starts_with("pipe:"),
        "{shared:?}"
    );
    let (setup, log) = keybearer.kill().await;
    assert_silent("the log", log.as_bytes());
    gate.open();
    gone(courier).await;
    let sealed = fs::read(&path).unwrap();
    assert!(sealed.len() > 200, "{sealed:?}");
    assert_silent("the spool", &sealed);
    assert_silent(
        "the store",
        &fs::read(setup.path(".local/state/keybearer/store.redb")).unwrap(),
    );
    let keybearer = setup.start().await;
    keybearer.logged(&[TAKEN]).await;
    assert_eq!(call(&keybearer, "/drive/x").await.text(), "at last");
    assert_eq!(
        upstream.last().header("authorization"),
        Some("Bearer canary-access-second")
    );
    assert_silent("the second log", keybearer.log().as_bytes());
    let removed = async || (!path.exists()).then_some(());
    eventually("the end of the spool", removed).await;
}

fn assert_private(path: &Path) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
}

/// An answer of a token endpoint without a token, but with what comes in place of the refresh token.
fn useless() -> Answer {
    json_answer(&json!({ "refresh_token": "canary-refresh-second", "token": "elsewhere" }))
}

/// Which refresh tokens the token endpoint was shown.
fn refreshed(upstream: &Upstream) -> Vec<String> {
    let form = |request: &Recorded| -> BTreeMap<String, String> {
        let pairs = url::form_urlencoded::parse(&request.body);
        pairs.into_owned().collect()
    };
    let requests = upstream.requests();
    let tokens = requests
        .iter()
        .filter(|request| request.target() == "/token");
    tokens
        .filter_map(|request| form(request).remove("refresh_token"))
        .collect()
}

const SHOWN: [&str; 2] = ["canary-refresh-first", "canary-refresh-second"];

/// A refresh token that came with an answer that is of no use otherwise is the one that is good.
#[tokio::test]
async fn a_refresh_token_that_comes_alone_is_kept() {
    // With no store, there is no second look at the answer.
    for store in ["", "[store]\ntype = \"memory\"\n"] {
        let upstream = Upstream::start().await;
        let keybearer = scripted(&upstream, useless(), store).await;
        upstream.on("/api/x", refusing_first());
        assert_eq!(call(&keybearer, "/drive/x").await.status, 401);
        let told = wait_for_state(&keybearer, "drive", "stale").await;
        let error = told["last_error"].as_str().unwrap();
        assert!(error.contains("`access_token`"), "{error}");
        assert_silent("the error", error.as_bytes());
        upstream.on("/token", tokens("third"));
        let keybearer = match store {
            "" => keybearer.kill().await.0.start().await,
            _ => keybearer,
        };
        works(&keybearer).await;
        assert_eq!(refreshed(&upstream), SHOWN);
    }
}

/// And so is one that came when nobody was there any more.
#[tokio::test]
async fn a_refresh_token_that_comes_late_and_alone_is_kept() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let keybearer = scripted(&upstream, useless().behind(&gate), "").await;
    upstream.on("/api/x", refusing_first());
    let (mut caller, courier) = refreshing(&upstream, &keybearer).await;
    let (setup, _) = keybearer.kill().await;
    caller.closed().await;
    gate.open();
    gone(courier).await;
    upstream.on("/token", tokens("third"));
    let keybearer = setup.start().await;
    works(&keybearer).await;
    assert_eq!(refreshed(&upstream), SHOWN);
}

/// An API that takes all tokens but the first.
fn refusing_first() -> Answer {
    Answer::of(|request| {
        let first = request.header("authorization") == Some("Bearer canary-access-first");
        let status = if first { "401 Unauthorized" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
    })
}

async fn works(keybearer: &Keybearer) {
    let works = async || (call(keybearer, "/drive/x").await.status == 200).then_some(());
    eventually("the connection to work", works).await;
}

/// The browser went away while the issuer was still asked who it is.
#[tokio::test]
async fn a_consent_goes_on_without_the_browser_while_its_issuer_is_checked() {
    let upstream = Upstream::start().await;
    let issuer = upstream.url("");
    let auth = format!(
        "auth = {{ type = \"oauth2_authorization_code\", authorization_server = \"{issuer}\", authorization_url = \"{issuer}/authorize\", token_url = \"{issuer}/token\", client_id = \"id\", client_secret = {{ env = \"CLIENT_SECRET\" }} }}",
    );
    let metadata = json!({
        "issuer": issuer, "token_endpoint": format!("{issuer}/token"),
        "authorization_endpoint": format!("{issuer}/authorize"),
    });
    let gate = Gate::new();
    let path = "/.well-known/oauth-authorization-server";
    upstream.on(path, json_answer(&metadata).behind(&gate));
    upstream.on("/token", tokens("first"));
    let tables = connection("drive", &upstream.url("/api"), &auth);
    let keybearer = setup().tables(&tables).start().await;
    let url = authorization_url(&keybearer, "drive").await;
    let state = parameter(&url, "state").unwrap();
    let back = format!("/oauth/callback?code=canary-code&state={state}&iss={issuer}");
    let mut browser = RawClient::connect(keybearer.console()).await;
    browser.send(keybearer.ask("GET", &back).bytes()).await;
    upstream.wait_for_requests(1).await;
    assert_eq!(upstream.last().target(), path);
    let sockets = || {
        let all = open_files(keybearer.id());
        all.iter()
            .filter(|name| name.starts_with("socket:"))
            .count()
    };
    let before = sockets();
    drop(browser);
    let noticed = async || (sockets() < before).then_some(());
    eventually("the browser to be missed", noticed).await;
    gate.open();
    wait_for_state(&keybearer, "drive", "ready").await;
    assert_eq!(upstream.last().target(), "/token");
}
