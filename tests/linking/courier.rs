//! Exchanges of refresh tokens outlive the process that needs them: what a kill at each of their steps
//! leaves, and what the next start makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{SECRET, World, call, drive, link, settings, setup, shown, wait_for_state};
use crate::harness::{
    AuthorizationServer, Keybearer, Mode, Process, Setup, eventually, executable,
};

/// What a start says that took an answer.
pub const TAKEN: &str = "Answer of an earlier refresh taken";
const WAITING: &str = "Waiting for a refresh that began before";

/// A linked connection whose refresh the server holds, and the process that waits for its answer.
async fn held(setup: Setup) -> (World, u32) {
    let server = AuthorizationServer::start(settings()).await;
    let keybearer = setup.tables(&drive(&server, "")).start().await;
    link(&keybearer, "drive").await;
    server.revoke_access_tokens().await;
    server.set_mode(Mode::hold().grant("refresh_token")).await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/drive/x").bytes()).await;
    server.wait_for_token_requests("refresh_token", 1).await;
    let [courier] = keybearer.couriers()[..] else {
        panic!("{:?}", keybearer.couriers());
    };
    (World { server, keybearer }, courier)
}

/// Sends a signal to a process that is not a child of ours.
fn send(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
}

/// Waits for the end of a process.
pub async fn gone(id: u32) {
    let process = PathBuf::from(format!("/proc/{id}/exe"));
    // A zombie that nobody waits for has none, either.
    eventually("the end of a courier", async || {
        fs::read_link(&process).is_err().then_some(())
    })
    .await;
}

/// The one spool there is.
pub fn spool(setup: &Setup) -> PathBuf {
    let spools = spools(setup);
    assert_eq!(spools.len(), 1, "{spools:?}");
    spools.into_iter().next().unwrap()
}

fn spools(setup: &Setup) -> BTreeSet<PathBuf> {
    let folder = fs::read_dir(setup.path(".local/state/keybearer/spool"));
    let files = folder.into_iter().flatten();
    files.map(|file| file.unwrap().path()).collect()
}

/// How many refreshes the server has seen.
async fn asked(server: &AuthorizationServer) -> usize {
    server.token_requests("refresh_token").await.len()
}

#[tokio::test]
async fn a_start_waits_for_an_answer_that_is_still_to_come() {
    let (World { server, keybearer }, courier) = held(setup()).await;
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    keybearer.logged(&[WAITING]).await;
    server.set_mode(Mode::up()).await;
    keybearer.logged(&[TAKEN]).await;
    gone(courier).await;
    assert_eq!(asked(&server).await, 1);
    let world = World { server, keybearer };
    world.assert_works().await;
    assert_eq!(spools(world.keybearer.setup()), BTreeSet::new());
    // And the refresh token that came with it is good.
    world.server.revoke_access_tokens().await;
    world.assert_works().await;
    assert_eq!(asked(&world.server).await, 2);
}

#[tokio::test]
async fn an_answer_that_came_meanwhile_is_taken() {
    let (World { server, keybearer }, courier) = held(setup()).await;
    let (setup, _) = keybearer.kill().await;
    server.set_mode(Mode::up()).await;
    gone(courier).await;
    let keybearer = setup.start().await;
    keybearer.logged(&[TAKEN]).await;
    assert!(!keybearer.log().contains(WAITING));
    let world = World { server, keybearer };
    world.assert_works().await;
    assert_eq!(asked(&world.server).await, 1);
}

#[tokio::test]
async fn two_starts_within_one_exchange() {
    let (World { server, keybearer }, _) = held(setup()).await;
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    keybearer.logged(&[WAITING]).await;
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    keybearer.logged(&[WAITING]).await;
    server.set_mode(Mode::up()).await;
    keybearer.logged(&[TAKEN]).await;
    let world = World { server, keybearer };
    world.assert_works().await;
    assert_eq!(asked(&world.server).await, 1);
}

#[tokio::test]
async fn what_ends_a_session_or_a_service_does_not_end_it() {
    let (
        World {
            server,
            mut keybearer,
        },
        courier,
    ) = held(setup().own_group()).await;
    keybearer.signal_group(Signal::TERM);
    keybearer.logged(&["Waiting for tokens"]).await;
    keybearer.signal_group(Signal::TERM);
    let exit = keybearer.exit().await;
    assert!(exit.stderr.contains("has not answered"), "{}", exit.stderr);
    // systemd signals everything that belongs to a service.
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        send(courier, signal);
    }
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    keybearer.logged(&[WAITING]).await;
    server.set_mode(Mode::up()).await;
    keybearer.logged(&[TAKEN]).await;
    let world = World { server, keybearer };
    world.assert_works().await;
    assert_eq!(asked(&world.server).await, 1);
}

