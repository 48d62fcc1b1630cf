//! A private key that signs assertions: [`PrivateKey`], read from PEM.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use zeroize::{Zeroize, Zeroizing};

use self::der::Kind;
use super::oauth2::Algorithm;

mod der;

/// A private key, bound to the one algorithm that it signs with.
pub struct PrivateKey(Pair);

enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Ps256(RsaKeyPair),
    Rs256(RsaKeyPair),
}

impl PrivateKey {
    /// Reads a key from PEM: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
    ///
    /// Lines may be indented, and may be joined by the two characters `\n`, as in the JSON files of
    /// Google's service accounts.
    ///
    /// # Errors
    /// Says what is wrong with the key, for the person who wrote it.
    pub fn parse(pem: &str, algorithm: Algorithm) -> Result<Self, InvalidKey> {
        let text = unescaped(pem);
        let mut key = private_section(&text)?;
        let pair = pair(&key, algorithm);
        key.zeroize();
        pair.map(Self)
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::EdDsa(_) => Algorithm::EdDsa,
            Pair::Es256(_) => Algorithm::Es256,
            Pair::Ps256(_) => Algorithm::Ps256,
            Pair::Rs256(_) => Algorithm::Rs256,
        }
    }

    /// The signature of a message, as a JWS carries it (RFC 7518 section 3, RFC 8037 section 3.1).
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NotSigned> {
        match &self.0 {
            Pair::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Es256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| NotSigned),
            Pair::Ps256(pair) => sign_rsa(pair, &RSA_PSS_SHA256, message),
            Pair::Rs256(pair) => sign_rsa(pair, &RSA_PKCS1_SHA256, message),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey([redacted], {})", self.algorithm().name())
    }
}

/// The system gave no random numbers, which most signatures need.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("signing failed: the system gave no random numbers")]
pub struct NotSigned;

/// Why a text is not a [`PrivateKey`]: what follows after the key's name in a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Its base64 or its framing is broken.
    #[error(
        "is not valid PEM: it needs `-----BEGIN …-----`, base64 and `-----END …-----`, each on lines of its own"
    )]
    BrokenPem,
    /// Its numbers do not belong together.
    #[error(
        "is damaged, or was made in a way that keybearer does not read; make a new one with `openssl genpkey`"
    )]
    Damaged,
    /// It asks for a passphrase.
    #[error(
        "is encrypted; decrypt it with `openssl pkcs8 -topk8 -nocrypt -in KEY.pem -out NEW.pem`"
    )]
    Encrypted,
    /// There is no PEM in it.
    #[error("is no PEM text; it starts with `-----BEGIN PRIVATE KEY-----`")]
    NoPem,
    /// PEM of something else.
    #[error(
        "is a {0} and no private key; the file to name has the line `-----BEGIN PRIVATE KEY-----`"
    )]
    NotPrivate(&'static str),
    /// OpenSSH's own format.
    #[error(
        "is in OpenSSH's own format; write it as PKCS#8 (`-----BEGIN PRIVATE KEY-----`), or make one with `openssl genpkey`"
    )]
    OpenSsh,
    /// An EC key without its public part, from which a signature could leak the key.
    #[error("has no public key inside; write it anew with `openssl ec -in KEY.pem -out NEW.pem`")]
    PublicPartMissing,
    /// An RSA key above 4096 bits.
    #[error("is too long for keybearer to sign with; use an RSA key of 2048 to 4096 bits")]
    TooLarge,
    /// An RSA key below 2048 bits.
    #[error(
        "is too short to be safe; use an RSA key of 2048 bits at least (`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`)"
    )]
    TooSmall,
    /// Nothing that keybearer signs with.
    #[error("is {0}, which keybearer does not sign with; use an RSA, EC P-256 or Ed25519 key")]
    Unsupported(&'static str),
    /// Another algorithm's.
    #[error("is {kind}, which does not fit `{}`; set `algorithm = {fitting}`", .algorithm.name())]
    WrongKind {
        /// What it is.
        kind: &'static str,
        /// What was asked for.
        algorithm: Algorithm,
        /// What it would sign with, as it is written in the configuration.
        fitting: &'static str,
    },
}

/// The text with line ends where JSON's escapes stand for them, and without indentation.
pub(super) fn unescaped(pem: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(pem.len() + 1));
    let lines = pem.split("\\n").flat_map(str::lines);
    for line in lines {
        text.push_str(line.trim().trim_end_matches("\\r"));
        text.push('\n');
    }
    text
}

