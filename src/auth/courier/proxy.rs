//! The proxy on a courier's way, as it is handed on: [`JobProxy`].

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::connection::proxy::{Login, Protocol, Proxy};
use crate::secret::{Origin, Secret};

/// A proxy with what it is shown.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobProxy {
    protocol: Protocol,
    host: Box<str>,
    port: u16,
    username: Option<String>,
    password: String,
    key: Box<str>,
}

impl JobProxy {
    pub(super) fn new(proxy: &Proxy) -> Self {
        let login = proxy.login.as_ref();
        let password = login.map(|login| login.password.expose().to_owned());
        Self {
            protocol: proxy.protocol,
            host: proxy.host.clone(),
            port: proxy.port,
            username: login.map(|login| login.username.expose().to_owned()),
            password: password.unwrap_or_default(),
            key: proxy.key.clone(),
        }
    }

    pub(super) fn proxy(&self) -> Proxy {
        let secret = |text: &str| Secret::new(text, Origin::Issued);
        Proxy {
            protocol: self.protocol,
            host: self.host.clone(),
            port: self.port,
            login: self.username.as_deref().map(|username| Login {
                username: secret(username),
                password: secret(&self.password),
            }),
            key: self.key.clone(),
        }
    }

    /// How many bytes it takes, at most, in JSON, where each byte may take six.
    pub(super) fn length(&self) -> usize {
        let username = self.username.as_ref().map_or(0, String::len);
        (self.host.len() + username + self.password.len() + self.key.len()) * 6 + 128
    }
}

impl Drop for JobProxy {
    fn drop(&mut self) {
        self.username.zeroize();
        self.password.zeroize();
    }
}