#[tokio::test]
async fn a_server_that_did_nothing_is_asked_again() {
    let (World { server, keybearer }, courier) = held(setup()).await;
    let (setup, _) = keybearer.kill().await;
    server.set_mode(Mode::close().times(1)).await;
    gone(courier).await;
    let world = World {
        keybearer: setup.start().await,
        server,
    };
    // Unasked: where a server forgives a second use, it does so for a moment only.
    let refreshed = async || (world.refreshed().await == 1).then_some(());
    eventually("a refresh", refreshed).await;
    world.assert_works().await;
}

/// Everything is killed, as when a container ends: nobody can know what became of the token.
#[tokio::test]
async fn where_the_courier_is_killed_too_it_says_so() {
    let (World { server, keybearer }, courier) = held(setup()).await;
    let (setup, _) = keybearer.kill().await;
    send(courier, Signal::KILL);
    gone(courier).await;
    server.set_mode(Mode::up()).await;
    let issued = async || (server.log().await.last()?.outcome == "issued").then_some(());
    eventually("the answer that nobody gets", issued).await;
    says_why_it_is_lost(&server, setup.start().await, "was cut off").await;
}

/// Waits until it is known that the grant is lost, and gives why.
async fn dead(keybearer: &Keybearer) -> String {
    // The old access token is as good as it was, until the upstream says that it is not.
    assert_eq!(call(keybearer, "/drive/x").await.status, 401);
    let shown = wait_for_state(keybearer, "drive", "reauthorize").await;
    shown["last_error"].as_str().unwrap().to_owned()
}

async fn says_why_it_is_lost(server: &AuthorizationServer, keybearer: Keybearer, why: &str) {
    let error = dead(&keybearer).await;
    assert!(error.contains(why), "{error}");
    assert_eq!(asked(server).await, 2, "once more, and no more");
    link(&keybearer, "drive").await;
    let reuses = server.reuses().await;
    server.revoke_access_tokens().await;
    assert_eq!(call(&keybearer, "/drive/x").await.status, 200);
    assert_eq!(server.reuses().await, reuses);
}

#[tokio::test]
async fn a_courier_that_is_killed_alone_is_another_attempt() {
    let (world, courier) = held(setup()).await;
    send(courier, Signal::KILL);
    let told = async || {
        let shown = shown(&world.keybearer, "drive").await;
        shown["last_error"].as_str().map(str::to_owned)
    };
    let error = eventually("the end of the courier to be told", told).await;
    assert!(
        error.contains("was ended before") && error.contains("signal 9"),
        "{error}"
    );
    // What it asked for is not done.
    world.server.set_mode(Mode::close().times(1)).await;
    wait_for_state(&world.keybearer, "drive", "ready").await;
    world.assert_works().await;
}

#[tokio::test]
async fn a_damaged_answer_is_none() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 3] = [
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes.truncate(bytes.len() - 1),
        Vec::clear,
    ];
    let told = ["was cut off", "was cut off", "brought no answer"];
    for (damage, told) in damages.into_iter().zip(told) {
        let (World { server, keybearer }, courier) = held(setup()).await;
        let (setup, _) = keybearer.kill().await;
        server.set_mode(Mode::up()).await;
        gone(courier).await;
        let path = spool(&setup);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        says_why_it_is_lost(&server, setup.start().await, told).await;
    }
}

/// A client's secret that a program tells, which waits while there is a file.
fn with_a_slow_secret(server: &AuthorizationServer) -> String {
    let script = format!(
        "if [ -e wait ]; then touch waits; while [ -e wait ]; do sleep 0.05; done; fi; echo {SECRET}"
    );
    let command = json!(["sh", "-c", script]);
    let secret = format!("{{ command = {command} }}");
    drive(server, "").replace("{ env = \"CLIENT_SECRET\" }", &secret)
}

