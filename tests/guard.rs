//! Section 3, steps 1 to 3 and 5: what raw bytes from a caller become at the upstream's end.

mod browsers;
mod framing;
mod hosts;
mod paths;
mod row;
mod stripping;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use self::row::{Expect, MINE, Row, Sight};
use crate::harness::{
    Keybearer, RawClient, Recorded, Response, Setup, Upstream, base64, connection,
};

#[tokio::test]
async fn no_request_leaves_the_base_url() {
    Bench::start().await.run(paths::refused()).await;
}

#[tokio::test]
async fn everything_inside_arrives_byte_for_byte() {
    Bench::start().await.run(paths::passed()).await;
}

#[tokio::test]
async fn only_our_own_names_are_served() {
    Bench::start().await.run(hosts::rows()).await;
}

#[tokio::test]
async fn no_other_site_spends_credentials() {
    Bench::start().await.run(browsers::rows()).await;
}

#[tokio::test]
async fn ambiguous_messages_are_refused_or_made_plain() {
    Bench::start().await.run(framing::heads()).await;
}

#[tokio::test]
async fn broken_content_never_completes_upstream() {
    let bench = Bench::start().await;
    bench.run(framing::broken_contents()).await;
    // Not each after its row alone: an upstream may see the head later than the caller the refusal.
    let seen = bench.upstream.requests();
    assert!(seen.iter().all(|request| !request.complete), "{seen:?}");
}

#[tokio::test]
async fn odd_content_arrives_plain() {
    Bench::start().await.run(framing::odd_contents()).await;
}

#[tokio::test]
async fn heads_have_a_limit() {
    Bench::start().await.run(framing::limits()).await;
}

#[tokio::test]
async fn every_credential_field_of_the_caller_is_stripped() {
    Bench::start().await.run(stripping::fields()).await;
}

#[tokio::test]
async fn every_credential_parameter_of_the_caller_is_stripped() {
    Bench::start().await.run(stripping::parameters()).await;
}

#[tokio::test]
async fn ordinary_fields_pass() {
    Bench::start().await.run(stripping::kept()).await;
}

#[test]
fn the_tables_are_as_long_as_promised() {
    let rows = [
        paths::refused(),
        paths::passed(),
        hosts::rows(),
        browsers::rows(),
        framing::heads(),
        framing::broken_contents(),
        framing::odd_contents(),
        framing::limits(),
        stripping::fields(),
        stripping::parameters(),
        stripping::kept(),
    ];
    let written = rows.iter().map(Vec::len).sum::<usize>();
    println!("{written} rows");
    assert!(written >= 350, "{written}");
}

/// One keybearer in front of one upstream, on which rows run one after the other.
struct Bench {
    upstream: Upstream,
    keybearer: Keybearer,
}

