//! Chains and keys that fit each other, and those that do not.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber, date_time_ymd};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::key::InvalidClientKey;
use super::pkcs12::InvalidPkcs12;
use super::*;
use crate::connection::key::InvalidKey;
use crate::secret::Secret;

const PASSWORD: &str = "hunter2";

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/client");
    std::fs::read(folder.join(name)).unwrap()
}

fn text(name: &str) -> String {
    String::from_utf8(file(name)).unwrap()
}

fn chain(name: &str) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_slice_iter(&file(name)).collect::<Result<_, _>>();
    all.unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text, Origin::Literal)
}

fn identity(
    certificates: &str,
    key: &str,
    password: Option<&str>,
) -> Result<ClientIdentity, InvalidIdentity> {
    let password = password.map(secret);
    let key = key::read(&text(key), password.as_ref()).unwrap();
    ClientIdentity::new(chain(certificates), key, Origin::Literal)
}

#[test]
fn a_key_is_read_in_every_form() {
    for (certificates, key, password) in [
        ("chain.pem", "pkcs8.key", None),
        ("chain.pem", "sec1.key", None),
        ("chain.pem", "encrypted.key", Some(PASSWORD)),
        ("chain.pem", "scrypt.key", Some(PASSWORD)),
        ("rsa.pem", "pkcs1.key", None),
    ] {
        let made = identity(certificates, key, password);
        let made = made.unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(made.chain(), chain(certificates), "{key}");
    }
}

#[test]
fn a_certificate_is_told_as_openssl_tells_it() {
    let made = identity("chain.pem", "sec1.key", None).unwrap();
    let leaf = made.leaf();
    assert_eq!(&*leaf.subject, "CN=client,O=keybearer");
    assert_eq!(&*leaf.issuer, "CN=keybearer test issuer");
    assert_eq!(&*leaf.serial, "C0FFEE");
    assert!(leaf.not_after > UNIX_EPOCH + Duration::from_secs(4_000_000_000));
}

#[test]
fn a_key_that_cannot_be_read_says_what_to_do() {
    for (key, password, why) in [
        ("encrypted.key", None, InvalidClientKey::PasswordMissing),
        (
            "encrypted.key",
            Some("wrong"),
            InvalidClientKey::WrongPassword,
        ),
        ("scrypt.key", Some("wrong"), InvalidClientKey::WrongPassword),
        (
            "des3.key",
            Some(PASSWORD),
            InvalidClientKey::UnknownEncryption,
        ),
        (
            "pbes1.key",
            Some(PASSWORD),
            InvalidClientKey::UnknownEncryption,
        ),
        (
            "traditional.key",
            Some(PASSWORD),
            InvalidClientKey::Traditional,
        ),
        ("sec1.key", Some(PASSWORD), InvalidClientKey::NotEncrypted),
        (
            "chain.pem",
            None,
            InvalidKey::NotPrivate("certificate").into(),
        ),
    ] {
        let password = password.map(secret);
        let read = key::read(&text(key), password.as_ref());
        assert_eq!(read.unwrap_err(), why, "{key}");
    }
    let half = text("encrypted.key").replace("-----END", "-----");
    let read = key::read(&half, Some(&secret(PASSWORD)));
    assert_eq!(read.unwrap_err(), InvalidKey::BrokenPem.into());
}

#[test]
fn what_does_not_fit_is_told_apart() {
    for (certificates, key, why) in [
        ("rsa.pem", "sec1.key", InvalidIdentity::KeyMismatch),
        (
            "authority.pem",
            "sec1.key",
            InvalidIdentity::Authority("CN=keybearer test authority".into()),
        ),
        (
            "reversed.pem",
            "sec1.key",
            InvalidIdentity::Order("CN=keybearer test issuer".into(), 2),
        ),
        ("chain.pem", "p521.key", InvalidIdentity::UnusableKey),
    ] {
        let made = identity(certificates, key, None);
        assert_eq!(made.unwrap_err(), why, "{certificates} {key}");
    }
    let key = || key::read(&text("sec1.key"), None).unwrap();
    let new = |chain| ClientIdentity::new(chain, key(), Origin::Literal);
    assert_eq!(new(Vec::new()).unwrap_err(), InvalidIdentity::Empty);
    let mut broken = chain("chain.pem");
    broken.push(CertificateDer::from(b"hunter2".to_vec()));
    assert_eq!(new(broken).unwrap_err(), InvalidIdentity::NotX509(3));
}

