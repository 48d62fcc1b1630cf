//! What a connection shows of itself to servers that ask for it: [`ClientIdentity`], a chain of
//! certificates and the private key that the first of them is for.

pub mod key;
pub mod pkcs12;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate as X509;
use x509_cert::der::{Decode, asn1::BitString};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use zeroize::Zeroize;

use crate::secret::Origin;

/// From so long before its end on, a certificate is talked of.
pub const NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A client certificate with its chain and its key, which fit each other.
///
/// Two of them are equal only if every byte of chain and key is: issuer and serial number are no
/// identity, as an authority may be made twice.
pub struct ClientIdentity {
    certified: Arc<CertifiedKey>,
    key: Key,
    leaf: Certificate,
    first_to_end: Certificate,
    origin: Origin,
}

/// The key as it was read, for a process that is handed it.
struct Key(PrivateKeyDer<'static>);

/// What is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it names, as RFC 4514 writes it.
    pub subject: Box<str>,
    /// Who signed it.
    pub issuer: Box<str>,
    /// Its serial number in hexadecimal digits, as OpenSSL writes it.
    pub serial: Box<str>,
    /// When it ends.
    pub not_after: SystemTime,
}

/// Why chain and key are no [`ClientIdentity`]: what follows after the file's name in a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// The key is that of no certificate in the chain, and the first is an authority's.
    #[error(
        "is the certificate of an authority, `{0}`; name the one that the authority issued for `client_key` (`ca_certificate` is what upstreams are trusted by)"
    )]
    Authority(Box<str>),
    /// There is no certificate.
    #[error("has no certificate; it needs PEM, `-----BEGIN CERTIFICATE-----`")]
    Empty,
    /// The key is that of no certificate in the chain.
    #[error("is for another key than `client_key`; name the two that were issued together")]
    KeyMismatch,
    /// A certificate cannot be read; they are counted from 1.
    #[error("has a certificate (number {0}) that is not valid X.509; it must be issued anew")]
    NotX509(usize),
    /// The key is that of another certificate than the first.
    #[error(
        "starts with the certificate of `{0}`, and `client_key` fits number {1}; put that one first, and behind it those that sign it"
    )]
    Order(Box<str>, usize),
    /// The key is of no use in TLS.
    #[error(
        "cannot be used for TLS: it is damaged, or neither RSA (2048 to 4096 bits) nor EC (P-256, P-384) nor Ed25519; if it should be one of these, write it anew with `openssl pkey -in KEY.pem -out NEW.pem`"
    )]
    UnusableKey,
}

impl ClientIdentity {
    /// Puts a chain, its first certificate the connection's own, and that one's key together.
    ///
    /// # Errors
    /// They do not belong together, or one of them cannot be read.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        origin: Origin,
    ) -> Result<Self, InvalidIdentity> {
        let key = Key(key);
        let parsed = parse_all(&chain)?;
        let signing = signing_key(&key.0)?;
        check_fit(&parsed, &*signing)?;
        let told: Vec<_> = parsed.iter().map(Certificate::of).collect();
        let first_to_end = told.iter().min_by_key(|certificate| certificate.not_after);
        let (Some(leaf), Some(first_to_end)) = (told.first(), first_to_end) else {
            return Err(InvalidIdentity::Empty);
        };
        Ok(Self {
            leaf: leaf.clone(),
            first_to_end: first_to_end.clone(),
            certified: Arc::new(CertifiedKey::new(chain, signing)),
            key,
            origin,
        })
    }

    /// The chain, the connection's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The key's DER (PKCS#8, PKCS#1 or SEC1): for a process that is handed it, and nothing else.
    pub fn key(&self) -> &[u8] {
        self.key.0.secret_der()
    }

    /// Chain and key as rustls takes them.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The connection's own certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The certificate of the chain that ends first: with it, all of the chain is over.
    pub fn first_to_end(&self) -> &Certificate {
        &self.first_to_end
    }

    /// When it can no longer be used.
    pub fn not_after(&self) -> SystemTime {
        self.first_to_end.not_after
    }

    /// Where its key was read.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.chain() == other.chain() && self.key() == other.key()
    }
}

