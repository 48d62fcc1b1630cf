//! Assertions: JWTs that keybearer signs, to prove who it is (RFC 7523) or to ask for a token.
//!
//! A compact JWS (RFC 7515 section 7.1) of a header and a few claims; nothing here reads one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use crate::connection::key::{InvalidKey, NotSigned, PrivateKey};
use crate::connection::oauth2::SigningKey;
use crate::secret::{Origin, Secret};

/// What signs assertions: a private key and the name that the other side knows it by.
#[derive(Debug)]
pub struct Signer {
    key: PrivateKey,
    id: Option<Box<str>>,
}

/// What the assertion of a JWT bearer grant says (RFC 7523 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BearerClaims<'a> {
    /// `iss`: whose key signs.
    pub issuer: &'a str,
    /// `sub`: for whom the token is, if not for the issuer.
    pub subject: Option<&'a str>,
    /// `aud`: whom the assertion is for, mostly the token endpoint's URL.
    pub audience: &'a str,
    /// `scope`, which Google reads here; left out if empty.
    pub scopes: &'a [Box<str>],
}

/// How long a client assertion is valid: the most that strict servers take.
const CLIENT_LIFETIME: Duration = Duration::from_secs(60);

/// How long a bearer assertion is valid: the most that Google takes.
const BEARER_LIFETIME: Duration = Duration::from_secs(3600);

impl Signer {
    /// Binds the PEM of a private key, as it is now, to the key's other settings.
    ///
    /// # Errors
    /// Says what is wrong with the key.
    pub fn new(pem: &Secret, settings: &SigningKey) -> Result<Self, InvalidKey> {
        Ok(Self {
            key: PrivateKey::parse(pem.expose(), settings.algorithm)?,
            id: settings.id.clone(),
        })
    }

    /// Proof that we are the client (RFC 7523 section 3), for the one token request at `now`.
    ///
    /// `audience` is the token endpoint's URL, or the issuer where it is known.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn client_assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: SystemTime,
    ) -> Result<Secret, NotSigned> {
        self.sign(&Claims {
            iss: client_id,
            sub: Some(client_id),
            aud: audience,
            scope: None,
            ..Claims::from_now(now, CLIENT_LIFETIME)?
        })
    }

    /// The assertion that is exchanged for a token at `now`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn bearer_assertion(
        &self,
        claims: BearerClaims<'_>,
        now: SystemTime,
    ) -> Result<Secret, NotSigned> {
        let scope = (!claims.scopes.is_empty()).then(|| claims.scopes.join(" "));
        self.sign(&Claims {
            iss: claims.issuer,
            sub: claims.subject,
            aud: claims.audience,
            scope: scope.as_deref(),
            ..Claims::from_now(now, BEARER_LIFETIME)?
        })
    }

    fn sign(&self, claims: &Claims<'_>) -> Result<Secret, NotSigned> {
        let header = Header {
            alg: self.key.algorithm().name(),
            typ: "JWT",
            kid: self.id.as_deref(),
        };
        let mut token = format!("{}.{}", encoded(&header), encoded(claims));
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Secret::new(token, Origin::Issued))
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

/// The claims of both kinds. There is no `nbf`: a server whose clock is behind would refuse it.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    iat: u64,
    exp: u64,
    jti: String,
}

impl Claims<'_> {
    /// Valid from `now` on, with an identifier of its own, as servers refuse one they have seen.
    fn from_now(now: SystemTime, lifetime: Duration) -> Result<Self, NotSigned> {
        let mut id = [0; 16];
        SystemRandom::new().fill(&mut id).map_err(|_| NotSigned)?;
        // A clock before 1970 gives assertions that are refused for their age.
        let iat = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            iss: "",
            sub: None,
            aud: "",
            scope: None,
            iat: iat.as_secs(),
            exp: (iat + lifetime).as_secs(),
            jti: BASE64_URL_SAFE_NO_PAD.encode(id),
        })
    }
}

