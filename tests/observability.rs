//! What is shipped for Prometheus and Grafana, asked of a real Prometheus.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::agent::erp;
use crate::harness::{Keybearer, Process, Request, Setup, Site, Upstream, connection, eventually};
use crate::linking::free_port;

/// A file of the repository.
fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Runs `promtool`, which is to be content.
async fn promtool(setup: &Setup, args: &[&str]) {
    let mut command = Command::new("promtool");
    let exit = Process::run(command.current_dir(setup.path("")).args(args)).await;
    let said = format!("{}{}", exit.stdout, exit.stderr);
    assert_eq!(exit.code, Some(0), "promtool {args:?}: {said}");
}

/// Where a Prometheus answers.
struct Prometheus {
    address: SocketAddr,
    _process: Process,
}

impl Prometheus {
    /// One that scrapes this console, by the configuration that is shipped.
    async fn start(setup: &Setup, console: SocketAddr) -> Self {
        let text = shipped("config/examples/prometheus/prometheus.yaml");
        let text = text.replace("127.0.0.1:9080", &console.to_string());
        let often = "global: { scrape_interval: 1s, scrape_timeout: 1s }\n";
        setup.write("prometheus.yaml", &format!("{often}{text}"));
        setup.write(
            "alerts.yaml",
            &shipped("config/examples/prometheus/alerts.yaml"),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new("prometheus");
        command
            .current_dir(setup.path(""))
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::spawn(&mut command);
        eventually("Prometheus", async || {
            if process.ended().is_some() {
                panic!("Prometheus ended: {:?}", process.exit().await);
            }
            tokio::net::TcpStream::connect(address).await.ok()?;
            let ready = Request::new(address, "GET", "/-/ready").send().await;
            (ready.status == 200).then_some(())
        })
        .await;
        Self {
            address,
            _process: process,
        }
    }

    /// What it makes of an expression.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let path = format!("/api/v1/query?query={query}");
        let answer = Request::new(self.address, "GET", &path).send().await.json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

/// The expressions of all panels, with their variables filled in.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| {
            let text = target["expr"].as_str().unwrap();
            let text = text.replace("$__rate_interval", "1m");
            text.replace("$instance", ".*").replace("$connection", ".*")
        })
        .collect()
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c));
    words
        .filter(|word| word.starts_with("keybearer_"))
        .map(|word| {
            let of_histogram = ["_bucket", "_count", "_sum"];
            let base = of_histogram.iter().find_map(|end| word.strip_suffix(end));
            base.unwrap_or(word)
        })
        .collect()
}

#[tokio::test]
async fn the_rules_say_what_is_wrong() {
    let setup = Setup::new();
    setup.write(
        "alerts.yaml",
        &shipped("config/examples/prometheus/alerts.yaml"),
    );
    let cases = "tests/data/observability/alerts.test.yaml";
    setup.write("alerts.test.yaml", &shipped(cases));
    promtool(&setup, &["check", "rules", "alerts.yaml"]).await;
    promtool(&setup, &["test", "rules", "alerts.test.yaml"]).await;
}

#[tokio::test]
async fn a_prometheus_reads_all_that_the_dashboard_shows() {
    let upstream = Upstream::start().await;
    let tables = erp(&upstream.url(""), "") + &connection("gone", "http://127.0.0.1:1/", "");
    let site = Site::start(&tables).await;
    let _agent = site.agent(&["127.0.0.1:*"]).await;
    for path in ["/erp/", "/gone/", "/nowhere"] {
        site.keybearer.get(path).send().await;
    }
    let setup = Setup::new();
    let prometheus = Prometheus::start(&setup, site.keybearer.console()).await;
    // A scrape that was too slow makes all series stale until the next one.
    eventually("the requests", async || {
        let counted = prometheus.query("keybearer_requests_total").await;
        let statuses: BTreeSet<_> = counted
            .iter()
            .map(|series| series["metric"]["status"].as_str().unwrap())
            .collect();
        (statuses == ["200", "404", "502"].into()).then_some(())
    })
    .await;
    let text = shipped("config/examples/grafana/keybearer.json");
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    for expression in expressions(&dashboard) {
        // What this connection has none of.
        let absent = ["credential", "certificate", "token", "rate(", "webhook"];
        let is_absent = absent.iter().any(|word| expression.contains(word));
        eventually(&expression, async || {
            let series = prometheus.query(&expression).await;
            (is_absent || !series.is_empty()).then_some(())
        })
        .await;
    }
    let rules = Request::new(prometheus.address, "GET", "/api/v1/rules");
    let rules = rules.send().await.json();
    let groups = rules["data"]["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{rules}");
}

#[tokio::test]
async fn only_metrics_that_there_are_are_asked_for() {
    let documented = shipped("docs/reference.md");
    let documented = metrics(&documented);
    for name in ["grafana/keybearer.json", "prometheus/alerts.yaml"] {
        let text = shipped(&format!("config/examples/{name}"));
        for metric in metrics(&text) {
            assert!(documented.contains(metric), "{name}: {metric}");
        }
    }
}

#[tokio::test]
async fn metrics_are_as_prometheus_wants_them() {
    let upstream = Upstream::start().await;
    let tables = erp(&upstream.url(""), "")
        + &connection("gone", "http://127.0.0.1:1/", "")
        + "[webhooks]\nlisten = \"127.0.0.1:0\"\n[webhooks.endpoints.hook]\ntarget = \"http://127.0.0.1:1/\"\nverify = { type = \"none\" }\n";
    let site = Site::start(&tables).await;
    for path in ["/erp/", "/gone/", "/nowhere"] {
        site.keybearer.get(path).send().await;
    }
    let keybearer: &Keybearer = &site.keybearer;
    let text = eventually("an endpoint for webhooks", async || {
        let text = keybearer.ask("GET", "/metrics").send().await.text();
        text.contains("keybearer_webhook_queue_depth{")
            .then_some(text)
    })
    .await;
    let setup = Setup::new();
    setup.write("metrics.txt", &text);
    let mut command = Command::new("sh");
    command
        .current_dir(setup.path(""))
        .args(["-c", "promtool check metrics < metrics.txt"]);
    let exit = Process::run(&mut command).await;
    let said = format!("{}{}", exit.stdout, exit.stderr);
    assert_eq!((exit.code, said.as_str()), (Some(0), ""), "{text}");
}
