//! Deliveries through long troubles, by a clock that the test holds.

mod retention;
mod silence;
mod troubles;

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::clock::Clock;
use super::deliver::{Courier, Means};
use super::delivery::Head;
use super::queue::{Arrival, Id, Phase, Queue};
use crate::auth::courier;
use crate::auth::credentials::Credentials;
use crate::config::source::{Process, locate};
use crate::config::{self, Config};
use crate::connection::webhook::Endpoint;
use crate::live::{self, Parts, Reader};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::store::Store;
use crate::traces::Traces;
use crate::upstream::Upstreams;

/// A clock that stands still until it is set.
#[derive(Debug)]
struct Manual(watch::Sender<SystemTime>);

impl Manual {
    fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }

    fn set_back(&self, by: Duration) {
        self.0.send_modify(|now| *now -= by);
    }
}

impl Clock for Manual {
    fn now(&self) -> SystemTime {
        *self.0.borrow()
    }

    fn until_outside(
        &self,
        span: Range<SystemTime>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut clock = self.0.subscribe();
        Box::pin(async move {
            let _ = clock.wait_for(|now| !span.contains(now)).await;
        })
    }
}

/// A target that is down until it is told otherwise; what it took, in order, and how often it was asked.
#[derive(Default)]
struct Target {
    is_up: AtomicBool,
    /// Whether it waits with its answers; and to how many requests, in their order, it has answered then.
    is_slow: AtomicBool,
    let_go: watch::Sender<usize>,
    took: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
}

impl Target {
    async fn start() -> (Arc<Self>, String) {
        let target = Arc::<Self>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&target);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        (target, url)
    }

    /// One request a connection, of which the last byte is a `.`.
    async fn serve(self: Arc<Self>, mut stream: TcpStream) -> Option<()> {
        let mut request = Vec::new();
        while !request.ends_with(b".") {
            stream
                .read_buf(&mut request)
                .await
                .ok()
                .filter(|read| *read > 0)?;
        }
        let request = String::from_utf8(request).ok()?;
        let line = request.split(" HTTP").next()?;
        let content = request.rsplit("\r\n\r\n").next()?;
        let told = format!("{line} {content}");
        let number = {
            let mut asked = self.asked.lock();
            asked.push(told.clone());
            asked.len()
        };
        if self.is_slow.load(SeqCst) {
            let mut let_go = self.let_go.subscribe();
            let _ = let_go.wait_for(|let_go| *let_go >= number).await;
        }
        let answer = match self.is_up.load(SeqCst) {
            true => {
                self.took.lock().push(told);
                "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
            }
            false => {
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
        };
        stream.write_all(answer.as_bytes()).await.ok()
    }
}

