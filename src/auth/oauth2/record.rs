//! What is stored of a linked connection: [`Record`], under a [`Key`] that covers all its inputs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::auth::token_endpoint::TokenAnswer;
use crate::connection::oauth2::{ClientAuthentication, Grant, OAuth2};
use crate::secret::{Origin, Secret};
use crate::store::{Key, SpoolKey};

/// The tokens of one consent.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) token: Secret,
    pub(super) refresh_token: Option<Secret>,
    /// When the token was asked for.
    pub(super) obtained: SystemTime,
    /// When it ends; none if nobody said.
    pub(super) expires: Option<SystemTime>,
    pub(super) scope: Option<String>,
    /// That the refresh token is being shown, as long as no answer to that was stored.
    pub(super) note: Option<Note>,
}

/// That a refresh token is being shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// When its exchange began.
    pub(super) at: SystemTime,
    /// That it was shown before, perhaps, and no answer to that was stored.
    pub(super) before: Option<Before>,
    /// What the spool of the answer is sealed with; none if there is no spool.
    pub(super) spool: Option<SpoolKey>,
}

/// An earlier exchange without an answer that could be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    /// When it began.
    pub(super) at: SystemTime,
    /// Whether it is known that it was ended before there was an answer.
    pub(super) cut_off: bool,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    token: String,
    #[serde(default)]
    refresh_token: Option<String>,
    /// Unix time in milliseconds, and so below.
    obtained: u64,
    #[serde(default)]
    expires: Option<u64>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    shown: Option<u64>,
    #[serde(default)]
    shown_before: Option<u64>,
    #[serde(default)]
    cut_off: bool,
    #[serde(default)]
    spool: Option<String>,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.token.zeroize();
        self.refresh_token.zeroize();
        self.spool.zeroize();
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("obtained", &self.obtained)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// What an answer to a request of `obtained` brought; a refresh token stays if it brought none.
    pub(super) fn new(
        answer: TokenAnswer,
        before: Option<Secret>,
        obtained: SystemTime,
        default_lifetime: Option<Duration>,
    ) -> Self {
        Self {
            token: answer.token,
            refresh_token: answer.refresh_token.or(before),
            obtained,
            expires: answer
                .lifetime
                .or(default_lifetime)
                .map(|lifetime| obtained + lifetime),
            scope: answer.scope,
            note: None,
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut written: Written = serde_json::from_slice(bytes).ok()?;
        let secret = |text: String| Secret::new(text, Origin::Issued);
        Some(Self {
            token: secret(std::mem::take(&mut written.token)),
            refresh_token: written.refresh_token.take().map(secret),
            obtained: time(written.obtained),
            expires: written.expires.map(time),
            scope: written.scope.take(),
            note: written.shown.map(|at| Note {
                at: time(at),
                before: written.shown_before.map(|at| Before {
                    at: time(at),
                    cut_off: written.cut_off,
                }),
                spool: written.spool.as_deref().map(SpoolKey::new),
            }),
        })
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let note = self.note.as_ref();
        let before = note.and_then(|note| note.before);
        let written = Written {
            token: self.token.expose().to_owned(),
            refresh_token: self
                .refresh_token
                .as_ref()
                .map(|token| token.expose().to_owned()),
            obtained: milliseconds(self.obtained),
            expires: self.expires.map(milliseconds),
            scope: self.scope.clone(),
            shown: note.map(|note| milliseconds(note.at)),
            shown_before: before.map(|before| milliseconds(before.at)),
            cut_off: before.is_some_and(|before| before.cut_off),
            spool: note
                .and_then(|note| note.spool.as_ref())
                .map(|key| key.expose().to_owned()),
        };
        // Texts and numbers can always be written as JSON.
        Zeroizing::new(serde_json::to_vec(&written).unwrap_or_default())
    }
}

/// Where a connection's tokens are stored: by everything that they were asked for with, so that a
/// changed scope, audience or client never sees them. A client's secret or certificate is no part of it:
/// it can be replaced without another consent. That there is a certificate is: servers bind tokens to
/// it, and such a client is another one to them (RFC 8705 section 4).
pub(in crate::auth) fn key(name: &str, settings: &OAuth2) -> Key {
    let mut inputs = vec![settings.kind, name, &settings.client.id];
    let token_url = settings.token_url.as_ref().map_or("", |url| url.as_str());
    inputs.push(token_url);
    if let Grant::AuthorizationCode(code) = &settings.grant {
        let urls = [&code.authorization_url, &code.authorization_server];
        inputs.extend(urls.map(|url| url.as_ref().map_or("", |url| url.as_str())));
    }
    inputs.push(settings.audience.as_deref().unwrap_or_default());
    inputs.push("scopes");
    inputs.extend(settings.scopes.iter().map(|scope| &**scope));
    inputs.push("resource");
    inputs.extend(settings.resource.iter().map(|resource| &**resource));
    inputs.push("params");
    for param in &settings.params {
        inputs.extend([&*param.name, param.value.expose()]);
    }
    inputs.push("field");
    inputs.extend(settings.token.field.iter().map(|part| &**part));
    if settings.client.authentication == ClientAuthentication::Tls {
        inputs.push("client_auth=tls");
    }
    // As JSON, no two lists of inputs are the same text.
    let text = Zeroizing::new(serde_json::to_vec(&inputs).unwrap_or_default());
    let digest = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &text));
    Key::new(format!("oauth2/{name}/{digest}"))
}

fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(milliseconds: u64) -> SystemTime {
    // What was written by us is a time that there is; anything else is at its end.
    UNIX_EPOCH
        .checked_add(Duration::from_millis(milliseconds))
        .unwrap_or(UNIX_EPOCH)
}
