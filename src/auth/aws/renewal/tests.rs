use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::auth::aws::testing::{ROLE, access_key, connected, eventually, refusal, role, session};
use crate::auth::courier::Courier;
use crate::auth::credentials::{Credential, Credentials};
use crate::auth::state::State;
use crate::auth::testing::{Received, Server};
use crate::auth::{Authenticator, Prepared};
use crate::config;
use crate::connection::aws::{ExternalId, Role};
use crate::metrics::Metrics;
use crate::secret::{Command, Origin, Secret};

const HOUR: Duration = Duration::from_secs(3600);

fn credentials() -> Credentials {
    kept_in(config::Store::Memory)
}

fn kept_in(store: config::Store) -> Credentials {
    let upstreams = Arc::new(Upstreams::default());
    let metrics = Metrics::new().unwrap();
    Credentials::new(
        Handle::current(),
        upstreams,
        metrics,
        store,
        Courier::default(),
    )
}

fn begun(credentials: &Credentials, connection: &Connection) -> Authenticator {
    let authenticator = credentials.build(connection, None).unwrap();
    credential(&authenticator).begin();
    authenticator
}

fn credential(authenticator: &Authenticator) -> &Arc<Credential> {
    authenticator.credential().unwrap()
}

fn state(authenticator: &Authenticator) -> State {
    credential(authenticator).state(SystemTime::now())
}

fn problem(authenticator: &Authenticator) -> String {
    let status = credential(authenticator).value.status();
    status
        .problem()
        .map_or_else(String::new, |fault| fault.detail.clone())
}

fn id(prepared: &Prepared<'_>) -> String {
    prepared.signer().unwrap().keys().id.expose().to_owned()
}

/// STS that gives sessions `ASIA1`, `ASIA2`, … for so long.
async fn sts(lasting: Duration) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        session(
            "AssumeRole",
            &format!("ASIA{number}"),
            SystemTime::now() + lasting,
        )
    })
    .await
}

fn assumed(name: &str, server: &Server) -> Connection {
    connected(name, Source::Role(Box::new(role(&server.url("/")))))
}

fn told_by(words: &[&str], ttl: Duration) -> Secret {
    let command = Command {
        words: words.iter().map(|&word| word.into()).collect(),
        folder: "/".into(),
        ttl,
        format: ("".into(), "".into()),
    };
    Secret::new("", Origin::Command(Arc::new(command)))
}

#[tokio::test]
async fn two_hundred_that_come_at_once_are_one_assume_role() {
    let server = sts(HOUR).await;
    let credentials = credentials();
    let authenticator = Arc::new(begun(&credentials, &assumed("api", &server)));
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let authenticator = Arc::clone(&authenticator);
            tokio::spawn(async move { id(&authenticator.wait().await.unwrap()) })
        })
        .collect();
    for asking in asking {
        assert_eq!(asking.await.unwrap(), "ASIA1");
    }
    assert_eq!(server.received().len(), 1);
    assert_eq!(state(&authenticator), State::Ready);
    let end = credential(&authenticator)
        .value
        .status()
        .lease
        .as_ref()
        .unwrap()
        .expires;
    let left = end.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!((HOUR - left) < Duration::from_secs(60), "{left:?}");
}

#[tokio::test]
async fn a_session_is_renewed_before_its_end_and_no_request_waits() {
    let server = sts(Duration::from_secs(5)).await;
    let credentials = credentials();
    let authenticator = begun(&credentials, &assumed("api", &server));
    let first = id(&authenticator.wait().await.unwrap());
    eventually("another session", || {
        let ready = authenticator.ready().expect("there is one at every time");
        id(&ready) != first
    })
    .await;
    assert_eq!(state(&authenticator), State::Ready);
}

