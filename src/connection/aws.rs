//! AWS settings, checked: for which service and region requests are signed, and with whose keys.

pub mod arn;
pub mod host;
mod names;
pub mod partition;

use std::time::Duration;

use url::Url;

use crate::secret::Secret;

/// A credential that signs requests (AWS Signature Version 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The name that `type` has in the configuration.
    pub kind: &'static str,
    /// What the signature names as service, such as `s3` or `execute-api`.
    pub service: Box<str>,
    /// Where the signature holds.
    pub region: Region,
    /// How content is covered by the signature.
    pub payload: Payload,
    /// Whose keys sign.
    pub source: Source,
}

/// Where a signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Region {
    /// In one region.
    One(Box<str>),
    /// In all of these, or in every one for `*` (Signature Version 4A); as it is written into
    /// `X-Amz-Region-Set`, separated by commas.
    Set(Box<str>),
}

/// How content is covered by the signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// Hashed whole up to `limits.signed_body`; what is longer is signed in chunks for S3 and unsigned
    /// where the service takes that.
    #[default]
    Auto,
    /// Signed chunk by chunk while it is sent; S3 alone takes that.
    Chunked,
    /// Hashed whole, whatever its length.
    Signed,
    /// Not at all.
    Unsigned,
}

/// Whose keys sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Keys of the configuration.
    AccessKey(AccessKey),
    /// What the AWS SDKs find in their default chain: environment, shared profile, web identity,
    /// container, instance.
    Default,
    /// A session of a role, which another source's keys assume.
    Role(Box<Role>),
}

/// Keys of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// `AKIA…`, or `ASIA…` with a session token.
    pub id: Secret,
    /// The secret access key.
    pub secret: Secret,
    /// The token of temporary keys.
    pub session_token: Option<Secret>,
}

/// A role and how it is assumed (STS `AssumeRole`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// `arn:aws:iam::123456789012:role/name`.
    pub arn: Box<str>,
    /// What the role's trust policy demands as `sts:ExternalId`.
    pub external_id: ExternalId,
    /// `RoleSessionName`, as it is seen in CloudTrail.
    pub session_name: Box<str>,
    /// How long a session lasts.
    pub duration: Duration,
    /// Who assumes it.
    pub source: Source,
    /// Where STS is asked; none: the regional endpoint of AWS, [`Role::sts_host`].
    pub sts_endpoint: Option<Url>,
    /// The region whose STS is asked, and for which that request is signed.
    pub sts_region: Box<str>,
}

/// The external ID that is sent with `AssumeRole`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalId {
    /// The one of this deployment, or of one of its scopes, generated once and kept in the store.
    Generated(Option<Box<str>>),
    /// One that the configuration tells.
    Given(Box<str>),
    /// None is sent (`external_id = ""`).
    None,
}

impl Aws {
    /// Every secret with the key that holds it.
    pub(super) fn secrets(&self) -> Vec<(String, &Secret)> {
        self.source.secrets("")
    }

    /// Every secret, to be replaced by what a command told.
    pub(super) fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        self.source.secrets_mut()
    }

    /// Whether S3's rules of signing hold.
    pub fn is_s3(&self) -> bool {
        is_s3(&self.service)
    }

    /// Whether the service takes no signature that covers content, not even that there is none.
    pub fn takes_unsigned_alone(&self) -> bool {
        &*self.service == LATTICE
    }

    /// What may be wrong with `payload`, in words; servers that only speak like AWS may take it.
    pub fn doubt(&self) -> Option<String> {
        let service = &self.service;
        match self.payload {
            Payload::Unsigned if !takes_unsigned(service) => Some(format!(
                "`payload = \"unsigned\"` is for services that take content without a signature, and `{service}` is not known to; AWS would refuse requests with content (`SignatureDoesNotMatch`, `InvalidSignatureException`): leave `payload` out"
            )),
            Payload::Signed if self.takes_unsigned_alone() => Some(format!(
                "`payload = \"signed\"` is not what `{service}` takes: VPC Lattice refuses signatures that cover content; leave `payload` out"
            )),
            _ => None,
        }
    }
}

/// VPC Lattice's services, which authenticate with headers alone.
const LATTICE: &str = "vpc-lattice-svcs";

/// Whether a service is known to take content that the signature does not cover: S3 and its kin, and
/// those some of whose operations say so in AWS's models of them.
fn takes_unsigned(service: &str) -> bool {
    is_s3(service) || matches!(service, LATTICE | "ebs" | "lex" | "mediastore" | "omics")
}

/// Whether S3's rules of signing hold for a service: paths are encoded once and not normalized, and
/// content may be signed in chunks.
pub fn is_s3(service: &str) -> bool {
    matches!(
        service,
        "s3" | "s3express" | "s3-object-lambda" | "s3-outposts"
    )
}

impl Role {
    /// The host of AWS where STS is asked, if `sts_endpoint` names no other.
    pub fn sts_host(&self) -> String {
        partition::sts_host(&self.sts_region)
    }
}

/// Why a text is no [`ExternalId`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExternalId {
    /// It has a character that STS refuses.
    #[error("an external ID has letters, digits and `_+=,.@:/-`")]
    Character,
    /// STS refuses it for its length.
    #[error("an external ID has 2 to 1224 characters")]
    Length,
    /// It cannot name a scope.
    #[error("a scope has 1 to 64 letters, digits, `_`, `.` and `-`")]
    Scope,
}

impl ExternalId {
    /// One that is told; `""` is none.
    ///
    /// # Errors
    /// STS would refuse it.
    pub fn given(text: &str) -> Result<Self, InvalidExternalId> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b);
        match text.len() {
            0 => Ok(Self::None),
            _ if !text.bytes().all(fits) => Err(InvalidExternalId::Character),
            2..=1224 => Ok(Self::Given(text.into())),
            _ => Err(InvalidExternalId::Length),
        }
    }

    /// The one of a scope.
    ///
    /// # Errors
    /// It is no name for one.
    pub fn of_scope(name: &str) -> Result<Self, InvalidExternalId> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        match (1..=64).contains(&name.len()) && name.bytes().all(fits) {
            true => Ok(Self::Generated(Some(name.into()))),
            false => Err(InvalidExternalId::Scope),
        }
    }
}

impl Source {
    /// The roles that lead to the keys, each assumed by the next.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        std::iter::successors(self.role(), |before| before.source.role())
    }

    /// The role, if it is one.
    pub fn role(&self) -> Option<&Role> {
        match self {
            Self::AccessKey(_) | Self::Default => None,
            Self::Role(role) => Some(role),
        }
    }

    /// Every secret with the key that holds it, below `under`.
    pub(super) fn secrets(&self, under: &str) -> Vec<(String, &Secret)> {
        match self {
            Self::AccessKey(key) => {
                let mut all = vec![
                    (format!("{under}access_key_id"), &key.id),
                    (format!("{under}secret_access_key"), &key.secret),
                ];
                if let Some(token) = &key.session_token {
                    all.push((format!("{under}session_token"), token));
                }
                all
            }
            Self::Default => Vec::new(),
            Self::Role(role) => role.source.secrets(&format!("{under}source.")),
        }
    }

    /// Every secret, to be replaced by what a command told.
    pub fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        match self {
            Self::AccessKey(key) => {
                let mut all = vec![&mut key.id, &mut key.secret];
                all.extend(&mut key.session_token);
                all
            }
            Self::Default => Vec::new(),
            Self::Role(role) => role.source.secrets_mut(),
        }
    }
}
