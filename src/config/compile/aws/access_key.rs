//! Access keys, and the slips that happen when they are copied. No message tells a part of one.

use super::Compiler;
use crate::config::compile::secret::{Empty, known};
use crate::config::fault::Fault;
use crate::config::section::Section;
use crate::connection::aws::AccessKey;
use crate::secret::Secret;

/// How IDs of permanent keys begin, and those of temporary ones.
const PERMANENT: &str = "AKIA";
const TEMPORARY: &str = "ASIA";

impl<'a> Compiler<'_, 'a> {
    /// The access key in a table; `who` cannot do without.
    pub(super) fn access_key(&self, section: &Section<'a>, who: &str) -> Option<AccessKey> {
        let id = self.needed(section, "access_key_id", who);
        let secret = self.needed(section, "secret_access_key", who);
        let session_token = match section.has("session_token") {
            true => self.part(section, "session_token").map(Some),
            false => Some(None),
        };
        let key = AccessKey {
            id: id?,
            secret: secret?,
            session_token: session_token?,
        };
        refuse_slips(section, &key);
        Some(key)
    }

    fn needed(&self, section: &Section<'a>, key: &str, who: &str) -> Option<Secret> {
        if !section.has(key) {
            section.missing(key, format!("{who} needs `{key}`"));
        }
        self.part(section, key)
    }

    fn part(&self, section: &Section<'a>, key: &str) -> Option<Secret> {
        let entry = section.entry(key)?;
        let secret = self.secrets.of(section, &entry, Empty::Refused)?;
        let has = |what: fn(char) -> bool| known(&secret).iter().any(|text| text.contains(what));
        let message = if has(|c| c.is_whitespace() || c.is_control()) {
            format!("`{key}` has white space or a control character, which no key has")
        } else if has(|c| !c.is_ascii()) {
            format!("`{key}` has a character that is not ASCII, which no key has")
        } else if key == "access_key_id" && has(|c| matches!(c, '/' | ',' | '=')) {
            format!("`{key}` has a `/`, `,` or `=`, which no ID of a key has")
        } else {
            return Some(secret);
        };
        section.report(key, Fault::at(entry.place, message));
        None
    }
}

fn refuse_slips(section: &Section<'_>, key: &AccessKey) {
    let [id, _] = known(&key.id);
    let [secret, _] = known(&key.secret);
    let is_id = |text: &str| {
        let begins = text.starts_with(PERMANENT) || text.starts_with(TEMPORARY);
        begins && text.len() == 20 && text.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if is_id(secret) {
        report(
            section,
            "secret_access_key",
            "`secret_access_key` looks like the ID of a key; the secret is the longer one of the two",
        );
    } else if id.starts_with(TEMPORARY) && is_id(id) && key.session_token.is_none() {
        report(
            section,
            "access_key_id",
            "`access_key_id` is one of a temporary key (`ASIA…`), which needs its `session_token`",
        );
    }
}

fn report(section: &Section<'_>, key: &str, message: &str) {
    if let Some(entry) = section.entry(key) {
        section.report(key, Fault::at(entry.place, message));
    }
}
