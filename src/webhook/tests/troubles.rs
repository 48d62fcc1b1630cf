//! What one attempt can do to others, and the clock to all.

use std::iter;
use std::path::Path;

use redb::{Database, ReadableTable, TableDefinition};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::super::queue::{Fact, millis};
use super::*;

/// A queue, a target and a clock, for the courier of one endpoint.
struct World {
    folder: TempDir,
    target: Arc<Target>,
    config: Config,
    clock: Arc<Manual>,
    stop: watch::Sender<bool>,
}

/// Its courier, at work.
struct AtWork {
    endpoint: Arc<Endpoint>,
    means: Arc<Means>,
    courier: JoinHandle<()>,
    /// It ends without them.
    _settings: watch::Sender<Arc<Endpoint>>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (target, url) = Target::start().await;
        let began = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self {
            config: config(folder.path(), &url),
            folder,
            target,
            clock: Arc::new(Manual(watch::Sender::new(began))),
            stop: watch::Sender::new(false),
        }
    }

    fn means(&self) -> (Arc<Means>, Metrics) {
        let store = Store::file(&self.folder.path().join("queue"), None).unwrap();
        let queue = Queue::open(store.vault().unwrap()).unwrap();
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        means(&self.config, queue, clock, &self.stop)
    }

    fn endpoint(&self, name: &str) -> Arc<Endpoint> {
        let endpoints = &self.config.webhooks.as_ref().unwrap().endpoints;
        let named = endpoints.iter().find(|endpoint| *endpoint.name == *name);
        Arc::clone(named.unwrap())
    }

    /// Has the contents kept, and then delivered.
    async fn deliver(&self, name: &str, contents: Vec<Zeroizing<Vec<u8>>>) -> (AtWork, Vec<Id>) {
        let (means, metrics) = self.means();
        let endpoint = self.endpoint(name);
        let mut ids = Vec::new();
        for content in contents {
            ids.push(keep(&means, &endpoint, content).await);
        }
        let (settings, receiver) = watch::channel(Arc::clone(&endpoint));
        let metrics = metrics.webhooks(&endpoint.name);
        let stop = self.stop.subscribe();
        let courier = Courier::new(Arc::clone(&means), metrics, receiver, stop);
        let at_work = AtWork {
            endpoint,
            means,
            courier: tokio::spawn(courier.run()),
            _settings: settings,
        };
        (at_work, ids)
    }

    fn asked(&self) -> usize {
        self.target.asked.lock().len()
    }

    fn took(&self) -> usize {
        self.target.took.lock().len()
    }

    async fn end(self, at_work: AtWork) {
        self.stop.send_replace(true);
        let ended = timeout(Duration::from_secs(30), at_work.courier).await;
        ended.expect("an end").expect("no panic");
    }
}

impl AtWork {
    async fn fact(&self, id: Id) -> Fact {
        let fact = self.means.queue.fact(&self.endpoint.name, id).await;
        fact.unwrap().unwrap()
    }

