use std::net::UdpSocket;

use super::query::Found;
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn found(addresses: &[&str], seconds: u64) -> Result<Found, Unresolved> {
    Ok(Found {
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        ttl: Duration::from_secs(seconds),
    })
}

fn failed() -> Result<Found, Unresolved> {
    Err(Unresolved::Failed("no DNS server answered in time".into()))
}

/// What is taken at once, or why not.
fn taken(then: Then) -> Result<Arc<[IpAddr]>, &'static str> {
    match then {
        Then::Take(addresses) => Ok(addresses),
        Then::Fail(_) => Err("failed"),
        Then::Wait(_, Some(_)) => Err("waits for a while"),
        Then::Wait(_, None) => Err("waits"),
    }
}

#[test]
fn an_answer_has_its_time_between_a_second_and_five_minutes() {
    let start = Instant::now();
    for (ttl, until) in [(0, 1), (1, 1), (60, 60), (86_400, 300)] {
        let mut known = Known::new(start);
        known.learn("a", found(&["1.1.1.1"], ttl), start);
        let at = |seconds: u64, millis: u64| {
            start + Duration::from_secs(seconds) - Duration::from_millis(millis)
        };
        assert!(known.look(at(until, 1)).0.is_none(), "{ttl}");
        let (begun, then) = known.look(at(until, 0));
        assert!(begun.is_some(), "{ttl}");
        assert_eq!(taken(then), Err("waits for a while"));
    }
}

#[test]
fn one_lookup_serves_all_who_ask() {
    let now = Instant::now();
    let mut known = Known::new(now);
    let (begun, then) = known.look(now);
    let begun = begun.unwrap();
    assert_eq!(taken(then), Err("waits"));
    let (second, then) = known.look(now);
    assert!(second.is_none());
    assert_eq!(taken(then), Err("waits"));
    // One that was given up without a word.
    drop(begun);
    assert!(known.look(now).0.is_some());
}

#[test]
fn stale_answers_serve_for_an_hour_while_nobody_answers() {
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut known = Known::new(start);
    known.learn("a", found(&["1.1.1.1"], 10), start);
    let (begun, _) = known.look(at(10));
    known.learn("a", failed(), at(10));
    drop(begun);
    let mut lookups = 0;
    for second in 10..10 + 3600 {
        let (begun, then) = known.look(at(second));
        assert_eq!(*taken(then).unwrap(), [ip("1.1.1.1")], "{second}");
        if begun.is_some() {
            lookups += 1;
            known.learn("a", failed(), at(second));
        }
    }
    assert!((110..130).contains(&lookups), "with pauses: {lookups}");
    let (_, then) = known.look(at(10 + 3600));
    assert!(taken(then).is_err());
    known.learn("a", found(&["2.2.2.2"], 10), at(4000));
    assert_eq!(*taken(known.look(at(4001)).1).unwrap(), [ip("2.2.2.2")]);
}

#[test]
fn that_there_is_nothing_is_believed_for_two_seconds_and_ends_what_was_there() {
    let start = Instant::now();
    let mut known = Known::new(start);
    known.learn("a", found(&["1.1.1.1"], 1), start);
    let nothing = || Err(Unresolved::Nothing("there is no such name"));
    known.learn("a", nothing(), start);
    assert_eq!(taken(known.look(start).1), Err("failed"));
    let (begun, then) = known.look(start + Duration::from_secs(2));
    assert!(begun.is_some());
    assert_eq!(taken(then), Err("waits"));
}

#[test]
fn addresses_of_answers_just_before_count_for_a_while() {
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut known = Known::new(start);
    known.learn("a", found(&["1.1.1.1"], 60), start);
    known.learn("a", found(&["2.2.2.2"], 60), at(60));
    assert_eq!(
        known.current(at(61)).unwrap(),
        ["2.2.2.2", "1.1.1.1"].map(ip)
    );
    assert_eq!(known.current(at(70)).unwrap(), [ip("2.2.2.2")]);
    known.learn("a", found(&["1.1.1.1"], 60), at(70));
    assert_eq!(
        known.current(at(71)).unwrap(),
        ["1.1.1.1", "2.2.2.2"].map(ip)
    );
}

#[test]
fn localhost_is_loopback() {
    for name in ["localhost", "a.LOCALHOST", "localhost."] {
        assert!(is_localhost(name), "{name}");
    }
    assert!(!is_localhost("localhost.example") && !is_localhost("notlocalhost"));
}

#[test]
fn names_are_completed_as_resolv_conf_says() {
    let system = System::read([SocketAddr::from(([127, 0, 0, 1], 9))].into());
    let names = |name: &str| {
        let names = system.candidates(name).into_iter();
        names.map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("a.example."), ["a.example."]);
    assert!(names("a.example").contains(&"a.example.".to_owned()));
    assert!(system.is_current());
}

/// A server that reads questions and says nothing.
#[tokio::test]
async fn a_lookup_goes_on_when_whoever_asked_has_gone() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolver = Arc::new(Resolver::default());
    resolver.ask(&[silent.local_addr().unwrap()]);
    let asked = || tokio::time::timeout(Duration::from_millis(300), resolver.resolve("a.example"));
    assert!(asked().await.is_err());
    assert!(asked().await.is_err());
    let known = resolver.known.lock();
    assert_eq!(known.len(), 1);
    drop(known);
    silent.set_nonblocking(true).unwrap();
    let mut questions = 0;
    let mut buffer = [0; 512];
    while silent.recv(&mut buffer).is_ok() {
        questions += 1;
    }
    // Of both families; the second to ask has waited for the first one's.
    assert!((1..=4).contains(&questions), "{questions}");
}