fn encoded(part: &impl Serialize) -> String {
    // Serializing strings and numbers into memory cannot fail.
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair,
        UnparsedPublicKey, VerificationAlgorithm,
    };
    use rustls_pki_types::PrivatePkcs8KeyDer;
    use rustls_pki_types::pem::PemObject;
    use serde_json::{Value, json};

    use super::*;
    use crate::connection::oauth2::Algorithm;

    const RSA: &str = include_str!("../../tests/data/keys/rsa.pem");
    const P256: &str = include_str!("../../tests/data/keys/p256.pem");

    fn signer(pem: &str, algorithm: Algorithm, id: Option<&str>) -> Signer {
        let key = Secret::new(pem, Origin::Literal);
        let settings = SigningKey {
            key: key.clone(),
            id: id.map(Into::into),
            algorithm,
        };
        Signer::new(&key, &settings).unwrap()
    }

    fn public(pem: &str) -> (&'static dyn VerificationAlgorithm, Vec<u8>) {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()) {
            return (
                &RSA_PKCS1_2048_8192_SHA256,
                pair.public_key().as_ref().to_vec(),
            );
        }
        let pair = EcdsaKeyPair::from_pkcs8(
            &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            der.secret_pkcs8_der(),
            &SystemRandom::new(),
        )
        .unwrap();
        (
            &ECDSA_P256_SHA256_FIXED,
            pair.public_key().as_ref().to_vec(),
        )
    }

    /// Header and claims of a token whose signature holds.
    fn read(token: &Secret, pem: &str) -> (Value, Value) {
        let (message, signature) = token.expose().rsplit_once('.').unwrap();
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        let (algorithm, key) = public(pem);
        UnparsedPublicKey::new(algorithm, key)
            .verify(message.as_bytes(), &decode(signature))
            .unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        let json = |part| serde_json::from_slice(&decode(part)).unwrap();
        (json(header), json(claims))
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_assertion_names_the_client_twice_and_ends_soon() {
        let signer = signer(P256, Algorithm::Es256, Some("key-1"));
        let token = signer
            .client_assertion("app", "https://as.example/token", at(1_000))
            .unwrap();
        let (header, claims) = read(&token, P256);
        assert_eq!(
            header,
            json!({"alg": "ES256", "typ": "JWT", "kid": "key-1"})
        );
        let jti = claims["jti"].as_str().unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(jti).unwrap().len(), 16);
        assert_eq!(
            claims,
            json!({
                "iss": "app", "sub": "app", "aud": "https://as.example/token",
                "iat": 1_000, "exp": 1_060, "jti": jti,
            })
        );
    }

    #[test]
    fn a_bearer_assertion_says_its_scopes_and_leaves_out_what_is_not_there() {
        let signer = signer(RSA, Algorithm::Rs256, None);
        let claims = BearerClaims {
            issuer: "robot@project.example",
            subject: None,
            audience: "https://oauth2.example/token",
            scopes: &["a".into(), "b".into()],
        };
        let token = signer.bearer_assertion(claims, at(1_000)).unwrap();
        let (header, said) = read(&token, RSA);
        assert_eq!(header, json!({"alg": "RS256", "typ": "JWT"}));
        assert_eq!(
            said,
            json!({
                "iss": "robot@project.example", "aud": "https://oauth2.example/token",
                "scope": "a b", "iat": 1_000, "exp": 4_600, "jti": said["jti"],
            })
        );
        let impersonating = BearerClaims {
            subject: Some("jane@example.com"),
            scopes: &[],
            ..claims
        };
        let token = signer.bearer_assertion(impersonating, at(0)).unwrap();
        let (_, said) = read(&token, RSA);
        assert_eq!(said["sub"], "jane@example.com");
        assert!(said.get("scope").is_none());
    }

    #[test]
    fn no_two_assertions_are_alike_and_none_is_shown() {
        let signer = signer(P256, Algorithm::Es256, None);
        let [one, other] = [(), ()].map(|()| signer.client_assertion("app", "aud", at(0)).unwrap());
        assert_ne!(one, other);
        let shown = format!("{one:?} {signer:?}");
        assert!(!shown.contains(one.expose()) && !shown.contains("MIG"));
    }
}
