//! Certificates that end: told before, told then, and used as long as the upstream takes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{put, setup, showing};
use crate::harness::nginx::{Nginx, TELL};
use crate::harness::{Authority, DAY};
use crate::linking;

const SOON: &str = "Client certificate expires soon";
const EXPIRED: &str = "Client certificate has expired";

#[tokio::test]
async fn an_end_is_told_wherever_one_looks() {
    let authority = Authority::new();
    let nginx = Nginx::start(&authority.issue(&["127.0.0.1"]), &[&authority], TELL).await;
    // Whose console `status` finds.
    let setup = linking::setup().file("ca.pem", authority.pem());
    let now = SystemTime::now();
    let ends = [
        ("far", now + 300 * DAY, 299),
        ("soon", now + 10 * DAY, 9),
        ("past", now - 10 * DAY, -11),
    ];
    let mut tables = String::new();
    for (n, (name, end, _)) in ends.iter().enumerate() {
        put(
            &setup,
            name,
            &authority.client_until(name, n as u64 + 1, *end),
        );
        tables += &showing(name, &nginx.url(""), "");
    }
    let setup = setup.tables(&tables);

    let exit = setup.run(&["check"]).await;
    assert_eq!(
        exit.code,
        Some(0),
        "no fault of the configuration: {}",
        exit.stderr
    );
    let warnings: Vec<_> = exit
        .stderr
        .lines()
        .filter(|line| line.contains("warning: "))
        .collect();
    let [past, soon] = warnings[..] else {
        panic!("{}", exit.stderr);
    };
    assert!(
        past.contains("`past` has expired") && past.contains("`CN=past`"),
        "{past}"
    );
    assert!(
        soon.contains("`soon` expires in less than 10 days"),
        "{soon}"
    );
    for word in ["tls.client_key from file ", ", client certificate until "] {
        assert_eq!(exit.stdout.matches(word).count(), 3, "{}", exit.stdout);
    }
    let json: serde_json::Value =
        serde_json::from_str(&setup.run(&["check", "--json"]).await.stdout).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2, "{json}");

    let keybearer = setup.start().await;
    let error = keybearer.logged(&[EXPIRED, "CN=past", "\"ERROR\""]).await;
    assert!(!error.contains("CN=soon"));
    keybearer.logged(&[SOON, "CN=soon", "\"WARN\""]).await;
    assert!(!keybearer.log().contains("CN=far"));
    let metrics = keybearer.metrics().await;
    for (name, end, days_left) in ends {
        let shown = keybearer
            .ask("GET", &format!("/api/connections/{name}"))
            .send()
            .await
            .json();
        let certificate = &shown["client_certificate"];
        assert_eq!(certificate["subject"], format!("CN={name}"));
        assert_eq!(
            certificate["issuer"]
                .as_str()
                .map(|text| text.contains("keybearer tests")),
            Some(true),
            "{shown}"
        );
        assert_eq!(certificate["days_left"], days_left, "{shown}");
        let not_after = humantime::parse_rfc3339(certificate["not_after"].as_str().unwrap());
        let seconds = end.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(
            not_after.unwrap(),
            UNIX_EPOCH + Duration::from_secs(seconds)
        );
        let family = "keybearer_client_certificate_expiry_timestamp_seconds";
        assert_eq!(
            metrics.value(family, &[("connection", name)]),
            Some(seconds as f64)
        );
    }
    let table = keybearer.spawn(&["status"]).exit().await.stdout;
    assert!(
        table.lines().next().unwrap().contains("CERTIFICATE"),
        "{table}"
    );
    for (name, cell) in [("far", "in 299d"), ("soon", "in 9d"), ("past", "10d ago")] {
        let row = table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(row.contains(cell), "{row}");
    }
    // The upstream decides: nginx says no to what has ended.
    for (name, status) in [("soon", 200), ("past", 400)] {
        let response = keybearer.get(&format!("/{name}/x")).send().await;
        assert_eq!(response.status, status, "{response:?}");
    }

    // It ends for the metrics with its connection.
    keybearer
        .reconfigure(&showing("far", &nginx.url(""), ""))
        .await;
    let metrics = keybearer.ask("GET", "/metrics").send().await.text();
    assert!(!metrics.contains("certificate_expiry_timestamp_seconds{connection=\"soon\"}"));
    assert!(metrics.contains("certificate_expiry_timestamp_seconds{connection=\"far\"}"));
}

#[tokio::test]
async fn what_ends_while_it_runs_is_told_then() {
    let authority = Authority::new();
    let setup = setup(&authority);
    let end = SystemTime::now() + Duration::from_secs(4);
    put(&setup, "a", &authority.client_until("a", 1, end));
    let table = showing("a", "https://127.0.0.1:1", "");
    let keybearer = setup.tables(&table).start().await;
    keybearer.logged(&[SOON, "CN=a"]).await;
    keybearer.logged(&[EXPIRED, "CN=a", "\"ERROR\""]).await;
    assert_eq!(
        keybearer.log().matches("Configuration published").count(),
        0,
        "no reload"
    );
    assert_eq!(keybearer.log().matches(EXPIRED).count(), 1, "once");
}
