use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;

use super::*;
use crate::auth::aws::testing::{ROLE, deaf, field, refusal, role, session};
use crate::auth::state::Lapse;
use crate::auth::testing::{Received, Server, connection, secret};
use crate::upstream::Upstreams;

const HOUR: Duration = Duration::from_secs(3600);

struct Asking {
    client: RoadClient,
    time: OffsetTime,
}

impl Asking {
    fn new() -> Self {
        Self {
            client: RoadClient::new(&connection(), Arc::new(Upstreams::default())),
            time: OffsetTime::default(),
        }
    }

    async fn assume(&self, role: &Role) -> Result<Found, Fault> {
        let keys = Keys {
            id: secret("AKIDSOURCE"),
            secret: secret("canary-secret"),
            session_token: Some(secret("canary-token")),
        };
        let sts = Sts {
            client: &self.client,
            time: &self.time,
            connection: "api",
        };
        sts.assume(role, "", Some("kb-1"), &keys).await
    }
}

/// The time that a request was signed for.
fn signed(request: &Received) -> SystemTime {
    let text = request.headers["x-amz-date"].to_str().unwrap();
    let (year, rest) = text.split_at(4);
    let at = |from: usize| &rest[from..from + 2];
    let text = format!("{year}-{}-{}T{}:{}:{}Z", at(0), at(2), at(5), at(7), at(9));
    humantime::parse_rfc3339(&text).unwrap()
}

fn dated(mut response: Response<String>, date: SystemTime) -> Response<String> {
    let date = httpdate::fmt_http_date(date).parse().unwrap();
    response.headers_mut().insert("date", date);
    response
}

fn seconds_between(a: SystemTime, b: SystemTime) -> f64 {
    Offset::between(a, b).distance().as_secs_f64()
}

#[tokio::test]
async fn one_request_brings_a_session() {
    let end = SystemTime::now() + HOUR;
    let server = Server::start(move |_| session("AssumeRole", "ASIA1", end)).await;
    let (keys, until) = Asking::new().assume(&role(&server.url("/"))).await.unwrap();
    assert_eq!(keys.id.expose(), "ASIA1");
    assert_eq!(keys.secret.expose(), "canary-session-secret");
    assert_eq!(
        keys.session_token.unwrap().expose(),
        "canary-session-token-ASIA1"
    );
    assert!(seconds_between(until.unwrap(), end) < 60.0);

    let request = server.only();
    let form = &request.content;
    for (name, value) in [
        ("Action", "AssumeRole"),
        (
            "RoleArn",
            "arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader",
        ),
        ("RoleSessionName", "keybearer"),
        ("DurationSeconds", "3600"),
        ("ExternalId", "kb-1"),
    ] {
        assert_eq!(field(form, name), Some(value), "{form}");
    }
    let authorization = request.headers["authorization"].to_str().unwrap();
    assert!(authorization.contains("AKIDSOURCE/"), "{authorization}");
    assert!(
        authorization.contains("/eu-west-1/sts/aws4_request"),
        "{authorization}"
    );
    assert_eq!(request.headers["x-amz-security-token"], "canary-token");
}

