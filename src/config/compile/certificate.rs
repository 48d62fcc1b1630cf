//! A listener's certificate and key, from files.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::fault::Fault;
use crate::config::section::{Section, Text};
use crate::config::source::{Contents, Unreadable};

/// Why a file gives no certificate or no key.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("has no certificate; it needs PEM, `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    #[error("has no private key; it needs PEM, such as `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    #[error(
        "has a private key of a kind that is not supported; use RSA, ECDSA (P-256, P-384) or Ed25519"
    )]
    UnknownKey,
}

/// `certificate` and `key`, which belong together; `why` says what they are needed for.
pub(super) fn identity(section: &Section<'_>, why: &str) -> Option<CertifiedKey> {
    for key in ["certificate", "key"] {
        if !section.has(key) {
            let name = section.name();
            section.missing(
                key,
                format!("`[{name}]` needs a `{key}`, a PEM file: {why}"),
            );
        }
    }
    let chain = section
        .text("certificate")
        .and_then(|text| read(section, text, chain));
    let written = section.text("key")?;
    let key = read(section, written, |contents| {
        PrivateKeyDer::from_pem_slice(&contents.bytes).map_err(|_| Unusable::NoKey)
    });
    let key = any_supported_type(&key?)
        .map_err(|_| report(section, written, &Unusable::UnknownKey))
        .ok()?;
    let identity = CertifiedKey::new(chain?, key);
    match identity.keys_match() {
        // Where that cannot be known, a handshake tells.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Some(identity)
        }
        Err(_) => {
            section.refuse(
                written,
                "`key` is not the key of the first certificate in `certificate`",
            );
            None
        }
    }
}

fn chain(contents: &Contents) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&contents.bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| Unusable::NoCertificate)?;
    match chain.is_empty() {
        true => Err(Unusable::NoCertificate),
        false => Ok(chain),
    }
}

fn read<T>(
    section: &Section<'_>,
    written: Text<'_>,
    parse: impl Fn(&Contents) -> Result<T, Unusable>,
) -> Option<T> {
    let context = section.context();
    let path = context.document(written.place).resolve(written.text);
    let read = context.reader.read(&path).map_err(Unusable::from);
    read.and_then(|contents| parse(&contents))
        .map_err(|error| report(section, written, &error))
        .ok()
}

fn report(section: &Section<'_>, written: Text<'_>, error: &Unusable) {
    let path = section
        .context()
        .document(written.place)
        .resolve(written.text);
    let mut fault = Fault::at(written.place, format!("`{}` {error}", path.display()));
    if let Unusable::Unreadable(unreadable) = error
        && let Some(hint) = unreadable.hint()
    {
        fault = fault.hint(hint);
    }
    section.report(written.key, fault);
}
