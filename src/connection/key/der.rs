//! As much of a key's DER as tells what kind it is, and the PKCS#8 around a SEC1 key.

use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

/// What a private key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// EC on P-256 (RFC 5480).
    P256,
    /// RSA (RFC 8017).
    Rsa,
    /// Something else, by its name with an article.
    Unsupported(&'static str),
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `parameters [0]` of an `ECPrivateKey` (RFC 5915 section 3).
const PARAMETERS: u8 = 0xa0;
/// `publicKey [1]` of the same.
const PUBLIC_KEY: u8 = 0xa1;

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What kind of key it is; none if that cannot be read.
pub(super) fn kind(key: &PrivateKeyDer<'_>) -> Option<Kind> {
    match key {
        PrivateKeyDer::Pkcs1(_) => Some(Kind::Rsa),
        // A key that does not name its curve is taken for the one curve there is here.
        PrivateKeyDer::Sec1(key) => {
            let parameters = field(sec1_fields(key.secret_sec1_der())?, PARAMETERS);
            let named = parameters.and_then(|parameters| element(parameters, OID));
            Some(named.map_or(Kind::P256, |(curve, _)| on_curve(curve)))
        }
        PrivateKeyDer::Pkcs8(key) => {
            let (algorithm, _) = pkcs8_parts(key.secret_pkcs8_der())?;
            let (id, parameters) = element(algorithm, OID)?;
            Some(if id == EC_PUBLIC_KEY {
                let (curve, _) = element(parameters, OID)?;
                on_curve(curve)
            } else {
                of_algorithm(id)
            })
        }
        _ => None,
    }
}

/// The algorithm's own encoding of the key inside PKCS#8 (RFC 5958 section 2).
pub(super) fn inner(pkcs8: &[u8]) -> Option<&[u8]> {
    pkcs8_parts(pkcs8).map(|(_, key)| key)
}

/// Whether an `ECPrivateKey` says its public key.
pub(super) fn has_public_part(sec1: &[u8]) -> bool {
    sec1_fields(sec1).is_some_and(|fields| field(fields, PUBLIC_KEY).is_some())
}

/// PKCS#8 around an `ECPrivateKey` on P-256.
pub(super) fn wrap_p256(sec1: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut algorithm = encoded(OID, EC_PUBLIC_KEY);
    algorithm.extend_from_slice(&encoded(OID, P256));
    let mut whole = encoded(INTEGER, &[0]);
    whole.extend_from_slice(&encoded(SEQUENCE, &algorithm));
    whole.extend_from_slice(&encoded(OCTET_STRING, sec1));
    encoded(SEQUENCE, &whole)
}

fn of_algorithm(id: &[u8]) -> Kind {
    match id {
        [0x2b, 0x65, 0x70] => Kind::Ed25519,
        [0x2b, 0x65, 0x71] => Kind::Unsupported("an Ed448 key"),
        [0x2b, 0x65, 0x6e | 0x6f] => Kind::Unsupported("a key for key agreement"),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01] => Kind::Rsa,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a] => {
            Kind::Unsupported("an RSA key that is restricted to PSS")
        }
        [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01] => Kind::Unsupported("a DSA key"),
        _ => Kind::Unsupported("a key of another kind"),
    }
}

fn on_curve(curve: &[u8]) -> Kind {
    match curve {
        P256 => Kind::P256,
        [0x2b, 0x81, 0x04, 0x00, 0x0a] => Kind::Unsupported("an EC key on secp256k1"),
        [0x2b, 0x81, 0x04, 0x00, 0x22] => Kind::Unsupported("an EC key on P-384"),
        [0x2b, 0x81, 0x04, 0x00, 0x23] => Kind::Unsupported("an EC key on P-521"),
        _ => Kind::Unsupported("an EC key on another curve"),
    }
}

/// `privateKeyAlgorithm` and `privateKey`.
fn pkcs8_parts(pkcs8: &[u8]) -> Option<(&[u8], &[u8])> {
    let (whole, _) = element(pkcs8, SEQUENCE)?;
    let (_version, rest) = element(whole, INTEGER)?;
    let (algorithm, rest) = element(rest, SEQUENCE)?;
    let (key, _) = element(rest, OCTET_STRING)?;
    Some((algorithm, key))
}

/// What follows version and private key in an `ECPrivateKey`.
fn sec1_fields(sec1: &[u8]) -> Option<&[u8]> {
    let (whole, _) = element(sec1, SEQUENCE)?;
    let (_version, rest) = element(whole, INTEGER)?;
    let (_key, rest) = element(rest, OCTET_STRING)?;
    Some(rest)
}

fn field(mut fields: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((tag, value, rest)) = any_element(fields) {
        if tag == wanted {
            return Some(value);
        }
        fields = rest;
    }
    None
}

fn element(input: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, value, rest) = any_element(input)?;
    (tag == wanted).then_some((value, rest))
}

/// Tag, value and what follows, for tags of one byte and lengths below 64 KiB.
fn any_element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (length, rest) = match *rest {
        [length @ 0..=0x7f, ref rest @ ..] => (usize::from(length), rest),
        [0x81, length, ref rest @ ..] => (usize::from(length), rest),
        [0x82, high, low, ref rest @ ..] => (usize::from(high) << 8 | usize::from(low), rest),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

fn encoded(tag: u8, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut element = Zeroizing::new(Vec::with_capacity(value.len() + 4));
    element.push(tag);
    match value.len() {
        short @ 0..0x80 => element.push(short as u8),
        medium @ 0x80..0x100 => element.extend_from_slice(&[0x81, medium as u8]),
        // An EC private key has a few hundred bytes, and PEM of more than 64 KiB is none.
        long => element.extend_from_slice(&[0x82, (long >> 8) as u8, long as u8]),
    }
    element.extend_from_slice(value);
    element
}
