//! Who may come in: `admin.token`, the session of a person who gave it, and the proof that a change is
//! asked for by our own page.
//!
//! A session is a cookie that is authenticated and not kept: its end, a nonce, and an HMAC under a key
//! that this process made, over both and the token. A restart, or another token, ends all sessions.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::error::Unspecified;
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::secret::Secret;

/// The session's cookie.
pub(super) const NAME: &str = "keybearer_session";

/// How long a session lasts.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Wrong tokens that are compared within a [`WINDOW`], per address, of the form and of programs.
const MOST_BY_FORM: u32 = 10;
const MOST_BY_PROGRAM: u32 = 60;

const WINDOW: Duration = Duration::from_secs(60);

/// So many addresses are told apart; beyond, what is known of the one that began first is forgotten: who
/// has that many addresses has as many tries, and nobody else is to be kept out by it.
const MOST_ADDRESSES: usize = 1024;

/// Length of a nonce, in bytes.
const NONCE: usize = 16;

/// What makes and knows sessions.
pub struct Sessions {
    key: hmac::Key,
    by_form: Attempts,
    by_program: Attempts,
}

/// How a token was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// In the form.
    Form,
    /// In a field, with each request.
    Program,
}

/// What came of a token that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// Too many wrong ones came from this address: it was not compared.
    TooMany(Duration),
    Wrong,
}

impl Sessions {
    /// With a key of its own.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> Result<Self, Unspecified> {
        Ok(Self {
            key: hmac::Key::generate(HMAC_SHA256, &SystemRandom::new())?,
            by_form: Attempts::new(MOST_BY_FORM),
            by_program: Attempts::new(MOST_BY_PROGRAM),
        })
    }

    /// Compares a token in constant time, unless too many wrong ones came from the same address.
    pub(super) fn judge(
        &self,
        presented: &[u8],
        token: &Secret,
        means: Means,
        peer: Option<IpAddr>,
    ) -> Verdict {
        let attempts = match means {
            Means::Form => &self.by_form,
            Means::Program => &self.by_program,
        };
        let now = Instant::now();
        if let Some(wait) = attempts.exhausted(peer, now) {
            return Verdict::TooMany(wait);
        }
        if is_token(presented, token) {
            return Verdict::Right;
        }
        attempts.failed(peer, now);
        Verdict::Wrong
    }

    /// A session's cookie value.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(super) fn open(&self, token: &Secret, now: SystemTime) -> Result<String, Unspecified> {
        let end = now + LIFETIME;
        let end = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut nonce = [0; NONCE];
        SystemRandom::new().fill(&mut nonce)?;
        let mut session = Vec::with_capacity(8 + NONCE + SHA256.output_len());
        session.extend_from_slice(&end.to_be_bytes());
        session.extend_from_slice(&nonce);
        let tag = hmac::sign(&self.key, &authenticated(&session, token));
        session.extend_from_slice(tag.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(session))
    }

    /// Whether a cookie value is a session's that has not ended.
    fn is_open(&self, cookie: &str, token: &Secret, now: SystemTime) -> bool {
        let Ok(session) = URL_SAFE_NO_PAD.decode(cookie) else {
            return false;
        };
        let Some((session, tag)) = session.split_at_checked(8 + NONCE) else {
            return false;
        };
        let Some((end, _)) = session.split_first_chunk() else {
            return false;
        };
        let end = UNIX_EPOCH + Duration::from_secs(u64::from_be_bytes(*end).min(1 << 40));
        hmac::verify(&self.key, &authenticated(session, token), tag).is_ok() && now < end
    }

    /// The session that a request belongs to; none if it has none that is open.
    pub(super) fn of<'h>(
        &self,
        headers: &'h HeaderMap,
        token: &Secret,
        now: SystemTime,
    ) -> Option<&'h str> {
        cookies(headers).find(|cookie| self.is_open(cookie, token, now))
    }

    /// What a page proves itself with; another for each session.
    pub(super) fn csrf(&self, session: Option<&str>) -> String {
        let tag = hmac::sign(&self.key, &csrf(session));
        URL_SAFE_NO_PAD.encode(tag)
    }

    /// Whether a page of this session proved itself.
    pub(super) fn is_csrf(&self, presented: &[u8], session: Option<&str>) -> bool {
        URL_SAFE_NO_PAD
            .decode(presented)
            .is_ok_and(|presented| hmac::verify(&self.key, &csrf(session), &presented).is_ok())
    }
}

/// Compares in constant time.
pub(super) fn is_token(presented: &[u8], token: &Secret) -> bool {
    // Digests are of one length, whatever was presented.
    let presented = digest(&SHA256, presented);
    let right = digest(&SHA256, token.expose().as_bytes());
    presented.as_ref().ct_eq(right.as_ref()).into()
}

/// What a session's tag is made over.
fn authenticated(session: &[u8], token: &Secret) -> Vec<u8> {
    let token = digest(&SHA256, token.expose().as_bytes());
    [b"session", session, token.as_ref()].concat()
}

fn csrf(session: Option<&str>) -> Vec<u8> {
    [b"csrf", session.unwrap_or_default().as_bytes()].concat()
}

