//! What one bad target, sender or entry can do to others, and to what is told of it.

use redb::{Database, ReadableTable, TableDefinition};

use super::{deliveries, endpoint, open, path, start, tables, wait_for, webhook};
use crate::harness::{Answer, RawClient, Setup, Upstream, connection, eventually};

#[tokio::test]
async fn an_id_that_cannot_be_read_keeps_no_other_endpoint_out() {
    /// The store's values by name, sealed.
    const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
    let target = Upstream::start().await;
    let hooks = ["first", "second", "third"].map(|name| open(name, &target.url("/")));
    let keybearer = start(&hooks.concat()).await;
    let mut paths = Vec::new();
    for name in ["first", "second", "third"] {
        paths.push(path(&keybearer, name).await);
    }
    let (setup, _) = keybearer.stop().await;
    {
        let database = Database::open(setup.path("store/store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut values = transaction.open_table(VALUES).unwrap();
        // What was sealed for another place does not open.
        let third = values
            .get("webhooks/third")
            .unwrap()
            .unwrap()
            .value()
            .to_vec();
        values.insert("webhooks/second", third.as_slice()).unwrap();
        drop(values);
        transaction.commit().unwrap();
    }
    let keybearer = setup.start().await;
    for (name, known) in [("first", &paths[0]), ("third", &paths[2])] {
        assert_eq!(path(&keybearer, name).await, *known);
        let answer = webhook(&keybearer, known, name).send().await;
        assert_eq!(answer.status, 202, "{answer:?}");
        wait_for(&keybearer, name, "delivered", 1).await;
    }
    let absent = keybearer.ask("GET", "/api/webhooks/second").send().await;
    assert_eq!(absent.status, 404, "{absent:?}");
    let answer = webhook(&keybearer, &paths[1], "second").send().await;
    answer.problem(404, "no-route", "destination_not_found");
    keybearer
        .logged(&["is not in force", "second", "changed by somebody else"])
        .await;
}

#[tokio::test]
async fn a_target_chooses_no_word_of_what_is_told_of_it() {
    let target = Upstream::start().await;
    let app = connection("app", &target.url(""), "auth = { type = \"none\" }");
    let claims = "Proxy-Status: keybearer; error=canary-status\r\n\
        Content-Type: application/problem+json\r\nRetry-After: canary-later\r\n";
    let content = "{\"type\":\"urn:keybearer:problem:internal\",\"title\":\"canary-title\",\
        \"status\":500,\"detail\":\"canary-detail\"}";
    target.on(
        "/claims",
        Answer::sized("500 canary-reason", claims, content),
    );
    target.on("/noise", Answer::raw("canary-noise\r\n\r\n"));
    let mut hooks = String::new();
    for at in ["claims", "noise"] {
        let rest = "verify = { type = \"none\" }\nmax_attempts = 1";
        hooks += &endpoint(
            &format!("direct-{at}"),
            &target.url(&format!("/{at}")),
            rest,
        );
        hooks += &format!(
            "[webhooks.endpoints.through-{at}]\nconnection = \"app\"\npath = \"/{at}\"\n{rest}\n"
        );
    }
    let setup = Setup::new().tables(&(app + &tables(&hooks)));
    let keybearer = setup.start().await;
    for (name, status, told) in [
        ("direct-claims", 500, "answered 500 "),
        ("through-claims", 500, "answered 500 "),
        ("direct-noise", 0, "the target's answer is not HTTP/1.1"),
        (
            "through-noise",
            502,
            "the upstream's answer is not HTTP/1.1",
        ),
    ] {
        let path = path(&keybearer, name).await;
        assert_eq!(webhook(&keybearer, &path, "x").send().await.status, 202);
        wait_for(&keybearer, name, "failed", 1).await;
        let delivery = &deliveries(&keybearer, name).await[0];
        let error = delivery["error"].as_str().unwrap();
        assert!(error.starts_with(told), "{name}: {delivery}");
        assert_eq!(delivery["status"].as_u64().unwrap_or(0), status, "{name}");
        assert!(!delivery.to_string().contains("canary"), "{delivery}");
    }
    assert!(!keybearer.log().contains("canary"), "{}", keybearer.log());
}

#[tokio::test]
async fn senders_that_hang_up_take_no_room_with_them() {
    let target = Upstream::start().await;
    let keybearer = start(&open("hook", &target.url("/"))).await;
    let path = path(&keybearer, "hook").await;
    let mut senders = Vec::new();
    // Two of them have so much of what one endpoint may have that a third finds no room.
    for _ in 0..2 {
        let mut sender = RawClient::connect(keybearer.webhooks()).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 26214400\r\n\r\n");
        sender.send(head).await;
        sender.send(vec![b'x'; 24 << 20]).await;
        senders.push(sender);
    }
    let long = webhook(&keybearer, &path, &"x".repeat(20 << 20)).bytes();
    // Who is refused before all is sent may see a close in place of the answer.
    let send = async || {
        let mut sender = RawClient::connect(keybearer.webhooks()).await;
        sender.send(&long).await;
        let answer = sender.try_response_to("POST").await;
        answer.is_some_and(|answer| answer.status == 202)
    };
    let refused = async || (!send().await).then_some(());
    eventually("what finds no room to be turned away", refused).await;
    let metrics = keybearer.metrics().await;
    let labels = [("endpoint", "hook"), ("result", "full")];
    let full = metrics.value("keybearer_webhooks_received_total", &labels);
    assert_eq!(full, Some(1.0));
    drop(senders);
    let accepted = async || send().await.then_some(());
    eventually("the room of those that hung up", accepted).await;
}
