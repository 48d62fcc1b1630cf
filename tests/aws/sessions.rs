//! Sessions of a role live on the credential engine: asked for once, renewed in time, kept until
//! their end, and never mixed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{REGION, ROLE, access_key_id, assuming, ours, shown, wait_for_state};
use crate::harness::aws::{Sts, Verifier};
use crate::harness::{Answer, Gate, Keybearer, RawClient, Response, Upstream, eventually};

const CALLERS: usize = 200;

async fn started<const SECONDS: u64>() -> (Sts, Upstream, Keybearer) {
    let sts = Sts::start::<SECONDS>().await;
    let (upstream, keybearer) = started_with(&sts).await;
    (sts, upstream, keybearer)
}

async fn started_with(sts: &Sts) -> (Upstream, Keybearer) {
    let upstream = Upstream::start().await;
    let table = assuming(
        "p",
        &upstream.url(""),
        &sts.url(),
        "external_id = \"known\"",
    );
    let keybearer = Keybearer::start(&table).await;
    (upstream, keybearer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_cold_requests_assume_the_role_once() {
    let (sts, gate) = (Sts::start::<3600>().await, Gate::new());
    sts.answers([Sts::issues::<3600>().behind(&gate), Sts::issues::<3600>()]);
    let (upstream, keybearer) = started_with(&sts).await;
    let mut callers = Vec::new();
    for n in 0..CALLERS {
        let mut caller = keybearer.caller().await;
        caller.send(keybearer.get(&format!("/p/{n}")).bytes()).await;
        callers.push(caller);
    }
    sts.upstream().wait_for_requests(1).await;
    wait_for_state(&keybearer, "p", "refreshing").await;
    assert_eq!(upstream.count(), 0);
    gate.open();
    for caller in &mut callers {
        let response = caller.response().await;
        assert_eq!(response.status, 200, "{response:?}");
    }
    let asked = sts.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    for (name, value) in [
        ("Action", "AssumeRole"),
        ("RoleArn", ROLE),
        ("ExternalId", "known"),
        ("DurationSeconds", "3600"),
    ] {
        assert_eq!(
            asked[0].get(name).map(String::as_str),
            Some(value),
            "{asked:?}"
        );
    }
    let asked = sts.upstream().requests();
    let verifier = Verifier::new("sts", REGION, &[&ours()]);
    verifier.accept(&asked).await;
    let seen = upstream.requests();
    assert_eq!(seen.len(), CALLERS);
    let ids: BTreeSet<_> = seen.iter().map(access_key_id).collect();
    assert_eq!(ids.len(), 1);
    let session = Sts::keys(ids.first().unwrap());
    let verifier = Verifier::new("s3", REGION, &[&session]);
    verifier.accept(&seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_notice_nothing_of_renewals() {
    const LIFETIME: u64 = 6;
    let (sts, upstream, keybearer) = started::<LIFETIME>().await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    // STS takes its time, and nobody waits for it.
    let gate = Gate::new();
    let slow = (0..8).map(|_| Sts::issues::<LIFETIME>().behind(&gate));
    sts.answers(slow);
    let stop = Arc::<AtomicBool>::default();
    let callers = (0..20).map(|_| {
        let (stop, get, address) = (Arc::clone(&stop), keybearer.get("/p/x"), keybearer.proxy());
        tokio::spawn(async move {
            let mut client = RawClient::connect(address).await;
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            let mut slowest = Duration::ZERO;
            while !stop.load(SeqCst) {
                pace.tick().await;
                let begun = Instant::now();
                let response = get.send_on(&mut client).await;
                assert_eq!(response.status, 200, "{response:?}");
                slowest = slowest.max(begun.elapsed());
            }
            slowest
        })
    });
    let callers: Vec<_> = callers.collect();
    for renewals in 1..=3 {
        sts.upstream().wait_for_requests(1 + renewals).await;
        let served = upstream.count();
        let more = async || (upstream.count() > served + 40).then_some(());
        eventually("requests while STS is asked", more).await;
        gate.open();
    }
    stop.store(true, SeqCst);
    for caller in callers {
        let slowest = caller.await.unwrap();
        assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    }
    let seen = upstream.requests();
    let ids: BTreeSet<_> = seen.iter().map(access_key_id).collect();
    assert!(ids.len() >= 3, "{ids:?}");
    let sessions: Vec<_> = ids.iter().map(|id| Sts::keys(id)).collect();
    let sessions: Vec<_> = sessions.iter().collect();
    Verifier::new("s3", REGION, &sessions).accept(&seen).await;
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

#[tokio::test]
async fn an_outage_of_sts_is_survived_until_the_session_ends() {
    let (sts, upstream, keybearer) = started::<4>().await;
    let begun = now();
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    let away = Answer::sized("503 Service Unavailable", "", "");
    sts.answers([away]);
    let mut served = 0;
    let refused: Response = loop {
        let sent = now();
        let response = keybearer.get("/p/x").send().await;
        if response.status != 200 {
            assert!(
                sent > begun + 3.0,
                "refused {} s after the session began",
                sent - begun
            );
            break response;
        }
        // STS tells the end in whole seconds.
        assert!(
            sent < begun + 5.0,
            "served {} s after the session began",
            sent - begun
        );
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(served > 0 && upstream.count() == served + 1);
    let detail = refused.problem(503, "credential-unavailable", "destination_unavailable");
    assert!(detail.contains("STS") && detail.contains(ROLE), "{detail}");
    assert_eq!(refused.json()["credential_state"], "retrying");
    let after: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&after), "{after}");
    let (asked, count) = (sts.asked().len(), 50);
    for _ in 0..count {
        assert_eq!(keybearer.get("/p/x").send().await.status, 503);
    }
    assert!(sts.asked().len() <= asked + 1, "no stampede");
    sts.answers([Sts::issues::<3600>()]);
    wait_for_state(&keybearer, "p", "ready").await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
}

#[tokio::test]
async fn a_session_that_aws_refuses_is_renewed_once_and_the_request_repeated() {
    let refusals = [
        (
            "400 Bad Request",
            "",
            "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
        ),
        (
            "403 Forbidden",
            "",
            "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
        ),
        (
            "400 Bad Request",
            "",
            "{\"__type\":\"com.amazon.coral.service#ExpiredTokenException\",\"message\":\"The security token included in the request is expired\"}",
        ),
        (
            "403 Forbidden",
            "x-amzn-ErrorType: ExpiredTokenException\r\n",
            "{\"message\":\"The security token included in the request is expired\"}",
        ),
    ];
    for (status, fields, body) in refusals {
        let (sts, upstream, keybearer) = started::<3600>().await;
        upstream.on_each(
            "/x",
            [Answer::sized(status, fields, body), Answer::ok("done")],
        );
        let put = keybearer.request("PUT", "/p/x").content("content");
        let response = put.send().await;
        assert_eq!(
            (response.status, &*response.text()),
            (200, "done"),
            "{body}"
        );
        let seen = upstream.requests();
        assert_eq!((seen.len(), sts.asked().len()), (2, 2), "{body}");
        assert_ne!(access_key_id(&seen[0]), access_key_id(&seen[1]));
        let keys = [&seen[0], &seen[1]].map(|seen| Sts::keys(&access_key_id(seen)));
        let verifier = Verifier::new("s3", REGION, &[&keys[0], &keys[1]]);
        verifier.accept(&seen).await;
        assert_eq!(seen[1].text(), "content");
    }
}

#[tokio::test]
async fn connections_that_differ_in_their_external_id_share_no_session() {
    let (sts, upstream) = (Sts::start::<3600>().await, Upstream::start().await);
    let names = ["one", "two", "three"];
    let table = |name: &str, id: &str| {
        let id = format!("external_id = \"{id}\"");
        assuming(name, &upstream.url(&format!("/{name}")), &sts.url(), &id)
    };
    let tables = names.map(|name| table(name, name)).concat();
    let keybearer = Keybearer::start(&tables).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        for name in names {
            assert_eq!(
                keybearer.get(&format!("/{name}/x")).send().await.status,
                200
            );
            let arrived = upstream.last();
            assert!(arrived.target().starts_with(&format!("/{name}/")));
            let id = access_key_id(&arrived);
            assert!(id.ends_with(name), "{name} has the session {id}");
            seen.insert(id);
        }
    }
    assert_eq!((seen.len(), sts.asked().len()), (3, 3), "{seen:?}");
    // Nor does a session survive a change of the external ID.
    keybearer.reconfigure(&table("one", "changed")).await;
    assert_eq!(keybearer.get("/one/x").send().await.status, 200);
    let id = access_key_id(&upstream.last());
    assert!(id.ends_with("changed"), "{id}");
    let state = shown(&keybearer, "one").await;
    assert_eq!(state["state"], "ready", "{state}");
}