    /// Waits until a delivery is known to be so.
    async fn becomes(&self, id: Id, what: &str, holds: impl Fn(&Fact) -> bool) -> Fact {
        let known = async {
            loop {
                let fact = self.fact(id).await;
                if holds(&fact) {
                    return fact;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(30), known).await.expect(what)
    }
}

/// A number behind so many bytes of padding.
fn numbered(number: usize, padding: usize) -> Zeroizing<Vec<u8>> {
    let head = Head::new(&Method::POST, "", None, &HeaderMap::new());
    let mut content = head.packed(padding + 8);
    content.extend(iter::repeat_n(b'x', padding));
    content.extend_from_slice(format!("{number}.").as_bytes());
    content
}

/// Changes a bit of what is kept of a delivery, as a bad disk does.
fn damage(file: &Path, id: Id) {
    const CONTENTS: TableDefinition<'_, u128, (&str, &[u8])> = TableDefinition::new("contents");
    let id = Uuid::try_parse(&id.to_string()).unwrap().as_u128();
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut contents = transaction.open_table(CONTENTS).unwrap();
    let mut sealed = contents.get(id).unwrap().unwrap().value().1.to_vec();
    *sealed.last_mut().unwrap() ^= 1;
    contents.insert(id, ("ordered", sealed.as_slice())).unwrap();
    drop(contents);
    transaction.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_panics_takes_no_other_with_it() {
    let world = World::new().await;
    world.target.is_up.store(true, SeqCst);
    world.target.is_slow.store(true, SeqCst);
    // More fields than a request can have: none such arrives, and what makes one of it panics.
    let many = Head {
        method: "POST".to_owned(),
        rest: String::new(),
        query: None,
        fields: vec![("x".to_owned(), "1".to_owned()); 40_000],
    };
    let contents = vec![numbered(0, 0), many.packed(0), numbered(1, 0)];
    let (at_work, ids) = world.deliver("any", contents).await;
    eventually("the others to be under way", || world.asked() == 2).await;
    for attempts in 1..=3 {
        let noted = |fact: &Fact| fact.attempts == attempts;
        let fact = at_work.becomes(ids[1], "a noted attempt", noted).await;
        assert_eq!(fact.told, "a fault of keybearer itself; report it");
        assert_eq!(fact.phase, Phase::Waiting);
        assert_eq!(world.asked(), 2, "nobody forgets what is under way");
        world.clock.advance(Duration::from_secs(60));
    }
    world.target.let_go.send_replace(2);
    for id in [ids[0], ids[2]] {
        let delivered = |fact: &Fact| fact.phase == Phase::Delivered;
        at_work.becomes(id, "a delivery", delivered).await;
    }
    assert_eq!((world.asked(), world.took()), (2, 2));
    world.end(at_work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_while_an_attempt_waits_does_not_hold_it() {
    const HALF_AN_HOUR: u64 = 30 * 60;
    const TWO_DAYS: u64 = 2 * 24 * 60 * 60;
    for (name, by) in [
        ("ordered", HALF_AN_HOUR),
        ("any", HALF_AN_HOUR),
        ("ordered", TWO_DAYS),
        ("any", TWO_DAYS),
    ] {
        let world = World::new().await;
        let (at_work, ids) = world.deliver(name, vec![numbered(0, 0)]).await;
        let failed = |fact: &Fact| fact.attempts == 1;
        at_work.becomes(ids[0], "a first attempt", failed).await;
        world.target.is_up.store(true, SeqCst);
        world.clock.set_back(Duration::from_secs(by));
        eventually("the next attempt", || world.took() == 1).await;
        world.end(at_work).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_ahead_while_an_attempt_waits_brings_it() {
    let world = World::new().await;
    let (at_work, ids) = world.deliver("ordered", vec![numbered(0, 0)]).await;
    let failed = |fact: &Fact| fact.attempts == 1;
    let fact = at_work.becomes(ids[0], "a first attempt", failed).await;
    assert!(fact.due > millis(world.clock.now()));
    world.target.is_up.store(true, SeqCst);
    world.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    eventually("the next attempt", || world.took() == 1).await;
    world.end(at_work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_be_read_is_set_aside_and_holds_up_nothing() {
    let world = World::new().await;
    world.target.is_up.store(true, SeqCst);
    let (means, _) = world.means();
    let endpoint = world.endpoint("ordered");
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(keep(&means, &endpoint, numbered(number, 0)).await);
    }
    drop(means);
    damage(&world.folder.path().join("queue/webhooks.redb"), ids[0]);
    let (at_work, _) = world.deliver("ordered", Vec::new()).await;
    eventually("the others to be delivered", || world.took() == 2).await;
    assert_eq!(
        *world.target.took.lock(),
        ["POST /ordered 1.", "POST /ordered 2."]
    );
    let fact = at_work.fact(ids[0]).await;
    assert_eq!((fact.phase, fact.attempts), (Phase::Failed, 1));
    assert!(fact.told.contains("cannot be read"), "{}", fact.told);
    world.end(at_work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_content_under_way_is_bounded_and_none_waits_for_another() {
    /// Each is read alone, and with four of them there is as much as may be.
    const LONG: usize = 17 << 16;
    let world = World::new().await;
    world.target.is_up.store(true, SeqCst);
    world.target.is_slow.store(true, SeqCst);
    let contents = (0..8).map(|number| numbered(number, LONG)).collect();
    let (at_work, _) = world.deliver("any", contents).await;
    let gauge = at_work.means.queue.gauge(&at_work.endpoint.name);
    for answered in 0..8 {
        let under_way = 4.min(8 - answered);
        let asked = || world.asked() >= answered + under_way;
        eventually("as many to be under way as there may be", asked).await;
        assert_eq!(world.asked(), answered + under_way);
        world.target.let_go.send_replace(answered + 1);
        // By then whatever may be under way has begun.
        let noted = || gauge.waiting() == 7 - answered as u64;
        eventually("a delivery to be noted", noted).await;
    }
    assert_eq!(world.took(), 8);
    world.end(at_work).await;
}