/// Linked, and killed when the note of a refresh is written, but the courier is not started yet.
async fn killed_before_the_courier() -> (AuthorizationServer, Setup) {
    let server = AuthorizationServer::start(settings()).await;
    let keybearer = setup().tables(&with_a_slow_secret(&server)).start().await;
    link(&keybearer, "drive").await;
    // What the program has told is forgotten.
    let (setup, _) = keybearer.kill().await;
    setup.write("wait", "");
    server.revoke_access_tokens().await;
    let keybearer = setup.start().await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/drive/x").bytes()).await;
    let waits = keybearer.setup().path("waits");
    eventually("the program to wait", async || waits.exists().then_some(())).await;
    let (setup, _) = keybearer.kill().await;
    assert!(spool(&setup).exists());
    fs::remove_file(setup.path("wait")).unwrap();
    (server, setup)
}

#[tokio::test]
async fn killed_before_the_token_is_shown_it_goes_on() {
    let (server, setup) = killed_before_the_courier().await;
    let world = World {
        keybearer: setup.start().await,
        server,
    };
    let refreshed = async || (world.refreshed().await == 1).then_some(());
    eventually("a refresh", refreshed).await;
    world.assert_works().await;
}

#[tokio::test]
async fn what_was_never_shown_is_not_called_cut_off() {
    let (server, setup) = killed_before_the_courier().await;
    server.revoke_grants().await;
    let keybearer = setup.start().await;
    let error = dead(&keybearer).await;
    assert!(
        error.contains("invalid_grant") && !error.contains("cut off"),
        "{error}"
    );
}

#[tokio::test]
async fn where_none_can_be_started_the_process_asks_by_itself() {
    let server = AuthorizationServer::start(settings()).await;
    let setup = setup().copied("keybearer").tables(&drive(&server, ""));
    let keybearer = setup.start().await;
    link(&keybearer, "drive").await;
    let program = keybearer.setup().path("keybearer");
    let mode = |mode| fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    for round in 1..=2 {
        server.revoke_access_tokens().await;
        assert_eq!(call(&keybearer, "/drive/x").await.status, 200);
        assert_eq!(asked(&server).await, round);
    }
    let log = keybearer.log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("Refreshing in this process"))
        .collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("Permission denied"), "{warnings:?}");

    // What that risks is noted in the spool: the start knows that the token may have been shown.
    server.revoke_access_tokens().await;
    server.set_mode(Mode::hold().grant("refresh_token")).await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/drive/x").bytes()).await;
    server.wait_for_token_requests("refresh_token", 3).await;
    assert_eq!(keybearer.couriers(), [0; 0]);
    mode(0o700);
    let (setup, _) = keybearer.kill().await;
    server.set_mode(Mode::up()).await;
    let issued = async || (server.log().await.last()?.outcome == "issued").then_some(());
    eventually("the answer that nobody gets", issued).await;
    let keybearer = setup.start().await;
    let error = dead(&keybearer).await;
    assert!(error.contains("was cut off"), "{error}");
}

/// The process has seen the end of its exchange, even if it made it by itself.
#[tokio::test]
async fn what_broke_off_before_its_eyes_is_not_called_cut_off() {
    let server = AuthorizationServer::start(settings()).await;
    let setup = setup().copied("keybearer").tables(&drive(&server, ""));
    let keybearer = setup.start().await;
    link(&keybearer, "drive").await;
    let program = keybearer.setup().path("keybearer");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).unwrap();
    server.revoke_access_tokens().await;
    let lose = Mode::lose().grant("refresh_token").times(1);
    server.set_mode(lose).await;
    assert_eq!(call(&keybearer, "/drive/x").await.status, 401);
    let shown = wait_for_state(&keybearer, "drive", "reauthorize").await;
    let error = shown["last_error"].as_str().unwrap();
    assert!(
        error.contains("brought no answer") && !error.contains("cut off"),
        "{error}"
    );
    assert!(keybearer.log().contains("Refreshing in this process"));
}

#[tokio::test]
async fn by_hand_it_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["exchange"][..], &["exchange", "--help"]] {
        let mut command = Command::new(executable());
        let exit = Process::run(command.args(args).current_dir(folder.path())).await;
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains("exchange"), "{exit:?}");
        assert_eq!(exit.stdout, "");
    }
    for args in [&["--help"][..], &["completions", "bash"]] {
        let exit = Process::run(Command::new(executable()).args(args)).await;
        assert!(!exit.stdout.contains("exchange"), "{}", exit.stdout);
    }
}