fn private_section(text: &str) -> Result<PrivateKeyDer<'static>, InvalidKey> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(InvalidKey::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        PemError::NoItemsFound => without_key(text),
        _ => InvalidKey::BrokenPem,
    })
}

/// What a text is in which no private key was found.
pub(super) fn without_key(text: &str) -> InvalidKey {
    let known = [
        ("-----BEGIN OPENSSH PRIVATE KEY", InvalidKey::OpenSsh),
        (
            "-----BEGIN CERTIFICATE REQUEST",
            InvalidKey::NotPrivate("certificate request"),
        ),
        (
            "-----BEGIN CERTIFICATE",
            InvalidKey::NotPrivate("certificate"),
        ),
        (
            "-----BEGIN PUBLIC KEY",
            InvalidKey::NotPrivate("public key"),
        ),
        (
            "-----BEGIN RSA PUBLIC KEY",
            InvalidKey::NotPrivate("public key"),
        ),
        (
            "-----BEGIN DSA PRIVATE KEY",
            InvalidKey::Unsupported("a DSA key"),
        ),
        ("-----BEGIN", InvalidKey::BrokenPem),
    ];
    let found = known.into_iter().find(|(begin, _)| text.contains(begin));
    found.map_or(InvalidKey::NoPem, |(_, why)| why)
}

fn pair(key: &PrivateKeyDer<'_>, algorithm: Algorithm) -> Result<Pair, InvalidKey> {
    let kind = der::kind(key).ok_or(InvalidKey::Damaged)?;
    match (algorithm, kind) {
        (Algorithm::EdDsa, Kind::Ed25519) => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_der());
            pair.map(Pair::EdDsa).map_err(|_| InvalidKey::Damaged)
        }
        (Algorithm::Es256, Kind::P256) => ecdsa(key).map(Pair::Es256),
        (Algorithm::Ps256, Kind::Rsa) => rsa(key).map(Pair::Ps256),
        (Algorithm::Rs256, Kind::Rsa) => rsa(key).map(Pair::Rs256),
        (_, Kind::Unsupported(name)) => Err(InvalidKey::Unsupported(name)),
        (_, Kind::Ed25519) => Err(wrong(algorithm, "an Ed25519 key", "\"EdDSA\"")),
        (_, Kind::P256) => Err(wrong(algorithm, "an EC key on P-256", "\"ES256\"")),
        (_, Kind::Rsa) => Err(wrong(algorithm, "an RSA key", "\"RS256\"` or `\"PS256\"")),
    }
}

fn wrong(algorithm: Algorithm, kind: &'static str, fitting: &'static str) -> InvalidKey {
    InvalidKey::WrongKind {
        kind,
        algorithm,
        fitting,
    }
}

fn ecdsa(key: &PrivateKeyDer<'_>) -> Result<EcdsaKeyPair, InvalidKey> {
    let (pkcs8, sec1) = match key {
        PrivateKeyDer::Sec1(key) => (der::wrap_p256(key.secret_sec1_der()), key.secret_sec1_der()),
        other => {
            let inner = der::inner(other.secret_der()).ok_or(InvalidKey::Damaged)?;
            (Zeroizing::new(other.secret_der().to_vec()), inner)
        }
    };
    if !der::has_public_part(sec1) {
        return Err(InvalidKey::PublicPartMissing);
    }
    EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &pkcs8,
        &SystemRandom::new(),
    )
    .map_err(|_| InvalidKey::Damaged)
}

fn rsa(key: &PrivateKeyDer<'_>) -> Result<RsaKeyPair, InvalidKey> {
    let pair = match key {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        other => RsaKeyPair::from_pkcs8(other.secret_der()),
    };
    // ring tells its reasons by name alone.
    pair.map_err(|rejected| match rejected.to_string().as_str() {
        "TooSmall" => InvalidKey::TooSmall,
        "TooLarge" => InvalidKey::TooLarge,
        _ => InvalidKey::Damaged,
    })
}

fn sign_rsa(
    pair: &RsaKeyPair,
    padding: &'static dyn RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, NotSigned> {
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| NotSigned)?;
    Ok(signature)
}

#[cfg(test)]
mod tests;
