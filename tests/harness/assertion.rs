//! Assertions, signed by hand so that no library of keybearer's vouches for itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

/// A signed token (RFC 7515) of these claims; the key is PKCS#8 in PEM.
pub fn sign(algorithm: &str, pem: &str, claims: &Value) -> String {
    let header = json!({ "alg": algorithm, "kid": "test-key", "typ": "JWT" });
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = key.secret_pkcs8_der();
    let (random, bytes) = (SystemRandom::new(), message.as_bytes());
    let rsa = |encoding: &'static dyn RsaEncoding| {
        let key = RsaKeyPair::from_pkcs8(key).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(encoding, &random, bytes, &mut signature).unwrap();
        signature
    };
    let signature = match algorithm {
        "ES256" => {
            let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let key = EcdsaKeyPair::from_pkcs8(kind, key, &random).unwrap();
            key.sign(&random, bytes).unwrap().as_ref().to_vec()
        }
        "EdDSA" => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).unwrap();
            key.sign(bytes).as_ref().to_vec()
        }
        "PS256" => rsa(&RSA_PSS_SHA256),
        _ => rsa(&RSA_PKCS1_SHA256),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
