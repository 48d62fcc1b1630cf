//! What an upstream's refusals mean: a clock that is off, keys that are no longer good, another
//! region.

use std::time::{Duration, SystemTime};

use super::{REGION, access_key_id, ours, shown, signing};
use crate::harness::aws::{Keys, Verifier};
use crate::harness::{Answer, Keybearer, Recorded, Upstream};

const HOUR: Duration = Duration::from_secs(3600);

/// How S3 refuses for the time, with its own clock in `Date`.
fn skewed(now: SystemTime) -> Answer {
    let fields = format!(
        "Date: {}\r\nContent-Type: application/xml\r\n",
        httpdate::fmt_http_date(now)
    );
    let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too large.</Message></Error>";
    Answer::sized("403 Forbidden", &fields, body)
}

fn error(status: &str, fields: &str, code: &str, rest: &str) -> Answer {
    let fields = format!("{fields}Content-Type: application/xml\r\n");
    let body = format!("<Error><Code>{code}</Code><Message>No.</Message>{rest}</Error>");
    Answer::sized(status, &fields, &body)
}

async fn started(service: &str) -> (Upstream, Keybearer) {
    let upstream = Upstream::start().await;
    let table = signing("p", &upstream.url(""), service, &ours(), "");
    let keybearer = Keybearer::start(&table).await;
    (upstream, keybearer)
}

fn signed_at(request: &Recorded) -> SystemTime {
    let date = request.header("x-amz-date").unwrap();
    let date = chrono::NaiveDateTime::parse_from_str(date, "%Y%m%dT%H%M%SZ").unwrap();
    date.and_utc().into()
}

/// Whether two times are less than ten seconds apart.
fn near(one: SystemTime, other: SystemTime) -> bool {
    let apart = one
        .duration_since(other)
        .unwrap_or_else(|before| before.duration());
    apart < Duration::from_secs(10)
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_once() {
    for service in ["s3", "dynamodb"] {
        for ahead in [true, false] {
            let (upstream, keybearer) = started(service).await;
            let shift = |time| if ahead { time + HOUR } else { time - HOUR };
            let there = shift(SystemTime::now());
            upstream.on_each("/x", [skewed(there), Answer::ok("done")]);
            let put = keybearer.request("PUT", "/p/x").content("content");
            let response = put.send().await;
            assert_eq!(
                (response.status, &*response.text()),
                (200, "done"),
                "{response:?}"
            );
            let seen = upstream.take();
            assert_eq!(seen.len(), 2);
            assert!(near(signed_at(&seen[0]), SystemTime::now()));
            assert!(near(signed_at(&seen[1]), there), "{seen:?}");
            assert_eq!(seen[1].text(), "content");
            // It stays corrected.
            assert_eq!(put.send().await.status, 200);
            let seen = upstream.take();
            assert_eq!(seen.len(), 1);
            assert!(near(signed_at(&seen[0]), shift(SystemTime::now())));
            let line = keybearer.logged(&["clock"]).await;
            assert!(line.contains('p'), "{line}");
        }
    }
}

#[tokio::test]
async fn a_refusal_for_the_time_that_a_correction_does_not_help_is_the_callers_to_see() {
    let (upstream, keybearer) = started("s3").await;
    upstream.on("/x", skewed(SystemTime::now() + HOUR));
    let response = keybearer.get("/p/x").send().await;
    assert_eq!(response.status, 403, "{response:?}");
    assert!(response.text().contains("RequestTimeTooSkewed"));
    let seen = upstream.take();
    assert_eq!(seen.len(), 2, "once more, and no more");
    Verifier::new("s3", REGION, &[&ours()])
        .accept(&seen[..1])
        .await;
}

#[tokio::test]
async fn temporary_keys_at_their_end_are_told() {
    let keys = Keys {
        token: Some("token".to_owned()),
        ..Keys::new("ASIAOURS", "ours")
    };
    let upstream = Upstream::start().await;
    let table = signing("p", &upstream.url(""), "s3", &keys, "");
    let keybearer = Keybearer::start(&table).await;
    upstream.on("/x", error("400 Bad Request", "", "ExpiredToken", ""));
    for _ in 0..2 {
        let response = keybearer.get("/p/x").send().await;
        assert_eq!(response.status, 503, "{response:?}");
        let detail = response.own();
        for said in ["expired", "replace", "session_token"] {
            assert!(detail.contains(said), "no {said} in {detail}");
        }
        assert_eq!(response.json()["credential_state"], "misconfigured");
    }
    let told = shown(&keybearer, "p").await;
    assert_eq!(told["state"], "misconfigured", "{told}");
    assert_eq!(access_key_id(&upstream.last()), keys.id);
}

#[tokio::test]
async fn another_region_is_told_by_its_name() {
    let header = "x-amz-bucket-region: eu-central-1\r\n";
    for answer in [
        error(
            "301 Moved Permanently",
            header,
            "PermanentRedirect",
            "<Endpoint>bucket.s3.eu-central-1.amazonaws.com</Endpoint>",
        ),
        error(
            "400 Bad Request",
            header,
            "AuthorizationHeaderMalformed",
            "<Region>eu-central-1</Region>",
        ),
        error(
            "400 Bad Request",
            "",
            "AuthorizationHeaderMalformed",
            "<Region>eu-central-1</Region>",
        ),
        error(
            "400 Bad Request",
            header,
            "IllegalLocationConstraintException",
            "",
        ),
    ] {
        let (upstream, keybearer) = started("s3").await;
        upstream.on("/x", answer.clone());
        let response = keybearer.get("/p/x").send().await;
        assert_eq!(response.status, 502, "{answer:?}: {response:?}");
        let detail = response.own();
        for said in ["eu-central-1", REGION, "region"] {
            assert!(detail.contains(said), "no {said} in {detail}");
        }
        assert_eq!(upstream.count(), 1);
    }
}

#[tokio::test]
async fn other_refusals_are_the_callers_to_see() {
    for (status, code) in [
        ("403 Forbidden", "AccessDenied"),
        ("403 Forbidden", "InvalidAccessKeyId"),
        ("404 Not Found", "NoSuchKey"),
        ("412 Precondition Failed", "PreconditionFailed"),
        ("400 Bad Request", "MalformedXML"),
        ("503 Slow Down", "SlowDown"),
    ] {
        let (upstream, keybearer) = started("s3").await;
        upstream.on("/x", error(status, "", code, ""));
        let response = keybearer.get("/p/x").send().await;
        assert!(
            status.starts_with(&response.status.to_string()),
            "{code}: {response:?}"
        );
        assert!(response.text().contains(code), "{response:?}");
        assert_eq!(response.header("proxy-status"), None);
        assert_eq!(upstream.count(), 1, "{code}");
    }
}
