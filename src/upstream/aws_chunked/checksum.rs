//! Checksums by the names that S3 has for them: [`Checksum`].

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crc_fast::CrcAlgorithm;
use http::HeaderName;
use ring::digest;

/// What the name of every checksum begins with.
pub const PREFIX: &str = "x-amz-checksum-";

/// A checksum of what has passed so far.
pub enum Checksum {
    /// A CRC, and how many bytes it has.
    Crc(crc_fast::Digest, usize),
    /// A hash.
    Sha(digest::Context),
}

impl Checksum {
    /// One of nothing, of the algorithm that a field is named after; none where that is not one that
    /// is computed here.
    pub fn named(name: &HeaderName) -> Option<Self> {
        let crc = |algorithm, length| Self::Crc(crc_fast::Digest::new(algorithm), length);
        let sha = |algorithm| Self::Sha(digest::Context::new(algorithm));
        Some(match name.as_str().strip_prefix(PREFIX)? {
            "crc32" => crc(CrcAlgorithm::Crc32IsoHdlc, 4),
            "crc32c" => crc(CrcAlgorithm::Crc32Iscsi, 4),
            "crc64nvme" => crc(CrcAlgorithm::Crc64Nvme, 8),
            "sha1" => sha(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            "sha256" => sha(&digest::SHA256),
            "sha512" => sha(&digest::SHA512),
            _ => return None,
        })
    }

    /// Takes in what passes.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc(crc, _) => crc.update(data),
            Self::Sha(sha) => sha.update(data),
        }
    }

    /// Its value as it stands in a field: base64, most significant byte first.
    pub fn finish(self) -> String {
        match self {
            Self::Crc(crc, length) => {
                let value = crc.finalize().to_be_bytes();
                BASE64_STANDARD.encode(&value[value.len() - length..])
            }
            Self::Sha(sha) => BASE64_STANDARD.encode(sha.finish()),
        }
    }
}

/// How many characters a checksum's value has; none where the algorithm is not known.
pub fn value_length(name: &HeaderName) -> Option<usize> {
    let bytes: usize = match name.as_str().strip_prefix(PREFIX)? {
        "crc32" | "crc32c" => 4,
        "crc64nvme" | "xxhash3" | "xxhash64" => 8,
        "md5" | "xxhash128" => 16,
        "sha1" => 20,
        "sha256" => 32,
        "sha512" => 64,
        _ => return None,
    };
    // Base64 with padding.
    Some(bytes.div_ceil(3) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_that_others_compute() {
        // The check values of the CRC catalogue, and Python's hashlib.
        for (name, value) in [
            ("crc32", "y/Q5Jg=="),
            ("crc32c", "4waSgw=="),
            ("crc64nvme", "rosUhgp5mIg="),
            ("sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
            ("sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
            (
                "sha512",
                "2eZ2LdHI6vbWGzxhkvxAjU1tXxF20MKRabwk5xw/J0rSf81YEbMT1oH35V7ALXPUmclUVba1u1A6z1dPuo/+hQ==",
            ),
        ] {
            let name = HeaderName::try_from(format!("{PREFIX}{name}")).unwrap();
            let mut checksum = Checksum::named(&name).unwrap();
            checksum.update(b"1234");
            checksum.update(b"");
            checksum.update(b"56789");
            assert_eq!(checksum.finish(), value, "{name}");
            assert_eq!(value_length(&name), Some(value.len()), "{name}");
        }
    }

    #[test]
    fn what_is_computed_has_a_known_length() {
        for name in ["md5", "xxhash3", "xxhash64", "xxhash128", "blake3", ""] {
            let name = HeaderName::try_from(format!("{PREFIX}{name}")).unwrap();
            assert!(Checksum::named(&name).is_none(), "{name}");
            let known = !name.as_str().ends_with("blake3") && name.as_str() != PREFIX;
            assert_eq!(value_length(&name).is_some(), known, "{name}");
        }
        let other = HeaderName::from_static("x-amz-acl");
        assert!(Checksum::named(&other).is_none() && value_length(&other).is_none());
    }
}
