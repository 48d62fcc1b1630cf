//! The client of an OAuth 2.0 credential, and the keys with which assertions are signed.

use super::oauth2::Settings;
use super::secret::Empty;
use crate::config::fault::Fault;
use crate::connection::key::PrivateKey;
use crate::connection::oauth2::{Algorithm, Client, ClientAuthentication, SigningKey};
use crate::secret::Secret;

/// The keys of an assertion that a client signs.
const SIGNING: [&str; 3] = ["private_key", "key_id", "algorithm"];

impl<'a> Settings<'_, 'a> {
    /// The client, whose `client_auth` is `default` if it says nothing.
    pub(super) fn client(&self, default: &'static str) -> Option<Client> {
        let id = self.needed_word(
            "client_id",
            "a `client_id`, as the provider calls this client",
        );
        let authentication = self.client_authentication(default);
        Some(Client {
            id: id?,
            authentication: authentication?,
        })
    }

    fn client_authentication(&self, default: &'static str) -> Option<ClientAuthentication> {
        let method = match self.section.has("client_auth") {
            true => self.section.text("client_auth")?.text,
            false => default,
        };
        let idle: &[&str] = match method {
            "none" | "tls" => &["client_secret", "private_key", "key_id", "algorithm"],
            "private_key_jwt" => &["client_secret"],
            "basic" | "post" => &SIGNING,
            _ => &[],
        };
        self.refuse_idle(idle, method);
        match method {
            "basic" => self.client_secret().map(ClientAuthentication::Basic),
            "none" => Some(ClientAuthentication::None),
            "post" => self.client_secret().map(ClientAuthentication::Post),
            "private_key_jwt" => {
                let who = "`client_auth = \"private_key_jwt\"`";
                self.signing_key(who)
                    .map(ClientAuthentication::PrivateKeyJwt)
            }
            // Whether there is a certificate is seen where `tls` is read.
            "tls" => Some(ClientAuthentication::Tls),
            _ => None,
        }
    }

    /// Reports keys that this way of client authentication would ignore.
    fn refuse_idle(&self, keys: &[&str], method: &str) {
        // Microsoft's types have no signing keys, and unknown keys were reported.
        let is_key = |key: &str| key == "client_secret" || !self.kind.starts_with("azure");
        let keys = keys.iter().filter(|key| is_key(key));
        for entry in keys.filter_map(|key| self.section.entry(key)) {
            let key = entry.key;
            let message = match self.section.has("client_auth") {
                true => format!("`{key}` has no use with `client_auth = \"{method}\"`"),
                false => format!("`{key}` has no use without `client_auth = \"private_key_jwt\"`"),
            };
            self.section
                .report(key, Fault::at(entry.key_place, message));
        }
    }

    fn client_secret(&self) -> Option<Secret> {
        let section = self.section;
        if let Some(entry) = section.entry("client_secret") {
            return self.secrets().of(section, &entry, Empty::Refused);
        }
        let kind = self.kind;
        let message = match section.text("client_auth") {
            Some(method) => format!(
                "`client_auth = \"{}\"` needs a `client_secret`",
                method.text
            ),
            None if section.has("private_key") => return None,
            None if kind.ends_with("authorization_code") => format!(
                "type `{kind}` needs a `client_secret`, or `client_auth = \"none\"` for a public client"
            ),
            None if kind.starts_with("azure") => format!("type `{kind}` needs a `client_secret`"),
            None => format!(
                "type `{kind}` needs a `client_secret`, or `client_auth = \"private_key_jwt\"` and a `private_key`"
            ),
        };
        section.missing("client_secret", message);
        None
    }

    /// The key that `who` cannot do without.
    pub(super) fn signing_key(&self, who: &str) -> Option<SigningKey> {
        let section = self.section;
        let algorithm = match section.has("algorithm") {
            true => algorithm(section.text("algorithm")?.text),
            false => Some(Algorithm::Rs256),
        };
        let id = self.word("key_id");
        let Some(entry) = section.entry("private_key") else {
            section.missing(
                "private_key",
                format!("{who} needs a `private_key`, in PEM"),
            );
            return None;
        };
        let key = self.secrets().of(section, &entry, Empty::Refused)?;
        let algorithm = algorithm?;
        // One that a command tells is not known yet.
        if key.command().is_none()
            && let Err(invalid) = PrivateKey::parse(key.expose(), algorithm)
        {
            let message = format!("`private_key` {invalid}");
            section.report(entry.key, Fault::at(entry.place, message));
            return None;
        }
        Some(SigningKey { key, id, algorithm })
    }
}

fn algorithm(name: &str) -> Option<Algorithm> {
    let all = [
        Algorithm::EdDsa,
        Algorithm::Es256,
        Algorithm::Ps256,
        Algorithm::Rs256,
    ];
    all.into_iter().find(|algorithm| algorithm.name() == name)
}