impl Eq for ClientIdentity {}

impl Hash for ClientIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.chain().hash(state);
        self.key().hash(state);
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("leaf", &self.leaf)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

// === impl Certificate ===

impl Certificate {
    fn of(certificate: &X509) -> Self {
        let certificate = certificate.tbs_certificate();
        Self {
            subject: shown(&certificate.subject().to_string()),
            issuer: shown(&certificate.issuer().to_string()),
            serial: hexadecimal(certificate.serial_number().as_bytes()),
            not_after: certificate.validity().not_after.to_system_time(),
        }
    }

    /// What a certificate says; none if it is none.
    pub fn parse(der: &CertificateDer<'_>) -> Option<Self> {
        X509::from_der(der)
            .ok()
            .map(|certificate| Self::of(&certificate))
    }

    /// The time it has left; none once it has ended.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        let left = self.not_after.duration_since(now).ok();
        left.filter(|left| !left.is_zero())
    }

    /// Whole days to its end; as many as have passed since, and one, below zero.
    pub fn days_left(&self, now: SystemTime) -> i64 {
        const DAY: i64 = 24 * 3600;
        let seconds = |since: Duration| i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => seconds(left) / DAY,
            Err(past) => -(seconds(past.duration()) / DAY) - 1,
        }
    }
}

/// Whom it names and when it ends, for a message.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` (serial number {}, issued by `{}`, valid until {})",
            self.subject,
            self.serial,
            self.issuer,
            humantime::format_rfc3339_seconds(self.not_after)
        )
    }
}

fn parse_all(chain: &[CertificateDer<'_>]) -> Result<Vec<X509>, InvalidIdentity> {
    let parsed = chain.iter().enumerate().map(|(index, certificate)| {
        X509::from_der(certificate).map_err(|_| InvalidIdentity::NotX509(index + 1))
    });
    parsed.collect()
}

fn signing_key(key: &PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, InvalidIdentity> {
    ring::sign::any_supported_type(key).map_err(|_| InvalidIdentity::UnusableKey)
}

/// Whether the first certificate is for this key.
fn check_fit(chain: &[X509], key: &dyn SigningKey) -> Result<(), InvalidIdentity> {
    let public = public_key(key).ok_or(InvalidIdentity::UnusableKey)?;
    let first = chain.first().ok_or(InvalidIdentity::Empty)?;
    match chain.iter().position(|one| *public_key_of(one) == public) {
        Some(0) => Ok(()),
        Some(index) => Err(InvalidIdentity::Order(
            Certificate::of(first).subject,
            index + 1,
        )),
        None if is_authority(first) => {
            Err(InvalidIdentity::Authority(Certificate::of(first).subject))
        }
        None => Err(InvalidIdentity::KeyMismatch),
    }
}

/// The key's public part: the bits alone, as its algorithm is written in more than one way.
fn public_key(key: &dyn SigningKey) -> Option<BitString> {
    let info = SubjectPublicKeyInfoOwned::from_der(&key.public_key()?).ok()?;
    Some(info.subject_public_key)
}

fn public_key_of(certificate: &X509) -> &BitString {
    let info = certificate.tbs_certificate().subject_public_key_info();
    &info.subject_public_key
}

fn is_authority(certificate: &X509) -> bool {
    let constraints = certificate
        .tbs_certificate()
        .get_extension::<BasicConstraints>();
    matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
}

/// A name as it can stand in a line.
fn shown(name: &str) -> Box<str> {
    const LONGEST: usize = 300;
    let visible = name.chars().filter(|c| !c.is_control());
    visible.take(LONGEST).collect::<String>().into()
}

fn hexadecimal(number: &[u8]) -> Box<str> {
    // A sign octet is none of the number's.
    let digits = match number {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let digits = digits.iter().map(|byte| format!("{byte:02X}"));
    digits.collect::<String>().into()
}
