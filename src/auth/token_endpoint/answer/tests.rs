use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::auth::testing::at;

fn answer(status: u16, content: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        media_type: None,
        retry_after: None,
        content: Zeroizing::new(content.as_bytes().to_vec()),
    }
}

fn read_at(now: u64, field: &str, content: &str) -> Result<TokenAnswer, Unread> {
    let field: Vec<Box<str>> = field.split('.').map(Into::into).collect();
    read(&answer(200, content), &field, at(now))
}

fn told(content: &str) -> TokenAnswer {
    read_at(1_000, "access_token", content).unwrap()
}

#[test]
fn a_lifetime_is_read_from_whatever_a_provider_writes() {
    for (member, seconds) in [
        (r#""expires_in": 3600"#, Some(3600.0)),
        (r#""expires_in": 3599.5"#, Some(3599.5)),
        (r#""expires_in": "3600""#, Some(3600.0)),
        (r#""expires_in": " 3600.0 ""#, Some(3600.0)),
        (r#""expires_in": 1e300"#, Some(MAX_LIFETIME)),
        (r#""expires_in": null"#, None),
        (r#""expires_in": """#, None),
        (r#""expires_in": "soon""#, None),
        (r#""expires_in": "inf""#, None),
        (r#""expires_in": "NaN""#, None),
        (r#""expires_in": true"#, None),
        (r#""expires_in": 0"#, None),
        (r#""expires_in": -1"#, None),
        (r#""x": 1"#, None),
        // Azure's first version, and a moment instead of a span.
        (r#""expires_on": "1600""#, Some(600.0)),
        (r#""expires_in": 0, "expires_at": 1060"#, Some(60.0)),
        (r#""expires_in": 30, "expires_at": 1060"#, Some(30.0)),
        (r#""expires_at": "1970-01-01T00:17:40Z""#, Some(60.0)),
        (
            r#""expires_at": 1700000000000"#,
            Some(1_700_000_000.0 - 1_000.0),
        ),
        (r#""expires_at": 999"#, None),
        (r#""expires_at": "tomorrow""#, None),
    ] {
        let content = format!(r#"{{"access_token": "t", {member}}}"#);
        let expected = seconds.map(|s: f64| Duration::from_secs_f64(s.min(MAX_LIFETIME)));
        assert_eq!(told(&content).lifetime, expected, "{member}");
    }
}

#[test]
fn a_form_is_read_whatever_it_is_called() {
    let answer = told("access_token=a%2Bb+c&expires_in=3600&scope=repo%2Cuser&token_type=bearer\n");
    assert_eq!(answer.token.expose(), "a+b c");
    assert_eq!(answer.lifetime, Some(Duration::from_secs(3600)));
    assert_eq!(answer.scope.as_deref(), Some("repo,user"));
    assert_eq!(answer.refresh_token, None);
}

#[test]
fn json_is_read_with_what_stands_around_it() {
    let answer = told(
        "\u{feff} {\"access_token\": \"t\", \"refresh_token\": \"r\", \"token_type\": \"MAC\", \"scope\": [\"a\", \"b\"]}\r\n",
    );
    assert_eq!(answer.token.expose(), "t");
    assert_eq!(answer.refresh_token.unwrap().expose(), "r");
    assert_eq!(answer.scope.as_deref(), Some("a b"));
}

#[test]
fn what_stands_beside_a_nested_token_counts_first() {
    let content = json!({
        "ok": true, "access_token": "bot", "expires_in": 1, "refresh_token": "bot-refresh",
        "authed_user": {"access_token": "person", "expires_in": 43200},
        "list": [{"token": "first"}],
    })
    .to_string();
    let answer = read_at(0, "authed_user.access_token", &content).unwrap();
    assert_eq!(answer.token.expose(), "person");
    assert_eq!(answer.lifetime, Some(Duration::from_secs(43200)));
    assert_eq!(answer.refresh_token.unwrap().expose(), "bot-refresh");
    let answer = read_at(0, "list.0.token", &content).unwrap();
    assert_eq!(answer.token.expose(), "first");
}

#[test]
fn an_id_token_has_its_own_expiry() {
    let jwt = |claims: Value| {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("e30.{claims}.x")
    };
    for (token, lifetime) in [
        (jwt(json!({"exp": 1_600})), Some(600)),
        (jwt(json!({"exp": 900})), None),
        (jwt(json!({})), None),
        ("opaque".to_owned(), None),
        ("a.!.c".to_owned(), None),
    ] {
        let content = json!({"id_token": token, "expires_in": 3600}).to_string();
        let answer = read_at(1_000, "id_token", &content).unwrap();
        assert_eq!(answer.lifetime, lifetime.map(Duration::from_secs));
    }
}

#[test]
fn a_refusal_is_known_in_every_dialect() {
    for (status, content, error, description) in [
        (
            400,
            r#"{"error": "invalid_grant", "error_description": "gone"}"#,
            "invalid_grant",
            Some("gone"),
        ),
        (
            200,
            "error=bad_verification_code&error_description=The+code",
            "bad_verification_code",
            Some("The code"),
        ),
        (
            200,
            r#"{"ok": false, "error": "invalid_code"}"#,
            "invalid_code",
            None,
        ),
        (200, r#"{"ok": false}"#, "not ok", None),
        (
            401,
            r#"{"errorCode": "invalid_client", "errorSummary": "no"}"#,
            "invalid_client",
            Some("no"),
        ),
        (
            400,
            r#"{"error": {"message": "bad", "type": "OAuthException", "code": 190}}"#,
            "OAuthException",
            Some("bad"),
        ),
        (429, r#"{"error": "slow_down"}"#, "slow_down", None),
    ] {
        let field = ["access_token".into()];
        let unread = read(&answer(status, content), &field, at(0)).unwrap_err();
        let Unread::Refused(raw) = unread else {
            panic!("{content}: {unread:?}");
        };
        assert_eq!(raw.error, error);
        assert_eq!(raw.description.as_deref(), description);
    }
    assert_eq!(
        told(r#"{"access_token": "t", "error": null, "ok": true}"#)
            .token
            .expose(),
        "t"
    );
}

#[test]
fn nonsense_is_unusable_and_a_weak_moment_is_not() {
    let field = ["access_token".into()];
    for (status, content) in [
        (200, "<html>a=b</html>"),
        (200, ""),
        (200, "[]"),
        (200, "\"t\""),
        (200, "null"),
        (200, "just some words = x"),
        (200, "{\"access_token\": \"t\""),
        (200, "{}"),
        (200, "{\"access_token\": 5}"),
        (200, "{\"access_token\": \"\"}"),
        (200, "{\"access_token\": \"a\\nb\"}"),
        (200, "{\"access_token\": \"\u{e9}\"}"),
        (304, ""),
        (403, "{}"),
        (404, "<h1>Not Found</h1>"),
        (405, ""),
        (501, ""),
    ] {
        let unread = read(&answer(status, content), &field, at(0)).unwrap_err();
        assert!(
            matches!(unread, Unread::Unusable(..)),
            "{status} {content}: {unread:?}"
        );
    }
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let unread = read(&answer(status, "<html>"), &field, at(0)).unwrap_err();
        assert!(matches!(unread, Unread::Busy(None)));
    }
    let unread = read(&answer(500, r#"{"error": "invalid_grant"}"#), &field, at(0));
    assert!(matches!(unread, Err(Unread::Busy(Some(_)))));
    assert!(read(&answer(200, "{}"), &[], at(0)).is_err());
}

#[test]
fn wiping_leaves_no_text() {
    let mut value = json!({"a": "secret", "b": [{"c": "secret"}], "d": 1, "e": null});
    wipe(&mut value);
    assert!(!value.to_string().contains("secret"));
}

proptest::proptest! {
    #[test]
    fn no_answer_panics(content in ".{0,200}", json in "[\\[\\]{}\":,a-z0-9]{0,60}") {
        for content in [content, json] {
            let _ = read_at(5, "a.b", &content);
            let _ = read_at(5, "a", &content);
        }
    }
}