#[test]
fn pkcs12_is_read_as_openssl_writes_it_now_and_wrote_it_then() {
    for name in ["new.p12", "old.p12"] {
        let (chain, key) = pkcs12::read(&file(name), Some(&secret(PASSWORD))).unwrap();
        assert_eq!(chain, self::chain("chain.pem"), "{name}: in order, no root");
        ClientIdentity::new(chain, key, Origin::Literal).unwrap();
        for (password, why) in [
            (None, InvalidPkcs12::PasswordMissing),
            (Some("wrong"), InvalidPkcs12::WrongPassword),
        ] {
            let password = password.map(secret);
            let read = pkcs12::read(&file(name), password.as_ref());
            assert_eq!(read.unwrap_err(), why, "{name}");
        }
    }
    assert!(pkcs12::read(&file("empty.p12"), None).is_ok());
    let nokey = pkcs12::read(&file("nokey.p12"), Some(&secret(PASSWORD)));
    assert_eq!(nokey.unwrap_err(), InvalidPkcs12::NoKey);
    for other in ["chain.pem", "sec1.key"] {
        let read = pkcs12::read(&file(other), None);
        assert_eq!(read.unwrap_err(), InvalidPkcs12::NotPkcs12, "{other}");
    }
}

#[test]
fn damaged_files_are_refused_and_nothing_panics() {
    let whole = file("new.p12");
    for length in (0..whole.len()).step_by(97) {
        assert!(pkcs12::read(&whole[..length], Some(&secret(PASSWORD))).is_err());
    }
    let whole = text("encrypted.key");
    for length in (0..whole.len() - 40).step_by(31) {
        assert!(key::read(&whole[..length], Some(&secret(PASSWORD))).is_err());
    }
}

/// A certificate of an authority, its key of this kind, with this serial number and end.
fn issued(authority: &KeyPair, serial: u64, year: i32) -> (ClientIdentity, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "one");
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_after = date_time_ymd(year, 1, 1);
    let mut issuer = CertificateParams::default();
    issuer.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = Issuer::from_params(&issuer, authority);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let chain = vec![certificate.der().clone()];
    (
        ClientIdentity::new(chain, der, Origin::Literal).unwrap(),
        key,
    )
}

#[test]
fn issuer_and_serial_number_are_no_identity() {
    let authority = KeyPair::generate().unwrap();
    let (one, _) = issued(&authority, 1, 2100);
    let (other, _) = issued(&authority, 1, 2100);
    assert_eq!(one.leaf(), other.leaf(), "they look alike");
    assert_ne!(one, other);
    assert_eq!(HashSet::from([&one, &other]).len(), 2);
    let again = ClientIdentity::new(
        one.chain().to_vec(),
        PrivateKeyDer::try_from(one.key().to_vec()).unwrap(),
        Origin::Issued,
    );
    assert_eq!(HashSet::from([&one, &again.unwrap()]).len(), 1);
    // The same leaf with another certificate behind it is shown in another way.
    let mut longer = one.chain().to_vec();
    longer.extend(other.chain().iter().cloned());
    let key = PrivateKeyDer::try_from(one.key().to_vec()).unwrap();
    assert_ne!(
        one,
        ClientIdentity::new(longer, key, Origin::Issued).unwrap()
    );
}

#[test]
fn the_first_of_a_chain_to_end_ends_it() {
    let authority = KeyPair::generate().unwrap();
    let (one, key) = issued(&authority, 1, 2100);
    let (sooner, _) = issued(&authority, 2, 2021);
    let mut chain = one.chain().to_vec();
    chain.extend(sooner.chain().iter().cloned());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let made = ClientIdentity::new(chain, key, Origin::Literal).unwrap();
    assert_eq!(&*made.leaf().serial, "01");
    assert_eq!(&*made.first_to_end().serial, "02");
    let end = made.not_after();
    let day = Duration::from_secs(24 * 3600);
    for (now, days) in [
        (end - 10 * day, 10),
        (end - day / 2, 0),
        (end + day / 2, -1),
        (end + 10 * day, -11),
    ] {
        assert_eq!(made.first_to_end().days_left(now), days);
        assert_eq!(made.first_to_end().left(now).is_none(), days < 0);
    }
    assert!(made.first_to_end().left(end).is_none(), "it has ended then");
}

#[test]
fn debug_tells_no_key() {
    let made = identity("chain.pem", "sec1.key", None).unwrap();
    let shown = format!("{made:?} {made:#?}");
    assert!(shown.contains("C0FFEE"), "{shown}");
    let bytes = format!("{:?}", &made.key()[10..20]);
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}
