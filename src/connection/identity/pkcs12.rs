//! A client certificate, its chain and its key from PKCS#12 (RFC 7292): [`read`].

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_cert::Certificate as X509;
use x509_cert::der::Decode;

use super::{public_key, public_key_of, signing_key};
use crate::secret::Secret;

/// Why bytes are no PKCS#12 with one identity: what follows after the file's name in a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPkcs12 {
    /// Something in it is not valid X.509.
    #[error("has a certificate that is not valid X.509; it must be issued anew")]
    BrokenCertificate,
    /// No certificate is the key's.
    #[error("has no certificate for its key; export it with its certificate")]
    NoCertificate,
    /// There are certificates at most.
    #[error(
        "has no private key; export one with it (`openssl pkcs12 -export -inkey KEY.pem -in CERTIFICATE.pem`)"
    )]
    NoKey,
    /// It is another kind of file.
    #[error(
        "is no PKCS#12 file; PEM goes into `client_certificate` and `client_key`, and a PKCS#12 file is made with `openssl pkcs12 -export`"
    )]
    NotPkcs12,
    /// It cannot be read without a password.
    #[error("is encrypted; set `client_key_password` to its password")]
    PasswordMissing,
    /// There are several keys.
    #[error("has {0} private keys; export the one to use alone")]
    SeveralKeys(usize),
    /// An encryption that is not read.
    #[error(
        "is encrypted in a way that is not read; write it anew with `openssl pkcs12 -export`, which uses AES"
    )]
    UnknownEncryption,
    /// The key is of no use in TLS.
    #[error(
        "has a key that cannot be used for TLS; it is neither RSA (2048 to 4096 bits) nor EC (P-256, P-384) nor Ed25519"
    )]
    UnusableKey,
    /// It is another's password.
    #[error("cannot be decrypted: `client_key_password` is not its password, or it is damaged")]
    WrongPassword,
}

/// Reads the one key of a file, and its chain: the key's certificate first, then those that sign it
/// as far as the file has them, a root left out, as who trusts it has it.
///
/// # Errors
/// Says what is wrong with the file, for the person who made it.
pub fn read(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), InvalidPkcs12> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.map_or("", Secret::expose))
        .map_err(|error| why(&error, password))?;
    let key = match &*archive.keys {
        [] => return Err(InvalidPkcs12::NoKey),
        [only] => PrivatePkcs8KeyDer::from(only.key.as_der().to_vec()).into(),
        several => return Err(InvalidPkcs12::SeveralKeys(several.len())),
    };
    let certificates = archive.certs.iter().map(|bag| bag.cert.as_der());
    let certificates = certificates.map(|der| Some((der, X509::from_der(der).ok()?)));
    let certificates: Option<Vec<_>> = certificates.collect();
    let certificates = certificates.ok_or(InvalidPkcs12::BrokenCertificate)?;
    let chain = chain(&certificates, &key)?;
    Ok((chain, key))
}

fn chain(
    certificates: &[(&[u8], X509)],
    key: &PrivateKeyDer<'static>,
) -> Result<Vec<CertificateDer<'static>>, InvalidPkcs12> {
    let signing = signing_key(key).map_err(|_| InvalidPkcs12::UnusableKey)?;
    let public = public_key(&*signing).ok_or(InvalidPkcs12::UnusableKey)?;
    let is_own = |(_, one): &&(&[u8], X509)| *public_key_of(one) == public;
    let own = certificates.iter().find(is_own);
    let (der, mut last) = own
        .map(|(der, one)| (der, one))
        .ok_or(InvalidPkcs12::NoCertificate)?;
    let mut chain = vec![CertificateDer::from(der.to_vec())];
    let signs = |issuer: &X509, one: &X509| {
        let (issuer, one) = (issuer.tbs_certificate(), one.tbs_certificate());
        issuer.subject() == one.issuer() && issuer.subject() != issuer.issuer()
    };
    // A ring of issuers is no longer than all of them.
    while chain.len() < certificates.len()
        && let Some((der, issuer)) = certificates.iter().find(|(_, issuer)| signs(issuer, last))
    {
        chain.push(CertificateDer::from(der.to_vec()));
        last = issuer;
    }
    Ok(chain)
}

fn why(error: &Error, password: Option<&Secret>) -> InvalidPkcs12 {
    match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => match password {
            None => InvalidPkcs12::PasswordMissing,
            Some(_) => InvalidPkcs12::WrongPassword,
        },
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
            InvalidPkcs12::UnknownEncryption
        }
        Error::X509Error(_) => InvalidPkcs12::BrokenCertificate,
        _ => InvalidPkcs12::NotPkcs12,
    }
}
