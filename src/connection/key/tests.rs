use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

use super::*;

const RSA: &str = include_str!("../../../tests/data/keys/rsa.pem");
const RSA_PKCS1: &str = include_str!("../../../tests/data/keys/rsa-pkcs1.pem");
const P256: &str = include_str!("../../../tests/data/keys/p256.pem");
const P256_SEC1: &str = include_str!("../../../tests/data/keys/p256-sec1.pem");
const ED25519_V1: &str = include_str!("../../../tests/data/keys/ed25519.pem");

/// The public key as ring verifies with it.
fn public(key: &PrivateKey) -> Vec<u8> {
    match &key.0 {
        Pair::EdDsa(pair) => pair.public_key().as_ref().to_vec(),
        Pair::Es256(pair) => pair.public_key().as_ref().to_vec(),
        Pair::Ps256(pair) | Pair::Rs256(pair) => pair.public_key().as_ref().to_vec(),
    }
}

fn verify(key: &PrivateKey, message: &[u8], signature: &[u8]) {
    let algorithm: &dyn VerificationAlgorithm = match key.algorithm() {
        Algorithm::EdDsa => &ED25519,
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
    };
    UnparsedPublicKey::new(algorithm, public(key))
        .verify(message, signature)
        .unwrap();
}

#[test]
fn every_encoding_gives_a_key_whose_signatures_verify() {
    let made = KeyPair::generate_for(&rcgen::PKCS_ED25519)
        .unwrap()
        .serialize_pem();
    for (pem, algorithm) in [
        (RSA, Algorithm::Rs256),
        (RSA, Algorithm::Ps256),
        (RSA_PKCS1, Algorithm::Rs256),
        (P256, Algorithm::Es256),
        (P256_SEC1, Algorithm::Es256),
        (ED25519_V1, Algorithm::EdDsa),
        (&made, Algorithm::EdDsa),
    ] {
        let key = PrivateKey::parse(pem, algorithm).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        verify(&key, b"message", &key.sign(b"message").unwrap());
    }
}

#[test]
fn two_encodings_of_one_key_are_one_key() {
    for (one, other, algorithm) in [
        (RSA, RSA_PKCS1, Algorithm::Rs256),
        (P256, P256_SEC1, Algorithm::Es256),
    ] {
        let keys = [one, other].map(|pem| PrivateKey::parse(pem, algorithm).unwrap());
        assert_eq!(public(&keys[0]), public(&keys[1]));
    }
}

#[test]
fn lines_may_be_escaped_indented_or_of_another_system() {
    for pem in [
        RSA.replace('\n', "\\n"),
        RSA.replace('\n', "\\r\\n"),
        RSA.replace('\n', "\r\n"),
        RSA.lines()
            .map(|line| format!("    {line} \n"))
            .collect::<String>(),
        format!("Bag Attributes\n  x: 1\n{RSA}"),
        RSA.trim_end().to_owned(),
    ] {
        PrivateKey::parse(&pem, Algorithm::Rs256).unwrap();
    }
}

#[test]
fn a_bad_key_is_told_in_words() {
    let read = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keys");
        std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
    };
    let flipped = RSA.replacen(
        RSA.lines().nth(13).unwrap(),
        RSA.lines().nth(14).unwrap(),
        1,
    );
    for (pem, algorithm, words) in [
        (String::new(), Algorithm::Rs256, "is no PEM text"),
        (
            "hunter2".to_owned(),
            Algorithm::Rs256,
            "`-----BEGIN PRIVATE KEY-----`",
        ),
        (
            read("rsa-encrypted.pem"),
            Algorithm::Rs256,
            "openssl pkcs8 -topk8 -nocrypt",
        ),
        (
            read("rsa-pkcs1-encrypted.pem"),
            Algorithm::Rs256,
            "is encrypted",
        ),
        (read("rsa-1024.pem"), Algorithm::Rs256, "is too short"),
        (
            read("rsa-pss.pem"),
            Algorithm::Ps256,
            "is an RSA key that is restricted to PSS",
        ),
        (read("rsa-public.pem"), Algorithm::Rs256, "is a public key"),
        (read("p384-sec1.pem"), Algorithm::Es256, "on P-384"),
        (
            read("p256-no-public.pem"),
            Algorithm::Es256,
            "has no public key inside",
        ),
        (
            RSA.to_owned(),
            Algorithm::Es256,
            "does not fit `ES256`; set `algorithm = \"RS256\"` or `\"PS256\"`",
        ),
        (
            P256_SEC1.to_owned(),
            Algorithm::Rs256,
            "set `algorithm = \"ES256\"`",
        ),
        (
            ED25519_V1.to_owned(),
            Algorithm::Ps256,
            "set `algorithm = \"EdDSA\"`",
        ),
        (
            RSA.replace("PRIVATE KEY", "CERTIFICATE"),
            Algorithm::Rs256,
            "is a certificate and",
        ),
        (
            RSA.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
            Algorithm::Rs256,
            "OpenSSH",
        ),
        (RSA.replace('\n', " "), Algorithm::Rs256, "is not valid PEM"),
        (RSA[..400].to_owned(), Algorithm::Rs256, "is not valid PEM"),
        (flipped, Algorithm::Rs256, "is damaged"),
        (
            RSA.replacen("BEGIN PRIVATE", "BEGIN EC PRIVATE", 1)
                .replacen("END PRIVATE", "END EC PRIVATE", 1),
            Algorithm::Es256,
            "is damaged",
        ),
    ] {
        let error = PrivateKey::parse(&pem, algorithm).unwrap_err().to_string();
        assert!(error.contains(words), "{error}, not {words}");
        let leaked = pem.lines().nth(5).filter(|line| !line.is_empty());
        assert!(leaked.is_none_or(|line| !error.contains(line)), "{error}");
    }
}

#[test]
fn a_cut_key_never_panics() {
    for pem in [RSA, RSA_PKCS1, P256, P256_SEC1, ED25519_V1] {
        let mut key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        for cut in 0..key.secret_der().len() {
            let der = key.secret_der()[..cut].to_vec();
            let short = match &key {
                PrivateKeyDer::Pkcs1(_) => PrivateKeyDer::Pkcs1(der.into()),
                PrivateKeyDer::Sec1(_) => PrivateKeyDer::Sec1(der.into()),
                _ => PrivateKeyDer::Pkcs8(der.into()),
            };
            for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
                assert!(pair(&short, algorithm).is_err());
            }
        }
        key.zeroize();
    }
}

/// The key and the signature of RFC 8037, appendix A.4.
#[test]
fn an_ed25519_signature_is_the_one_of_rfc_8037() {
    let seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let pair =
        Ed25519KeyPair::from_seed_unchecked(&BASE64_URL_SAFE_NO_PAD.decode(seed).unwrap()).unwrap();
    let key = PrivateKey(Pair::EdDsa(pair));
    let signed = key.sign(message.as_bytes()).unwrap();
    assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(signed), signature);
}

#[test]
fn debug_says_the_algorithm_alone() {
    let key = PrivateKey::parse(P256, Algorithm::Es256).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey([redacted], ES256)");
}
