//! What signs: [`Keys`].

use crate::secret::Secret;

/// An access key, permanent or of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The access key ID, which requests show.
    pub id: Secret,
    /// The secret access key, which they do not.
    pub secret: Secret,
    /// The token of a session, which they show, too.
    pub session_token: Option<Secret>,
}
