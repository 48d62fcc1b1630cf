//! One renewal for everybody, that nobody who goes away takes along.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use super::{api, bearer, fine, form, link, machine, personal, token, wait_for_state};
use crate::harness::{
    Answer, AuthorizationServer, AuthorizationSettings, Gate, Keybearer, Mode, OAuthClient,
    RawClient, Upstream, eventually,
};

const CALLERS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_cold_requests_cost_one_token_request() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let gate = Gate::new();
    endpoint.on_each(
        "/token",
        [token("one", 3600).behind(&gate), token("two", 3600)],
    );
    let auth = machine(&endpoint.url("/token"), "");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    let mut callers = Vec::new();
    for n in 0..CALLERS {
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.get(&format!("/p/{n}")).bytes()).await;
        callers.push(caller);
    }
    endpoint.wait_for_requests(1).await;
    wait_for_state(&keybearer, "p", "refreshing").await;
    assert_eq!(resource.count(), 0);
    gate.open();
    for caller in &mut callers {
        let response = caller.response().await;
        assert_eq!(response.status, 200, "{response:?}");
    }
    assert_eq!(endpoint.count(), 1);
    let seen = resource.requests();
    assert_eq!(seen.len(), CALLERS);
    assert!(seen.iter().all(|request| bearer(request) == "one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_callers_notice_nothing_of_renewals() {
    const LIFETIME: u64 = 3;
    let client = OAuthClient::basic("id", "client secret").client_credentials();
    let settings = AuthorizationSettings::with(client).access_token_lifetime(LIFETIME as u32);
    let server = AuthorizationServer::start(settings).await;
    let resource = Upstream::start().await;
    let auth = machine(&server.token_url(), "");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    let stop = Arc::<AtomicBool>::default();
    let callers = (0..CALLERS).map(|_| {
        let (stop, get, address) = (Arc::clone(&stop), keybearer.get("/p/x"), keybearer.proxy());
        tokio::spawn(async move {
            let mut client = RawClient::connect(address).await;
            let mut pace = tokio::time::interval(Duration::from_millis(250));
            while !stop.load(SeqCst) {
                pace.tick().await;
                let response = get.send_on(&mut client).await;
                assert_eq!(response.status, 200, "{response:?}");
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let log = server
        .wait_for_token_requests("client_credentials", 6)
        .await;
    stop.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    for pair in log.windows(2) {
        assert!(!pair[0].overlaps(&pair[1]), "{pair:?}");
        let apart = pair[1].at - pair[0].at;
        // Renewed at the earliest when four tenths of the lifetime are over.
        assert!(apart >= LIFETIME * 350, "{apart} ms: {pair:?}");
    }
    let seen = resource.requests();
    let tokens: BTreeSet<_> = seen.iter().map(bearer).collect();
    let issued = server.token_requests("client_credentials").await.len();
    assert!(
        (5..=issued).contains(&tokens.len()),
        "{} of {issued}",
        tokens.len()
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_no_renewal_along() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let (first, second) = (Gate::new(), Gate::new());
    endpoint.on_each(
        "/token",
        [
            token("one", 3600).behind(&first),
            token("two", 3600).behind(&second),
            token("three", 3600),
        ],
    );
    let auth = machine(&endpoint.url("/token"), "");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    for (gate, number, name) in [(first, 1, "one"), (second, 2, "two")] {
        let refusal = Answer::sized("401 Unauthorized", "", "no");
        let answers = [refusal.clone(), refusal, Answer::ok("yes")];
        resource.on_each(
            "/x",
            answers.into_iter().skip(if number == 1 { 2 } else { 0 }),
        );
        let (mut goes, mut stays) = (keybearer.caller().await, keybearer.caller().await);
        goes.send(keybearer.get("/p/x").bytes()).await;
        endpoint.wait_for_requests(number).await;
        stays.send(keybearer.get("/p/x").bytes()).await;
        if number == 2 {
            resource.wait_for_requests(3).await;
        }
        drop(goes);
        if number == 2 {
            // Both are known to wait, so one that goes away is known to be noticed.
            keybearer.logged(&["Request", "\"status\":499"]).await;
        }
        gate.open();
        let response = stays.response().await;
        assert_eq!(
            (response.status, endpoint.count()),
            (200, number),
            "{response:?}"
        );
        assert_eq!(bearer(&resource.last()), name);
    }
}

fn consenting() -> AuthorizationSettings {
    let client = OAuthClient::basic("app", "client secret").authorization_code("/oauth/callback");
    AuthorizationSettings::with(client).scopes(&["read"])
}

#[tokio::test]
async fn a_reload_amid_a_renewal_keeps_the_rotated_refresh_token() {
    let server = AuthorizationServer::start(consenting()).await;
    let keys = "client_secret = \"client secret\"\nscopes = [\"read\"]\n";
    let auth = personal(&server, "app", keys);
    let table = |timeout: &str| {
        let table = api("p", server.resource_url(), &auth, "");
        format!("{table}\n[connections.p.timeouts]\n{timeout}\n")
    };
    let keybearer = Keybearer::start(&table("")).await;
    assert_eq!(link(&keybearer, "p", "jane").await.status, 200);
    // The first leaves the credential in place, the second replaces it by one that reads the store.
    let reloads = ["read = \"50s\"", "connect = \"4s\"", "connect = \"3s\""];
    for (n, timeout) in reloads.iter().enumerate() {
        server.revoke_access_tokens().await;
        server.set_mode(Mode::hold()).await;
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.get("/p/x").bytes()).await;
        server.wait_for_token_requests("refresh_token", n + 1).await;
        keybearer.reconfigure(&table(timeout)).await;
        let mut other = keybearer.caller().await;
        other.send(keybearer.get("/p/y").bytes()).await;
        server.set_mode(Mode::up()).await;
        for caller in [&mut caller, &mut other] {
            let response = caller.response().await;
            assert_eq!(response.status, 200, "{timeout}: {response:?}");
        }
        fine(keybearer.get("/p/x")).await;
        assert_eq!(server.reuses().await, 0, "{timeout}");
    }
    let log = server.token_requests("refresh_token").await;
    let shown: BTreeSet<_> = log
        .iter()
        .map(|request| &request.refresh_token_sha256)
        .collect();
    assert_eq!(shown.len(), log.len(), "each refresh token once: {log:?}");
}

#[tokio::test]
async fn a_reload_amid_a_first_fetch_answers_who_waits() {
    let (endpoint, resource) = (Upstream::start().await, Upstream::start().await);
    let gate = Gate::new();
    endpoint.on_each(
        "/token",
        [token("one", 3600).behind(&gate), token("two", 3600)],
    );
    let table = |client: &str| {
        let auth = machine(&endpoint.url("/token"), "").replace("\"id\"", client);
        api("p", &resource.url(""), &auth, "")
    };
    let keybearer = Keybearer::start(&table("\"id\"")).await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/p/x").bytes()).await;
    endpoint.wait_for_requests(1).await;
    keybearer.reconfigure(&table("\"other\"")).await;
    fine(keybearer.get("/p/x")).await;
    assert_eq!(bearer(&resource.last()), "two");
    gate.open();
    let response = caller.response().await;
    assert_eq!(response.status, 200, "{response:?}");
    // With what was in force when it was read, which may have been after the reload.
    assert!(["one", "two"].contains(&bearer(&resource.last())));
    let other = eventually("both token requests", async || {
        (endpoint.count() == 2).then(|| endpoint.last())
    });
    assert_eq!(form(&other.await)["grant_type"], "client_credentials");
}
