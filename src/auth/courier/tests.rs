use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::StatusCode;
use rcgen::generate_simple_self_signed;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use url::Url;

use super::errand::{Refused, run};
use super::*;
use crate::auth::fetch::Role;
use crate::auth::testing::{Server, connection, response};
use crate::connection::TlsVersion;
use crate::connection::identity::ClientIdentity;
use crate::connection::network::Road;
use crate::connection::proxy::{Proxy, Written};
use crate::secret::Origin;
use crate::store::{Key, Store};
use crate::upstream::Upstreams;

const CANARY: &str = "canary-4c1f";

/// A store with a spool, and a job that is sealed for it.
struct World {
    folder: TempDir,
    spool: Arc<Spool>,
    job: Zeroizing<Vec<u8>>,
}

impl World {
    async fn new(endpoint: &Endpoint) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::file(&folder.path().join("store"), None).unwrap();
        let spool = store.make_spool(&Key::new("a/b")).await.unwrap().unwrap();
        let spool = Arc::new(spool);
        let form = Zeroizing::new(format!("refresh_token={CANARY}").into_bytes());
        let authorization = HeaderValue::from_static("Basic canary-4c1f");
        let job = Job::new(endpoint, &form, Some(&authorization), &spool).to_bytes();
        Self { folder, spool, job }
    }

    /// Does what a courier does with this input.
    async fn run(&self, input: &[u8]) -> (Result<(), Refused>, Vec<u8>) {
        let (input, output) = (input.to_vec(), self.spool.hand().unwrap());
        let done = tokio::task::spawn_blocking(move || {
            let mut instead = Vec::new();
            (run(&*input, output, &mut instead), instead)
        });
        done.await.unwrap()
    }

    /// The spool's, as `Debug` names it.
    fn path(&self) -> PathBuf {
        let shown = format!("{:?}", self.spool);
        shown.split('"').nth(1).unwrap().into()
    }

    async fn outcome(&self) -> Result<Answer, FetchFault> {
        match self.spool.read().await.unwrap() {
            Found::Answer(answer) => read(&answer).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_the_exchange_that_it_was_made_of() {
    let content = r#"{"access_token": "canary-4c1f"}"#;
    let server = Server::start(move |_| {
        let mut response = response(200, "application/json", content);
        let headers = response.headers_mut();
        headers.insert("retry-after", HeaderValue::from_static("7"));
        response
    })
    .await;
    let world = World::new(&server.endpoint()).await;
    let (done, instead) = world.run(&world.job).await;
    done.unwrap();
    assert_eq!(instead, b"");
    let received = server.only();
    assert_eq!(received.content, format!("refresh_token={CANARY}"));
    assert_eq!(received.headers["authorization"], "Basic canary-4c1f");
    let answer = world.outcome().await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.media_type.as_deref(), Some("application/json"));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(*answer.content, content.as_bytes());
    // Once is enough.
    let (again, _) = world.run(&world.job).await;
    assert!(matches!(again, Err(Refused::ByHand)), "{again:?}");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_library_prints_neither_stops_nor_spoils_it() {
    use std::io::Write;
    let path = Arc::new(parking_lot::Mutex::new(PathBuf::new()));
    let print_to = Arc::clone(&path);
    let print = |to: &PathBuf| {
        let file = File::options().append(true).open(to);
        file.unwrap().write_all(b"! a library warns\n").unwrap();
    };
    let server = Server::start(move |_| {
        print(&print_to.lock());
        response(200, "application/json", "{}")
    })
    .await;
    let world = World::new(&server.endpoint()).await;
    *path.lock() = world.path();
    print(&path.lock());
    world.run(&world.job).await.0.unwrap();
    print(&path.lock());
    assert_eq!(*world.outcome().await.unwrap().content, *b"{}");
}

#[tokio::test]
async fn one_that_hangs_is_told_with_what_to_do() {
    let mut child = Command::new("sleep").arg("600").kill_on_drop(true).spawn();
    let child = child.as_mut().unwrap();
    let id = child.id().unwrap();
    let text = late(child);
    for part in [
        format!("(`keybearer exchange`, {id})"),
        "40s".to_owned(),
        "kill -9".to_owned(),
    ] {
        assert!(text.contains(&part), "no {part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_job_is_none() {
    let server = Server::saying(200, "application/json", "{}").await;
    let world = World::new(&server.endpoint()).await;
    let job = &world.job;
    for length in (0..job.len()).step_by(7).chain([job.len() - 1]) {
        let (done, _) = world.run(&job[..length]).await;
        let refused = done.unwrap_err();
        assert!(matches!(refused, Refused::ByHand), "{length}: {refused:?}");
        assert!(!refused.to_string().contains(CANARY));
    }
    assert_eq!(server.received().len(), 0);
    assert_eq!(world.spool.read().await.unwrap(), Found::Nothing);
    world.run(job).await.0.unwrap();
    assert_eq!(server.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_told_as_it_is_here() {
    let server = Server::saying(302, "text/html", "").await;
    let url = server.url("/token");
    drop(server);
    let endpoint = crate::auth::testing::endpoint(&url, Duration::from_secs(20));
    let world = World::new(&endpoint).await;
    world.run(&world.job).await.0.unwrap();
    let told = world.outcome().await.unwrap_err();
    let here = endpoint.post(Zeroizing::default(), None).await.unwrap_err();
    assert_eq!(told, here);
    let unusable = FetchFault::Unusable("why".to_owned());
    let outcome = read(&job::write(&Err(unusable.clone()))).unwrap();
    assert_eq!(outcome.unwrap_err(), unusable);
    assert!(read(b"{}").is_none() && read(b"").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_that_cannot_be_noted() {
    let server = Server::saying(200, "application/json", "{}").await;
    let world = World::new(&server.endpoint()).await;
    // It can be read, and not be written to.
    let read_only = File::open(world.path()).unwrap();
    let job = world.job.to_vec();
    let refused = tokio::task::spawn_blocking(move || run(&*job, read_only, Vec::new()));
    let refused = refused.await.unwrap().unwrap_err();
    assert!(matches!(refused, Refused::Failed(_)), "{refused:?}");
    assert_eq!(server.received().len(), 0);
}

const FOLDER: &str = "KEYBEARER_TEST_COURIER";

#[test]
#[ignore = "run by what_the_disk_does_not_take_is_told_sealed_instead"]
fn runs_with_a_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let limit = |current| {
        let maximum = None;
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    let spool = fs::read_to_string(folder.join("path")).unwrap();
    let spool = File::options().read(true).append(true).open(spool);
    let mut instead = Vec::new();
    limit(Some(4096));
    run(
        File::open(folder.join("job")).unwrap(),
        spool.unwrap(),
        &mut instead,
    )
    .unwrap();
    limit(None);
    fs::write(folder.join("instead"), instead).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_does_not_take_is_told_sealed_instead() {
    let content = CANARY.repeat(1000);
    let server = Server::saying(200, "application/json", content.clone()).await;
    let world = World::new(&server.endpoint()).await;
    let file = |name| world.folder.path().join(name);
    fs::write(file("path"), world.path().to_str().unwrap()).unwrap();
    fs::write(file("job"), &world.job).unwrap();
    // A shell, as what it ignores is ignored by the child too: a write beyond the limit then fails,
    // where a signal would end the process.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "auth::courier::tests::runs_with_a_limit"])
        .args(["--ignored", "--test-threads=1"])
        .env(FOLDER, world.folder.path())
        .stdout(Stdio::null())
        .status();
    assert!(status.await.unwrap().success());
    assert_eq!(world.spool.read().await.unwrap(), Found::Mark);
    let instead = fs::read(file("instead")).unwrap();
    assert!(!String::from_utf8_lossy(&instead).contains(CANARY));
    let answer = read(&world.spool.open(&instead).unwrap()).unwrap();
    assert_eq!(*answer.unwrap().content, content.as_bytes());
    assert!(world.spool.open(b"thread 'main' panicked").is_none());
}

fn identity() -> ClientIdentity {
    let made = generate_simple_self_signed(["client".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    ClientIdentity::new(vec![made.cert.der().clone()], key, Origin::Issued).unwrap()
}

#[tokio::test]
async fn a_job_brings_trust_identity_and_time_of_its_endpoint() {
    let certificate = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut connection = connection();
    connection.tls.ca_certificate = Some([certificate.cert.der().clone()].into());
    connection.tls.client = Some(Arc::new(identity()));
    connection.tls.min_version = TlsVersion::Tls13;
    connection.timeouts.connect = Duration::from_millis(123);
    let url: Url = "https://as.example/token?key=canary-4c1f".parse().unwrap();
    let limit = Duration::from_secs(9);
    let upstreams = Upstreams::default();
    let endpoint = Endpoint::new(&upstreams, &connection, Role::Token, &url, limit).unwrap();
    let world = World::new(&endpoint).await;
    let job = Job::parse(&world.job).unwrap();
    let again = job.endpoint().unwrap();
    assert_eq!((again.url(), again.role()), (&url, Role::Token));
    assert_eq!((again.way(), again.limit()), (endpoint.way(), limit));
    assert_eq!(again.way().tls.client, connection.tls.client);
    assert_eq!(again.way().tls.min_version, TlsVersion::Tls13);
    let (form, authorization) = job.message().unwrap();
    assert_eq!(*form, format!("refresh_token={CANARY}").as_bytes());
    let authorization = authorization.unwrap();
    assert!(authorization.is_sensitive() && authorization == "Basic canary-4c1f");
    assert!(!format!("{authorization:?} {:?}", Courier::default()).contains(CANARY));
    for broken in ["", "{}", "null", "[1]"] {
        assert!(Job::parse(broken.as_bytes()).is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_courier_takes_the_proxy_that_its_endpoint_takes() {
    let proxy = Server::saying(200, "application/json", "{}").await;
    let mut connection = connection();
    let url = format!("http://me:{CANARY}@{}", proxy.address);
    let parsed = Proxy::parse(&url, Written::Key, "network.proxy", &Origin::Literal).unwrap();
    connection.road = Road::through(parsed);
    let url: Url = "http://as.example/token".parse().unwrap();
    let upstreams = Upstreams::default();
    upstreams.ask(&SERVERS);
    let limit = Duration::from_secs(9);
    let endpoint = Endpoint::new(&upstreams, &connection, Role::Token, &url, limit).unwrap();
    let world = World::new(&endpoint).await;
    let again = Job::parse(&world.job).unwrap().endpoint().unwrap();
    assert_eq!(
        again.proxy().unwrap().to_string(),
        format!("http://{}", proxy.address)
    );
    assert_eq!(*again.dns(), SERVERS);
    assert!(!format!("{again:?}").contains(CANARY));
    let (done, _) = world.run(&world.job).await;
    done.unwrap();
    assert_eq!(world.outcome().await.unwrap().status, StatusCode::OK);
    let asked = proxy.only();
    assert_eq!(asked.target, "http://as.example/token");
    assert_eq!(
        asked.headers["proxy-authorization"],
        "Basic bWU6Y2FuYXJ5LTRjMWY="
    );
    assert_eq!(asked.headers["host"], "as.example");
}

/// Nobody answers there, and nobody is asked.
const SERVERS: [SocketAddr; 1] = [SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9)];

#[test]
fn little_of_the_environment_is_handed_on() {
    let needed = |name: &str| is_needed(&OsString::from(name));
    assert!(needed("SSL_CERT_FILE") && needed("LD_LIBRARY_PATH"));
    assert!(!needed("CLIENT_SECRET") && !needed("HOME") && !needed("KEYBEARER_STORE_KEY"));
}
