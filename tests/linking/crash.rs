//! `kill -9` at any instant loses no grant, and shows no refresh token twice.
//!
//! Between the moment in which the server has taken a refresh token and that in which its answer is on
//! disk, what is killed is not what waits for the answer: that is a process of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{auth, call, client, link, setup};
use crate::harness::{
    AuthorizationServer, AuthorizationSettings, Keybearer, Request, connection, eventually,
};

/// How often it is killed.
const KILLS: usize = 50;

/// Every grant is a connection of its own, and an OAuth 2.0 client, by which the server's log knows it.
const NAMES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_during_rotations_lose_nothing() {
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
    let tables = NAMES.iter().map(table).collect::<String>();
    let mut setup = setup().own_group().tables(&tables);
    let mut taken = 0;
    let mut chance = Chance::new();
    for round in 0..KILLS {
        let keybearer = setup.start().await;
        all_work(&server, &keybearer, round).await;
        let load = load(&keybearer);
        if round % 2 == 0 {
            // All of them rotate now, and not only those whose time has come.
            server.revoke_access_tokens().await;
        }
        // Not a wait for anything: the instant of the kill is the experiment.
        tokio::time::sleep(chance.up_to(Duration::from_millis(250))).await;
        if round % 3 == 0 {
            keybearer.signal_group(Signal::KILL);
        }
        let (killed, log) = keybearer.kill().await;
        drop(load);
        taken += log.matches("Answer of an earlier refresh taken").count();
        assert!(!log.contains("cut off"), "{log}");
        setup = killed;
    }
    let keybearer = setup.start().await;
    all_work(&server, &keybearer, KILLS).await;
    let rotations = none_shown_twice(&server).await;
    println!("{KILLS} kills, {rotations} rotations, {taken} answers taken by a later start");
    assert!(rotations > KILLS && taken > 0, "{rotations}, {taken}");
}

/// Every connection works, with no other consent than its first.
async fn all_work(server: &AuthorizationServer, keybearer: &Keybearer, round: usize) {
    for name in NAMES {
        if round == 0 {
            link(keybearer, name).await;
        }
        let what = format!("{name} after {round} kills");
        eventually(&what, async || {
            let response = call(keybearer, &format!("/{name}/x")).await;
            let text = response.text();
            match response.status {
                200 => return Some(()),
                // The upstream's own, to a token that was withdrawn just now.
                401 => {}
                // A token of two seconds may be over before a busy machine has it.
                503 if text.contains("\"retrying\"") => {}
                _ => panic!("{what}: {response:?}"),
            }
            None
        })
        .await;
    }
    assert_eq!(server.reuses().await, 0, "after {round} kills");
}

/// Callers who go on until this is dropped.
fn load(keybearer: &Keybearer) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for first in 0..3 {
        let requests = NAMES.map(|name| keybearer.get(&format!("/{name}/x")));
        let proxy = keybearer.proxy();
        callers.spawn(async move {
            let mut turns = requests.iter().cycle().skip(first * 2);
            while ask(proxy, turns.next().unwrap()).await.is_some() {}
        });
    }
    callers
}

/// Asserts that every refresh was the first with its token, and went well; gives how many there were.
async fn none_shown_twice(server: &AuthorizationServer) -> usize {
    let mut shown = BTreeSet::new();
    let requests = server.token_requests("refresh_token").await;
    // One may be under way still.
    for request in requests
        .iter()
        .filter(|request| request.outcome != "pending")
    {
        assert_eq!(request.outcome, "issued", "{request:?}");
        let token = request.refresh_token_sha256.clone().unwrap();
        assert!(shown.insert(token), "shown twice: {request:?}");
    }
    shown.len()
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
