//! A client certificate's private key from PEM: [`read`].

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::connection::key::{InvalidKey, unescaped, without_key};
use crate::secret::Secret;

const BEGIN_ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END_ENCRYPTED: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// Why a text is no private key for TLS: what follows after the key's name in a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientKey {
    /// There is a password for a key that needs none.
    #[error("is not encrypted, so `client_key_password` has no use; remove that")]
    NotEncrypted,
    /// It is no PEM of a private key.
    #[error(transparent)]
    NotPem(#[from] InvalidKey),
    /// It cannot be read without a password.
    #[error("is encrypted; set `client_key_password` to its password")]
    PasswordMissing,
    /// OpenSSL's own encryption, which derives its key with a single round of MD5.
    #[error(
        "is encrypted in OpenSSL's old way (`Proc-Type: 4,ENCRYPTED`), which guards it badly and is not read; write it anew with `openssl pkcs8 -topk8 -in KEY.pem -out NEW.pem`"
    )]
    Traditional,
    /// An encryption that is not read.
    #[error(
        "is encrypted in a way that is not read; write it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in KEY.pem -out NEW.pem`"
    )]
    UnknownEncryption,
    /// What comes out is no key.
    #[error("cannot be decrypted: `client_key_password` is not its password, or it is damaged")]
    WrongPassword,
}

/// Reads a private key from PEM: PKCS#8, plain or encrypted (PBES2), PKCS#1 (RSA) or SEC1 (EC).
///
/// # Errors
/// Says what is wrong with the key, for the person who wrote it.
pub fn read(
    pem: &str,
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, InvalidClientKey> {
    let text = unescaped(pem);
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(InvalidClientKey::Traditional);
    }
    let Some((_, encrypted)) = text.split_once(BEGIN_ENCRYPTED) else {
        return match password {
            None => plain(&text),
            // What is no key at all is the greater mistake.
            Some(_) => plain(&text).and(Err(InvalidClientKey::NotEncrypted)),
        };
    };
    let password = password.ok_or(InvalidClientKey::PasswordMissing)?;
    let broken = InvalidClientKey::NotPem(InvalidKey::BrokenPem);
    let (encrypted, _) = encrypted.split_once(END_ENCRYPTED).ok_or(broken.clone())?;
    let encrypted: String = encrypted.split_ascii_whitespace().collect();
    let der = BASE64_STANDARD.decode(encrypted).map_err(|_| broken)?;
    decrypt(&der, password)
}

fn plain(text: &str) -> Result<PrivateKeyDer<'static>, InvalidClientKey> {
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes());
    key.map_err(|error| match error {
        PemError::NoItemsFound => without_key(text).into(),
        _ => InvalidKey::BrokenPem.into(),
    })
}

fn decrypt(der: &[u8], password: &Secret) -> Result<PrivateKeyDer<'static>, InvalidClientKey> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|_| InvalidClientKey::UnknownEncryption)?;
    let decrypted = info.decrypt(password.expose()).map_err(|error| {
        use pkcs8::pkcs5::Error;
        match error {
            pkcs8::Error::EncryptedPrivateKey(
                Error::UnsupportedAlgorithm { .. } | Error::NoPbes1CryptSupport,
            ) => InvalidClientKey::UnknownEncryption,
            _ => InvalidClientKey::WrongPassword,
        }
    })?;
    Ok(PrivatePkcs8KeyDer::from(decrypted.as_bytes().to_vec()).into())
}
