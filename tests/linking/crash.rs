//! `kill -9` at any instant loses no grant that the provider has not itself withdrawn.
//!
//! One instant is nobody's: the server has taken a refresh token and rotated it, and the answer is
//! not on disk yet, be it on the wire, in a buffer or on its way to the disk. What was in that answer
//! is lost, whatever a client does. The old token is then shown once more, at once after the start, as
//! there are servers which forgive that for a moment; this one does not, and ends the grant. All else
//! is keybearer's: that it knows, that it says so, that linking heals, and that the instant is over
//! before anybody is given the new token.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{World, auth, call, client, link, settings, setup, wait_for_state};
use crate::harness::{
    AuthorizationServer, AuthorizationSettings, Keybearer, Mode, Request, TokenRequest, connection,
    eventually,
};

/// A linked connection, killed while its refresh is stuck in a server of this mode.
async fn killed_in(mode: Mode) -> (AuthorizationServer, crate::harness::Setup) {
    let World { server, keybearer } = World::linked(settings()).await;
    server.revoke_access_tokens().await;
    server.set_mode(mode.grant("refresh_token")).await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/drive/x").bytes()).await;
    server.wait_for_token_requests("refresh_token", 1).await;
    let (setup, _) = keybearer.kill().await;
    (server, setup)
}

#[tokio::test]
async fn killed_before_the_server_acts_it_goes_on() {
    let (server, setup) = killed_in(Mode::hang()).await;
    server.set_mode(Mode::up()).await;
    let world = World {
        keybearer: setup.start().await,
        server,
    };
    // Unasked: where a server forgives a second use, it does so for a moment only.
    let refreshed = async || (world.refreshed().await == 1).then_some(());
    eventually("a refresh", refreshed).await;
    world.assert_works().await;
}

#[tokio::test]
async fn killed_after_the_server_has_rotated_it_says_so() {
    let (server, setup) = killed_in(Mode::hold()).await;
    server.set_mode(Mode::up()).await;
    let issued = async || (server.log().await.last()?.outcome == "issued").then_some(());
    eventually("the answer that nobody gets", issued).await;
    let keybearer = setup.start().await;
    // The old access token is as good as it was, until the upstream says that it is not.
    assert_eq!(call(&keybearer, "/drive/x").await.status, 401);
    let shown = wait_for_state(&keybearer, "drive", "reauthorize").await;
    let error = shown["last_error"].as_str().unwrap();
    assert!(error.contains("was cut off"), "{error}");
    link(&keybearer, "drive").await;
    let reuses = server.reuses().await;
    server.revoke_access_tokens().await;
    assert_eq!(call(&keybearer, "/drive/x").await.status, 200);
    assert_eq!(server.reuses().await, reuses);
}

/// How often it is killed.
const KILLS: usize = 50;

/// Every grant is a connection of its own, and an OAuth 2.0 client, by which the server's log knows it.
const NAMES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// Rounds of load that a kill ends, and what is known of them.
struct Rounds {
    server: AuthorizationServer,
    /// How long the server's log was when the last round ended.
    read: usize,
    /// Access tokens that the upstream has seen in this round, by their hashes.
    used: Arc<Mutex<BTreeSet<String>>>,
    /// Connections of which the server has issued a token that the killed process had not yet said to
    /// be kept: it may be, or it may be lost.
    unsaid: BTreeSet<String>,
    rotations: usize,
    losses: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_during_rotations_lose_nothing_that_was_kept() {
    let with = |settings: AuthorizationSettings, name: &&str| settings.client(client(name));
    let settings = NAMES[1..]
        .iter()
        .fold(AuthorizationSettings::with(client(NAMES[0])), with);
    let settings = settings.scopes(&["read"]).access_token_lifetime(2);
    let server = AuthorizationServer::start(settings).await;
    let table = |name: &&str| {
        let auth = format!("auth = {}", auth(&server, name, ""));
        connection(name, server.resource_url(), &auth)
    };
    let mut setup = setup().tables(&NAMES.iter().map(table).collect::<String>());
    let mut rounds = Rounds {
        server,
        read: 0,
        used: Arc::default(),
        unsaid: BTreeSet::new(),
        rotations: 0,
        losses: 0,
    };
    let mut chance = Chance::new();
    for round in 0..KILLS {
        let keybearer = setup.start().await;
        rounds.heal(&keybearer, round).await;
        let load = rounds.load(&keybearer);
        if round % 2 == 0 {
            // All of them rotate now, and not only those whose time has come.
            rounds.server.revoke_access_tokens().await;
        }
        // Not a wait for anything: the instant of the kill is the experiment.
        tokio::time::sleep(chance.up_to(Duration::from_millis(250))).await;
        let (killed, log) = keybearer.kill().await;
        drop(load);
        rounds.judge(&log).await;
        setup = killed;
    }
    println!(
        "{KILLS} kills, {} rotations, {} answers lost on their way",
        rounds.rotations, rounds.losses
    );
    assert!(
        rounds.rotations > KILLS,
        "only {} rotations",
        rounds.rotations
    );
}

impl Rounds {
    /// Every connection works, but those whose last answer was lost: they say so, and work once linked
    /// again.
    async fn heal(&mut self, keybearer: &Keybearer, round: usize) {
        if !self.unsaid.is_empty() {
            // Whether the refresh token is good shows when it is needed.
            self.server.revoke_access_tokens().await;
        }
        for name in NAMES {
            if round == 0 {
                link(keybearer, name).await;
            }
            // An answer of the upstream's own may be to a token that was withdrawn just now.
            let what = format!("{name} after {round} kills");
            let settled = eventually(&what, async || {
                let response = call(keybearer, &format!("/{name}/x")).await;
                (response.status != 401).then_some(response)
            });
            let response = settled.await;
            if response.status == 503 && self.unsaid.contains(name) {
                self.losses += 1;
                let detail = response.problem(503, "not-linked", "proxy_configuration_error");
                assert!(detail.contains("was cut off"), "{detail}");
                link(keybearer, name).await;
            } else {
                assert_eq!(response.status, 200, "{what}: {response:?}");
            }
        }
    }