#[tokio::test]
async fn a_session_that_was_refused_is_renewed_once() {
    let server = sts(HOUR).await;
    let credentials = credentials();
    let authenticator = begun(&credentials, &assumed("api", &server));
    let first = authenticator.wait().await.unwrap();
    for _ in 0..3 {
        let other = authenticator.replace(&first).await.unwrap();
        assert_eq!(id(&other), "ASIA2");
    }
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn while_sts_is_out_the_session_serves_to_its_end_and_then_nobody_waits() {
    let out = Arc::new(AtomicBool::new(false));
    let is_out = Arc::clone(&out);
    let server = Server::start(move |_| {
        if is_out.load(Ordering::Relaxed) {
            return refusal(503, "ServiceUnavailable", "back soon");
        }
        let end = SystemTime::now() + Duration::from_secs(4);
        session("AssumeRole", "ASIA1", end)
    })
    .await;
    let credentials = credentials();
    let authenticator = begun(&credentials, &assumed("api", &server));
    authenticator.wait().await.unwrap();
    out.store(true, Ordering::Relaxed);
    eventually("a failed renewal", || state(&authenticator) == State::Stale).await;
    assert_eq!(id(&authenticator.ready().unwrap()), "ASIA1");
    eventually("the end", || authenticator.ready().is_none()).await;
    let asked = server.received().len();
    for _ in 0..50 {
        let unavailable = authenticator.wait().await.unwrap_err();
        assert_eq!(unavailable.state, State::Retrying);
        assert!(unavailable.retry_after.is_some());
        let detail = &unavailable.detail;
        assert!(
            detail.contains("ServiceUnavailable") && detail.contains(ROLE),
            "{detail}"
        );
    }
    assert!(
        server.received().len() <= asked + 1,
        "nobody's request made an attempt"
    );
    out.store(false, Ordering::Relaxed);
    eventually("a session", || state(&authenticator) == State::Ready).await;
    assert_eq!(problem(&authenticator), "");
}

#[tokio::test]
async fn keys_of_the_configuration_are_there_without_an_exchange() {
    let credentials = credentials();
    let key = access_key("AKID1", "canary-secret");
    let authenticator = begun(&credentials, &connected("api", Source::AccessKey(key)));
    let prepared = authenticator.wait().await.unwrap();
    assert_eq!(id(&prepared), "AKID1");
    assert_eq!(state(&authenticator), State::Ready);

    assert!(authenticator.replace(&prepared).await.is_none());
    assert_eq!(state(&authenticator), State::Misconfigured);
    let problem_told = problem(&authenticator);
    let said =
        problem_told.contains("these keys are not valid") && problem_told.contains("replace both");
    assert!(said && !problem_told.contains("canary"), "{problem_told}");
    assert_eq!(
        id(&authenticator.ready().unwrap()),
        "AKID1",
        "they are tried still"
    );

    prepared.prove();
    assert_eq!(state(&authenticator), State::Ready);
    assert_eq!(problem(&authenticator), "");
}

#[tokio::test]
async fn temporary_keys_of_the_configuration_are_named_as_such() {
    let credentials = credentials();
    let mut key = access_key("ASIA1", "secret");
    key.session_token = Some(crate::auth::testing::secret("token"));
    let authenticator = begun(&credentials, &connected("api", Source::AccessKey(key)));
    let prepared = authenticator.wait().await.unwrap();
    assert_eq!(
        prepared
            .signer()
            .unwrap()
            .keys()
            .session_token
            .as_ref()
            .unwrap()
            .expose(),
        "token"
    );
    authenticator.replace(&prepared).await;
    assert!(problem(&authenticator).contains("they are temporary and have expired"));
}

#[tokio::test]
async fn keys_that_a_command_tells_are_told_anew_when_they_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "secret1").unwrap();
    let mut key = access_key("AKID1", "");
    key.secret = told_by(&["cat", file.to_str().unwrap()], HOUR);
    let credentials = credentials();
    let authenticator = begun(&credentials, &connected("api", Source::AccessKey(key)));
    let secret =
        |prepared: &Prepared<'_>| prepared.signer().unwrap().keys().secret.expose().to_owned();
    let prepared = authenticator.wait().await.unwrap();
    assert_eq!(secret(&prepared), "secret1");
    std::fs::write(&file, "secret2").unwrap();
    let other = authenticator.replace(&prepared).await.unwrap();
    assert_eq!(secret(&other), "secret2");
    std::fs::write(&file, "").unwrap();
    assert!(
        credential(&authenticator)
            .value
            .status()
            .lease
            .as_ref()
            .unwrap()
            .expires
            .is_some()
    );
}