fn config(folder: &std::path::Path, url: &str) -> Config {
    use std::os::unix::fs::PermissionsExt;
    let text = format!(
        "[store]\npath = \"store\"\n[webhooks]\nlisten = \"127.0.0.1:0\"\n\
         [webhooks.endpoints.ordered]\ntarget = \"{url}/ordered\"\nverify = {{ type = \"none\" }}\n\
         [webhooks.endpoints.any]\ntarget = \"{url}/any\"\nverify = {{ type = \"none\" }}\nordered = false\n\
         [webhooks.endpoints.few]\ntarget = \"{url}/few\"\nverify = {{ type = \"none\" }}\nmax_attempts = 3\n"
    );
    let path = folder.join("keybearer.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let location = locate(Some(&path), &Process).unwrap();
    config::load(&location, &Process).result.unwrap()
}

/// What a configuration gives, apart from what runs.
fn parts(config: &Config) -> (Reader, Metrics, Arc<Upstreams>, Arc<Proxy>) {
    let metrics = Metrics::new().unwrap();
    let upstreams = Arc::new(Upstreams::default());
    let credentials = Credentials::new(
        Handle::current(),
        Arc::clone(&upstreams),
        metrics.clone(),
        config.store.clone(),
        courier::Courier::default(),
    );
    let parts = Parts {
        upstreams: Arc::clone(&upstreams),
        credentials: Arc::new(credentials),
        metrics: metrics.clone(),
        traces: Traces::default(),
    };
    let reader = live::apart(config, &parts).unwrap();
    let proxy = Proxy::new(reader.clone(), &metrics);
    (reader, metrics, upstreams, proxy)
}

fn means(
    config: &Config,
    queue: Queue,
    clock: Arc<dyn Clock>,
    stop: &watch::Sender<bool>,
) -> (Arc<Means>, Metrics) {
    let (_, metrics, upstreams, proxy) = parts(config);
    let means = Means {
        queue: Arc::new(queue),
        upstreams,
        proxy,
        clock,
        stop: stop.subscribe(),
    };
    (Arc::new(means), metrics)
}

async fn accept(means: &Means, endpoint: &Endpoint, number: usize) {
    let head = Head::new(&Method::POST, "", None, &HeaderMap::new());
    let mut content = head.packed(8);
    content.extend_from_slice(format!("{number}.").as_bytes());
    keep(means, endpoint, content).await;
}

async fn keep(means: &Means, endpoint: &Endpoint, content: Zeroizing<Vec<u8>>) -> Id {
    let arrival = Arrival {
        endpoint: Arc::clone(&endpoint.name),
        mark: None,
        content,
        limit: endpoint.limits.queue,
        at: means.clock.now(),
        held: None,
    };
    means.queue.accept(arrival).await.unwrap()
}

async fn eventually(what: &str, probe: impl Fn() -> bool) {
    let reached = async {
        while !probe() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(30), reached).await.expect(what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_minutes_without_a_target_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (target, url) = Target::start().await;
    let config = config(folder.path(), &url);
    let store = Store::file(&folder.path().join("queue"), None).unwrap();
    let queue = Queue::open(store.vault().unwrap()).unwrap();
    let began = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let clock = Arc::new(Manual(watch::Sender::new(began)));
    let stop = watch::Sender::new(false);
    let (means, metrics) = means(&config, queue, Arc::clone(&clock) as Arc<dyn Clock>, &stop);
    let mut couriers = Vec::new();
    let mut settings = Vec::new();
    let endpoints = &config.webhooks.as_ref().unwrap().endpoints;
    for endpoint in endpoints {
        for number in 0..20 {
            accept(&means, endpoint, number).await;
        }
        let (sender, receiver) = watch::channel(Arc::clone(endpoint));
        settings.push(sender);
        let metrics = metrics.webhooks(&endpoint.name);
        let courier = Courier::new(Arc::clone(&means), metrics, receiver, stop.subscribe());
        couriers.push(tokio::spawn(courier.run()));
    }
    // What is due has been tried, and the next attempt waits for the clock.
    let tried = || {
        ["ordered", "any", "few"].iter().all(|name| {
            let oldest = means.queue.oldest(name).unwrap();
            oldest.is_none_or(|(_, fact)| fact.due > super::queue::millis(clock.now()))
        })
    };
    for _ in 0..600 {
        eventually("attempts to be made", tried).await;
        clock.advance(Duration::from_secs(1));
    }
    eventually("attempts to be made", tried).await;
    let asked = |path: &str| {
        let asked = target.asked.lock();
        asked.iter().filter(|it| it.starts_with(path)).count()
    };
    // After 1, 2, 4 … 256 seconds and up to a fifth more each, the last one perhaps.
    let first = asked("POST /ordered");
    assert!(
        (9..=10).contains(&first),
        "{first} attempts of the first one"
    );
    assert!(
        target
            .asked
            .lock()
            .iter()
            .filter(|it| it.starts_with("POST /ordered"))
            .all(|it| it.ends_with(" 0."))
    );
    let any = asked("POST /any");
    assert!((20 * 9..=20 * 10).contains(&any), "{any} attempts of all");
    assert_eq!(asked("POST /few"), 3 * 20, "set aside one after the other");
    let few = "few".into();
    let failed = means.queue.list(&few, Some(Phase::Failed), None, 100).await;
    assert_eq!(failed.unwrap().len(), 20);
    assert_eq!(target.took.lock().len(), 0);
    target.is_up.store(true, SeqCst);
    let empty = || {
        ["ordered", "any"]
            .iter()
            .all(|name| means.queue.oldest(name).unwrap().is_none())
    };
    // Some of the last failures may be told only now: those are due later.
    while !empty() {
        clock.advance(Duration::from_secs(20 * 60));
        let tried = || empty() || tried();
        eventually("attempts to be made", tried).await;
    }
    let took = target.took.lock().clone();
    let expected: Vec<_> = (0..20)
        .map(|number| format!("POST /ordered {number}."))
        .collect();
    let ordered: Vec<_> = took
        .iter()
        .filter(|it| it.contains("/ordered"))
        .cloned()
        .collect();
    assert_eq!(ordered, expected);
    let mut any: Vec<_> = took
        .iter()
        .filter(|it| it.contains("/any"))
        .cloned()
        .collect();
    any.sort();
    let mut expected: Vec<_> = (0..20)
        .map(|number| format!("POST /any {number}."))
        .collect();
    expected.sort();
    assert_eq!(any, expected);
    stop.send_replace(true);
    for courier in couriers {
        timeout(Duration::from_secs(30), courier)
            .await
            .unwrap()
            .unwrap();
    }
}
