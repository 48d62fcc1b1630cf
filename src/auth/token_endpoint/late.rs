//! An answer to a refresh that is read when its request is forgotten: [`Late`].
//!
//! Nobody knows any more what was sent, so that it could be taken out of a text of the server's: of a
//! refusal only a code is told that is one of those known.

use std::time::SystemTime;

use super::answer::{TokenAnswer, Unread, read_refreshed};
use super::fault::Refusal;
use crate::auth::fetch::Answer;
use crate::secret::Secret;

/// What such an answer brings.
#[derive(Debug, PartialEq, Eq)]
pub enum Late {
    /// A token.
    Token(TokenAnswer),
    /// No token that can be used, but what comes in place of the refresh token that was shown.
    RefreshToken(Secret),
    /// The grant is no longer good, by this code.
    Dead(String),
    /// Nothing that is of use.
    Nothing,
}

impl Late {
    /// Reads an answer; `field` leads to the token, `now` is when it was asked for.
    pub fn read(answer: &Answer, field: &[Box<str>], now: SystemTime) -> Self {
        match read_refreshed(answer, field, now) {
            Ok(token) => Self::Token(token),
            Err(Unread::Unusable(_, Some(next))) => Self::RefreshToken(next),
            Err(Unread::Refused(raw)) if Refusal::is_dead(&raw.error) => Self::Dead(raw.error),
            Err(Unread::Refused(_) | Unread::Busy(_) | Unread::Unusable(_, None)) => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use zeroize::Zeroizing;

    use super::*;
    use crate::auth::testing::{at, secret};

    fn late(status: u16, content: &str) -> Late {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            media_type: None,
            retry_after: None,
            content: Zeroizing::new(content.as_bytes().to_vec()),
        };
        Late::read(&answer, &["access_token".into()], at(1_000))
    }

    #[test]
    fn it_is_a_token_or_what_is_left_of_one() {
        let Late::Token(token) = late(200, r#"{"access_token": "a", "refresh_token": "r"}"#) else {
            panic!("no token");
        };
        assert_eq!(token.token.expose(), "a");
        for (status, content, is) in [
            (200, r#"{"x": {"refresh_token": "r"}}"#, Some("r")),
            (200, "{}", None),
            (503, "", None),
            (503, r#"{"error": "invalid_grant"}"#, None),
            (401, r#"{"error": "invalid_client"}"#, None),
            (200, "<html>", None),
        ] {
            let expected = is.map_or(Late::Nothing, |token| {
                Late::RefreshToken(Secret::new(token, crate::secret::Origin::Issued))
            });
            assert_eq!(late(status, content), expected, "{content}");
        }
    }

    #[test]
    fn a_dead_grant_is_told_by_its_code_alone() {
        let content = r#"{"error": "invalid_grant", "error_description": "canary"}"#;
        let dead = late(400, content);
        assert_eq!(dead, Late::Dead("invalid_grant".to_owned()));
        let unknown = late(400, r#"{"error": "canary"}"#);
        assert_eq!(unknown, Late::Nothing);
        assert!(!format!("{dead:?} {unknown:?}").contains(secret("canary").expose()));
    }
}
