//! How values are sealed: ChaCha20-Poly1305 (RFC 8439) with a random nonce for each.
//!
//! A sealed value is a version byte, the nonce, and the ciphertext with its tag. The version and the
//! value's place are authenticated with it, so that none can be passed off as another's.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_LENGTH: usize = 32;
const HEAD: usize = 1 + NONCE_LEN;

/// Seals values and opens them.
pub(super) struct Seal {
    key: LessSafeKey,
    /// What keys of single values are derived from (RFC 5869): the key is random, so nothing has to be
    /// extracted.
    derive: Prk,
    random: SystemRandom,
    origin: String,
}

impl Seal {
    /// Takes the base64 of 32 bytes, and where it was read; none if the text is anything else.
    pub(super) fn parse(text: &str, origin: &str) -> Option<Self> {
        // Room for all that a text of the right length decodes to, as base64 asks for it.
        let mut bytes = Zeroizing::new([0; KEY_LENGTH + 3]);
        let length = BASE64_STANDARD.decode_slice(text.trim(), bytes.as_mut_slice());
        if length != Ok(KEY_LENGTH) {
            return None;
        }
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes.get(..KEY_LENGTH)?).ok()?;
        Some(Self {
            key: LessSafeKey::new(key),
            derive: Prk::new_less_safe(HKDF_SHA256, bytes.get(..KEY_LENGTH)?),
            random: SystemRandom::new(),
            origin: origin.to_owned(),
        })
    }

    /// Where the key was read, for messages.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// A new key's base64.
    pub(super) fn generate() -> Result<Zeroizing<String>, Unspecified> {
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        SystemRandom::new().fill(bytes.as_mut_slice())?;
        Ok(Zeroizing::new(BASE64_STANDARD.encode(bytes.as_slice())))
    }

    /// Seals a value for a place.
    ///
    /// A random nonce of 96 bits is safe for some 2^32 values under one key, which is a write every
    /// second for a century.
    pub(super) fn seal(
        &self,
        place: &str,
        value: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        self.seal_with(&self.key, place, value)
    }

    /// The same for a place that has one value ever, with a key of its own: there may be any number of
    /// such places.
    pub(super) fn seal_once(
        &self,
        place: &str,
        value: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        self.seal_with(&self.derived(place)?, place, value)
    }

    fn derived(&self, place: &str) -> Result<LessSafeKey, Unspecified> {
        let info = [place.as_bytes()];
        let key = self.derive.expand(&info, &CHACHA20_POLY1305)?;
        Ok(LessSafeKey::new(key.into()))
    }

    fn seal_with(
        &self,
        key: &LessSafeKey,
        place: &str,
        value: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce)?;
        // Room for all, as a buffer that grows leaves copies behind.
        let room = HEAD + value.len() + CHACHA20_POLY1305.tag_len();
        let mut sealed = Zeroizing::new(Vec::with_capacity(room));
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let content = &mut sealed[HEAD..];
        let tag = key.seal_in_place_separate_tag(nonce, authenticated(place), content)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for this place with this key.
    pub(super) fn open(
        &self,
        place: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        open_with(&self.key, place, sealed)
    }

    /// Opens what [`seal_once`](Self::seal_once) has sealed.
    pub(super) fn open_once(
        &self,
        place: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        open_with(&self.derived(place)?, place, sealed)
    }
}

fn open_with(
    key: &LessSafeKey,
    place: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
    let (&[VERSION, ref nonce @ ..], content) =
        sealed.split_first_chunk::<HEAD>().ok_or(Unspecified)?
    else {
        return Err(Unspecified);
    };
    let nonce = Nonce::try_assume_unique_for_key(nonce)?;
    let mut value = Zeroizing::new(content.to_vec());
    let length = key
        .open_in_place(nonce, authenticated(place), &mut value)?
        .len();
    value.truncate(length);
    Ok(value)
}
fn authenticated(place: &str) -> Aad<Vec<u8>> {
    Aad::from([&[VERSION], place.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal::parse(&Seal::generate().unwrap(), "test").unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let seal = seal();
        for value in [&b""[..], b"x", &[7; 5000]] {
            let sealed = seal.seal("here", value).unwrap();
            assert_eq!(*seal.open("here", &sealed).unwrap(), value);
            assert!(seal.open("there", &sealed).is_err());
            assert!(self::seal().open("here", &sealed).is_err());
        }
    }

    #[test]
    fn each_place_of_one_value_has_a_key_of_its_own() {
        let seal = seal();
        let sealed = seal.seal_once("here", b"value").unwrap();
        assert_eq!(*seal.open_once("here", &sealed).unwrap(), b"value");
        assert!(seal.open_once("there", &sealed).is_err());
        assert!(seal.open("here", &sealed).is_err());
        assert!(self::seal().open_once("here", &sealed).is_err());
    }

    #[test]
    fn every_bit_is_authenticated() {
        let seal = seal();
        let sealed = seal.seal("here", b"value").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(seal.open("here", &changed).is_err());
            assert!(seal.open("here", &sealed[..index]).is_err());
        }
    }

    #[test]
    fn equal_values_are_sealed_differently() {
        let seal = seal();
        assert_ne!(seal.seal("here", b"value"), seal.seal("here", b"value"));
    }

    #[test]
    fn a_key_is_the_base64_of_32_bytes() {
        let right = BASE64_STANDARD.encode([1; 32]);
        assert!(Seal::parse(&right, "").is_some());
        assert!(Seal::parse(&format!(" {right}\n"), "").is_some());
        for wrong in [
            "",
            "key",
            &right[..43],
            &BASE64_STANDARD.encode([1; 31]),
            &BASE64_STANDARD.encode([1; 33]),
            &BASE64_STANDARD.encode([1; 64]),
            &right.replace('=', "\u{e4}"),
        ] {
            assert!(Seal::parse(wrong, "").is_none(), "{wrong}");
        }
    }
}
