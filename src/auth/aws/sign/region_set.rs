//! Signatures that hold in a set of regions (Signature Version 4A): of a key pair instead of a shared
//! key, so that no region has what signs for another.

use std::fmt;

use aws_sigv4::sign::v4a;
use zeroize::Zeroizing;

use crate::auth::aws::keys::Keys;

/// A private key of P-256, derived from a secret access key.
pub(super) struct SetKey(Zeroizing<Vec<u8>>);

impl SetKey {
    pub(super) fn derive(keys: &Keys) -> Self {
        let key = v4a::generate_signing_key(keys.id.expose(), keys.secret.expose());
        Self(Zeroizing::new(key.as_ref().to_vec()))
    }

    /// The signature of a text, in DER, in hexadecimal.
    pub(super) fn sign(&self, text: &[u8]) -> String {
        v4a::calculate_signature(self.0.as_slice(), text)
    }
}

impl fmt::Debug for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetKey").finish_non_exhaustive()
    }
}
