//! Requests by which providers make sure that a URL is to get their webhooks.

use http::Method;
use http::request::Parts;
use http_body::Body;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use super::verify::Unproved;
use crate::secret::Secret;

/// The longest text that is sent back, in bytes: providers send some dozens.
const LONGEST: usize = 4096;

/// What to answer where a provider asks without a signature; none if nobody asks.
///
/// Microsoft Graph sends `validationToken` in the query of a POST without content; Meta sends
/// `hub.mode=subscribe` in that of a GET, with a `hub.verify_token` that was told to it.
pub(super) fn unsigned(
    parts: &Parts,
    content: &impl Body,
    verify_token: Option<&Secret>,
) -> Option<Result<String, Unproved>> {
    let query = parts.uri.query()?;
    let value = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let (_, value) = pairs.find(|(name, _)| name == wanted)?;
        (value.len() <= LONGEST).then(|| value.into_owned())
    };
    match parts.method {
        Method::POST if content.is_end_stream() => value("validationToken").map(Ok),
        Method::GET => {
            if value("hub.mode")? != "subscribe" {
                return None;
            }
            let challenge = value("hub.challenge")?;
            let given = value("hub.verify_token").unwrap_or_default();
            let is_ours = verify_token
                .is_none_or(|token| given.as_bytes().ct_eq(token.expose().as_bytes()).into());
            Some(match is_ours {
                true => Ok(challenge),
                false => Err(Unproved::Wrong("query parameter `hub.verify_token`".into())),
            })
        }
        _ => None,
    }
}

/// What to answer to content that has proved itself, where it asks: Slack's `url_verification`.
pub(super) fn signed(content: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Question {
        r#type: String,
        challenge: String,
    }
    if content.len() > LONGEST {
        return None;
    }
    let question: Question = serde_json::from_slice(content).ok()?;
    (question.r#type == "url_verification").then_some(question.challenge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Origin;
    use http_body_util::{Empty, Full};
    use hyper::body::Bytes;

    fn parts(method: Method, target: &str) -> Parts {
        let request = http::Request::builder().method(method).uri(target).body(());
        request.unwrap().into_parts().0
    }

    #[test]
    fn graph_and_meta_get_back_what_they_sent() {
        let empty = Empty::<Bytes>::new();
        let ask = |method, target: &str, token: Option<&Secret>| {
            unsigned(&parts(method, target), &empty, token)
        };
        let graph = ask(
            Method::POST,
            "/?validationToken=Validation%3a+Testing",
            None,
        );
        assert_eq!(graph, Some(Ok("Validation: Testing".to_owned())));
        let subscribe = "/?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=mine";
        let meta = ask(Method::GET, subscribe, None);
        assert_eq!(meta, Some(Ok("1158201444".to_owned())));
        let token = |text: &str| Secret::new(text, Origin::Literal);
        let right = ask(Method::GET, subscribe, Some(&token("mine")));
        assert_eq!(right, meta);
        let wrong = ask(Method::GET, subscribe, Some(&token("other")));
        assert!(matches!(wrong, Some(Err(Unproved::Wrong(_)))));
        for (method, target) in [
            (Method::GET, "/?validationToken=x"),
            (Method::GET, "/?hub.mode=unsubscribe&hub.challenge=1"),
            (Method::GET, "/?hub.challenge=1"),
            (Method::POST, "/"),
            (Method::POST, "/?hub.mode=subscribe&hub.challenge=1"),
        ] {
            assert_eq!(ask(method, target, None), None, "{target}");
        }
        let content = Full::new(Bytes::from_static(b"x"));
        let delivery = parts(Method::POST, "/?validationToken=x");
        assert_eq!(unsigned(&delivery, &content, None), None);
        let long = format!("/?validationToken={}", "x".repeat(LONGEST + 1));
        assert_eq!(ask(Method::POST, &long, None), None);
    }

    #[test]
    fn slack_gets_its_challenge() {
        let question = br#"{"token":"t","challenge":"3eZbrw1a","type":"url_verification"}"#;
        assert_eq!(signed(question), Some("3eZbrw1a".to_owned()));
        for other in [
            &br#"{"challenge":"x","type":"event_callback"}"#[..],
            br#"{"type":"url_verification"}"#,
            b"url_verification",
            b"",
        ] {
            assert_eq!(signed(other), None);
        }
    }
}