    /// Callers who go on until this is dropped.
    fn load(&self, keybearer: &Keybearer) -> JoinSet<()> {
        let mut callers = JoinSet::new();
        for first in 0..3 {
            let requests = NAMES.map(|name| keybearer.get(&format!("/{name}/x")));
            let (proxy, used) = (keybearer.proxy(), Arc::clone(&self.used));
            callers.spawn(async move {
                let mut turns = requests.iter().cycle().skip(first * 2);
                while let Some(answer) = ask(proxy, turns.next().unwrap()).await {
                    let seen = answer.split_once("\"token_sha256\":\"");
                    let hash = seen.and_then(|(_, rest)| rest.split('"').next());
                    used.lock().unwrap().extend(hash.map(str::to_owned));
                }
            });
        }
        callers
    }

    /// Compares what the server has done in a round with what the killed process had made durable:
    /// that is when it says that a credential was renewed.
    async fn judge(&mut self, log: &str) {
        let requests = self.requests().await;
        let said = renewals(log);
        let mut unsaid = BTreeSet::new();
        for name in NAMES {
            let mut issued = Vec::new();
            for request in requests
                .iter()
                .filter(|r| r.client_id.as_deref() == Some(name))
            {
                match &*request.outcome {
                    "issued" => issued.push(request),
                    // The token that was shown before the last kill, and its answer lost.
                    _ => assert!(self.unsaid.contains(name), "{name}: {request:?}\n{log}"),
                }
            }
            let kept = said.get(name).copied().unwrap_or_default();
            self.rotations += issued.len();
            assert!(kept <= issued.len(), "{name}: {kept} of {issued:?}");
            let lost = &issued[kept..];
            assert!(lost.len() <= 1, "{name}: one at a time: {lost:?}");
            if let [lost] = lost {
                let token = lost.access_token_sha256.as_ref().unwrap();
                let used = self.used.lock().unwrap();
                assert!(!used.contains(token), "{name}: used before it was durable");
                unsaid.insert(name.to_owned());
            }
        }
        self.unsaid = unsaid;
        self.used.lock().unwrap().clear();
    }

    /// Refreshes since the last round, once the server is through with all that reached it.
    async fn requests(&mut self) -> Vec<TokenRequest> {
        let mut before = usize::MAX;
        let log = eventually("the server to be through", async || {
            let log = self.server.log().await;
            let through = log.iter().all(|request| request.outcome != "pending");
            let same = std::mem::replace(&mut before, log.len()) == log.len();
            (through && same).then_some(log)
        });
        let mut log = log.await.split_off(self.read);
        self.read += log.len();
        log.retain(|request| request.grant_type.as_deref() == Some("refresh_token"));
        log
    }
}

/// How often each connection was renewed, by a process' own account.
fn renewals(log: &str) -> BTreeMap<String, usize> {
    let mut renewals = BTreeMap::new();
    // The last line may be cut short.
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for line in lines {
        let fields = if line["fields"].is_object() {
            &line["fields"]
        } else {
            &line
        };
        if fields["message"] == "Credential renewed" {
            let name = fields["connection"].as_str().unwrap();
            *renewals.entry(name.to_owned()).or_default() += 1;
        }
    }
    renewals
}

/// An answer, if the proxy lives long enough to give one.
async fn ask(proxy: SocketAddr, request: &Request) -> Option<String> {
    let mut stream = TcpStream::connect(proxy).await.ok()?;
    let request = request.clone().header("Connection", "close");
    stream.write_all(&request.bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// Numbers by chance, from a seed that is printed.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = u64::from(now.subsec_nanos());
        println!("seed {seed}");
        Self(seed)
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        // Knuth's MMIX.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        most.mul_f64((self.0 >> 40) as f64 / f64::from(1 << 24))
    }
}