impl Bench {
    async fn start() -> Self {
        let upstream = Upstream::start().await;
        let base = upstream.url("/base");
        let tables = [
            (
                "p",
                r#"auth = { type = "basic", username = "me", password = "ours" }"#,
            ),
            (
                "header",
                r#"auth = { type = "header", headers = { "X-Injected" = "ours" } }"#,
            ),
            (
                "query",
                r#"auth = { type = "query", params = { "inject-key" = "our key&more" } }"#,
            ),
            (
                "custom",
                r#"auth = { type = "custom", headers = { "X-Injected" = "ours" }, params = { "inject-key" = "ours" }, basic = { username = "me", password = "ours" } }"#,
            ),
            ("none", r#"auth = { type = "none" }"#),
            ("cookies", "auth = { type = \"none\" }\ncookies = \"pass\""),
            (
                "strip",
                "auth = { type = \"none\" }\nstrip = { headers = [\"X-Legacy-Key\"], query = [\"api_key\"] }",
            ),
        ];
        let tables = tables.map(|(name, rest)| connection(name, &base, rest));
        let keybearer = Setup::new()
            .server("allowed_origins = [\"https://app.example\"]")
            .tables(&tables.concat())
            .start()
            .await;
        Self {
            upstream,
            keybearer,
        }
    }

    /// Runs every row and reports all that fail, each with its reason.
    async fn run(&self, rows: Vec<Row>) {
        let mut failures = Vec::new();
        for row in &rows {
            let outcome = AssertUnwindSafe(self.check(row)).catch_unwind().await;
            if let Err(panic) = outcome {
                let text = panic.downcast_ref::<String>().cloned();
                let text =
                    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                let shown = String::from_utf8_lossy(&row.request[..row.request.len().min(300)]);
                let text = text.unwrap_or_default();
                failures.push(format!("{}\n  {shown:?}\n  {text}\n", row.reason));
            }
        }
        let (failed, all) = (failures.len(), rows.len());
        assert!(
            failed == 0,
            "{failed} of {all} rows:\n{}",
            failures.join("\n")
        );
    }

    async fn check(&self, row: &Row) {
        if !matches!(row.expected, Expect::Midway) {
            self.upstream.take();
        }
        let mut client = self.keybearer.caller().await;
        client.send(self.fill_in(&row.request)).await;
        let response = client.response_to(row.method()).await;
        match &row.expected {
            Expect::Refused(statuses) => self.refused(&response, statuses),
            Expect::Closed(statuses) => {
                client.closed().await;
                self.refused(&response, statuses);
            }
            Expect::Midway => {
                client.closed().await;
                response.own();
                assert_eq!(response.status, 400, "{}", response.text());
                let whole = self.upstream.requests().iter().any(|seen| seen.complete);
                assert!(!whole, "the upstream got a whole request");
            }
            Expect::Reaches(target) => assert_eq!(self.arrived(&response).target(), target),
            Expect::Either(statuses, target) => match response.status {
                200 => assert_eq!(self.arrived(&response).target(), target),
                _ => self.refused(&response, statuses),
            },
            Expect::Plain { closes } => {
                self.plain(&response);
                if *closes {
                    expect_close(&mut client).await;
                }
            }
            Expect::Sees(sight) => self.sees(&response, sight),
        }
    }

    fn refused(&self, response: &Response, statuses: &[u16]) {
        assert!(
            statuses.contains(&response.status),
            "{} instead of {statuses:?}: {}",
            response.status,
            response.text()
        );
        response.own();
        if response.status == 405 {
            let allow = response.header("allow").unwrap_or_default();
            assert!(
                allow.contains("GET"),
                "405 without Allow (RFC 9110 §15.5.6)"
            );
        }
        let seen = self.upstream.requests();
        assert!(seen.is_empty(), "it reached the upstream: {seen:?}");
    }

    /// The one request that came, after what must hold for every one of them.
    fn arrived(&self, response: &Response) -> Recorded {
        assert_eq!(response.status, 200, "{}", response.text());
        let mut seen = self.upstream.requests();
        assert_eq!(seen.len(), 1, "not one request upstream: {seen:?}");
        let seen = seen.remove(0);
        let raw = String::from_utf8_lossy(&seen.head.raw);
        assert!(raw.starts_with(&seen.head.start) && seen.target().starts_with("/base"));
        assert!(
            !raw.contains(MINE),
            "the caller's credential went on: {raw}"
        );
        assert!(
            !format!("{:?}", seen.trailers).contains(MINE),
            "in a trailer"
        );
        let lines = raw.replace("\r\n", "");
        assert!(
            !lines.contains(['\r', '\n', '\0']),
            "a bare control: {raw:?}"
        );
        let host = self.upstream.address().to_string();
        assert_eq!(seen.head.all("host"), [host], "Host is the base URL's");
        let framings =
            seen.head.all("content-length").len() + seen.head.all("transfer-encoding").len();
        assert!(framings <= 1, "two framings: {raw}");
        assert!(seen.complete);
        seen
    }

    fn plain(&self, response: &Response) {
        match response.status {
            200 => {
                let seen = self.arrived(response);
                assert_eq!(seen.text(), "hello");
            }
            _ => self.refused(response, &[400]),
        }
    }

    fn sees(&self, response: &Response, sight: &Sight) {
        let seen = self.arrived(response);
        if let Some(target) = &sight.target {
            assert_eq!(seen.target(), target);
        }
        if let Some(body) = &sight.body {
            assert_eq!(seen.text(), body);
        }
        let named = |wanted: &str| {
            let fields = seen.head.fields.iter();
            let same = fields.filter(|(name, _)| normal(name) == normal(wanted));
            same.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        for name in &sight.absent {
            assert!(named(name).is_empty(), "{name} went on: {seen:?}");
        }
        for (name, values) in &sight.exactly {
            assert_eq!(&named(name), values, "{name}");
        }
    }

    fn fill_in(&self, request: &[u8]) -> Vec<u8> {
        let proxy = self.keybearer.proxy();
        let request = replace(request, "{proxy}", &proxy.to_string());
        let request = replace(&request, "{port}", &proxy.port().to_string());
        replace(&request, "{upstream}", &self.upstream.address().to_string())
    }
}

async fn expect_close(client: &mut RawClient) {
    let more = client.closed().await;
    let more = String::from_utf8_lossy(&more);
    assert!(more.is_empty(), "a second answer: {more}");
}

/// What our Basic credential looks like.
fn our_basic() -> String {
    format!("Basic {}", base64("me:ours"))
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

fn replace(bytes: &[u8], mark: &str, text: &str) -> Vec<u8> {
    let mark = mark.as_bytes();
    let mut rest = bytes;
    let mut out = Vec::new();
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(text.as_bytes());
        rest = &rest[at + mark.len()..];
    }
    out.extend_from_slice(rest);
    out
}
