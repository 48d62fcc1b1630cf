//! The authorization server is away: the old token until its end, never after, and no stampede.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{api, fine, machine, shown, wait_for_state};
use crate::harness::{
    AuthorizationServer, AuthorizationSettings, Exit, Keybearer, Mode, OAuthClient, Process,
    Response, Setup, TokenRequest, Upstream,
};

const LIFETIME: u32 = 4;

/// A client whose tokens live for [`LIFETIME`] seconds, and an API that takes any.
async fn started() -> (AuthorizationServer, Upstream, Keybearer) {
    let client = OAuthClient::basic("id", "client secret").client_credentials();
    let settings = AuthorizationSettings::with(client).access_token_lifetime(LIFETIME);
    let server = AuthorizationServer::start(settings).await;
    let resource = Upstream::start().await;
    let auth = machine(&server.token_url(), "");
    let keybearer = Keybearer::start(&api("p", &resource.url(""), &auth, "")).await;
    fine(keybearer.get("/p/x")).await;
    (server, resource, keybearer)
}

/// What a request got, when it was sent, and how long that took.
struct Got {
    sent: f64,
    took: Duration,
    response: Response,
}

async fn get(keybearer: &Keybearer) -> Got {
    let (sent, begun) = (now(), Instant::now());
    let response = keybearer.get("/p/x").send().await;
    Got {
        sent,
        took: begun.elapsed(),
        response,
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

/// Requests until one is refused, and so many seconds longer.
async fn requests(keybearer: &Keybearer, seconds: f64) -> Vec<Got> {
    let mut all: Vec<Got> = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(40));
    let mut until = f64::INFINITY;
    while now() < until {
        pace.tick().await;
        let got = get(keybearer).await;
        if got.response.status != 200 {
            until = until.min(got.sent + seconds);
        }
        all.push(got);
    }
    all
}

/// Waits for the state, which has to be told alike by everybody; gives when the token ends.
async fn told_everywhere(keybearer: &Keybearer, state: &str) -> f64 {
    wait_for_state(keybearer, "p", state).await;
    let metrics = keybearer.metrics().await;
    for other in ["ready", "stale", "refreshing", "retrying", "misconfigured"] {
        let labels = [("connection", "p"), ("state", other)];
        let value = metrics.value("keybearer_credential_state", &labels);
        assert_eq!(value, Some(f64::from(u8::from(other == state))), "{other}");
    }
    let exit = status(keybearer).await;
    assert_eq!(exit.code, Some(i32::from(state != "ready")), "{exit:?}");
    assert!(exit.stdout.contains(state), "{exit:?}");
    let labels = [("connection", "p")];
    metrics
        .value("keybearer_token_expiry_timestamp_seconds", &labels)
        .expect("a time of expiry")
}

async fn status(keybearer: &Keybearer) -> Exit {
    let setup = keybearer.setup();
    let text = format!("[admin]\nlisten = \"{}\"\n", keybearer.console());
    setup.write("status.toml", &text);
    let mut command = setup.command(&["status", "--config"]);
    Process::run(command.arg(setup.path("status.toml"))).await
}

/// The attempts since the server went away: each at least one step of the backoff after the other.
async fn attempts(server: &AuthorizationServer, outcome: &str) -> Vec<TokenRequest> {
    let mut log = server.token_requests("client_credentials").await;
    log.retain(|request| request.outcome == outcome);
    for (step, pair) in log.windows(2).enumerate() {
        let apart = pair[1].at - pair[0].at;
        assert!(apart >= 950 << step, "step {step}: {apart} ms, {log:?}");
    }
    log
}

async fn counted(keybearer: &Keybearer, result: &str) -> f64 {
    let metrics = keybearer.metrics().await;
    let labels = [("connection", "p"), ("result", result)];
    let value = metrics.value("keybearer_token_refreshes_total", &labels);
    value.unwrap_or_default()
}

async fn serves_until_the_end_and_recovers(mode: Mode, outcome: &str) {
    let (server, resource, keybearer) = started().await;
    server.set_mode(mode).await;
    let ends = told_everywhere(&keybearer, "stale").await;
    let lifetimes = f64::from(2 * LIFETIME);
    let (all, stated) = tokio::join!(requests(&keybearer, lifetimes), async {
        told_everywhere(&keybearer, "retrying").await
    });
    assert!((stated - ends).abs() < 1.0, "{stated} and {ends}");
    for Got {
        sent,
        took,
        response,
    } in &all
    {
        // The metric tells whole seconds.
        match response.status {
            200 => assert!(*sent < ends + 1.1, "{sent} is after {ends}"),
            _ => {
                assert!(*sent > ends - 0.1, "{sent} is before {ends}");
                assert!(*took < Duration::from_secs(1), "{took:?}");
                let error = "destination_unavailable";
                let detail = response.problem(503, "credential-unavailable", error);
                assert!(detail.contains(&server.token_url()), "{detail}");
                let problem = response.json();
                assert_eq!(problem["credential_state"], "retrying");
                assert_eq!(problem["connection"], "p");
                let after = response.header("retry-after").expect("Retry-After");
                assert!((1..=10).contains(&after.parse::<u32>().unwrap()), "{after}");
            }
        }
    }
    let passed = all.iter().filter(|got| got.response.status == 200).count();
    assert!(passed > 0 && resource.count() == passed + 1);
    let tried = attempts(&server, outcome).await;
    assert!((3..=5).contains(&tried.len()), "{tried:?}");

    server.set_mode(Mode::up()).await;
    wait_for_state(&keybearer, "p", "ready").await;
    fine(keybearer.get("/p/x")).await;
    attempts(&server, outcome).await;
    assert!(counted(&keybearer, "failure").await >= 3.0);
    assert!(counted(&keybearer, "success").await >= 2.0);
    let said = keybearer.log();
    assert!(
        said.contains("Credential not renewed") && !said.contains("client secret"),
        "{said}"
    );
}

#[tokio::test]
async fn a_server_that_answers_503() {
    serves_until_the_end_and_recovers(Mode::refuse(), "unavailable").await;
}

#[tokio::test]
async fn a_server_that_closes_connections() {
    serves_until_the_end_and_recovers(Mode::close(), "closed").await;
}

#[tokio::test]
async fn a_server_that_never_answers_makes_callers_wait_for_a_bounded_time() {
    let (server, _resource, keybearer) = started().await;
    let ends = told_everywhere(&keybearer, "ready").await;
    server.set_mode(Mode::hang()).await;
    let all = requests(&keybearer, 3.0).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        all.iter().partition(|got| got.response.status == 200);
    assert!(!served.is_empty());
    for (
        n,
        Got {
            sent,
            took,
            response,
        },
    ) in refused.into_iter().enumerate()
    {
        assert!(*sent > ends - 0.1, "{sent} is before {ends}");
        // The first one waits for an attempt that may well succeed; nobody waits after it.
        let most = if n == 0 { 12 } else { 1 };
        assert!(*took < Duration::from_secs(most), "{n}: {took:?}");
        response.problem(503, "credential-unavailable", "destination_unavailable");
        assert_eq!(response.json()["credential_state"], "refreshing");
        assert!(response.header("retry-after").is_some(), "{response:?}");
    }
    let log = server.token_requests("client_credentials").await;
    let hung = log
        .iter()
        .filter(|request| request.outcome == "hung")
        .count();
    assert_eq!(hung, 1, "{log:?}");
    let given_up = wait_for_state(&keybearer, "p", "retrying").await;
    let why = given_up["last_error"].as_str().unwrap();
    assert!(
        why.contains(&server.token_url()) && why.contains("30s"),
        "{why}"
    );
    server.set_mode(Mode::up()).await;
    wait_for_state(&keybearer, "p", "ready").await;
    fine(keybearer.get("/p/x")).await;
}

#[tokio::test]
async fn a_server_that_is_gone_and_asks_for_time_before() {
    let (mut server, _resource, keybearer) = started().await;
    let refuse = Mode::refuse_with(429).retry_after("6");
    server.set_mode(refuse).await;
    let told = wait_for_state(&keybearer, "p", "stale").await;
    assert!(told["retries_at"].is_string(), "{told}");
    wait_for_state(&keybearer, "p", "retrying").await;
    let refused = keybearer.get("/p/x").send().await;
    let after: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=6).contains(&after), "{after}");
    assert_eq!(attempts(&server, "unavailable").await.len(), 1);
    server.kill().await;
    let refused = crate::harness::eventually("a refused connection to be told", async || {
        let told = shown(&keybearer, "p").await;
        let error = told["last_error"].as_str()?.to_owned();
        (!error.contains("429")).then_some(error)
    });
    let error = refused.await;
    assert!(
        error.contains("refused") && error.contains("/token"),
        "{error}"
    );
}

/// A start that fails asks nobody for anything: an answer would be lost with it.
#[tokio::test]
async fn a_start_whose_port_is_taken_makes_no_token_request() {
    let (endpoint, other) = (Upstream::start().await, Upstream::start().await);
    let auth = machine(&endpoint.url("/token"), "");
    let taken = other.address();
    let setup = Setup::new().tables(&api("p", &endpoint.url(""), &auth, ""));
    // The console is bound last, and the sockets before it give a request the time to be seen.
    let sockets: Vec<_> = (0..800)
        .map(|n| format!("\"unix:{}\"", setup.path(&format!("{n}.sock")).display()))
        .collect();
    let setup = setup.server(&format!("listen = [{}]", sockets.join(", ")));
    let setup = setup.admin(&format!("listen = \"{taken}\""));
    let exit = setup.run(&["run"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("in use"), "{}", exit.stderr);
    assert_eq!((endpoint.connections(), endpoint.count()), (0, 0));
}