#[tokio::test]
async fn a_command_tells_whose_keys_assume_and_again_after_a_refusal() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "AKIDOLD").unwrap();
    let server = Server::start(|request: &Received| -> Response<String> {
        let authorization = request.headers["authorization"].to_str().unwrap();
        if authorization.contains("Credential=AKIDNEW/") {
            session("AssumeRole", "ASIA1", SystemTime::now() + HOUR)
        } else {
            refusal(403, "InvalidClientTokenId", "The security token is invalid")
        }
    })
    .await;
    let mut key = access_key("", "secret");
    key.id = told_by(&["cat", file.to_str().unwrap()], HOUR);
    let role = Role {
        source: Source::AccessKey(key),
        ..role(&server.url("/"))
    };
    let credentials = credentials();
    let authenticator = begun(
        &credentials,
        &connected("api", Source::Role(Box::new(role))),
    );
    let unavailable = authenticator.wait().await.unwrap_err();
    assert_eq!(
        unavailable.state,
        State::Misconfigured,
        "{}",
        unavailable.detail
    );
    std::fs::write(&file, "AKIDNEW").unwrap();
    let credential = credential(&authenticator);
    eventually("time for another attempt", || {
        let status = credential.value.status();
        status.retries.is_some_and(|at| at <= SystemTime::now())
    })
    .await;
    assert_eq!(id(&authenticator.wait().await.unwrap()), "ASIA1");
}

#[tokio::test]
async fn each_role_of_a_chain_is_assumed_with_the_one_before() {
    let server = sts(HOUR).await;
    let inner = role(&server.url("/"));
    let outer = Role {
        arn: "arn:aws:iam::2:role/outer".into(),
        external_id: ExternalId::None,
        source: Source::Role(Box::new(inner.clone())),
        ..inner
    };
    let credentials = credentials();
    let authenticator = begun(
        &credentials,
        &connected("api", Source::Role(Box::new(outer))),
    );
    assert_eq!(id(&authenticator.wait().await.unwrap()), "ASIA2");
    let [first, second] = <[_; 2]>::try_from(server.received()).unwrap();
    assert!(first.content.contains("ExternalId=kb-1") && first.content.contains("reader"));
    assert!(!second.content.contains("ExternalId") && second.content.contains("outer"));
    assert_eq!(
        second.headers["x-amz-security-token"],
        "canary-session-token-ASIA1"
    );
}

#[tokio::test]
async fn a_value_belongs_to_all_its_inputs_and_to_one_connection() {
    let server = sts(HOUR).await;
    // External IDs are generated where they can be kept.
    let folder = TempDir::new().unwrap();
    let credentials = kept_in(config::Store::File {
        folder: Some(folder.path().join("store")),
        key: None,
    });
    let first = assumed("api", &server);
    let made = credentials.build(&first, None).unwrap();
    let is_same = |connection: &Connection| {
        let other = credentials.build(connection, None).unwrap();
        Arc::ptr_eq(credential(&made), credential(&other))
    };
    let mut unrelated = first.clone();
    unrelated.retries = 7;
    unrelated.timeouts.read = HOUR;
    assert!(is_same(&first) && is_same(&unrelated));
    assert!(
        !is_same(&assumed("other", &server)),
        "of another connection"
    );

    let change = |change: &dyn Fn(&mut Role)| {
        let mut role = role(&server.url("/"));
        change(&mut role);
        connected("api", Source::Role(Box::new(role)))
    };
    for (index, changed) in [
        change(&|role| role.arn = "arn:aws:iam::1:role/x".into()),
        change(&|role| role.external_id = ExternalId::Given("kb-2".into())),
        change(&|role| role.external_id = ExternalId::None),
        change(&|role| role.external_id = ExternalId::Generated(None)),
        change(&|role| role.external_id = ExternalId::Generated(Some("x".into()))),
        change(&|role| role.session_name = "other".into()),
        change(&|role| role.duration = 2 * HOUR),
        change(&|role| role.source = Source::Default),
        change(&|role| role.sts_endpoint = None),
        change(&|role| role.sts_region = "eu-west-2".into()),
        Connection {
            tls: crate::connection::Tls {
                ca_certificate: Some([].into()),
                ..first.tls.clone()
            },
            ..first.clone()
        },
    ]
    .iter()
    .enumerate()
    {
        assert!(!is_same(changed), "change {index}");
    }
    assert!(is_same(&first));
}