/// The values of cookies of our name (RFC 6265 section 4.2.1).
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(COOKIE).iter();
    let pairs = fields.filter_map(|field| field.to_str().ok());
    let pairs = pairs.flat_map(|field| field.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// Wrong tokens, by address. Crates that limit rates count each try, and here only wrong ones count.
struct Attempts {
    most: u32,
    counts: Mutex<HashMap<Option<IpAddr>, Count>>,
}

struct Count {
    since: Instant,
    failed: u32,
}

impl Attempts {
    fn new(most: u32) -> Self {
        Self {
            most,
            counts: Mutex::default(),
        }
    }

    /// How long to wait before another is compared; none if it is now.
    fn exhausted(&self, peer: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let mut counts = self.counts.lock();
        counts.retain(|_, count| now.duration_since(count.since) < WINDOW);
        let known = counts.get(&network(peer));
        known
            .filter(|count| count.failed >= self.most)
            .map(|count| WINDOW.saturating_sub(now.duration_since(count.since)))
    }

    fn failed(&self, peer: Option<IpAddr>, now: Instant) {
        let mut counts = self.counts.lock();
        let peer = network(peer);
        if counts.len() >= MOST_ADDRESSES && !counts.contains_key(&peer) {
            let first = counts.iter().min_by_key(|(_, count)| count.since);
            if let Some(first) = first.map(|(peer, _)| *peer) {
                counts.remove(&first);
            }
        }
        let count = counts.entry(peer).or_insert(Count {
            since: now,
            failed: 0,
        });
        count.failed += 1;
    }
}

/// Whom an address belongs to: of IPv6, a host has a whole network of 64 bits.
fn network(peer: Option<IpAddr>) -> Option<IpAddr> {
    peer.map(|peer| match peer.to_canonical() {
        IpAddr::V6(peer) => IpAddr::V6(Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64)),
        peer @ IpAddr::V4(_) => peer,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::secret::Origin;

    fn token(text: &str) -> Secret {
        Secret::new(text, Origin::Literal)
    }

    fn cookie(value: &str) -> HeaderMap {
        let field = format!("a=b; {NAME}={value}; c=d");
        HeaderMap::from_iter([(COOKIE, field.parse().unwrap())])
    }

    #[test]
    fn a_session_is_known_until_its_end() {
        let sessions = Sessions::new().unwrap();
        let (ours, now) = (token("s3cret"), SystemTime::now());
        let session = sessions.open(&ours, now).unwrap();
        let open = |token: &Secret, at| sessions.of(&cookie(&session), token, at).is_some();
        assert!(open(&ours, now) && open(&ours, now + LIFETIME - Duration::from_secs(2)));
        assert!(!open(&ours, now + LIFETIME));
        assert!(!open(&token("other"), now), "another token ends it");
        let restarted = Sessions::new().unwrap();
        assert!(restarted.of(&cookie(&session), &ours, now).is_none());
        let mut bytes = URL_SAFE_NO_PAD.decode(&session).unwrap();
        for place in 0..bytes.len() {
            bytes[place] ^= 1;
            let changed = cookie(&URL_SAFE_NO_PAD.encode(&bytes));
            assert!(sessions.of(&changed, &ours, now).is_none(), "{place}");
            bytes[place] ^= 1;
        }
        for broken in ["", "x", "AAAA", &session[..session.len() - 2]] {
            assert!(
                sessions.of(&cookie(broken), &ours, now).is_none(),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_page_proves_itself_for_its_own_session() {
        let sessions = Sessions::new().unwrap();
        let csrf = sessions.csrf(Some("a"));
        assert!(sessions.is_csrf(csrf.as_bytes(), Some("a")));
        assert!(!sessions.is_csrf(csrf.as_bytes(), Some("b")));
        assert!(!sessions.is_csrf(csrf.as_bytes(), None));
        assert!(!sessions.is_csrf(b"", None) && !sessions.is_csrf(b"\xff", None));
        let other = Sessions::new().unwrap();
        assert!(!other.is_csrf(csrf.as_bytes(), Some("a")));
    }

    #[test]
    fn wrong_tokens_from_everywhere_keep_nobody_else_out() {
        let sessions = Sessions::new().unwrap();
        let ours = token("s3cret");
        let judge = |text: &str, peer: u32| {
            let peer = Ipv4Addr::from_bits(peer).into();
            sessions.judge(text.as_bytes(), &ours, Means::Program, Some(peer))
        };
        for peer in 1..=2000 {
            assert_eq!(judge("wrong", peer), Verdict::Wrong);
        }
        assert_eq!(judge("s3cret", 5000), Verdict::Right);
        assert!(sessions.by_program.counts.lock().len() <= MOST_ADDRESSES);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_wrong_tokens_are_not_compared() {
        let sessions = Sessions::new().unwrap();
        let ours = token("s3cret");
        let judge = |text: &str, peer: &str| {
            let peer = peer.parse().ok();
            sessions.judge(text.as_bytes(), &ours, Means::Form, peer)
        };
        for _ in 0..MOST_BY_FORM {
            assert_eq!(judge("s3cret", "192.0.2.1"), Verdict::Right);
            assert_eq!(judge("wrong", "192.0.2.1"), Verdict::Wrong);
            assert_eq!(judge("wrong", "2001:db8::1"), Verdict::Wrong);
        }
        assert!(matches!(judge("s3cret", "192.0.2.1"), Verdict::TooMany(_)));
        assert!(matches!(
            judge("s3cret", "2001:db8::2"),
            Verdict::TooMany(_)
        ));
        assert_eq!(judge("s3cret", "192.0.2.2"), Verdict::Right);
        let program = sessions.judge(b"s3cret", &ours, Means::Program, "192.0.2.1".parse().ok());
        assert_eq!(program, Verdict::Right);
        tokio::time::advance(WINDOW).await;
        assert_eq!(judge("s3cret", "192.0.2.1"), Verdict::Right);
    }
}
