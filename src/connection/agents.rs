//! What lets on-prem agents in: [`Access`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;

use crate::secret::Secret;

/// The longest name of an agent, in bytes.
const LONGEST_NAME: usize = 64;

/// Whether a text can name an agent: it stands in a header field, in labels and in messages.
pub fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    text.len() <= LONGEST_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(fits)
}

/// How agents prove who they are, and how the listener does.
pub struct Access {
    /// The listener's side of TLS: its certificate, and whose certificates it takes from agents.
    pub tls: Arc<ServerConfig>,
    /// The authorities whose certificates take the place of a token; none: tokens only.
    pub authorities: Option<Arc<[CertificateDer<'static>]>>,
    /// The token of each agent that has one.
    pub tokens: BTreeMap<Arc<str>, Secret>,
    /// Every agent that there may be: those with a token, and those that connections name.
    pub names: BTreeSet<Arc<str>>,
}

impl Access {
    /// Prepares the listener's side of TLS.
    ///
    /// # Errors
    /// The authorities cannot be trusted.
    pub fn new(
        identity: CertifiedKey,
        authorities: Option<Arc<[CertificateDer<'static>]>>,
        tokens: BTreeMap<Arc<str>, Secret>,
        names: BTreeSet<Arc<str>>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities.iter() {
                    roots.add(authority.clone())?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(|error| rustls::Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut tls = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        // The protocol begins as HTTP/1.1 and is upgraded.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Agents stay for days, and each is to prove itself again: nothing is resumed.
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        Ok(Self {
            tls: Arc::new(tls),
            authorities,
            tokens,
            names,
        })
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("names", &self.names)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_anywhere_without_quoting() {
        for name in ["datacenter-1", "a", "eu.west_2", "7"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(65);
        for text in ["", "-a", ".", "a b", "a\n", "ä", "a/b", &long] {
            assert!(!is_name(text), "{text}");
        }
    }
}