#[tokio::test]
async fn nothing_is_tried_again_but_for_the_clock() {
    for (status, code, message, lapse) in [
        (500, "InternalFailure", "", Lapse::Passing),
        (400, "Throttling", "Rate exceeded", Lapse::Passing),
        (403, "SignatureDoesNotMatch", "wrong", Lapse::Misconfigured),
        (403, "AccessDenied", "User: x", Lapse::Misconfigured),
    ] {
        let server = Server::start(move |_| refusal(status, code, message)).await;
        let fault = Asking::new()
            .assume(&role(&server.url("/")))
            .await
            .unwrap_err();
        assert_eq!(fault.lapse, lapse, "{}", fault.detail);
        assert!(
            fault.detail.contains(code) && fault.detail.contains(ROLE),
            "{}",
            fault.detail
        );
        assert_eq!(server.received().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn refusals_are_read_from_what_only_speaks_like_sts() {
    let text = "<ErrorResponse><Errors><Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/me is not</Message></Error></Errors></ErrorResponse>";
    let server = Server::saying(403, "text/xml", text).await;
    let fault = Asking::new()
        .assume(&role(&server.url("/")))
        .await
        .unwrap_err();
    assert_eq!(fault.lapse, Lapse::Misconfigured);
    let said = "`arn:aws:iam::1:user/me` may not assume it with the external ID `kb-1`";
    assert!(fault.detail.contains(said), "{}", fault.detail);
}

#[tokio::test]
async fn how_long_sts_wants_to_be_left_alone_is_known() {
    let server = Server::start(|_| {
        let mut response = refusal(503, "ServiceUnavailable", "later");
        response.headers_mut().insert("retry-after", 120.into());
        response
    })
    .await;
    let fault = Asking::new()
        .assume(&role(&server.url("/")))
        .await
        .unwrap_err();
    assert_eq!(fault.retry_after, Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_once_and_the_end_is_by_ours() {
    let skew = 2 * HOUR;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now() + skew;
        let answer = if seconds_between(signed(request), now) > 300.0 {
            refusal(
                403,
                "SignatureDoesNotMatch",
                "Signature expired: 1 is now earlier than 2",
            )
        } else {
            session("AssumeRole", "ASIA1", now + HOUR)
        };
        dated(answer, now)
    })
    .await;
    let asking = Asking::new();
    let role = role(&server.url("/"));
    let (_, end) = asking.assume(&role).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 2);
    assert!(seconds_between(end.unwrap(), SystemTime::now() + HOUR) < 60.0);
    let (_, end) = asking.assume(&role).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 3, "it is corrected still");
    assert!(seconds_between(end.unwrap(), SystemTime::now() + HOUR) < 60.0);
}

#[tokio::test]
async fn a_clock_that_cannot_be_corrected_is_told() {
    let server = Server::start(|_| {
        let answer = refusal(
            403,
            "SignatureDoesNotMatch",
            "Signature expired: 1 is before 2",
        );
        dated(answer, SystemTime::now() + HOUR)
    })
    .await;
    let asking = Asking::new();
    let fault = asking.assume(&role(&server.url("/"))).await.unwrap_err();
    assert_eq!((fault.lapse, server.received().len()), (Lapse::Passing, 2));
    let said =
        fault.detail.contains("the request's time is wrong (") && fault.detail.contains(" behind)");
    assert!(said, "{}", fault.detail);
    let fault = asking.assume(&role(&server.url("/"))).await.unwrap_err();
    assert_eq!((fault.lapse, server.received().len()), (Lapse::Passing, 3));
}

#[tokio::test]
async fn an_answer_that_is_not_one_of_sts_is_told_so() {
    for (status, content, lapse) in [
        (200, "<html>hello</html>", Lapse::Misconfigured),
        (404, "<html>canary-secret</html>", Lapse::Misconfigured),
        (502, "canary-token", Lapse::Passing),
        (403, "<Code>canary secret</Code>", Lapse::Misconfigured),
    ] {
        let server = Server::saying(status, "text/html", content).await;
        let fault = Asking::new()
            .assume(&role(&server.url("/")))
            .await
            .unwrap_err();
        assert_eq!(fault.lapse, lapse, "{}", fault.detail);
        assert!(!fault.detail.contains("canary"), "{}", fault.detail);
        let named = fault.detail.contains(&server.address.to_string());
        assert!(
            named && fault.detail.contains("check `sts_endpoint`"),
            "{}",
            fault.detail
        );
    }
}

#[tokio::test]
async fn an_sts_that_is_not_there_is_named() {
    let (_reserved, url) = deaf();
    let fault = Asking::new().assume(&role(&url)).await.unwrap_err();
    assert_eq!(fault.lapse, Lapse::Passing, "{}", fault.detail);
    let named = format!("STS http://{}", url.authority());
    assert!(fault.detail.contains(&named), "{}", fault.detail);
}
